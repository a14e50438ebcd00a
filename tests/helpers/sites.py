"""Full-integer schemes, and what their quantizers are given and give in a forward pass."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from sdq.models.families import SITE_ROLES
from sdq.models.hooks import listen
from sdq.quant.rewrite import quantized_sites
from sdq.quant.spec import ActivationSpec, PerTensor, Rule, WeightSpec

STATIC = ActivationSpec(granularity=PerTensor(), dynamic=False, symmetric=False)
FULL = (
    Rule(weight=WeightSpec(), activation=STATIC),
    Rule(roles=SITE_ROLES, activation=STATIC),
)


def at_sites(spec: ActivationSpec) -> tuple[Rule, ...]:
    """Rules for all sites alone; the operand that takes no range per token gets one per tensor."""
    coarse = spec.model_copy(update={"granularity": PerTensor()})
    others = tuple(role for role in SITE_ROLES if role != "attention_value")
    return (
        Rule(roles=others, activation=spec),
        Rule(roles=("attention_value",), activation=coarse),
    )


def passed(model: nn.Module, batch: dict[str, Tensor]) -> dict[str, list[tuple[Tensor, Tensor]]]:
    """Quantizer -> (what it was given, what it gave) in each of its calls in one pass."""
    seen: dict[str, list[tuple[Tensor, Tensor]]] = {}

    def see(tap: str, module: nn.Module, args: Any, kwargs: Any, out: Tensor) -> None:
        seen.setdefault(tap.partition("@")[0], []).append((args[0], out))

    taps = [f"{name}@{call}" for name in quantized_sites(model) for call in range(8)]
    with torch.no_grad(), listen(model, dict.fromkeys(taps, "output"), see):
        model(**batch)
    return seen


def of_real(x: Tensor, mask: Tensor, keys: bool) -> list[Tensor]:
    """What is no padding of x [B, T, ...], or [B, D], sentence by sentence; `keys`: the last
    dimension are tokens too."""
    if x.dim() == 2:
        return list(x)
    lengths = mask.sum(1).tolist()
    return [s[:n, ..., :n] if keys else s[:n] for s, n in zip(x, lengths, strict=True)]


def codes(x: Tensor, low: Tensor, high: Tensor, symmetric: bool) -> tuple[Tensor, Tensor, Tensor]:
    """(integer codes int64, zero-point int64, scale) of x in eight bits, for a range."""
    low, high = low.clamp(max=0), high.clamp(min=0)
    if symmetric:
        scale = torch.maximum(-low, high) / 127
        return (x / scale).round().clamp(-127, 127).long(), torch.zeros_like(scale).long(), scale
    scale = (high - low) / 255
    zero = (-low / scale).round().clamp(0, 255).long()
    return ((x / scale).round().long() + zero).clamp(0, 255), zero, scale
