"""Observers: policies that turn seen values into a range.

An observer is frozen settings plus pure functions. `state` is a dict of tensors with one row per
quantization group; `see` takes values [groups, n] and returns a new state; `range` returns (low,
high), each [groups]; `of` is both at once, for values that are all there is. A new observer is one
class here: it appears in recipes, forms and contract tests by itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from pydantic import Field

from sdq.io.lazy import torch
from sdq.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor

    State = dict[str, Tensor]


LARGEST = 1e38  # a third of what float32 has: both ends of a range, and its width, are then numbers
# numbers that are counted at a time, so that a table of any size takes the same memory
_PIECE = 1 << 22


class _Observer(Settings):
    order_matters: ClassVar[bool] = False
    covers: ClassVar[bool] = False  # whether the range of one batch holds all its values

    def see(self, state: State, values: Tensor) -> State:
        """New state after values [groups, n]; n = 0 changes nothing. ValueError for infinity and
        NaN."""
        raise NotImplementedError

    def range(self, state: State, bits: int, symmetric: bool) -> tuple[Tensor, Tensor]:
        """(low, high), each [groups]. Raises RuntimeError if nothing was seen."""
        raise NotImplementedError

    def of(self, values: Tensor, bits: int, symmetric: bool) -> tuple[Tensor, Tensor]:
        """(low, high), each [groups], of values [groups, n] that are all there is, n > 0."""
        return self.range(self.see({}, values), bits, symmetric)


def _least_and_most(values: Tensor) -> tuple[Tensor, Tensor]:
    """(low, high) of each row: two passes, which torch vectorizes where its one for both, aminmax,
    is six to ten times slower.

    ValueError if a value is NaN or beyond LARGEST: the steps of a range that holds it are none, or
    overflow where they are put together.
    """
    low, high = values.amin(1), values.amax(1)
    if not ((low >= -LARGEST) & (high <= LARGEST)).all():  # the extremes carry NaN on
        raise ValueError(
            f"values whose range is measured must be finite numbers up to {LARGEST:.0e}, they hold "
            "NaN, infinity or larger ones; the checkpoint is damaged, or its training diverged: "
            "lower the learning rate"
        )
    return low, high


def _extremes(state: State) -> tuple[Tensor, Tensor]:
    if not state:
        raise RuntimeError(
            "the observer must see values before it can give a range, it saw none; calibrate first"
        )
    return state["low"], state["high"]


class MinMax(_Observer):
    """The smallest and largest value ever seen."""

    covers: ClassVar[bool] = True
    kind: Literal["minmax"] = "minmax"

    def see(self, state: State, values: Tensor) -> State:
        if values.shape[1] == 0:
            return state
        low, high = _least_and_most(values)
        if state:
            low, high = torch.minimum(low, state["low"]), torch.maximum(high, state["high"])
        return {"low": low, "high": high}

    def range(self, state: State, bits: int, symmetric: bool) -> tuple[Tensor, Tensor]:
        return _extremes(state)


class MovingAverage(_Observer):
    """Exponential moving average of each batch's smallest and largest value; the order of batches
    matters."""

    order_matters: ClassVar[bool] = True
    kind: Literal["moving_average"] = "moving_average"
    momentum: float = Field(
        0.9, ge=0, lt=1, description="Share of the old range kept at every batch"
    )

    def see(self, state: State, values: Tensor) -> State:
        if values.shape[1] == 0:
            return state
        low, high = _least_and_most(values)
        if state:
            low = self.momentum * state["low"] + (1 - self.momentum) * low
            high = self.momentum * state["high"] + (1 - self.momentum) * high
        return {"low": low, "high": high}

    def range(self, state: State, bits: int, symmetric: bool) -> tuple[Tensor, Tensor]:
        return _extremes(state)


class _Histogram(_Observer):
    """Keeps a histogram over [-R, R], R a power of two, whose bins nest: the order of batches
    cannot matter."""

    bins: ClassVar[int] = 2048

    def of(self, values: Tensor, bits: int, symmetric: bool) -> tuple[Tensor, Tensor]:
        # short rows (the channels of an embedding, say) fill no 2048 bins; and a piece at a time
        # keeps memory flat
        bins = min(self.bins, max(256, 1 << (values.shape[1] - 1).bit_length()))
        pieces = [
            self.range(self._count({}, piece, bins), bits, symmetric)
            for piece in values.split(max(1, (1 << 20) // bins))
        ]
        return torch.cat([low for low, _ in pieces]), torch.cat([high for _, high in pieces])

    def see(self, state: State, values: Tensor) -> State:
        return self._count(state, values, self.bins)

    def _count(self, state: State, values: Tensor, bins: int) -> State:
        if values.shape[1] == 0:
            return state
        values = values.float()
        low, high = _least_and_most(values)
        # the power of two above the largest value; the logarithm's last digit would hang on how
        # many rows torch takes at once
        wanted = torch.frexp(torch.maximum(-low, high).clamp(min=1e-30)).exponent.float()
        if state:
            low, high = torch.minimum(low, state["low"]), torch.maximum(high, state["high"])
            wanted = torch.maximum(wanted, state["power"])
            counts = state["counts"]
            for row in torch.nonzero(wanted > state["power"]).flatten().tolist():
                counts = counts.clone() if counts is state["counts"] else counts
                counts[row] = _widen(counts[row], int(wanted[row] - state["power"][row]))
        else:
            counts = torch.zeros(len(values), bins, dtype=torch.float64)
        half = bins // 2
        # Dividing by a power of two is exact, so the bins of wider and narrower reaches nest
        # exactly. In double precision also
        # where float32 ends: there the smallest values left of zero would become -0, which is right
        # of it.
        width = torch.exp2(wanted.double())[:, None] / half
        fresh = torch.zeros_like(counts)
        for piece in values.split(max(1, _PIECE // len(values)), dim=1):
            at = (torch.floor(piece / width).long() + half).clamp(0, bins - 1)
            fresh.scatter_add_(1, at, torch.ones_like(at, dtype=torch.float64))
        return {"low": low, "high": high, "power": wanted, "counts": counts + fresh}

    def _centers(self, state: State) -> Tensor:
        bins = state["counts"].shape[1]
        steps = (torch.arange(bins) + 0.5) * (2 / bins) - 1
        return steps[None] * torch.exp2(state["power"])[:, None]


def _widen(counts: Tensor, doublings: int) -> Tensor:
    """Counts over [-R, R] -> counts over [-R * 2^n, R * 2^n] with equally many bins."""
    for _ in range(min(doublings, 64)):
        half = counts.reshape(-1, 2).sum(1)
        empty = torch.zeros(len(counts) // 4, dtype=counts.dtype)
        counts = torch.cat([empty, half, empty])
    return counts


class Percentile(_Histogram):
    """The range that holds `percent` of the values, cut equally at both ends."""

    kind: Literal["percentile"] = "percentile"
    percent: float = Field(
        99.9, gt=50, le=100, description="Share of values kept inside the range, in percent"
    )

    def range(self, state: State, bits: int, symmetric: bool) -> tuple[Tensor, Tensor]:
        low, high = _extremes(state)
        share = state["counts"].cumsum(1) / state["counts"].sum(1, keepdim=True)
        tail = (1 - self.percent / 100) / 2
        bins = share.shape[1]
        edges = (
            torch.exp2(state["power"])[:, None] * (torch.arange(bins + 1) * (2 / bins) - 1)[None]
        )
        left = (share <= tail).sum(1, keepdim=True)
        right = (share < 1 - tail).sum(1, keepdim=True) + 1
        cut_low = edges.gather(1, left.clamp(max=bins)).squeeze(1)
        cut_high = edges.gather(1, right.clamp(max=bins)).squeeze(1)
        return torch.maximum(low, cut_low), torch.minimum(high, cut_high)


class _Search(_Histogram):
    """Tries shrunken min-max ranges and keeps the one of least cost."""

    candidates: int = Field(80, ge=4, le=400, description="How many shrunken ranges are tried")

    def cost(
        self, counts: Tensor, centers: Tensor, low: Tensor, high: Tensor, bits: int, symmetric: bool
    ) -> Tensor:
        """Cost [groups] of quantizing the histogram with the range."""
        raise NotImplementedError

    def range(self, state: State, bits: int, symmetric: bool) -> tuple[Tensor, Tensor]:
        low, high = _extremes(state)
        centers = self._centers(state)
        best, best_low, best_high = (
            torch.full_like(low, float("inf"), dtype=torch.float64),
            low,
            high,
        )
        for i in range(self.candidates):
            share = 1 - i / self.candidates
            cost = self.cost(state["counts"], centers, low * share, high * share, bits, symmetric)
            better = cost < best
            best = torch.where(better, cost, best)
            best_low, best_high = (
                torch.where(better, low * share, best_low),
                torch.where(better, high * share, best_high),
            )
        return best_low, best_high


def _rounded(
    centers: Tensor, low: Tensor, high: Tensor, bits: int, symmetric: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Codes, values and scale of bin centers under a range."""
    from sdq.quant.integer import dequantize, quantize, scale_and_zero

    scale, zero = (t[:, None] for t in scale_and_zero(low, high, bits, symmetric))
    codes = quantize(centers, scale, zero, bits, symmetric)
    return codes, dequantize(codes, scale, zero), scale


