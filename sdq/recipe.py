"""Recipe: what to do, as a frozen value. The presets are here.

Training absent = post-training quantization (PTQ); training without distillation = QAT (noise < 1:
Quant-Noise); with distillation = SDQ. No rules and no training = FP32; no rules and training = the
control that QAT and SDQ are compared with, FP32 trained longer.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from sdq.data.lines import settings_of
from sdq.models.families import SITE_ROLES
from sdq.quant.observers import MinMax
from sdq.quant.spec import ActivationSpec, PerChannel, PerTensor, PerToken, Rule, WeightSpec
from sdq.settings import Document, Settings, UserError, Words, one_line, path_of, small
from sdq.train.losses import KLD, Attention, Hidden
from sdq.train.settings import Training


class Calibration(Settings):
    """The sentences that static ranges are measured on: from the train split, never from dev or
    test."""

    sentences: int = Field(256, ge=1, description="How many sentences")
    languages: Literal["labelled", "all"] | tuple[str, ...] = Field(
        "labelled", description="Only the training language, all languages, or those chosen"
    )
    batch_size: int = Field(32, ge=1, description="Sentences per forward pass")

    @field_validator("languages", mode="before")
    @classmethod
    def _languages_in_one_order(cls, value: Any) -> Any:
        if value in ("labelled", "all"):
            return value
        if (
            not isinstance(value, list | tuple)
            or not value
            or not all(isinstance(code, str) and code.strip() for code in value)
        ):
            raise ValueError(
                "languages must be 'labelled', 'all' or a list of at least one language code"
            )
        return tuple(sorted(set(value)))  # the same languages in another order are the same run


class Recipe(Document):
    """Rules (which modules get which numbers), calibration, training, seed. Equal recipes are equal
    runs."""

    name: Annotated[
        str,
        Words(
            "lower-case letters, digits, '.', '_' and '-', at most 61, beginning with a letter or "
            "digit"
        ),
    ] = Field(
        "custom",
        pattern=r"^[a-z0-9][a-z0-9._-]{0,60}$",
        description="A short name; it does not change the run",
    )
    rules: tuple[Rule, ...] = Field((), description="Which modules are quantized, and how")
    calibration: Calibration = Calibration()
    migration: float | None = Field(
        None,
        ge=0,
        le=1,
        description="SmoothQuant: before anything is rounded, outlier channels move from "
        "activations into the weights that read them; 0 evens out the weights, 1 the activations",
        exclude_if=lambda strength: strength is None,  # so that recipes keep the run ids they had
    )
    training: Training | None = Field(None, description="Absent: post-training quantization")
    seed: int = Field(
        0,
        ge=0,
        lt=2**31,
        description="Order of the training data, Quant-Noise, choice of calibration sentences",
    )

    @model_validator(mode="after")
    def _noise_and_terms_need_rules(self) -> Recipe:
        given = self.training
        if given is None or self.rules or not (given.distillation or given.noise < 1):
            return self
        what = "distillation" if given.distillation else "noise"
        raise ValueError(
            f"a training with {what} must come with at least one quantization rule; without rules "
            f"the FP32 model is trained longer on its labels: leave {what} out or add a rule"
        )

    @model_validator(mode="after")
    def _migration_needs_rules(self) -> Recipe:
        if self.migration is not None and not self.rules:
            raise ValueError(
                "migration must come with at least one quantization rule, as without rounding it "
                "changes nothing; leave it out or add a rule"
            )
        return self

    @property
    def calibrates(self) -> bool:
        """Whether anything is measured on calibration sentences: static ranges, or which channels
        to migrate."""
        return self.migration is not None or any(
            spec is not None and spec.calibrates
            for rule in self.rules
            for spec in (rule.weight, rule.activation)
        )

    @property
    def method(self) -> str:
        """FP32, PTQ, QAT, QNAT or SDQ; "SDQ multi" for the label-free multilingual extension, "FP32
        longer" for the control of a trained student: as many steps without quantization."""
        if not self.rules:
            return "FP32" if self.training is None else "FP32 longer"
        if self.training is None:
            return "PTQ"
        if self.training.distillation:
            return "SDQ multi" if self.training.unlabelled else "SDQ"
        return "QAT" if self.training.noise == 1 else "QNAT"

    def canonical(self) -> str:
        """The JSON that decides the run id: everything but the name."""
        return json.dumps(self.model_dump(mode="json", exclude={"name"}), sort_keys=True)


