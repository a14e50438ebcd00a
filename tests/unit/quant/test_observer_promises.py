"""What each observer promises beyond the contract of all."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from sdq.quant.integer import fake_quantize, scale_and_zero
from sdq.quant.observers import KL, MinMax, MovingAverage, Mse, Percentile
from tests.helpers.observers import EVERY, SETTINGS, rounded, seen, values


def test_minmax_is_the_extremes() -> None:
    low, high = MinMax().range(
        seen(MinMax(), torch.tensor([[1.0, 5], [-3, 2]]), torch.tensor([[2.0, 3], [-1, 7]])),
        8,
        True,
    )
    assert (low.tolist(), high.tolist()) == ([1, -3], [5, 7])


def test_moving_average_golden() -> None:
    observer = MovingAverage(momentum=0.75)
    low, high = observer.range(
        seen(observer, torch.tensor([[-8.0, 16]]), torch.tensor([[-4.0, 0]]), torch.empty(1, 0)),
        8,
        True,
    )
    assert (low.item(), high.item()) == (-7, 12)


@pytest.mark.parametrize("percent", [80.0, 95.0, 99.0, 99.9])
@pytest.mark.parametrize("batches", [1, 5])
def test_percentile_is_the_quantile(percent: float, batches: int) -> None:
    """Within one bin of numpy's quantile, at each end (of the two values it lies between, where
    values are sparse)."""
    x = torch.cat([values(5, 1, 40_000), 3 + 0.3 * values(6, 1, 10_000)], 1)
    observer = Percentile(percent=percent)
    state = seen(observer, *x.chunk(batches, 1))
    low, high = observer.range(state, 8, True)
    bin_width = 2 ** state["power"].item() * 2 / observer.bins
    tail = (1 - percent / 100) / 2
    for got, quantile in ((low, tail), (high, 1 - tail)):
        below, above = (np.quantile(x.numpy(), quantile, method=m) for m in ("lower", "higher"))
        assert below - 1.01 * bin_width <= got.item() <= above + 1.01 * bin_width
        assert above - below < 0.1


def test_percentile_hundred_is_minmax() -> None:
    x = values()
    everything = Percentile(percent=100).range(Percentile().see({}, x), 8, True)
    assert torch.equal(torch.stack(everything), torch.stack((x.amin(1), x.amax(1))))


@pytest.mark.parametrize(("bits", "sigma"), [(2, 1.22), (3, 1.96), (4, 2.48), (8, 3.92)])
def test_mse_finds_the_best_clip_of_a_normal(bits: int, sigma: float) -> None:
    """Known optima of the symmetric uniform quantizer with 2^b - 1 levels, within 12 %."""
    low, high = Mse().range(Mse().see({}, values(7, 1, 100_000)), bits, True)
    assert max(-low.item(), high.item()) == pytest.approx(sigma, rel=0.12)


@pytest.mark.parametrize(("bits", "symmetric"), SETTINGS)
@pytest.mark.parametrize("shape", ["normal", "laplace", "uniform", "outlier", "one-sided"])
def test_mse_is_never_worse_than_minmax(bits: int, symmetric: bool, shape: str) -> None:
    """In mean squared error of the values themselves. 2 % are left to the histogram: its bins stand
    for their middle."""
    generator = torch.Generator().manual_seed(4)
    x = torch.randn(1, 20_000, generator=generator)
    if shape == "laplace":
        x = x.sign() * torch.empty(1, 20_000).exponential_(generator=generator)
    elif shape == "uniform":
        x = torch.rand(1, 20_000, generator=generator) * 2 - 1
    elif shape == "outlier":
        x[0, 0] = 60
    elif shape == "one-sided":
        x = torch.nn.functional.gelu(x)
    best, plain = (
        ((rounded(o, x, bits, symmetric) - x) ** 2).mean().item() for o in (Mse(), MinMax())
    )
    assert best <= 1.02 * plain
    if bits == 2 and shape in ("normal", "laplace"):
        assert best < 0.7 * plain


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 4, 6])
def test_kl_is_zero_for_representable_values(bits: int, symmetric: bool) -> None:
    """A range that represents every value costs nothing, and is what is chosen."""
    low, high = (-(2 ** (bits - 1) - 1), 2 ** (bits - 1) - 1) if symmetric else (-1, 2**bits - 2)
    levels = torch.arange(low, high + 1.0).repeat(1, 20)
    observer = KL()
    state = observer.see({}, levels)
    at = torch.tensor([float(low)]), torch.tensor([float(high)])
    cost = observer.cost(state["counts"], observer._centers(state), *at, bits, symmetric)
    assert 0 <= cost.item() < 1e-9
    got = observer.range(state, bits, symmetric)
    assert (got[0].item(), got[1].item()) == (low, high)
    worse = observer.cost(
        state["counts"], observer._centers(state), at[0] / 2, at[1] / 2, bits, symmetric
    )
    assert worse.item() > 0.1


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_kl_clips_a_lone_outlier(bits: int) -> None:
    """One value of 40 among 100,000 normal ones is given up, on whichever side it stands; the bulk
    is not."""
    for sign in (1, -1):
        x = values(8, 1, 100_000)
        x[0, 0] = sign * 40
        low, high = KL().range(KL().see({}, x), bits, True)
        assert 1 < max(-low.item(), high.item()) < 20


@EVERY
@pytest.mark.parametrize("n", [5, 192, 3000])
def test_range_at_once_holds_and_is_as_good_as_seeing(observer: Any, n: int) -> None:
    """`of` may use fewer bins for short rows: still inside what is there, each row by itself, and
    hardly coarser."""
    x = values(3, 140, n) * torch.logspace(-3, 3, 140)[:, None]
    low, high = observer.of(x, 4, True)
    assert (low >= x.amin(1).clamp(max=0)).all()
    assert (high <= x.amax(1).clamp(min=0)).all()
    alone = [
        torch.cat(part)
        for part in zip(*(observer.of(row[None], 4, True) for row in x[::20]), strict=True)
    ]
    assert torch.equal(low[::20], alone[0])
    assert torch.equal(high[::20], alone[1])
    if not isinstance(observer, KL):  # what KL asks for is a histogram's shape, not a small error

        def error(low: Tensor, high: Tensor) -> float:
            scale, zero = scale_and_zero(low, high, 4, True)
            back = fake_quantize(x, scale[:, None], zero[:, None], 4, True)
            return float((((back - x) ** 2).sum(1) / (x**2).sum(1)).mean())

        assert error(low, high) <= 1.05 * error(*observer.range(observer.see({}, x), 4, True))
