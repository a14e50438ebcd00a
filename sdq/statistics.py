"""Paired statistics over test sentences. Needs no torch.

A sentence's outcome is three counts: `tp` (right and predicted), `predicted`, `gold`. Their score,
2 tp / (predicted + gold), is accuracy for sequence tasks (all counts of one answer are 0 or 1) and micro F1 for token tasks.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

Counts = np.ndarray[Any, Any]


def score(tp: Counts, predicted: Counts, gold: Counts) -> float:
    """Score in 0..1 of sentences [N]; 0 if nothing is gold or predicted."""
    total = predicted.sum() + gold.sum()
    return float(2 * tp.sum() / total) if total else 0.0


def by_language(table: pd.DataFrame) -> dict[str, float]:
    """Score of each language of a per-sentence table."""
    sums = table.groupby("language")[["tp", "predicted", "gold"]].sum()
    total = sums["predicted"] + sums["gold"]
    return {str(code): float(2 * tp / n) if n else 0.0 for code, tp, n in zip(sums.index, sums["tp"], total, strict=True)}


def interval(tp: Counts, predicted: Counts, gold: Counts, seed: int = 0, draws: int = 1000, level: float = 0.95) -> tuple[float, float]:
    """Percentile bootstrap interval of the score, resampling sentences."""
    sums = np.stack([tp, predicted + gold]) @ draw_counts(len(tp), draws, seed)  # [2, draws]
    low, high = np.quantile(2 * sums[0] / np.maximum(sums[1], 1), [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


@lru_cache(maxsize=8)
def draw_counts(n: int, draws: int, seed: int) -> Counts:
    """How often each of n sentences is drawn: [n, draws]. Kept, because a picture asks for it once per language and method."""
    return np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), size=draws).T.astype(np.float64)


def _resampled(counts: Counts, draws: int, rng: np.random.Generator) -> Counts:
    """counts [..., 2, N] (tp, predicted + gold) -> scores [..., draws] with sentences drawn anew, alike for all leading rows."""
    n = counts.shape[-1]
    weights = rng.multinomial(n, np.full(n, 1 / n), size=draws)  # [draws, N]
    sums = counts @ weights.T  # [..., 2, draws]
    result: Counts = 2 * sums[..., 0, :] / np.maximum(sums[..., 1, :], 1)
    return result


class Difference(NamedTuple):
    """Mean over languages of score(b) - score(a), in score units 0..1, with its interval, p-value and sentence count."""

    mean: float
    low: float
    high: float
    p: float
    n: int


def _stacked(runs: list[pd.DataFrame], languages: list[str]) -> list[Counts]:
    """Per language: counts averaged over the runs (seeds) [2, N], sentences in a fixed order."""
    out = []
    for code in languages:
        parts = []
        for table in runs:
            mine = table[table["language"] == code].sort_values("id")
            parts.append(np.stack([mine["tp"], mine["predicted"] + mine["gold"]]).astype(float))
        out.append(np.mean(parts, axis=0))
    return out


def compare(a: list[pd.DataFrame], b: list[pd.DataFrame], languages: list[str], seed: int = 0, draws: int = 2000) -> Difference:
    """Is b better than a on the same sentences? Lists hold one per-sentence table per seed.

    Interval: bootstrap over sentences within each language, paired, of the difference of seed-mean scores.
    p: approximate randomization over the pooled sentences (Noreen 1989): each sentence's outcomes are swapped
    at random, two-sided, with the add-one correction.
    """
    rng = np.random.default_rng(seed)
    left, right = _stacked(a, languages), _stacked(b, languages)
    observed = float(np.mean([_score(y) - _score(x) for x, y in zip(left, right, strict=True)]))
    booted = np.mean([np.subtract(*_resampled(np.stack([y, x]), draws, rng)) for x, y in zip(left, right, strict=True)], axis=0)
    swapped = np.zeros(draws)
    for x, y in zip(left, right, strict=True):
        keep = rng.random((draws, x.shape[1])) < 0.5
        delta = y - x
        mixed_y = (x[:, None] + np.where(keep, delta[:, None], 0)).sum(-1)  # [2, draws]
        mixed_x = (x[:, None] + np.where(keep, 0, delta[:, None])).sum(-1)
        swapped += 2 * mixed_y[0] / np.maximum(mixed_y[1], 1) - 2 * mixed_x[0] / np.maximum(mixed_x[1], 1)
    extreme = int((np.abs(swapped / len(languages)) >= abs(observed) - 1e-12).sum())
    low, high = np.quantile(booted, [0.025, 0.975])
    return Difference(observed, float(low), float(high), (extreme + 1) / (draws + 1), sum(x.shape[1] for x in left))


def _score(counts: Counts) -> float:
    sums = counts.sum(-1)
    return float(2 * sums[0] / sums[1]) if sums[1] else 0.0


def mean_interval(runs: list[pd.DataFrame], languages: list[str], seed: int = 0, draws: int = 2000) -> tuple[float, float, float]:
    """(mean over languages and seeds, low, high): the interval resamples sentences within languages, and the seeds."""
    rng = np.random.default_rng(seed)
    per_seed = [_stacked([table], languages) for table in runs]
    observed = float(np.mean([[_score(c) for c in seeds] for seeds in per_seed]))
    totals = np.zeros((len(runs), draws))
    for i in range(len(languages)):
        totals += _resampled(np.stack([seeds[i] for seeds in per_seed]), draws, rng) / len(languages)
    picked = rng.integers(len(runs), size=(len(runs), draws))
    low, high = np.quantile(np.take_along_axis(totals, picked, axis=0).mean(0), [0.025, 0.975])
    return observed, float(low), float(high)


def mcnemar(a: pd.DataFrame, b: pd.DataFrame) -> tuple[int, int, float]:
    """(sentences only a has right, only b has right, exact two-sided p). Sentences are matched by language and id."""
    from scipy.stats import binomtest  # a second of import that no page needs

    both = a.merge(b, on=["language", "id"], suffixes=("_a", "_b"))
    right_a, right_b = (both[f"tp{s}"] * 2 == both[f"predicted{s}"] + both[f"gold{s}"] for s in ("_a", "_b"))
    lost, won = int((right_a & ~right_b).sum()), int((~right_a & right_b).sum())
    return lost, won, float(binomtest(lost, lost + won).pvalue) if lost + won else 1.0


def means(scores: Mapping[str, float], labelled: str) -> tuple[float, float]:
    """(mean over all languages, mean over those without labels in training)."""
    zero = [v for k, v in scores.items() if k != labelled]
    return float(np.mean(list(scores.values()))), float(np.mean(zero)) if zero else float("nan")
