"""Models with outliers to migrate."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from sdq.models.structure import modules

READERS = ("q", "k", "v", "ffn_in")


def names(model: nn.Module, roles: Iterable[str] = READERS) -> list[str]:
    return [m.name for m in modules(model) if m.role in roles]


def together(model: nn.Module) -> list[list[str]]:
    """q, k and v of each block, and each ffn_in alone, by another way than the code's."""
    apart = [[n] for n in names(model, ("ffn_in",))]
    return apart + [list(t) for t in zip(*(names(model, (role,)) for role in "qkv"), strict=True)]


def columns(model: nn.Module, group: list[str]) -> Tensor:
    return torch.cat([model.get_submodule(n).weight.detach() for n in group]).abs().max(0).values
