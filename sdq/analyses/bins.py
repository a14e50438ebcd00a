"""Which bin of a histogram a value is in, for values of any size that float32 has."""

from __future__ import annotations

from torch import Tensor

BINS = 128


def binned(x: Tensor, low: float, high: float) -> Tensor:
    """x -> numbers of the BINS equal bins from low to high, int64; what lies outside is in the
    outermost ones, and all is in the first where low is high. x must have no NaN.

    x: any shape, float
    low, high: the range, low <= high
    """
    width = (high - low) / BINS or 1.0
    if not 1e-30 < width < 1e30:  # in float32 it would be rounded to 0, or a difference overflow
        x = x.double()
    return ((x - low) / width).floor().clamp(0, BINS - 1).long()
