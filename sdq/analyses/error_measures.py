"""How large an error is beside its signal, from sums of squares."""

from __future__ import annotations

import math

from sdq.results import NO_ERROR_DB


def relative_l2(error: float, signal: float) -> float:
    """sqrt(error / signal): 0 without an error, NaN if only the signal is 0.

    error, signal: sums of squares, >= 0
    """
    if not error:
        return 0.0
    return math.sqrt(error / signal) if signal else math.nan


def sqnr_db(error: float, signal: float) -> float:
    """Signal-to-quantization-noise ratio in dB: NO_ERROR_DB without an error, NaN if only the
    signal is 0.

    error, signal: sums of squares, >= 0
    """
    if not error:
        return NO_ERROR_DB
    return 10 * math.log10(signal / error) if signal else math.nan
