"""What changed between two runs over the same sentences, and what of it is more than chance:
`paired_tests` for each language and their means, `interaction` for whether some languages lose
more than others. Pages, the command line and reports all ask here. Needs no torch.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import pandas as pd

from sdq.evaluate.power import of_error, smallest_change
from sdq.evaluate.statistics import (
    Counts,
    Resampled,
    clusters,
    flips,
    holm,
    mcnemar,
    resample,
    swapped,
)

ALL, ZERO_SHOT = "all", "zero-shot"
MCNEMAR, SWAPS, SEEDS = "McNemar, exact", "randomisation", "bootstrap, seeds too"
HOME = "trained on"
Tables: TypeAlias = "pd.DataFrame | Sequence[pd.DataFrame]"


def change(base: Counts, other: Counts) -> Counts:
    """By how much the score of `other` is above that of `base`."""
    return other - base


def share_lost(base: Counts, other: Counts) -> Counts:
    """Which share of the score of `base` is lost by `other`; 0 where there was nothing to lose."""
    lost: Counts = np.divide(base - other, base, out=np.zeros_like(base), where=base > 0)
    return lost


def _listed(tables: Tables) -> list[pd.DataFrame]:
    return [tables] if isinstance(tables, pd.DataFrame) else list(tables)


def paired_tests(
    base: Tables,
    other: Tables,
    languages: Sequence[str],
    training_languages: Collection[str] = (),
    seed: int = 0,
) -> pd.DataFrame:
    """How `other` differs from `base` on the same sentences, per-sentence tables or one per seed.

    languages: codes, in the order of the rows
    training_languages: codes of those with labels in training
    seed: of the bootstrap and the randomisation

    A row per language, one for the mean of "all", one for that of the "zero-shot" ones (not in
    `training_languages`); missing where it is not defined:

    language
    base, other: score, %
    change, low, high: with its 95 % interval, points
    p, p_holm: that of `test`; adjusted for the number of languages
    test: McNemar's exact test where each sentence has one right answer and is a cluster of its own;
        otherwise approximate randomisation over clusters; with several seeds the bootstrap over
        clusters and seeds
    mcnemar: p of McNemar's exact test, which takes every sentence for independent
    lost, gained: sentences right with only one of them
    n, clusters: sentences; what is drawn, see sdq.evaluate.statistics.clusters
    detectable: the smallest change found 4 times out of 5, points

    UserError for other sentences.
    """
    left, right = _listed(base), _listed(other)
    languages = list(languages)
    resampled = resample([left, right], languages, seed)
    single_seed = len(left) == len(right) == 1
    null = swapped(left[0], right[0], languages, seed) if single_seed else None
    zero = [code for code in languages if code not in training_languages]
    wanted = [(code, [code]) for code in languages] + (
        [(ALL, languages)] if len(languages) > 1 else []
    )
    wanted += [(ZERO_SHOT, zero)] if 0 < len(zero) < len(languages) else []
    facts = _facts(left[0], right[0], languages)
    rows = [
        _row(name, codes, resampled, languages, facts.loc[codes], null) for name, codes in wanted
    ]
    table = pd.DataFrame(rows).astype({"lost": "Int64", "gained": "Int64"})
    table.insert(
        table.columns.get_loc("p") + 1,
        "p_holm",
        [*holm(table["p"][: len(languages)]), *[np.nan] * (len(table) - len(languages))],
    )
    return table


def _facts(base: pd.DataFrame, other: pd.DataFrame, languages: list[str]) -> pd.DataFrame:
    """Per language: n, clusters, lost, gained, and whether each sentence has one answer."""
    before = base[base["language"].isin(languages)].assign(
        cluster=lambda t: clusters(t["id"]), single=_one_answer
    )
    after = other[other["language"].isin(languages)].assign(single=_one_answer)
    facts = before.groupby("language").agg(
        n=("id", "size"), clusters=("cluster", "nunique"), single=("single", "all")
    )
    facts["single"] &= after.groupby("language")["single"].all()
    return facts.join(flips(before, after)).loc[languages]


def _one_answer(table: pd.DataFrame) -> pd.Series[Any]:
    """Whether a sentence has one right answer, which is given or not: what McNemar's test is
    about."""
    return (table["predicted"] == 1) & (table["gold"] == 1) & table["tp"].isin((0, 1))


def _row(
    name: str,
    codes: list[str],
    resampled: Resampled,
    languages: list[str],
    facts: pd.DataFrame,
    null: Counts | None,
) -> dict[str, Any]:
    """A row of `paired_tests` on the mean over `codes`; `facts` are those of these languages,
    `null` the changes that chance gives."""
    weights = _weights(codes, languages)
    before, after = (float((seeds @ weights).mean()) for seeds in resampled.observed)
    estimate = resampled.estimate(weights, change)
    row: dict[str, Any] = {
        "language": name,
        "base": 100 * before,
        "other": 100 * after,
        "change": 100 * estimate.value,
        "low": 100 * estimate.low,
    }
    row |= {
        "high": 100 * estimate.high,
        "p": estimate.p,
        "test": SEEDS,
        "mcnemar": np.nan,
        "lost": pd.NA,
        "gained": pd.NA,
    }
    row |= {
        "n": int(facts["n"].sum()),
        "clusters": int(facts["clusters"].max()),
        "detectable": 100 * of_error(estimate.error),
    }
    if null is None:
        return row
    lost, gained = int(facts["lost"].sum()), int(facts["gained"].sum())
    reached = int((np.abs(weights @ null) >= abs(estimate.value) - 1e-9).sum())
    row |= {
        "lost": lost,
        "gained": gained,
        "p": (reached + 1) / (null.shape[-1] + 1),
        "test": SWAPS,
    }
    if len(codes) == 1 and facts["single"].all():
        row["mcnemar"] = mcnemar(lost, gained)
        if row["clusters"] == row["n"]:
            row |= {
                "p": row["mcnemar"],
                "test": MCNEMAR,
                "detectable": 100 * smallest_change(row["n"], (lost + gained) / row["n"]),
            }
    return row


def interaction(
    base: Tables,
    other: Tables,
    groups: Mapping[str, Sequence[str]],
    home: Sequence[str],
    seed: int = 0,
) -> pd.DataFrame:
    """Do groups of languages lose more than `home`, the trained-on ones?

    base, other: per-sentence tables, one or one per seed
    groups: name -> codes of languages
    home: codes of the trained-on languages
    seed: of the bootstrap

    A row for "trained on" and one per group:

    group, languages (their codes), base (score, %)
    drop, low, high: with its 95 % interval, points
    extra, extra_low, extra_high: the drop beyond that of `home`, points
    p, p_holm: of `extra`; adjusted for the number of groups
    share: the part of the score of `base` that is lost, %
    share_extra, share_low, share_high, share_p: beyond that of `home`
    n: sentences

    Means over languages weigh each language alike. The bounds and p come from a bootstrap that
    draws a sentence in all its languages together, so what is hard in every language cancels out;
    the languages are these and no sample of others. UserError for other sentences.
    """
    left, right = _listed(base), _listed(other)
    languages = list(dict.fromkeys([*home, *(code for codes in groups.values() for code in codes)]))
    draws = resample([left, right], languages, seed)
    at_home = _weights(home, languages) if home else None
    rows = []
    for name, codes in (({HOME: home} if home else {}) | dict(groups)).items():
        row: dict[str, Any] = {"group": name, "languages": " ".join(codes)}
        row |= _lost(draws, _weights(codes, languages), None if name == HOME else at_home)
        rows.append(row | {"n": int(left[0]["language"].isin(codes).sum())})
    table = pd.DataFrame(rows)
    table.insert(table.columns.get_loc("p") + 1, "p_holm", holm(table["p"]))
    return table


def _weights(codes: Sequence[str], languages: Sequence[str]) -> Counts:
    """The weights [languages] of a mean over `codes`."""
    return np.array([code in codes for code in languages]) / len(codes)


def _lost(draws: Resampled, weights: Counts, home: Counts | None) -> dict[str, float]:
    """What a mean loses, and how much more than that with the weights `home`; NaN without."""
    drop = draws.estimate(-weights, change)
    row = {
        "base": 100 * float((draws.observed[0] @ weights).mean()),
        "drop": 100 * drop.value,
        "low": 100 * drop.low,
        "high": 100 * drop.high,
    }
    row |= dict.fromkeys(("extra", "extra_low", "extra_high", "p"), math.nan)
    row["share"] = 100 * draws.estimate(weights, share_lost).value
    row |= dict.fromkeys(("share_extra", "share_low", "share_high", "share_p"), math.nan)
    if home is None:
        return row
    extra, share = (
        draws.estimate(home - weights, change),
        draws.estimate(weights - home, share_lost),
    )
    row |= {
        "extra": 100 * extra.value,
        "extra_low": 100 * extra.low,
        "extra_high": 100 * extra.high,
        "p": extra.p,
        "share_extra": 100 * share.value,
        "share_low": 100 * share.low,
        "share_high": 100 * share.high,
        "share_p": share.p,
    }
    return row


def named_test(verdict: Mapping[str, Any]) -> str:
    """The test behind the p of a row of `paired_tests`, in words."""
    if verdict["test"] == MCNEMAR:
        return "exact McNemar test"
    if verdict["test"] == SEEDS:
        return "bootstrap over sentences and seeds"
    together = verdict["clusters"] < verdict["n"]
    return (
        f"randomisation test over {verdict['clusters']:,} clusters of sentences"
        if together
        else "randomisation test over sentences"
    )


def power_text(table: pd.DataFrame) -> str:
    """What the sentences of a table of `paired_tests` can show: "With 200 sentences per language a
    drop under 2.6 points cannot be seen ..."."""
    each = table[~table["language"].isin((ALL, ZERO_SHOT))]
    counts, least = sorted(set(each["n"])), each["detectable"]
    n = str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"
    points = (
        f"{least.min():.1f}"
        if f"{least.min():.1f}" == f"{least.max():.1f}"
        else f"{least.min():.1f} to {least.max():.1f} (by language)"
    )
    return (
        f"With {n} sentences per language a drop under {points} points cannot be seen where so "
        "many answers flip: a test finds it less than 4 times out of 5."
    )
