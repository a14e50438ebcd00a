"""Linear layers and tokens to quantize."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sdq.quant.layers import WeightQuantizer
from sdq.quant.spec import WeightSpec

W4 = WeightSpec(bits=4)


def linear(seed: int = 0, rows: int = 12, columns: int = 32) -> nn.Linear:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Linear(columns, rows)


def tokens(seed: int = 0, *shape: int) -> Tensor:
    return torch.randn(*(shape or (3, 5, 32)), generator=torch.Generator().manual_seed(seed))


def fresh(quantizer: WeightQuantizer, weight: Tensor) -> Tensor:
    """What a quantizer without any memory makes of the weight."""
    return WeightQuantizer(quantizer.spec).eval()(weight)
