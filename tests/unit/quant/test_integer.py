"""Integer arithmetic: the scale convention, and agreement with implementations that share no code
with ours."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from sdq.quant.integer import (
    code_range,
    dequantize,
    fake_quantize,
    quantize,
    scale_and_zero,
)
from sdq.quant.layers import ForwardPass, quantized
from sdq.quant.spec import ActivationSpec, PerTensor, WeightSpec
from tests.helpers.integers import integer_linear

BITS = range(2, 9)
REAL = st.floats(-(2.0**100), 2.0**100, width=32)


def tensor(*values: float) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)


@pytest.mark.parametrize(
    ("bits", "top"), [(2, 1), (3, 3), (4, 7), (5, 15), (6, 31), (7, 63), (8, 127)]
)
def test_symmetric_golden(bits: int, top: int) -> None:
    """scale = max|x| / (2^(b-1) - 1): 8 bits are max/127, never max/128."""
    assert code_range(bits, True) == (-top, top)
    for low, high, scale in (
        (-1.0, top, 1.0),
        (-2.0 * top, 1.0, 2.0),
        (0.25 * top, 0.25 * top, 0.25),
        (-0.5 * top, -0.5 * top, 0.5),
        (0.0, 0.0, 1.0),
    ):
        got, zero = scale_and_zero(tensor(low), tensor(high), bits, True)
        assert got.item() == scale
        assert zero.item() == 0


@pytest.mark.parametrize(
    ("bits", "steps"), [(2, 3), (3, 7), (4, 15), (5, 31), (6, 63), (7, 127), (8, 255)]
)
def test_affine_golden(bits: int, steps: int) -> None:
    """scale = (high - low) / (2^b - 1) over a range that holds 0; the zero-point is the code of
    0."""
    assert code_range(bits, False) == (0, steps)
    golden = (
        (0.0, steps, 1.0, 0),
        (-steps, 0.0, 1.0, steps),
        (-1.0, steps - 1.0, 1.0, 1),
        (-2.0 * (steps - 1), 2.0, 2.0, steps - 1),
        (1.0, 0.5 * steps, 0.5, 0),
        (-0.5 * steps, -1.0, 0.5, steps),
        (0.0, 0.0, 1.0, 0),
    )
    for low, high, scale, zero in golden:
        got, at = scale_and_zero(tensor(low), tensor(high), bits, False)
        assert (got.item(), at.item()) == (scale, zero)


def test_codes_golden() -> None:
    x = tensor(-300, -127.4, -126.6, -1.4, -0.4, 0, 0.6, 1.3, 126.4, 126.6, 300)
    assert quantize(x, tensor(1), tensor(0), 8, True).tolist() == [
        -127,
        -127,
        -127,
        -1,
        0,
        0,
        1,
        1,
        126,
        127,
        127,
    ]
    assert quantize(x, tensor(1), tensor(100), 8, False).tolist() == [
        0,
        0,
        0,
        99,
        100,
        100,
        101,
        101,
        226,
        227,
        255,
    ]
    assert dequantize(torch.tensor([0, 99, 100, 255]), tensor(0.5), tensor(100)).tolist() == [
        -50,
        -0.5,
        0,
        77.5,
    ]
    assert quantize(x, tensor(1), tensor(0), 8, True).dtype == torch.int32


def test_ties_go_to_even() -> None:
    ties = tensor(0.5, 1.5, 2.5, 3.5, -0.5, -1.5, -2.5)
    even = [0, 2, 2, 4, 0, -2, -2]
    assert quantize(ties, tensor(1), tensor(0), 8, True).tolist() == even
    assert fake_quantize(ties, tensor(1), tensor(0), 8, True).tolist() == even
    # the value is rounded, not value + zero-point
    assert fake_quantize(ties, tensor(1), tensor(7), 8, False).tolist() == even


@pytest.mark.parametrize("bits", [-1, 0, 1, 9, 16])
@pytest.mark.parametrize("symmetric", [True, False])
def test_bits_out_of_range(bits: int, symmetric: bool) -> None:
    one = tensor(1)
    for call in (
        lambda: code_range(bits, symmetric),
        lambda: scale_and_zero(-one, one, bits, symmetric),
        lambda: quantize(one, one, one, bits, symmetric),
        lambda: fake_quantize(one, one, one, bits, symmetric),
    ):
        with pytest.raises(ValueError, match=f"bits must be from 2 to 8, got {bits}"):
            call()


@given(REAL, REAL, st.sampled_from(BITS), st.booleans())
def test_zero_is_exact_in_every_range(a: float, b: float, bits: int, symmetric: bool) -> None:
    scale, zero = scale_and_zero(tensor(min(a, b)), tensor(max(a, b)), bits, symmetric)
    bottom, top = code_range(bits, symmetric)
    assert scale.item() > 0
    assert scale.dtype == zero.dtype == torch.float32
    assert zero.item() == round(zero.item())
    assert bottom <= zero.item() <= top
    assert fake_quantize(tensor(0), scale, zero, bits, symmetric).item() == 0


@given(st.integers(0, 2**31), st.sampled_from(BITS), st.booleans(), st.floats(-20, 20))
def test_agrees_with_int64_in_numpy(seed: int, bits: int, symmetric: bool, exponent: float) -> None:
    """Exact: codes by numpy in int64, with a range per row, values outside the range included."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(5, 40, generator=generator) * 2**exponent
    low, high = x.amin(1) * 0.7, x.amax(1) * 0.7
    scale, zero = (t[:, None] for t in scale_and_zero(low, high, bits, symmetric))
    n, s, z = x.numpy(), scale.numpy(), zero.numpy().astype(np.int64)
    bottom, top = (1 - 2 ** (bits - 1), 2 ** (bits - 1) - 1) if symmetric else (0, 2**bits - 1)
    codes = np.clip(np.rint(n / s).astype(np.int64) + z, bottom, top)
    before = x.clone()
    assert np.array_equal(quantize(x, scale, zero, bits, symmetric).numpy(), codes)
    fake = fake_quantize(x, scale, zero, bits, symmetric)
    assert np.array_equal(fake.numpy(), (codes - z).astype(np.float32) * s)
    assert torch.equal(fake, dequantize(torch.tensor(codes), scale, zero))
    assert torch.equal(x, before)
    # what is representable stays
    assert torch.equal(fake_quantize(fake, scale, zero, bits, symmetric), fake)