class Mse(_Search):
    """The range with the least mean squared rounding and clipping error."""

    kind: Literal["mse"] = "mse"

    def cost(
        self, counts: Tensor, centers: Tensor, low: Tensor, high: Tensor, bits: int, symmetric: bool
    ) -> Tensor:
        _, back, _ = _rounded(centers, low, high, bits, symmetric)
        return (counts * (back - centers).double() ** 2).sum(1)


class KL(_Search):
    """The range whose quantized histogram is closest to the seen one in Kullback-Leibler divergence
    (Migacz 2017)."""

    kind: Literal["kl"] = "kl"

    def cost(
        self, counts: Tensor, centers: Tensor, low: Tensor, high: Tensor, bits: int, symmetric: bool
    ) -> Tensor:
        codes, back, scale = _rounded(centers, low, high, bits, symmetric)
        at = (codes - codes.amin(1, keepdim=True)).long()
        size = int(at.max()) + 1
        # a bin is inside if it was rounded and not clipped: its middle moved by half a step (and
        # half a bin) at most
        half_bin = centers.amax(1, keepdim=True) / (centers.shape[1] - 1)
        inside = (counts > 0) & ((back - centers).abs() <= scale / 2 + half_bin)
        # all mass goes to its code; a code spreads it over the bins that are inside the range and
        # were seen
        mass = torch.zeros(len(counts), size, dtype=counts.dtype).scatter_add_(1, at, counts)
        width = torch.zeros_like(mass).scatter_add_(1, at, inside.to(counts.dtype))
        p = counts / counts.sum(1, keepdim=True)
        q = torch.where(
            inside, mass.gather(1, at) / width.gather(1, at).clamp(min=1), torch.zeros_like(counts)
        )
        q = q / q.sum(1, keepdim=True).clamp(min=1e-30)
        return (p * (p.clamp(min=1e-30) / q.clamp(min=1e-9)).log()).sum(1)


Observer = Annotated[MinMax | MovingAverage | Percentile | Mse | KL, Field(discriminator="kind")]
OBSERVERS: tuple[type[Any], ...] = (MinMax, MovingAverage, Percentile, Mse, KL)