def _int8_dynamic() -> tuple[Rule, ...]:
    """The usual INT8: per-channel weights, dynamic per-token activations, the embedding per row."""
    return (Rule(weight=WeightSpec(bits=8), activation=ActivationSpec(bits=8)),)


_STATIC = ActivationSpec(
    bits=8, symmetric=False, granularity=PerTensor(), dynamic=False, observer=MinMax()
)


def _int8_static() -> tuple[Rule, ...]:
    return (Rule(weight=WeightSpec(bits=8), activation=_STATIC),)


def _linear(weight: WeightSpec, activation: ActivationSpec | None = None) -> tuple[Rule, ...]:
    """Every Linear, the embedding in FP32."""
    return (Rule(weight=weight, activation=activation), Rule(roles=("embedding",)))


def _int8_tensor() -> tuple[Rule, ...]:
    """What PyTorch's dynamic quantization does unless told otherwise: one range per tensor,
    activations affine in 7 bits, Linear layers only."""
    return _linear(
        WeightSpec(granularity=PerTensor()),
        ActivationSpec(bits=7, symmetric=False, granularity=PerTensor()),
    )


def _int8_static_tensor() -> tuple[Rule, ...]:
    """One range for each weight and each activation, measured once: the coarsest INT8, and what
    the quickest integer kernels take."""
    return (Rule(weight=WeightSpec(granularity=PerTensor()), activation=_STATIC),)


def _paper_int8() -> tuple[Rule, ...]:
    """INT8 as we read O'Neill and Dutta 2023: symmetric, one range for each weight and each
    activation, that of the batch itself. The granularity is our choice, it cannot be recovered."""
    tensor = PerTensor()
    return (
        Rule(weight=WeightSpec(granularity=tensor), activation=ActivationSpec(granularity=tensor)),
    )


def _int8_full(granularity: PerChannel | PerTensor) -> tuple[Rule, ...]:
    """Full-integer INT8: whatever a matrix product reads, and what lies between them, is rounded
    (Bondarenko et al. 2021), which is what integer hardware runs and where encoders break."""
    layers = Rule(weight=WeightSpec(granularity=granularity), activation=_STATIC)
    return (layers, Rule(roles=SITE_ROLES, activation=_STATIC))


def _w4a8() -> tuple[Rule, ...]:
    """Four-bit weights with one range per tensor: the setting at which PTQ breaks `mini` (found on
    dev, see docs/ablation.md)."""
    return (
        Rule(
            weight=WeightSpec(bits=4, granularity=PerTensor()),
            activation=ActivationSpec(bits=8, granularity=PerToken()),
        ),
    )


def _w3a8() -> tuple[Rule, ...]:
    """Three-bit Linear weights with one range per tensor, the embedding in 8 bits per row: PTQ
    breaks, training can repair (docs/ablation.md)."""
    body = Rule(
        weight=WeightSpec(bits=3, granularity=PerTensor()),
        activation=ActivationSpec(bits=8, granularity=PerToken()),
    )
    return (body, Rule(roles=("embedding",), weight=WeightSpec(bits=8)))


def _w2a8() -> tuple[Rule, ...]:
    """Two-bit Linear weights (-1, 0, 1 times a scale per channel), the embedding in 8 bits per row:
    where PTQ breaks `mini` most (docs/ablation.md)."""
    body = Rule(
        weight=WeightSpec(bits=2, granularity=PerChannel()),
        activation=ActivationSpec(bits=8, granularity=PerToken()),
    )
    return (body, Rule(roles=("embedding",), weight=WeightSpec(bits=8)))


_LOSSES: dict[str, tuple[Any, ...]] = {
    "kld": (KLD(),),
    "att": (Attention(),),
    "att-kld": (KLD(), Attention()),
    "hid": (Hidden(),),
    "hid-kld": (KLD(), Hidden()),
}


# INT8 where it hurts: coarse ranges, and activations that are rounded everywhere
_HARMFUL = {
    "int8-static-tensor": _int8_static_tensor(),
    "paper-int8": _paper_int8(),
    "int8-full": _int8_full(PerChannel()),
    "int8-full-tensor": _int8_full(PerTensor()),
}


