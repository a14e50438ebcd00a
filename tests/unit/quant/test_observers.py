"""The contract of every observer in the registry."""

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
from sdq.quant.observers import LARGEST, OBSERVERS, Observer
from tests.helpers.observers import EVERY, SETTINGS, rounded, seen, values
from tests.profiles import examples

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


def same(a: dict[str, Tensor], b: dict[str, Tensor]) -> bool:
    return a.keys() == b.keys() and all(torch.equal(a[k], b[k]) for k in a)


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
@examples(10)
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
