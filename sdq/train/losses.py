"""Distillation terms: what a student is asked to share with its FP32 teacher.

A term is frozen settings, the names of the activations it wants tapped, and `value`. It is 0 at
agreement, positive elsewhere, blind to padding, and sends no gradient to the teacher. A new term is
one class here. Source of the forms: O'Neill and Dutta 2023 (SDQ); temperature and T^2 after Hinton
et al. 2015. The weights are our choice.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field

from sdq.io.lazy import torch
from sdq.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor


@dataclass
class Seen:
    """What one forward pass gave: logits, and per kind of tap one tensor [B, T, D] per block."""

    logits: Tensor  # [B, C] or [B, T, C]
    taps: dict[str, list[Tensor]] = field(default_factory=dict)
    heads: int = 1


class _Term(Settings):
    weight: float = Field(1.0, gt=0, description="Factor of this term in the sum")

    def value(self, student: Seen, teacher: Seen, scored: Tensor, real: Tensor) -> Tensor:
        """Scalar >= 0. scored: bool [B] or [B, T], where predictions count; real: bool [B, T], not
        padding."""
        raise NotImplementedError


class KLD(_Term):
    """T^2 * KL(teacher || student) of the softened predictions, mean over scored positions."""

    kind: Literal["kld"] = "kld"
    weight: float = Field(10.0, gt=0, description="Factor of this term in the sum")
    temperature: float = Field(
        2.0, gt=0, le=20, description="Softens both predictions before they are compared"
    )

    def value(self, student: Seen, teacher: Seen, scored: Tensor, real: Tensor) -> Tensor:
        t = self.temperature
        target = (teacher.logits.detach()[scored].float() / t).log_softmax(-1)  # [N, C]
        log_p = (student.logits[scored].float() / t).log_softmax(-1)
        divergence = (target.exp() * (target - log_p)).sum(-1).clamp(min=0)
        return t * t * divergence.sum() / max(1, len(divergence))


def _masked_mse(student: Tensor, teacher: Tensor, real: Tensor) -> Tensor:
    """[..., B, T, D] against its like -> mean squared difference over real tokens and D: [...]."""
    # chosen, not multiplied by 0: what stands in padding may be anything, infinite too
    square = torch.where(real[..., None], student - teacher.detach(), 0.0) ** 2
    return square.sum((-3, -2, -1)) / (real.sum().clamp(min=1) * student.shape[-1])


class Attention(_Term):
    """1 / (L H) * sum over blocks l and heads h of MSE(A_S[l, h], A_T[l, h]).

    A is the self-attention output of a head: its context before the output projection ("context",
    our default reading of "per head"), or the projected sum of the heads ("output").
    """

    kind: Literal["attention"] = "attention"
    at: Literal["context", "output"] = Field(
        "context", description="Before the output projection (per head) or after it"
    )
    weight: float = Field(100.0, gt=0, description="Factor of this term in the sum")

    def value(self, student: Seen, teacher: Seen, scored: Tensor, real: Tensor) -> Tensor:
        total = torch.zeros(())
        pairs = list(zip(student.taps[self.at], teacher.taps[self.at], strict=True))
        for s, t in pairs:
            if self.at == "context":  # [B, T, H * d] -> [H, B, T, d]
                s, t = (x.unflatten(-1, (student.heads, -1)).permute(2, 0, 1, 3) for x in (s, t))
            total = total + _masked_mse(s, t, real).mean()
        return total / len(pairs)


class Hidden(_Term):
    """1 / L * sum over blocks of MSE between the blocks' outputs."""

    kind: Literal["hidden"] = "hidden"
    weight: float = Field(1.0, gt=0, description="Factor of this term in the sum")

    def value(self, student: Seen, teacher: Seen, scored: Tensor, real: Tensor) -> Tensor:
        pairs = list(zip(student.taps["hidden"], teacher.taps["hidden"], strict=True))
        return sum((_masked_mse(s, t, real) for s, t in pairs), torch.zeros(())) / len(pairs)


def tap_of(term: Any) -> str | None:
    """Which tap a term reads: "context", "output", "hidden" or None."""
    return {"attention": getattr(term, "at", None), "hidden": "hidden"}.get(term.kind)


DistillLoss = Annotated[KLD | Attention | Hidden, Field(discriminator="kind")]
TERMS: tuple[type[Any], ...] = (KLD, Attention, Hidden)
