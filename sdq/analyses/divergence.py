"""How far answers are from other answers to the same sentences: in four metrics, summed per
sentence, and as means with intervals."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sdq.analyses.layerwise_error import EVERY
from sdq.data.batches import Batch

METRICS = ("kl", "flips", "loss", "accuracy")
_NORMAL = 1.959964  # 97.5 % of a normal distribution lie below


class Reference:
    """Answers to one batch at the positions that count, and how far others are from them.

    A position is a sentence, labelled or not, or a word's first subword.
    """

    def __init__(self, logits: Tensor, batch: Batch, token: bool) -> None:
        # a sentence has an answer also without a label
        self.asked = batch.scored if token else torch.ones_like(batch.labels, dtype=torch.bool)
        self.sentence = torch.nonzero(self.asked)[:, 0]  # of each position [n]
        self.size = len(batch.at)
        self.has_label = batch.scored[self.asked]
        self.gold = batch.labels[self.asked].clamp(min=0)
        self.log_p = self._log_softmax(logits)
        self.counts = self._per_sentence(
            torch.stack([torch.ones_like(self.has_label), self.has_label], 1)
        )

    def _log_softmax(self, logits: Tensor) -> Tensor:
        """[B, C] or [B, T, C] -> [n, C], in double precision: small divergences are differences of
        nearly equal numbers."""
        return logits[self.asked].double().log_softmax(-1)

    def _per_sentence(self, values: Tensor) -> Tensor:
        """[n, k] -> sums [B, k]"""
        return torch.zeros(self.size, values.shape[1], dtype=torch.float64).index_add_(
            0, self.sentence, values.double()
        )

    def divergence(self, logits: Tensor) -> Tensor:
        """Sums over each sentence's positions of METRICS: [B, 4]"""
        log_p, log_q = self.log_p, self._log_softmax(logits)
        kl = (log_p.exp() * (log_p - log_q)).sum(-1).clamp(min=0)
        before, after = log_p.argmax(-1), log_q.argmax(-1)
        loss = (log_p - log_q).gather(1, self.gold[:, None])[:, 0]
        right = (after == self.gold).double() - (before == self.gold).double()
        label_metrics = [torch.where(self.has_label, x, 0.0) for x in (loss, right)]
        return self._per_sentence(torch.stack([kl, (before != after).double(), *label_metrics], 1))


class DivergenceSums:
    """Sums over positions of METRICS, per sentence and whatever changed (a key); and how many
    positions there are, all and labelled."""

    def __init__(self, languages: list[str]) -> None:
        self.languages = languages
        self.sums: dict[Any, Tensor] = {}  # [sentences, 4]
        self.counts = torch.zeros(len(languages), 2, dtype=torch.float64)

    def count(self, at: list[int], counts: Tensor) -> None:
        """counts [B, 2] of the sentences `at`."""
        self.counts[at] = counts

    def add(self, key: Hashable, at: list[int], change: Tensor) -> None:
        """Keep what changed in some sentences.

        key: what changed
        at: the sentences
        change: of METRICS [B, 4]
        """
        self.sums.setdefault(
            key, torch.zeros(len(self.languages), len(METRICS), dtype=torch.float64)
        )[at] = change

    def means(self, key: Hashable) -> dict[str, float]:
        """METRICS, each a mean over positions; NaN where there is none."""
        return {metric: _mean(*self._of(key, metric))[0] for metric in METRICS}

    def rows(self, key: Hashable) -> Iterator[dict[str, Any]]:
        """For all sentences, then for each language: language, sentences, positions, and METRICS
        with `_low` and `_high` (95 % interval)."""
        spoken = np.array(self.languages)
        for code in (EVERY, *dict.fromkeys(self.languages)):
            in_language = (spoken == code) | (code == EVERY)
            row: dict[str, Any] = {
                "language": code,
                "sentences": int(in_language.sum()),
                "positions": int(self.counts[:, 0].numpy()[in_language].sum()),
            }
            for metric in METRICS:
                sums, counts = self._of(key, metric)
                value, half = _mean(sums[in_language], counts[in_language])
                row |= {
                    metric: value,
                    f"{metric}_low": value - half,
                    f"{metric}_high": value + half,
                }
            yield row

    def _of(self, key: Hashable, metric: str) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """(sums, positions that it is a mean over) per sentence."""
        return self.sums[key][:, METRICS.index(metric)].numpy(), self.counts[
            :, int(metric in ("loss", "accuracy"))
        ].numpy()


def columns(*leading: str) -> list[str]:
    """`known` and then those of `Changes.rows`."""
    return [
        *leading,
        "language",
        "sentences",
        "positions",
        *(f"{metric}{end}" for metric in METRICS for end in ("", "_low", "_high")),
    ]


def _mean(sums: np.ndarray[Any, Any], counts: np.ndarray[Any, Any]) -> tuple[float, float]:
    """(mean per position, half of its 95 % interval) of sums and counts per sentence [n], sentences
    without positions left out.

    The mean is a ratio of two means over sentences; its variance is linearized (Cochran 1977,
    Sampling Techniques, chapter 6), which is that of a plain mean if every sentence has one
    position.
    """
    total, n = float(counts.sum()), int((counts > 0).sum())
    if not n:
        return math.nan, math.nan
    mean = float(sums.sum()) / total
    residual = sums - mean * counts
    return mean, _NORMAL * math.sqrt(
        n / (n - 1) * float((residual**2).sum())
    ) / total if n > 1 else math.nan
