"""The contract of every observer in the registry, and what each promises beyond it."""

from __future__ import annotations

import itertools
from typing import Any, get_args

import numpy as np
import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from torch import Tensor

from sdq.quant.integer import fake_quantize, scale_and_zero
from sdq.quant.observers import (
    KL,
    LARGEST,
    OBSERVERS,
    MinMax,
    MovingAverage,
    Mse,
    Observer,
    Percentile,
)
from tests.profiles import examples

EVERY = pytest.mark.parametrize("observer", [o() for o in OBSERVERS], ids=lambda o: o.kind)
SETTINGS = list(itertools.product((2, 4, 8), (True, False)))
SMALLEST = 1.401298464324817e-45  # of float32, subnormal
ROWS = st.lists(
    st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=12), min_size=1, max_size=5
)
# everything that has a range: zeros of both signs, subnormals, the largest numbers
ANY_ROWS = st.lists(
    st.lists(st.floats(-9e37, 9e37).map(lambda x: float(np.float32(x))), min_size=1, max_size=12),
    min_size=1,
    max_size=5,
)


def values(seed: int = 0, rows: int = 3, n: int = 400) -> Tensor:
    return torch.randn(rows, n, generator=torch.Generator().manual_seed(seed))


def seen(observer: Any, *batches: Tensor) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for batch in batches:
        state = observer.see(state, batch)
    return state


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


def rounded(observer: Any, x: Tensor, bits: int, symmetric: bool) -> Tensor:
    scale, zero = scale_and_zero(
        *observer.range(observer.see({}, x), bits, symmetric), bits, symmetric
    )
    return fake_quantize(x, scale[:, None], zero[:, None], bits, symmetric)


def test_registry_is_the_union() -> None:
    assert set(OBSERVERS) == set(get_args(get_args(Observer)[0]))
    assert len({o().kind for o in OBSERVERS}) == len(OBSERVERS)


@EVERY
def test_empty_batch_changes_nothing(observer: Any) -> None:
    assert observer.see({}, torch.empty(3, 0)) == {}
    state = seen(observer, values())
    assert same(observer.see(state, torch.empty(3, 0)), state)


@EVERY
def test_pure(observer: Any) -> None:
    first, second = values(1), 50 * values(2)
    state = observer.see({}, first)
    kept, copies = {k: v.clone() for k, v in state.items()}, (first.clone(), second.clone())
    after = observer.see(state, second)
    observer.range(after, 4, True)
    observer.range(state, 4, False)
    assert same(state, kept)
    assert torch.equal(first, copies[0])
    assert torch.equal(second, copies[1])
    assert not same(after, state)


@EVERY
@pytest.mark.parametrize(("bits", "symmetric"), SETTINGS)
def test_range_is_inside_what_was_seen(observer: Any, bits: int, symmetric: bool) -> None:
    batches = values(1), 3 * values(2) + 0.5
    low, high = observer.range(seen(observer, *batches), bits, symmetric)
    everything = torch.cat(batches, 1)
    assert low.shape == high.shape == (3,)
    assert (low >= everything.amin(1)).all()
    assert (high <= everything.amax(1)).all()
    assert (low < 0).all()
    assert (high > 0).all()
    assert (high - low > 0.1 * (everything.amax(1) - everything.amin(1))).all()


@EVERY
def test_range_before_seeing(observer: Any) -> None:
    with pytest.raises(RuntimeError, match="must see values"):
        observer.range({}, 8, True)


@EVERY
def test_order_of_batches(observer: Any) -> None:
    """Irrelevant, or the class says that it matters, and then it does."""
    batches = [values(i) * 10.0 ** (i - 2) for i in range(4)]
    ranges = [
        observer.range(seen(observer, *(batches[i] for i in order)), 8, False)
        for order in itertools.permutations(range(4))
    ]
    differ = [any(not torch.equal(a, b) for a, b in zip(r, ranges[0], strict=True)) for r in ranges]
    assert any(differ) == observer.order_matters


@EVERY
@examples(25)
@given(ROWS | ANY_ROWS, st.floats(-8, 8, width=32))
@example(
    [[-1e-8, 0.3e-8], [1.0, -1e-9]], 0.0
)  # small negative values stay left of zero, however wide the bins become
@example([[-7.342803953062041e-43], [1000.0]], 0.0)  # also where dividing them underflows
@example([[-SMALLEST, SMALLEST], [LARGEST, -LARGEST]], 0.0)
@example([[0.0, -0.0], [-0.0]], 0.0)
@example([[-0.0], [LARGEST]], 0.0)
@example([[1e-30, -1e-31], [2.0**-127]], 0.0)
def test_split_batches_are_one_batch(observer: Any, parts: list[list[float]], shift: float) -> None:
    """Nothing is overwritten: state and range are those of all values at once."""
    if observer.order_matters:
        return
    batches = [torch.tensor([part, [v * 1e-3 + shift for v in part]]) for part in parts]
    state, whole = seen(observer, *batches), observer.see({}, torch.cat(batches, 1))
    assert same(state, whole)
    for bits, symmetric in SETTINGS[:2]:
        for a, b in zip(
            observer.range(state, bits, symmetric),
            observer.range(whole, bits, symmetric),
            strict=True,
        ):
            assert torch.equal(a, b)