@given(st.integers(0, 2**31), st.sampled_from(BITS), st.booleans())
def test_error_is_at_most_half_a_step(seed: int, bits: int, symmetric: bool) -> None:
    """Inside a symmetric range; an affine one may lose another half step at an edge, where the
    zero-point was rounded."""
    x = torch.randn(200, generator=torch.Generator().manual_seed(seed))
    scale, zero = scale_and_zero(x.min(), x.max(), bits, symmetric)
    error = (fake_quantize(x, scale, zero, bits, symmetric) - x).abs().max()
    assert error <= scale * (0.50001 if symmetric else 1.00001)
    if bits == 8:
        assert error > 0.3 * scale  # and it is not finer than the step says


@pytest.mark.parametrize("bits", BITS)
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("rounded", [True, False], ids=["power of two", "any scale"])
def test_agrees_with_torch_fake_quantize(bits: int, symmetric: bool, rounded: bool) -> None:
    """torch multiplies by 1/scale: exact for powers of two, at most one step away and only beside a
    tie otherwise."""
    x = torch.randn(64, 100, generator=torch.Generator().manual_seed(bits))
    bottom, top = code_range(bits, symmetric)
    for rows in (x.reshape(1, -1), x):
        scale, zero = scale_and_zero(rows.amin(1) * 0.8, rows.amax(1) * 0.8, bits, symmetric)
        if rounded:
            scale = torch.exp2(scale.log2().round())
        ours = fake_quantize(rows, scale[:, None], zero[:, None], bits, symmetric)
        if len(rows) == 1:
            theirs = torch.fake_quantize_per_tensor_affine(
                rows, scale.item(), int(zero.item()), bottom, top
            )
        else:
            theirs = torch.fake_quantize_per_channel_affine(rows, scale, zero.int(), 0, bottom, top)
        if rounded:
            assert torch.equal(ours, theirs)
        steps = (ours - theirs).abs() / scale[:, None]
        at = rows / scale[:, None]
        beside_a_tie = (at - at.floor() - 0.5).abs() < 1e-3
        assert steps.max() <= 1.001
        assert not (steps > 1e-3)[~beside_a_tie].any()


@pytest.mark.parametrize("zero", [0, 2])
def test_straight_through_gradient(zero: int) -> None:
    """Exactly 1 where the code is in the range, exactly 0 where it was clipped; scale and
    zero-point get none."""
    bottom, top = code_range(3, zero == 0)
    x = (
        tensor(
            bottom - 5, bottom - 0.6, bottom - 0.4, bottom, 0.2, top, top + 0.4, top + 0.6, top + 5
        )
        - zero
    ).requires_grad_()
    scale, at = tensor(1).requires_grad_(), tensor(zero).requires_grad_()
    weights = torch.arange(1.0, 10)
    (fake_quantize(x, scale, at, 3, zero == 0) * weights).sum().backward()
    assert x.grad is not None
    assert x.grad.tolist() == (weights * tensor(0, 0, 1, 1, 1, 1, 1, 0, 0)).tolist()
    assert scale.grad is None
    assert at.grad is None
    like = x.detach().clone().requires_grad_()
    (torch.fake_quantize_per_tensor_affine(like, 1.0, zero, bottom, top) * weights).sum().backward()
    assert torch.equal(x.grad, like.grad)


def _layer_codes(per_token: bool, power_of_two: bool, symmetric: bool) -> tuple[torch.Tensor, ...]:
    generator = torch.Generator().manual_seed(3)
    x, w = torch.randn(4, 7, 96, generator=generator), torch.randn(20, 96, generator=generator)
    rows = x.reshape(-1, 96) if per_token else x.reshape(1, -1)
    x_scale, x_zero = scale_and_zero(rows.amin(1), rows.amax(1), 8, symmetric)
    w_scale, w_zero = scale_and_zero(w.amin(1), w.amax(1), 8, True)
    if power_of_two:
        x_scale, w_scale = (torch.exp2(s.log2().round()) for s in (x_scale, w_scale))
    shape = (4, 7, 1) if per_token else (1,)
    return x, x_scale.reshape(shape), x_zero.reshape(shape), w, w_scale[:, None], w_zero[:, None]


