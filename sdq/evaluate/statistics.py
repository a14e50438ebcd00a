"""Statistics over test sentences: scores, bootstrap intervals, paired tests. Needs no torch.

A sentence's outcome is three counts: `tp` (right and predicted), `predicted`, `gold`. Their score,
2 tp / (predicted + gold), is accuracy for tasks with one answer a sentence (`predicted` and `gold`
are 1, `tp` is 0 or 1), micro F1 for token tasks, precision where `gold` repeats `predicted`, and a
mean of values in 0..1 where `tp` is the value.

What belongs together is drawn together (see `clusters`): a sentence is one thing in all its
languages, and sentences made from one frame are no independent sentences. The interval is the
percentile interval of a Poisson bootstrap over clusters (Hanley and MacGibbon 2006), smoothed:
where next to no answer flips, a plain bootstrap has next to nothing to draw, and its 95 % interval
covers as little as 77 % (see tests/unit/evaluate/test_coverage.py). So each draw gets, in each
language, a Poisson(1/2) number of sentences that only the first model has right and as many that
only the second has; for one proportion that is the half a success and half a failure of Jeffreys'
interval. Several seeds of a recipe are a handful that resampling would make too alike: the mean
over them moves by Student's t times its standard error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from sdq.evaluate.draws import draw_counts
from sdq.settings import UserError

Counts = np.ndarray[Any, Any]
# the scores of each model [..., languages] -> the quantity of interest [..., languages]
Of = Callable[..., Counts]
DRAWS = 4000
SWAPS = 10_000
_CHUNK = 2000  # swaps at a time
# how ids of the embedded tasks end: split, frame, filling
_FILLING = r"(\.(?:train|dev|test)\.\d+)\.\d+$"


def score(tp: Counts, predicted: Counts, gold: Counts) -> float:
    """Score in 0..1 of sentences [N]; 0 if nothing is gold or predicted.

    tp, predicted, gold: counts per sentence [N], >= 0
    """
    total = predicted.sum() + gold.sum()
    return float(2 * tp.sum() / total) if total else 0.0


def by_language(table: pd.DataFrame) -> dict[str, float]:
    """Score of each language of a per-sentence table."""
    sums = table.groupby("language")[["tp", "predicted", "gold"]].sum()
    total = sums["predicted"] + sums["gold"]
    return {
        str(code): float(2 * tp / n) if n else 0.0
        for code, tp, n in zip(sums.index, sums["tp"], total, strict=True)
    }


def means(scores: Mapping[str, float], training_language: str) -> tuple[float, float]:
    """(mean over all languages, mean over those without labels in training)."""
    zero = [v for k, v in scores.items() if k != training_language]
    return float(np.mean(list(scores.values()))), float(np.mean(zero)) if zero else float("nan")


def clusters(ids: pd.Series[Any]) -> pd.Series[Any]:
    """What is drawn together, by name: equal ids (the same sentence in several languages), and all
    fillings of a frame ("alarm_set.test.01.03" -> "alarm_set.test.01")."""
    return ids.astype(str).str.replace(_FILLING, r"\1", regex=True)


def right(table: pd.DataFrame) -> pd.Series[Any]:
    """Whether each sentence of a per-sentence table is answered right: everything found, nothing
    invented."""
    return table["tp"] * 2 == table["predicted"] + table["gold"]


def gathered(tables: Sequence[pd.DataFrame], languages: Sequence[str]) -> Counts:
    """(tp, predicted + gold) summed in each language and cluster: [tables, 2, languages, clusters].

    UserError if a language has no sentence, or if the tables do not hold the same sentences.
    """
    kept = [
        t[t["language"].isin(languages)].sort_values(["language", "id"], kind="stable")
        for t in tables
    ]
    rows = kept[0][["language", "id"]].to_numpy()
    same_sentences = all(
        np.array_equal(rows, other[["language", "id"]].to_numpy()) for other in kept[1:]
    )
    if not same_sentences or kept[0]["language"].nunique() < len(set(languages)):
        ids = {
            code: [t.loc[t["language"] == code, "id"].tolist() for t in kept] for code in languages
        }
        code = next(
            code for code, of in ids.items() if not of[0] or any(other != of[0] for other in of)
        )
        sizes = ", ".join(str(len(i)) for i in ids[code])
        raise UserError(
            f"all tables must hold the same sentences in {code!r}, got {sizes} of them with other "
            "ids or none; run both recipes again on one task"
        )
    cluster, names = pd.factorize(clusters(kept[0]["id"]), sort=True)
    at = (
        kept[0]["language"].map({code: i for i, code in enumerate(languages)}).to_numpy()
        * len(names)
        + cluster
    )
    sums = [
        [
            np.bincount(at, t[c].to_numpy(float), len(languages) * len(names))
            for c in ("tp", "predicted", "gold")
        ]
        for t in kept
    ]
    return np.stack([np.stack([tp, predicted + gold]) for tp, predicted, gold in sums]).reshape(
        len(tables), 2, len(languages), len(names)
    )


def _ratio(sums: Counts, axis: int) -> Counts:
    """(tp, predicted + gold) along an axis -> score, 0 where nothing is gold or predicted."""
    tp, total = np.take(sums, 0, axis), np.take(sums, 1, axis)
    ratio: Counts = np.divide(2 * tp, total, out=np.zeros_like(tp), where=total > 0)
    return ratio


class Estimate(NamedTuple):
    """A quantity, its 95 % bounds, its standard error, and the two-sided p-value of its being zero
    (from the same draws as the bounds)."""

    value: float
    low: float
    high: float
    error: float
    p: float


@dataclass(frozen=True)
class Resampled:
    """Scores in 0..1 of one model, or of two on the same sentences: as observed with each seed
    [seeds, languages], and when clusters are drawn anew [languages, draws]."""

    observed: tuple[Counts, ...]
    drawn: tuple[Counts, ...]
    seed: int

    def estimate(self, weights: Counts, of: Of, level: float = 0.95) -> Estimate:
        """Of the sum over languages of `weights` [languages] times what `of` makes of the models'
        scores: `lambda a, b: b - a` is the change.

        weights: [languages]
        of: scores of the models, each [languages, ...] -> a quantity of that shape
        level: of the interval, 0..1
        """
        centre = [seeds.mean(0) for seeds in self.observed]
        value = float(weights @ of(*centre))
        draws = weights @ of(*(d.T for d in self.drawn)).T  # [draws]
        draws = draws + self._seed_shifts(weights, of, centre, len(draws))
        low, high = np.quantile(draws, [(1 - level) / 2, (1 + level) / 2])
        beyond = min(int((draws <= 0).sum()), int((draws >= 0).sum()))
        return Estimate(
            value,
            float(low),
            float(high),
            float(draws.std()),
            min(1.0, 2 * (beyond + 1) / (len(draws) + 1)),
        )

    def _seed_shifts(
        self, weights: Counts, of: Of, centre: list[Counts], draws: int
    ) -> Counts | float:
        """By how much other seeds would move the quantity, at random: Student's t, its degrees of
        freedom by Welch and Satterthwaite. 0 with one seed each."""
        variances = []
        for i, seeds in enumerate(self.observed):
            if len(seeds) > 1:
                values = np.array(
                    [weights @ of(*centre[:i], one, *centre[i + 1 :]) for one in seeds]
                )
                variances.append((values.var(ddof=1) / len(seeds), len(seeds) - 1))
        total = sum(v for v, _ in variances)
        if not total:
            return 0.0
        freedom = total**2 / sum(v**2 / k for v, k in variances)
        shifts: Counts = np.sqrt(total) * np.random.default_rng([self.seed, 2]).standard_t(
            freedom, draws
        )
        return shifts


def resample(
    models: Sequence[Sequence[pd.DataFrame]],
    languages: Sequence[str],
    seed: int = 0,
    draws: int = DRAWS,
) -> Resampled:
    """Draw the clusters anew for one model or two, alike for both.

    models: one or two; of each its per-sentence tables, one per seed
    languages: codes
    seed, draws: of the bootstrap

    UserError for tables that do not hold the same sentences.
    """
    counts = gathered([table for tables in models for table in tables], languages)
    weights = draw_counts(counts.shape[-1], draws, seed)
    # seeded by the language, so that a language has the same interval whichever others stand beside
    # it
    # [2, languages, draws]
    extra = np.stack(
        [
            np.random.default_rng([seed, *code.encode()]).poisson(0.5, (2, draws))
            for code in languages
        ],
        axis=1,
    )
    observed, drawn, first = [], [], 0
    for i, tables in enumerate(models):
        model_counts = counts[first : first + len(tables)]
        first += len(tables)
        sums = model_counts.astype(np.float32) @ weights  # [seeds, 2, languages, draws]
        sums += np.stack([extra[i], 2 * extra.sum(0)])
        observed.append(_ratio(model_counts.sum(-1), 1))
        drawn.append(_ratio(sums, 1).mean(0).astype(float))
    return Resampled(tuple(observed), tuple(drawn), seed)


def intervals(
    table: pd.DataFrame, languages: Sequence[str], seed: int = 0, draws: int = DRAWS
) -> dict[str, tuple[float, float]]:
    """Language -> 95 % interval of its score, 0..1.

    table: of one model, a row per sentence
    languages, seed, draws: as of `resample`
    """
    resampled = resample([[table]], languages, seed, draws)
    return {
        code: resampled.estimate(w, lambda a: a)[1:3]
        for code, w in zip(languages, np.eye(len(languages)), strict=True)
    }


def mean_interval(
    runs: Sequence[pd.DataFrame], languages: Sequence[str], seed: int = 0, draws: int = DRAWS
) -> tuple[float, float, float]:
    """(mean over languages and seeds, low, high), the interval over clusters and, if many, seeds.

    runs: per-sentence tables, one per seed
    languages, seed, draws: as of `resample`
    """
    return resample([runs], languages, seed, draws).estimate(
        np.full(len(languages), 1 / len(languages)), lambda a: a
    )[:3]


def swapped(
    base: pd.DataFrame,
    other: pd.DataFrame,
    languages: Sequence[str],
    seed: int = 0,
    draws: int = SWAPS,
) -> Counts:
    """Change of each language's score when it is chance which model gave which answer: [languages,
    draws].

    base, other: per-sentence tables
    languages: codes
    seed, draws: of the randomisation

    Approximate randomisation (Noreen 1989): the two models' outcomes are swapped at random in each
    cluster, in all its languages alike.
    """
    rng = np.random.default_rng([seed, 3])
    first, second = gathered([base, other], languages)  # [2, languages, clusters]
    unlike = (second != first).any((0, 1))  # where both agree, a swap changes nothing
    differences = (second - first)[..., unlike]
    changes = []
    for start in range(0, draws, _CHUNK):
        # in double precision: ties count
        swap = rng.integers(0, 2, (len(unlike), min(_CHUNK, draws - start)), dtype=np.int8)[
            unlike
        ].astype(float)
        given = differences @ swap  # [2, languages, draws]
        a, b = first.sum(-1)[..., None] + given, second.sum(-1)[..., None] - given
        changes.append(_ratio(b, 0) - _ratio(a, 0))
    return np.concatenate(changes, axis=-1)


def mcnemar(lost: int, gained: int) -> float:
    """Exact two-sided p of McNemar's test: are losing and gaining a right answer equally likely?
    `lost` and `gained` are the sentences that flip."""
    flips, term, tail = lost + gained, 1, 0
    for k in range(min(lost, gained) + 1):  # term: flips choose k
        tail += term
        term = term * (flips - k) // (k + 1)
    return min(1.0, float(2 * tail / 2**flips))


def flips(base: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """Sentences right with only one of two models (index: language; matched by language and id).

    base, other: per-sentence tables

    lost: sentences that only `base` has right
    gained: sentences that only `other` has right
    """
    before, after = (table.set_index(["language", "id"]).pipe(right) for table in (base, other))
    before, after = before.align(after, join="inner")
    return (
        pd.DataFrame({"lost": before & ~after, "gained": ~before & after})
        .groupby(level="language")
        .sum()
    )


def holm(p: Sequence[float] | Counts) -> Counts:
    """p-values adjusted for their number (Holm 1979): the chance that any of them is so small, were
    there nothing to find. NaN stays NaN."""
    values = np.asarray(p, dtype=float)
    defined = np.flatnonzero(~np.isnan(values))
    order = defined[np.argsort(values[defined], kind="stable")]
    out = np.full(len(values), np.nan)
    out[order] = np.minimum(
        1.0, np.maximum.accumulate(values[order] * np.arange(len(order), 0, -1))
    )
    return out


def p_cell(p: float) -> str:
    """A p-value in a table: three digits below 0.095, two above; empty if there is none."""
    return (
        "" if np.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}" if p < 0.095 else f"{p:.2f}"
    )


def p_text(p: float) -> str:
    """A p-value in a sentence: "p < 0.001", "p = 0.012", "p = 0.35"."""
    return f"p {'' if p < 0.001 else '= '}{p_cell(p)}"
