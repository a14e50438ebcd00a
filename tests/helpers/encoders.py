"""What an encoder answers."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def logits(model: Any, batch: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        out: Tensor = model(**batch).logits
        return out
