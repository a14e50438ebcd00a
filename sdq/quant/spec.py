"""QuantSpec: how one tensor is quantized, as a frozen value.

A granularity says which elements share one range, by turning a tensor into a matrix whose rows
share it.
"""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

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


_FP16 = 65504.0  # the largest number that it has

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


Apart = Literal["keep", "split_weight", "split_input"]  # see OutlierColumns


class OutlierColumns(Settings):
    """Columns of a Linear layer's weight, each with the channel of the input that it multiplies,
    that are held apart and so do not stretch the range of the others.

    split_weight: the column is held twice, each half as large, and its channel is read twice; split
        into equal halves, not yet with the offset that spares a rounding step (Zhao et al. 2019,
        arXiv 1901.09504, section 3, with and without)
    split_input: likewise, but the channel is half as large, and the column is read twice
    keep: both stay in FP16, beyond 65504 they saturate (Dettmers et al. 2022, arXiv 2208.07339,
        section 3.2); their products are summed in FP32 here

    Both halves are rounded alike, so that twice one of them stands for both: y is computed with as
    many columns as before. A range is measured on the halves, each once, and where a kept column
    counts as 0, which every range holds. In groups, the second half belongs to that of the first.
    """

    columns: tuple[Annotated[int, Field(ge=0)], ...] = Field(
        (), description="Which columns of the weight, that is channels of the input; from 0"
    )
    how: Apart = Field(
        "keep",
        description="Keep column and channel in 16 bits, or hold them twice: the weight half as "
        "large, or the input",
    )

    @field_validator("columns")
    @classmethod
    def _in_one_order(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        return tuple(sorted(set(value)))  # the same columns in another order are the same run

    @property
    def sides(self) -> tuple[Literal["weight", "activation"], ...]:
        """What of a layer they change: how its weight is rounded, how its input is, or both."""
        if self.how == "keep":
            return ("weight", "activation")
        return ("weight",) if self.how == "split_weight" else ("activation",)

    def narrowed(self, x: Tensor) -> Tensor:
        """x [..., I] as it is rounded: split columns half as large, kept ones 0."""
        factor = x.new_ones(x.shape[-1])
        factor[list(self.columns)] = 0.0 if self.how == "keep" else 0.5
        return x * factor

    def whole(self, rounded: Tensor, x: Tensor) -> Tensor:
        """What the layer computes with: both halves of split columns together, kept ones in FP16.

        rounded: what rounding made of `narrowed(x)`, [..., I]
        x: in full precision, of the same shape

        The gradient passes straight through FP16, but not where it saturates.
        """
        at, result = list(self.columns), rounded.clone()
        if self.how == "keep":
            inside = x[..., at].clamp(-_FP16, _FP16)
            # the difference is exact, and so is the sum
            result[..., at] = inside + (inside.half().to(x.dtype) - inside).detach()
        else:
            result[..., at] = 2 * rounded[..., at]
        return result


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
    outliers: OutlierColumns | None = Field(
        None,
        description="Input channels of Linear layers that do not share a range with the others: "
        "kept in 16 bits, or split in two",
        exclude_if=lambda columns: columns is None,  # so that recipes keep the run ids they had
    )

    @model_validator(mode="after")
    def _columns_can_be_apart(self) -> Rule:
        if self.outliers is None:
            return self
        if sites := [role for role in self.roles if role in SITE_ROLES]:
            raise ValueError(
                f"a rule with `outliers` must be for Linear layers, {sites[0]} is none; take "
                "`outliers` out, or name the roles of layers"
            )
        if not self.outliers.columns:
            raise ValueError(
                "`outliers` must name at least one column, got none; name some, or take `outliers` "
                "out"
            )
        if all(getattr(self, side) is None for side in self.outliers.sides):
            raise ValueError(
                f"a rule with `outliers` ({self.outliers.how}) must come with "
                f"{' or '.join(f'`{side}`' for side in self.outliers.sides)}, as without rounding "
                "it changes nothing; add it, or take `outliers` out"
            )
        return self

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