@pytest.mark.parametrize("per_token", [True, False])
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("power_of_two", [True, False])
def test_integer_linear_is_the_fake_quantized_linear(
    per_token: bool, symmetric: bool, power_of_two: bool
) -> None:
    """Exact for scales that are powers of two (sums stay below 2^24); within 1e-5 of the largest
    output otherwise."""
    x, x_scale, x_zero, w, w_scale, w_zero = _layer_codes(per_token, power_of_two, symmetric)
    codes_x, codes_w = (
        quantize(x, x_scale, x_zero, 8, symmetric),
        quantize(w, w_scale, w_zero, 8, True),
    )
    integer = integer_linear(codes_x, x_scale, x_zero, codes_w, w_scale)
    fake = F.linear(
        fake_quantize(x, x_scale, x_zero, 8, symmetric), fake_quantize(w, w_scale, w_zero, 8, True)
    )
    assert integer.dtype == torch.float32
    if power_of_two:
        assert torch.equal(integer, fake)
    else:
        torch.testing.assert_close(integer, fake, rtol=0, atol=1e-5 * fake.abs().max().item())


@pytest.mark.parametrize(
    ("weight_bits", "activation_bits", "reduced"), [(8, 7, True), (7, 8, False)]
)
@pytest.mark.parametrize("granularity", ["tensor", "channel"])
def test_dynamic_linear_agrees_with_torch_int8(
    weight_bits: int, activation_bits: int, reduced: bool, granularity: str
) -> None:
    """torch's own dynamic INT8 Linear: qint8 weights at our scale, activations affine quint8 per
    tensor.

    reduce_range gives activations [0, 127], our 7 affine bits. Without it weights stay in [-63, 63]
    here, because kernels without VNNI saturate on full 8 x 8 bits (255 * 127 * 2 > 2^15). Both
    compute their sums in int32, so outputs may differ by float rounding alone: far below one step
    of the product scale.
    """
    generator = torch.Generator().manual_seed(1)
    linear = torch.nn.Linear(64, 24)
    with torch.no_grad():
        linear.weight.copy_(torch.randn(24, 64, generator=generator))
        linear.bias.copy_(torch.randn(24, generator=generator))
    weight = WeightSpec.model_validate({"bits": weight_bits, "granularity": {"kind": granularity}})
    ours = quantized(
        linear,
        weight,
        ActivationSpec(bits=activation_bits, symmetric=False, granularity=PerTensor()),
        ForwardPass(),
    ).eval()
    rows = weight.granularity.rows(linear.weight.detach())
    scale, _ = scale_and_zero(rows.amin(1), rows.amax(1), weight_bits, True)
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # quantized dtypes are deprecated in torch
        if granularity == "tensor":
            packed = torch.quantize_per_tensor(linear.weight, scale.item(), 0, torch.qint8)
        else:
            packed = torch.quantize_per_channel(
                linear.weight, scale, torch.zeros(24, dtype=torch.long), 0, torch.qint8
            )
        layer = torch.ops.quantized.linear_prepack(packed, linear.bias)
        for shift in (0.0, 1.5, -4.0):
            x = torch.randn(32, 64, generator=generator) + shift
            theirs, got = torch.ops.quantized.linear_dynamic(x, layer, reduced), ours(x)
            x_scale, _ = ours.input_quantizer.ranges(x)
            assert ((got - theirs).abs() / (x_scale * scale)).max() < 0.05
            # quantized at all: far from the float layer
            assert ((got - linear(x)).abs() / (x_scale * scale)).max() > 5


@pytest.mark.parametrize("bits", [2, 4, 8])
def test_covered_range_gives_the_same_numbers_and_gradient(bits: int) -> None:
    x = (
        torch.randn(5, 64, generator=torch.Generator().manual_seed(bits))
        * torch.logspace(-20, 20, 5)[:, None]
    )
    x[0] = 0
    scale, zero = (t[:, None] for t in scale_and_zero(x.amin(1), x.amax(1), bits, True))
    out = []
    for covered in (False, True):
        like = x.clone().requires_grad_()
        y = fake_quantize(like, scale, zero, bits, True, covered)
        y.backward(torch.arange(320.0).reshape(5, 64))
        out.append((y.detach(), like.grad))
    assert torch.equal(out[0][0], out[1][0])
    assert torch.equal(out[0][1], out[1][1])


def test_covered_is_ignored_where_the_zero_point_may_clip() -> None:
    x, scale, zero = torch.tensor([[-9.0, 0.4, 9.0]]), torch.ones(1, 1), torch.full((1, 1), 3.0)
    assert torch.equal(
        fake_quantize(x, scale, zero, 3, False, True), fake_quantize(x, scale, zero, 3, False)
    )
