"""Values that observers see."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
import torch
from torch import Tensor

from sdq.quant.integer import fake_quantize, scale_and_zero
from sdq.quant.observers import OBSERVERS

EVERY = pytest.mark.parametrize("observer", [o() for o in OBSERVERS], ids=lambda o: o.kind)
SETTINGS = list(itertools.product((2, 4, 8), (True, False)))


def values(seed: int = 0, rows: int = 3, n: int = 400) -> Tensor:
    return torch.randn(rows, n, generator=torch.Generator().manual_seed(seed))


def seen(observer: Any, *batches: Tensor) -> dict[str, Tensor]:
    state: dict[str, Tensor] = {}
    for batch in batches:
        state = observer.see(state, batch)
    return state


def rounded(observer: Any, x: Tensor, bits: int, symmetric: bool) -> Tensor:
    scale, zero = scale_and_zero(
        *observer.range(observer.see({}, x), bits, symmetric), bits, symmetric
    )
    return fake_quantize(x, scale[:, None], zero[:, None], bits, symmetric)
