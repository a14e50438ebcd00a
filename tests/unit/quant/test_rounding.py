"""Every way of rounding weights is met here: its codes and its values agree, a recipe names it, and
nothing rounds a weight past it."""

from __future__ import annotations

from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from sdq.quant.integer import code_range, dequantize
from sdq.quant.layers import WeightQuantizer
from sdq.quant.packed import pack, unpack_
from sdq.quant.rewrite import rewrite
from sdq.quant.rounding import ROUNDINGS, Nearest, Rounding
from sdq.quant.spec import PerChannel, PerGroup, PerTensor, Rule, WeightSpec
from sdq.recipe import PRESETS, Recipe

EVERY = pytest.mark.parametrize("name", ROUNDINGS)
SPECS = [
    WeightSpec(bits=bits, symmetric=symmetric, granularity=granularity)
    for bits in (2, 4, 8)
    for symmetric in (True, False)
    for granularity in (PerTensor(), PerChannel(), PerGroup(size=8))
]


class Down(Nearest):
    """A second way, to see who asks: to the code below."""

    needs_inputs = True

    def codes(
        self, rows: Tensor, scale: Tensor, zero: Tensor, bits: int, symmetric: bool
    ) -> Tensor:
        bottom, top = code_range(bits, symmetric)
        return ((rows / scale).floor() + zero).clamp(bottom, top).to(torch.int32)

    def rounded(
        self,
        rows: Tensor,
        scale: Tensor,
        zero: Tensor,
        bits: int,
        symmetric: bool,
        covered: bool = False,
    ) -> Tensor:
        return dequantize(self.codes(rows, scale, zero, bits, symmetric), scale, zero)


def test_the_registry_has_the_names_that_recipes_may_give() -> None:
    assert tuple(ROUNDINGS) == get_args(Rounding)


@EVERY
@pytest.mark.parametrize("spec", SPECS, ids=lambda s: f"{s.bits}{s.symmetric}{s.granularity.kind}")
def test_values_are_those_of_the_codes(name: Any, spec: WeightSpec) -> None:
    spec = spec.model_copy(update={"rounding": name})
    weight = torch.randn(6, 16, generator=torch.Generator().manual_seed(3))
    quantizer = WeightQuantizer(spec).eval()
    scale, zero = quantizer.ranges(weight)
    rows = spec.granularity.rows(weight)
    codes = quantizer.rounding.codes(rows, scale, zero, spec.bits, spec.symmetric)
    bottom, top = code_range(spec.bits, spec.symmetric)
    assert codes.dtype == torch.int32
    assert codes.min() >= bottom
    assert codes.max() <= top
    with torch.no_grad():
        assert torch.equal(quantizer(weight), dequantize(codes, scale, zero).reshape(weight.shape))
    step = scale.expand_as(rows)
    assert ((dequantize(codes, scale, zero) - rows).abs() <= step * 1.0001).all(), "a step at most"


@EVERY
def test_training_reaches_the_weight(name: Any) -> None:
    weight = torch.randn(4, 8, generator=torch.Generator().manual_seed(1)).requires_grad_()
    WeightQuantizer(WeightSpec(bits=4, rounding=name))(weight).sum().backward()
    assert weight.grad is not None
    assert weight.grad.abs().sum() > 0


@EVERY
def test_a_recipe_names_it(name: Any) -> None:
    made = Recipe(rules=(Rule(weight=WeightSpec(bits=4, rounding=name)),))
    assert Recipe.model_validate_json(made.model_dump_json()) == made
    assert made.calibrates == ROUNDINGS[name].needs_inputs


def test_the_usual_rounding_leaves_recipes_and_run_ids_as_they_were() -> None:
    said = {"rules": [{"weight": {"bits": 4, "rounding": "nearest"}}]}
    unsaid: dict[str, Any] = {"rules": [{"weight": {"bits": 4}}]}
    assert Recipe.model_validate(said).canonical() == Recipe.model_validate(unsaid).canonical()
    for recipe in PRESETS.values():
        assert "rounding" not in recipe.canonical()
        assert "rounding" not in recipe.model_dump_json()


def test_linear_embedding_and_packed_codes_all_ask_the_registry(
    tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, rules = tiny("xlmr"), (Rule(weight=WeightSpec(bits=4)),)
    batch = {"input_ids": torch.arange(5, 19).reshape(2, 7)}
    nearest = rewrite(teacher, rules)
    monkeypatch.setitem(ROUNDINGS, "nearest", Down)
    assert Recipe(rules=rules).calibrates
    down = rewrite(teacher, rules)
    with torch.no_grad():
        for student in (nearest, down):
            for parameter in student.parameters():
                parameter.add_(0.01)
    for part in ("roberta.embeddings.word_embeddings", "roberta.encoder.layer.0.output.dense"):
        kept = [student.get_submodule(part) for student in (nearest, down)]
        x = batch["input_ids"] if "embeddings" in part else torch.randn(2, kept[0].in_features)
        with torch.no_grad():
            assert not torch.equal(kept[0](x), kept[1](x)), part
    other = rewrite(teacher, rules)
    unpack_(other, pack(down, teacher))
    with torch.inference_mode():
        assert torch.equal(other.eval()(**batch).logits, down.eval()(**batch).logits)
