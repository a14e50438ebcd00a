"""What a number of sentences can show, against the exact power of the exact test."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom, norm

from sdq.evaluate.power import of_error, smallest_change
from tests.profiles import examples


def exact_power(n: int, flipping: float, change: float) -> float:
    """How often McNemar's exact test has p < 0.05, summed over all numbers of flips and of losses
    among them."""
    flips = np.arange(n + 1)
    losses = np.arange(n + 1)[:, None]
    p = np.minimum(1, 2 * binom.cdf(np.minimum(losses, flips - losses), flips, 0.5))
    share = 0.5 + change / (2 * flipping)  # of the flips that are losses
    return float(
        (
            binom.pmf(flips, n, flipping)
            * (binom.pmf(losses, flips, share) * ((p < 0.05) & (losses <= flips))).sum(0)
        ).sum()
    )


@examples(200)
@given(
    st.integers(20, 5000),
    st.floats(0, 0.6),
    st.sampled_from([0.5, 0.8, 0.9]),
    st.sampled_from([0.01, 0.05]),
)
def test_smallest_change_and_sentences_needed_are_inverse(
    n: int, flipping: float, power: float, level: float
) -> None:
    change = smallest_change(n, flipping, power, level)
    if change >= 1:
        return
    psi = max(flipping, change)
    a, b = norm.ppf(1 - level / 2), norm.ppf(power)
    assert n * change**2 == pytest.approx(
        (a * math.sqrt(psi) + b * math.sqrt(psi - change**2)) ** 2, rel=1e-6
    )
    assert change <= psi


@pytest.mark.parametrize("n", [200, 400, 700])
@pytest.mark.parametrize("flipping", [0.06, 0.12, 0.3])
def test_the_exact_test_finds_it_four_times_out_of_five(n: int, flipping: float) -> None:
    """McNemar's exact test is a little more cautious than Connor's formula takes it to be."""
    assert 0.72 < exact_power(n, flipping, smallest_change(n, flipping)) < 0.83


def test_without_flips_to_spare_all_must_go_one_way() -> None:
    assert smallest_change(300, 0) == pytest.approx(0.0259, abs=5e-4)
    assert smallest_change(300, 0) == smallest_change(300, 0.01)
    assert smallest_change(1, 0) == 1
    with pytest.raises(ValueError, match="at least one sentence, got 0"):
        smallest_change(0, 0.1)


def test_more_sentences_more_flips() -> None:
    assert smallest_change(800, 0.1) == pytest.approx(smallest_change(200, 0.1) / 2, rel=0.03)
    assert smallest_change(700, 0.2) > smallest_change(700, 0.1)
    assert of_error(1.0) == pytest.approx(norm.ppf(0.975) + norm.ppf(0.8))