def _presets() -> dict[str, Recipe]:
    made = [Recipe(name="fp32"), Recipe(name="fp32-longer", training=Training())]
    made.append(Recipe(name="ptq-int8-dynamic", rules=_int8_dynamic()))
    made.append(Recipe(name="ptq-int8-static", rules=_int8_static()))
    made.append(Recipe(name="ptq-int8-migrated", rules=_int8_static(), migration=0.5))
    made.append(Recipe(name="ptq-int8-tensor", rules=_int8_tensor()))
    made.append(Recipe(name="ptq-int8-linear", rules=_linear(WeightSpec(), ActivationSpec())))
    made.append(Recipe(name="ptq-int8-weights", rules=_linear(WeightSpec())))
    made += [Recipe(name=f"ptq-{width}", rules=rules) for width, rules in _HARMFUL.items()]
    made.append(Recipe(name="ptq-w4a8", rules=_w4a8()))
    per_channel = (
        Rule(
            weight=WeightSpec(bits=4, granularity=PerChannel()), activation=ActivationSpec(bits=8)
        ),
    )
    made.append(Recipe(name="ptq-w4a8-channel", rules=per_channel))
    made.append(Recipe(name="ptq-w3a8", rules=_w3a8()))
    made.append(Recipe(name="ptq-w2a8", rules=_w2a8()))
    narrow = {"int8": _int8_dynamic(), "w4a8": _w4a8(), "w3a8": _w3a8(), "w2a8": _w2a8()}
    for width, rules in {**narrow, "int8-tensor": _int8_tensor(), **_HARMFUL}.items():
        losses = _LOSSES if width in narrow else {"att-kld": _LOSSES["att-kld"]}
        trained = {"qat": Training(), "qnat": Training(noise=0.5)}
        trained |= {f"sdq-{loss}": Training(distillation=terms) for loss, terms in losses.items()}
        # our extension: unlabelled text of the other languages, too
        trained["sdq-att-kld-multi"] = Training(distillation=_LOSSES["att-kld"], unlabelled=True)
        made += [
            Recipe(name=f"{name}-{width}", rules=rules, training=training)
            for name, training in trained.items()
        ]
    return {recipe.name: recipe for recipe in made}


PRESETS: dict[str, Recipe] = _presets()
_UNNAMED = {"name", "seed"}
_BY_CONTENT = {recipe.model_dump_json(exclude=_UNNAMED): name for name, recipe in PRESETS.items()}


def preset_of(recipe: Mapping[str, Any]) -> str | None:
    """The preset that a recipe (as in a report) equals but for its name and seed."""
    try:
        return _BY_CONTENT.get(Recipe.model_validate(recipe).model_dump_json(exclude=_UNNAMED))
    except ValueError:  # written by another version
        return None


def load_recipe(name: str) -> Recipe:
    """A preset by name or a recipe from a JSON file. UserError with one sentence for anything
    else."""
    if name in PRESETS:
        return PRESETS[name]
    path = path_of(name, "a recipe file")
    if path.suffix != ".json":
        near = difflib.get_close_matches(name, PRESETS, 1)
        meant = f"; do you mean {near[0]}?" if near else "; see `python -m sdq presets`"
        raise UserError(
            f"recipe must be a JSON file or one of the presets {', '.join(PRESETS)}; got "
            f"{one_line(name, 80)!r}{meant}"
        )
    return parse(small(path, "recipe file"), name)


def parse(data: bytes, called: str) -> Recipe:
    """The recipe in the bytes of a JSON file, which errors call `called`. UserError with one
    sentence for anything else."""
    recipe = settings_of(Recipe, data, "recipe", called)
    no_idle_rule(recipe)
    return recipe


def no_idle_rule(recipe: Recipe) -> None:
    """UserError if a rule neither quantizes nor keeps in FP32 what an earlier rule quantizes, or
    leaves nothing of those. Whoever starts a run calls this; a stored recipe is read as it is."""
    before = False
    for number, rule in enumerate(recipe.rules, 1):
        if rule.weight is not None or rule.activation is not None:
            before = True
        elif not before:
            raise UserError(
                "a rule must quantize weights or activations, or keep modules of an earlier rule "
                f"in FP32, rule {number} of {recipe.name} does neither; give it `weight` or "
                "`activation`, or take it out"
            )
        elif not rule.roles and not rule.name.strip("*"):
            raise UserError(
                "a rule that keeps modules in FP32 must leave some to earlier rules, rule "
                f"{number} of {recipe.name} is for every module; name their roles, or take it out"
            )
