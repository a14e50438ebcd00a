"""QuantSpec: how one tensor is quantized, as a frozen value.

A granularity says which elements share one range, by turning a tensor into a matrix whose rows
share it.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, model_validator

from sdq.models.families import SITE_ROLES
from sdq.quant.observers import MinMax, Observer
from sdq.quant.rounding import ROUNDINGS, Rounding
from sdq.settings import Settings

if TYPE_CHECKING:
    from torch import Tensor


class PerTensor(Settings):
    """One range for everything: weight [768, 3072] -> rows [1, 2359296]."""

    kind: Literal["tensor"] = "tensor"

    def rows(self, x: Tensor) -> Tensor:
        return x.reshape(1, -1)


class PerChannel(Settings):
    """One range per output channel (row of a weight): weight [768, 3072] -> rows [768, 3072]."""

    kind: Literal["channel"] = "channel"

    def rows(self, x: Tensor) -> Tensor:
        return x.reshape(x.shape[0], -1)


class PerGroup(Settings):
    """One range per `size` neighbours in a row: weight [768, 3072], size 64 -> rows [36864, 64]."""

    kind: Literal["group"] = "group"
    size: int = Field(64, ge=2, description="How many neighbouring weights share one range")

    def rows(self, x: Tensor) -> Tensor:
        if x.shape[-1] % self.size:
            raise ValueError(
                f"group size must divide the row length {x.shape[-1]}, got {self.size}; choose "
                "another size"
            )
        return x.reshape(-1, self.size)


class PerToken(Settings):
    """One range per token: activation [8, 32, 768] -> rows [256, 768]."""

    kind: Literal["token"] = "token"

    def rows(self, x: Tensor) -> Tensor:
        return x.reshape(-1, x.shape[-1])


Granularity = Annotated[PerTensor | PerChannel | PerGroup | PerToken, Field(discriminator="kind")]
GRANULARITIES: tuple[type[Any], ...] = (PerTensor, PerChannel, PerGroup, PerToken)


class _Spec(Settings):
    bits: int = Field(8, ge=2, le=8, description="Bits per value")
    symmetric: bool = Field(
        True, description="Range symmetric around zero (zero-point 0), or affine"
    )
    observer: Observer = Field(MinMax(), description="How seen values become a range")


class WeightSpec(_Spec):
    """How a weight is quantized. Its range always follows the weight."""

    granularity: Annotated[PerTensor | PerChannel | PerGroup, Field(discriminator="kind")] = (
        PerChannel()
    )
    rounding: Rounding = Field(
        "nearest",
        description="How a value goes to one of its codes",
        exclude_if=lambda way: way == "nearest",  # so that recipes keep the run ids they had
    )

    @property
    def calibrates(self) -> bool:
        """Whether the rounding looks at the inputs of the layer."""
        return ROUNDINGS[self.rounding].needs_inputs


class ActivationSpec(_Spec):
    """How the input of a layer, or another activation, is quantized: with a calibrated range
    (static) or each batch's own (dynamic)."""

    granularity: Annotated[PerTensor | PerToken, Field(discriminator="kind")] = PerToken()
    dynamic: bool = Field(
        True, description="Range from the batch itself, instead of from calibration"
    )

    @property
    def calibrates(self) -> bool:
        """Whether the range is measured on calibration sentences."""
        return not self.dynamic

    @model_validator(mode="after")
    def _token_is_dynamic(self) -> ActivationSpec:
        if self.granularity.kind == "token" and not self.dynamic:
            raise ValueError(
                "per-token ranges must be dynamic, got dynamic = false; use per-tensor ranges for "
                "static quantization"
            )
        return self


Role = Literal[
    "embedding",
    "q",
    "k",
    "v",
    "qkv",
    "attention_output",
    "ffn_in",
    "ffn_out",
    "head",
    "attention_query",
    "attention_key",
    "attention_probs",
    "attention_value",
    "ffn_activation",
    "residual",
    "layernorm",
]


class Rule(Settings):
    """Which modules get which specs. A later rule overrides an earlier one for the modules it
    matches."""

    roles: tuple[Role, ...] = Field(
        (), description="Roles the rule is for; none means every role that has weights"
    )
    name: str = Field("*", description="Pattern on the module's name, * stands for anything")
    weight: WeightSpec | None = Field(
        None, description="How weights are quantized; empty leaves them in FP32"
    )
    activation: ActivationSpec | None = Field(
        None,
        description="How inputs, or the activations that a role names, are quantized; empty leaves "
        "them in FP32",
    )

    @model_validator(mode="after")
    def _sites_can_take_it(self) -> Rule:
        if self.weight is not None and self.roles and set(self.roles) <= set(SITE_ROLES):
            raise ValueError(
                f"a rule with `weight` must be for a role that has weights, {', '.join(self.roles)}"
                " has none; take `weight` out, or name the roles of layers"
            )
        if (
            "attention_value" in self.roles
            and self.activation is not None
            and self.activation.granularity.kind != "tensor"
        ):
            raise ValueError(
                "attention_value must have one range per tensor, as its product sums over the "
                f"tokens, got one per {self.activation.granularity.kind}; give it "
                '{"kind": "tensor"} in a rule of its own'
            )
        return self

    def matches(self, name: str, role: str) -> bool:
        """Whether the rule is for the module, or the activation site, of this name and role."""
        chosen = role in self.roles if self.roles else role not in SITE_ROLES
        return chosen and fnmatchcase(name, self.name)