@EVERY
@pytest.mark.parametrize(("bits", "symmetric"), SETTINGS)
@pytest.mark.parametrize(
    "constant", [0.0, -0.0, 3.0, -0.7, 1e-20, 1e20, 1e-30, -1e-35, LARGEST, -LARGEST]
)
def test_constant_input(observer: Any, bits: int, symmetric: bool, constant: float) -> None:
    """One value is representable: it comes back within float rounding, zeros exactly."""
    x = torch.full((2, 9), constant)
    back = rounded(observer, x, bits, symmetric)
    assert torch.isfinite(back).all()
    torch.testing.assert_close(back, x, rtol=1e-6, atol=0)


@EVERY
@pytest.mark.parametrize(("bits", "symmetric"), [(2, True), (8, False)])
@examples(5)
@given(ANY_ROWS)
@example([[-LARGEST, LARGEST, 1.0]])
@example([[-SMALLEST, 3 * SMALLEST]])
@example([[LARGEST, SMALLEST], [-SMALLEST]])
@example([[-0.0, 0.0]])
def test_any_finite_values_have_a_range(
    observer: Any, bits: int, symmetric: bool, parts: list[list[float]]
) -> None:
    """However small or large: a range inside what was seen, and values come back finite, none
    further away than the range is wide."""
    batches = [torch.tensor([part]) for part in parts]
    everything = torch.cat(batches, 1)
    for low, high in (
        observer.range(seen(observer, *batches), bits, symmetric),
        observer.of(everything, bits, symmetric),
    ):
        least, most = everything.amin().clamp(max=0), everything.amax().clamp(min=0)
        slack = 1e-6 * everything.abs().amax()  # a moving average rounds
        assert least - slack <= low <= high <= most + slack
        scale, zero = scale_and_zero(low, high, bits, symmetric)
        assert scale > 0
        back = fake_quantize(everything, scale[:, None], zero[:, None], bits, symmetric).double()
        assert torch.isfinite(back).all()
        assert (
            (back - everything.double()).abs() <= 1.001 * (most.double() - least.double())
        ).all()


@EVERY
@pytest.mark.parametrize("wrong", [float("inf"), float("-inf"), float("nan"), 3e38, -1.1e38])
def test_what_is_no_number_is_refused(observer: Any, wrong: float) -> None:
    """One among many, in the first batch or a later one."""
    x = values()
    state = observer.see({}, x)
    x[1, 7] = wrong
    for call in (
        lambda: observer.see({}, x),
        lambda: observer.see(state, x),
        lambda: observer.of(x, 8, True),
    ):
        with pytest.raises(ValueError, match="must be finite numbers"):
            call()


@EVERY
@pytest.mark.parametrize(("bits", "symmetric"), SETTINGS)
def test_groups_do_not_meet(observer: Any, bits: int, symmetric: bool) -> None:
    rows = values() * torch.tensor([[1e-3], [1.0], [70.0]])
    rows[1, 0] = 40
    low, high = observer.range(seen(observer, rows, rows / 2), bits, symmetric)
    for i in range(3):
        alone = observer.range(
            seen(observer, rows[i : i + 1], rows[i : i + 1] / 2), bits, symmetric
        )
        assert (low[i], high[i]) == alone


@EVERY
@pytest.mark.parametrize(("bits", "symmetric"), SETTINGS)
def test_range_scales_with_the_values(observer: Any, bits: int, symmetric: bool) -> None:
    x = values()
    low, high = observer.range(observer.see({}, x), bits, symmetric)
    low4, high4 = observer.range(observer.see({}, 4 * x), bits, symmetric)
    assert torch.equal(low4, 4 * low)
    assert torch.equal(high4, 4 * high)


@EVERY
def test_settings(observer: Any) -> None:
    """JSON round trip is the identity, alone and through the union; unknown fields are refused;
    frozen."""
    text = observer.model_dump_json()
    assert type(observer).model_validate_json(text) == observer
    assert TypeAdapter(Observer).validate_json(text) == observer
    with pytest.raises(ValidationError, match="unknown_field"):
        type(observer).model_validate({"unknown_field": 1})
    with pytest.raises(ValidationError, match="frozen"):
        observer.kind = "other"
    assert all(f.description for n, f in type(observer).model_fields.items() if n != "kind")


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
    x = values(3, 700, n) * torch.logspace(-3, 3, 700)[:, None]
    low, high = observer.of(x, 4, True)
    assert (low >= x.amin(1).clamp(max=0)).all()
    assert (high <= x.amax(1).clamp(min=0)).all()
    alone = [
        torch.cat(part)
        for part in zip(*(observer.of(row[None], 4, True) for row in x[::100]), strict=True)
    ]
    assert torch.equal(low[::100], alone[0])
    assert torch.equal(high[::100], alone[1])
    if not isinstance(observer, KL):  # what KL asks for is a histogram's shape, not a small error

        def error(low: Tensor, high: Tensor) -> float:
            scale, zero = scale_and_zero(low, high, 4, True)
            back = fake_quantize(x, scale[:, None], zero[:, None], 4, True)
            return float((((back - x) ** 2).sum(1) / (x**2).sum(1)).mean())

        assert error(low, high) <= 1.05 * error(*observer.range(observer.see({}, x), 4, True))
