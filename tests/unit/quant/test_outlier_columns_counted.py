"""Columns that are held apart are counted wherever a model is: sizes, packed weights, prices,
analyses and recipes."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from sdq.analyses.ablation import _fresh, _Without
from sdq.analyses.activations import activations
from sdq.analyses.bitwidth_sensitivity import bitwidth_sensitivity, weights_rounded_to
from sdq.analyses.input_statistics import exact_codes
from sdq.analyses.outliers import _rounded
from sdq.analyses.weights import weights
from sdq.inspection.remedies import current_choice
from sdq.quant.layers import ActivationQuantizer, ForwardPass
from sdq.quant.mixed_precision import choice_of, rules, weight_bytes
from sdq.quant.packed import pack, unpack_
from sdq.quant.rewrite import calibrate_, quantized_modules, rewrite
from sdq.quant.size import size_bytes
from sdq.quant.spec import (
    ActivationSpec,
    PerTensor,
    Rule,
    WeightSpec,
)
from sdq.recipe import PRESETS, Recipe, parse
from sdq.settings import UserError
from sdq.store import run_id
from tests.helpers.encoders import logits
from tests.helpers.layers import tokens
from tests.helpers.outlier_columns import FEW, GRAINS, HOW, HOWS, LAYER, apart, rule
from tests.helpers.rewriting import STATIC
from tests.helpers.training import text

# --- counted and kept


@HOW
def test_sizes_by_hand(how: str, tiny: Any) -> None:
    model = tiny()
    rows, columns = model.get_submodule(LAYER).weight.shape
    plain = Rule(name=LAYER, weight=WeightSpec(bits=4), activation=ActivationSpec())
    more = {"keep": 2 * 2 * rows - 2 * rows // 2, "split_weight": rows, "split_input": rows}[how]
    before, after = (
        size_bytes(rewrite(model, [r]))
        for r in (plain, plain.model_copy(update={"outliers": apart(how, 3, 9)}))
    )
    assert after["fp32"] == before["fp32"]
    assert after["quantized_simulated"] - before["quantized_simulated"] == more + 2 * 4
    assert weight_bytes((rows, columns), None, FEW) == 4 * rows * columns + 8
    only_input = plain.model_copy(update={"weight": None, "outliers": apart("split_input", 3)})
    full = size_bytes(rewrite(model, [only_input]))
    assert full["quantized_simulated"] == full["fp32"] + 4 * rows + 4


@HOW
@GRAINS
def test_packed_it_answers_as_the_student(
    how: str, granularity: Any, tiny: Any, padded: Any
) -> None:
    teacher = tiny()
    batch = padded(teacher)
    made = rule(how, 3, 9, weight=WeightSpec(bits=4, granularity=granularity), activation=STATIC)
    student = rewrite(teacher, [made])
    with torch.no_grad():
        student.get_submodule(LAYER).weight.add_(0.3)
        student.get_submodule(LAYER).weight[:, 3] *= 20
    calibrate_(student, [batch])
    plain = rewrite(teacher, [made.model_copy(update={"outliers": None})])
    assert student.state_dict().keys() == plain.state_dict().keys(), "nothing more to save"
    packed = pack(student.eval(), teacher)
    assert (f"{LAYER}.kept" in packed) == (how == "keep")
    other = rewrite(teacher, [made])
    unpack_(other, packed)
    assert torch.equal(logits(other.eval(), batch), logits(student, batch))
    assert not torch.equal(logits(student, batch), logits(teacher, batch))


@HOW
def test_widths_of_such_layers_are_priced_and_chosen_with_their_columns(
    how: str, tiny: Any, padded: Any
) -> None:
    model, batch = tiny(), padded(tiny())
    base = (
        Rule(roles=("ffn_in",), weight=WeightSpec(granularity=PerTensor())),
        rule(how, 3, 9),
    )
    student = rewrite(model, base)
    costs = bitwidth_sensitivity(student, text(n=3), ["en"] * 3, widths=(4,))
    rest = size_bytes(student)["quantized_simulated"] - current_choice(costs).bytes
    narrow = choice_of(costs[(costs["bits"] == 4) & (costs["ranges"] == "channel")])
    other = rewrite(model, rules(narrow, base))
    layer: Any = other.get_submodule(LAYER)
    assert layer.outliers == apart(how, 3, 9)
    assert layer.weight_quantizer.spec == WeightSpec(bits=4)
    assert size_bytes(other)["quantized_simulated"] == rest + narrow.bytes
    specs = {n: m.weight_quantizer.spec for n, m in quantized_modules(student).items()}
    before = logits(student, batch)
    with weights_rounded_to(student, specs):  # type: ignore[arg-type]
        assert torch.equal(logits(student, batch), before)


# --- what analyses say of them


@HOW
def test_errors_are_those_of_the_whole_layer(how: str, tiny: Any) -> None:
    model = tiny()
    with torch.no_grad():
        model.get_submodule(LAYER).weight[:, 3] *= 20
    student = rewrite(model, [rule(how, 3, 9)])
    layer: Any = student.get_submodule(LAYER)
    full = layer.weight.detach()
    off = (layer.weight_quantizer(full) - full).detach().double()
    row = weights(student).set_index("module").loc[LAYER]
    assert row["mse"] == pytest.approx(float((off**2).mean()))
    assert row["quantized"].sum() == full.numel()
    relative = float(off.norm() / full.double().norm())
    assert _rounded(layer, layer.weight_quantizer)[1] == pytest.approx(relative)
    data = text(n=4)
    table, _ = activations(student, data, ["en"] * 4)
    seen = table.set_index("module").loc[LAYER]
    assert seen["clipped"] == 0, "its own range holds whatever goes to codes"
    if how == "split_weight":
        assert "apart" not in table, "its input has one range for all"
    else:
        assert seen["apart"] == 2
        assert table["apart"].notna().sum() == 1
    x = tokens(7, 4, layer.in_features)
    x[:, 3] *= 20
    inputs = layer.input_quantizer
    assert exact_codes(inputs, x).abs().max() <= 127
    assert torch.equal(_fresh(inputs)(x), inputs(x))
    without = _Without(layer, layer.weight_quantizer.spec, inputs)
    with torch.no_grad():
        assert torch.equal(without.forward(x), layer(x)), "nothing is taken away"


# --- recipes


def test_recipes_without_them_keep_their_ids() -> None:
    for recipe in PRESETS.values():
        assert "outliers" not in recipe.canonical()
        assert "outliers" not in recipe.model_dump_json()
    none = {"rules": [{"weight": {}, "outliers": None}]}
    assert (
        Recipe.model_validate(none).canonical()
        == Recipe(rules=(Rule(weight=WeightSpec()),)).canonical()
    )
    made = [Recipe(rules=(rule(how, *columns),)) for how in HOWS for columns in ((3,), (3, 9))]
    assert len({run_id(recipe, "m", "t") for recipe in made}) == len(made)
    for recipe in made:
        assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
        assert Recipe.model_validate(json.loads(recipe.canonical())).rules == recipe.rules
    assert apart("keep", 9, 3, 9) == apart("keep", 3, 9)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"outliers": {"columns": []}}, "must name at least one column, got none"),
        ({"outliers": {"columns": [-1]}}, "outliers.columns"),
        ({"outliers": {"columns": [1], "how": "halve"}}, "outliers.how"),
        ({"roles": ["layernorm"], "weight": None}, "for Linear layers, layernorm is none"),
        ({"roles": ["q", "residual"]}, "for Linear layers, residual is none"),
        ({"activation": None, "outliers": {"columns": [1], "how": "split_input"}}, "`activation`"),
        ({"weight": None, "outliers": {"columns": [1], "how": "split_weight"}}, "`weight`"),
        ({"weight": None, "activation": None}, "come with `weight` or `activation`"),
    ],
)
def test_what_no_recipe_can_have_is_refused_in_one_sentence(
    more: dict[str, Any], said: str
) -> None:
    plain = {"weight": {}, "activation": {}, "outliers": {"columns": [1]}}
    with pytest.raises(UserError, match=said) as caught:
        parse(json.dumps({"rules": [plain | more]}).encode(), "mine.json")
    assert "\n" not in str(caught.value)
    with pytest.raises(ValidationError):
        Rule.model_validate(plain | more)


def test_what_the_model_does_not_have_is_refused(tiny: Callable[..., nn.Module]) -> None:
    model = tiny()
    layer: Any = model.get_submodule(LAYER)
    width = layer.in_features
    assert rewrite(model, [rule("keep", width - 1)])
    with pytest.raises(UserError, match=f"has {width}, from 0 to {width - 1}, got {width}; "):
        rewrite(model, [rule("keep", 0, width)])
    for made in (
        Rule(weight=WeightSpec(), outliers=FEW),
        Rule(roles=("embedding",), weight=WeightSpec(), outliers=FEW),
    ):
        with pytest.raises(
            UserError, match=r"for Linear layers, .*word_embeddings is an embedding"
        ):
            rewrite(model, [made])


def test_quantizers_of_sites_hold_nothing_apart() -> None:
    x: Tensor = tokens()
    quantizer = ActivationQuantizer(ActivationSpec(), ForwardPass())
    assert quantizer.narrowed(x) is x
