"""Errors beside their signal: against numpy, and where one of the two is nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest

from sdq.analyses.error_measures import relative_l2, sqnr_db
from sdq.results import NO_ERROR_DB


def test_against_numpy() -> None:
    random = np.random.default_rng(0)
    exact, other = random.normal(size=(2, 100))
    error, signal = float(((other - exact) ** 2).sum()), float((exact**2).sum())
    assert relative_l2(error, signal) == pytest.approx(
        np.linalg.norm(other - exact) / np.linalg.norm(exact)
    )
    assert sqnr_db(error, signal) == pytest.approx(
        20 * np.log10(np.linalg.norm(exact) / np.linalg.norm(other - exact))
    )


@pytest.mark.parametrize("signal", [0.0, 2.0])
def test_no_error(signal: float) -> None:
    assert relative_l2(0.0, signal) == 0.0
    assert sqnr_db(0.0, signal) == NO_ERROR_DB


def test_an_error_beside_no_signal_is_no_number() -> None:
    """It was told as "no error at all"."""
    assert math.isnan(relative_l2(1.0, 0.0))
    assert math.isnan(sqnr_db(1.0, 0.0))
