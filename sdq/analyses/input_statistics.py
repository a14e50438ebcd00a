"""Running sums over what a module is given, one batch at a time."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sdq.analyses.error_measures import relative_l2
from sdq.data.batches import Batch
from sdq.quant.integer import code_range
from sdq.quant.layers import ActivationQuantizer, QuantLinear, smoothed


class Inputs:
    """Running sums over the real tokens at the input of one module."""

    def __init__(
        self, layer: QuantLinear, codes: list[str], balanced: ActivationQuantizer | None
    ) -> None:
        assert layer.input_quantizer is not None
        self.quantizer, self.codes = layer.input_quantizer, codes
        self.balanced = None if self.quantizer.spec.dynamic else balanced
        self.layer = layer
        self.peak = torch.zeros(len(codes), layer.in_features)
        self.low = torch.full((len(codes),), math.inf)
        self.high = torch.full((len(codes),), -math.inf)
        self.powers = torch.zeros(4, dtype=torch.float64)  # sums of x, x^2, x^3, x^4
        # values, clipped values (here, alike), squared error, squared signal
        self.sums = torch.zeros(len(codes), 5, dtype=torch.float64)
        self.bottom, self.top = code_range(self.quantizer.spec.bits, self.quantizer.spec.symmetric)
        self.used = torch.zeros(self.top - self.bottom + 1, dtype=torch.bool)
        self.tokens: list[Tensor] = []  # largest |x| of every token
        self.largest, self.where = 0.0, (-1, -1, -1)  # language, sentence, position

    def add(self, x: Tensor, batch: Batch, spoken: Tensor) -> None:
        """Add one batch.

        x: inputs of the module [B, T, D], or [B, D] after pooling
        batch: whose inputs they are
        spoken: number of each sentence's language [B]
        """
        x = smoothed(self.layer, x)
        real = batch.real if x.dim() == 3 else torch.ones(len(x), dtype=torch.bool)
        exact = exact_codes(self.quantizer, x)[real]  # [N, D]
        outside = [
            self._outside(exact),
            self._outside(exact if self.balanced is None else exact_codes(self.balanced, x)[real]),
        ]
        error = (self.quantizer._quantize(x) - x)[real].double()
        language = (spoken[:, None].expand(x.shape[:2]) if x.dim() == 3 else spoken)[real]
        place = torch.nonzero(real)
        x = x[real]
        self.used[(exact.clamp(self.bottom, self.top) - self.bottom).long().flatten()] = True
        size = x.abs()
        for code in language.unique().tolist():
            self.peak[code] = torch.maximum(self.peak[code], size[language == code].amax(0))
        self.low.scatter_reduce_(0, language, x.amin(1), "amin")
        self.high.scatter_reduce_(0, language, x.amax(1), "amax")
        wide = x.double()
        self.powers += torch.stack([(wide**k).sum() for k in (1, 2, 3, 4)])
        columns = [torch.full((len(x),), x.shape[1]), *outside, (error**2).sum(1), (wide**2).sum(1)]
        self.sums.index_add_(0, language, torch.stack([p.double() for p in columns], 1))
        peaks = size.amax(1)
        self.tokens.append(peaks)
        if float(peaks.max()) > self.largest:
            at = int(peaks.argmax())
            self.largest = float(peaks[at])
            self.where = (
                int(language[at]),
                batch.at[int(place[at, 0])],
                int(place[at, 1]) if place.shape[1] > 1 else 0,
            )

    def _outside(self, exact: Tensor) -> Tensor:
        """exact codes [N, D] -> clipped values of each token [N]"""
        return ((exact < self.bottom) | (exact > self.top)).sum(1)

    def kurtosis(self) -> float:
        """Fourth central moment over the squared variance; 3 for a normal distribution."""
        one, two, three, four = (self.powers / self.sums[:, 0].sum()).tolist()
        variance = two - one**2
        return (
            (four - 4 * one * three + 6 * one**2 * two - 3 * one**4) / variance**2
            if variance > 0
            else 3.0
        )


def exact_codes(quantizer: ActivationQuantizer, x: Tensor) -> Tensor:
    """x -> the integers it rounds to, of x's shape, before they are clipped."""
    scale, zero = quantizer.ranges(x)
    return ((quantizer.rows(x) / scale).round() + zero).reshape(x.shape)


class Norm:
    """Squared error and squared signal before and after a LayerNorm."""

    def __init__(self) -> None:
        self.sums = torch.zeros(2, 2, dtype=torch.float64)

    def add(self, exact: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor], real: Tensor) -> None:
        """Add one batch; padding never counts.

        exact, other: (before, after) the LayerNorm, each [B, T, D]
        real: which tokens are not padding [B, T]
        """
        for side, (x, y) in enumerate(zip(exact, other, strict=True)):
            x, y = (t[real].double() if t.shape[:2] == real.shape else t.double() for t in (x, y))
            self.sums[side] += torch.stack([((y - x) ** 2).sum(), (x**2).sum()])

    def relative(self, side: int) -> float:
        error, signal = self.sums[side].tolist()
        return relative_l2(error, signal)
