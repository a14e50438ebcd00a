"""A linear layer on integer codes alone: what fake quantization simulates."""

from __future__ import annotations

import torch
from torch import Tensor


def integer_linear(
    x: Tensor, x_scale: Tensor, x_zero: Tensor, w: Tensor, w_scale: Tensor
) -> Tensor:
    """Linear layer on codes alone: int64 accumulation, one rescale at the end.

    x: codes [..., I]
    x_scale, x_zero: per tensor, or per token [..., 1]
    w: symmetric codes [O, I]
    w_scale: [O, 1] or scalar

    Returns float32 [..., O] without bias.
    """
    accumulator = (x.to(torch.int64) - x_zero.to(torch.int64)) @ w.to(torch.int64).T
    return accumulator.to(torch.float32) * (x_scale * w_scale.reshape(-1))
