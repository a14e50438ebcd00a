"""Rules and logits of rewritten models."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from sdq.quant.spec import (
    ActivationSpec,
    PerTensor,
    Rule,
    WeightSpec,
)

STATIC = ActivationSpec(granularity=PerTensor(), dynamic=False, symmetric=False)
INT8 = (Rule(weight=WeightSpec(), activation=ActivationSpec()),)


def logits(model: Any, batch: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        out: Tensor = model(**batch).logits
        return out
