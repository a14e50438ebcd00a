"""Uniform quantization as pure functions on tensors.

The only place where a scale is computed. Convention (symmetric): scale = max|x| / (2^(b-1) - 1),
codes in [-(2^(b-1) - 1), 2^(b-1) - 1], so that 8 bits use [-127, 127] and real 0 is exact. Affine:
codes in [0, 2^b - 1] and an integer zero-point in that range, so real 0 is exact too. Rounding is
to nearest, ties to even.
"""

from __future__ import annotations

import torch
from torch import Tensor


def code_range(bits: int, symmetric: bool) -> tuple[int, int]:
    """Smallest and largest integer code. bits in 2..8; ValueError otherwise."""
    if not 2 <= bits <= 8:
        raise ValueError(f"bits must be from 2 to 8, got {bits}")
    if symmetric:
        top: int = 2 ** (bits - 1) - 1
        return -top, top
    return 0, 2**bits - 1


def scale_and_zero(low: Tensor, high: Tensor, bits: int, symmetric: bool) -> tuple[Tensor, Tensor]:
    """Range -> (scale > 0, zero_point), both float32 of low's shape; zero_point holds integers.

    low, high: ends of the range, low <= high
    bits: 2 to 8
    symmetric: whether zero_point is 0

    The range is widened to contain 0. A range of zero width gets scale 1: its only value, 0, is
    then exact.
    """
    bottom, top = code_range(bits, symmetric)
    low, high = low.float().clamp(max=0), high.float().clamp(min=0)
    if symmetric:
        scale = torch.maximum(-low, high) / top
        zero = torch.zeros_like(scale)
        return torch.where(scale > 0, scale, torch.ones_like(scale)), zero
    scale = (high - low) / (top - bottom)
    scale = torch.where(scale > 0, scale, torch.ones_like(scale))
    return scale, (bottom - low / scale).round().clamp(bottom, top)


def quantize(x: Tensor, scale: Tensor, zero: Tensor, bits: int, symmetric: bool) -> Tensor:
    """x -> integer codes (int32), clipped to the code range.

    x: float, any shape
    scale, zero: broadcast against x
    bits, symmetric: as of `scale_and_zero`
    """
    bottom, top = code_range(bits, symmetric)
    return ((x / scale).round() + zero).clamp(bottom, top).to(torch.int32)


def dequantize(codes: Tensor, scale: Tensor, zero: Tensor) -> Tensor:
    """Integer codes -> real values (float32): scale * (code - zero).

    codes: int32, any shape
    scale, zero: broadcast against them
    """
    return (codes.to(torch.float32) - zero) * scale


def fake_quantize(
    x: Tensor, scale: Tensor, zero: Tensor, bits: int, symmetric: bool, covered: bool = False
) -> Tensor:
    """dequantize(quantize(x)) with the straight-through gradient: 1 where x is inside the range, 0
    where it is clipped.

    x, scale, zero, bits, symmetric: as of `quantize`
    covered: whether the range was read off x itself, so that nothing is clipped: the same result
        with half the work

    Source: Bengio et al. 2013 (straight-through estimator); Jacob et al. 2018,
    section 3 (fake quantization).
    """
    how = _Covered if covered and symmetric else _StraightThrough
    result: Tensor = how.apply(x, scale, zero, *code_range(bits, symmetric))  # type: ignore[no-untyped-call]
    return result


class _Covered(torch.autograd.Function):
    """Symmetric codes of a range that holds all of x: no mask to keep, no zero-point."""

    @staticmethod
    def forward(ctx, x: Tensor, scale: Tensor, zero: Tensor, bottom: int, top: int) -> Tensor:  # type: ignore[no-untyped-def]
        return (x / scale).round_().clamp_(bottom, top).mul_(scale)

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[no-untyped-def]
        return grad, None, None, None, None


class _StraightThrough(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x: Tensor, scale: Tensor, zero: Tensor, bottom: int, top: int) -> Tensor:  # type: ignore[no-untyped-def]
        codes = (x / scale).round_()
        if zero.any():
            codes = codes.add_(zero)
        else:
            zero = zero.new_zeros(())
        if ctx.needs_input_grad[0]:
            ctx.save_for_backward((codes >= bottom) & (codes <= top))
        return codes.clamp_(bottom, top).sub_(zero).mul_(scale)

    @staticmethod
    def backward(ctx, grad: Tensor):  # type: ignore[no-untyped-def]
        (inside,) = ctx.saved_tensors
        return grad * inside, None, None, None, None
