"""Choices of widths as recipes that run."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from torch import nn

from sdq.models.structure import modules
from sdq.quant.layers import QuantEmbedding, QuantLinear
from sdq.quant.mixed_precision import FP, Choice, choose, keep_worst, rules, weight_bytes
from sdq.quant.observers import Mse
from sdq.quant.rewrite import rewrite
from sdq.quant.size import size_bytes
from sdq.quant.spec import ActivationSpec, PerChannel, PerGroup, PerTensor, Rule, WeightSpec
from sdq.recipe import Recipe, load_recipe

WIDTHS = (2, 3, 4, 6, 8, FP)


# --- recipes

BASE = (
    Rule(
        weight=WeightSpec(bits=8, granularity=PerTensor(), symmetric=False),
        activation=ActivationSpec(bits=6),
    ),
    Rule(roles=("embedding",), weight=WeightSpec(bits=8)),
    Rule(
        roles=("ffn_in", "ffn_out"),
        weight=WeightSpec(bits=8, granularity=PerGroup(size=8), observer=Mse()),
        activation=ActivationSpec(bits=7),
    ),
    Rule(name="*layer.1.*", roles=("ffn_out",), weight=WeightSpec(bits=5)),
)


def expected(model: nn.Module) -> dict[str, Rule]:
    """Which base rule holds for which module, found by taking rules away until the quantized twin
    changes."""
    student = rewrite(model, BASE)
    chosen = {}
    for m in modules(model):
        layer: Any = student.get_submodule(m.name)
        activation = getattr(layer, "input_quantizer", None)
        chosen[m.name] = next(
            r
            for r in BASE
            if r.weight == layer.weight_quantizer.spec
            and (
                isinstance(layer, QuantEmbedding)
                or (activation and activation.spec) == r.activation
            )
        )
    return chosen


def test_a_choice_is_a_recipe_that_runs(family: str, kind: str, tiny: Any, tmp_path: Path) -> None:
    """Through a JSON file; every module has the chosen width and all else of the base rule that
    would have held for it."""
    model = tiny(family, kind)
    candidates, holds = modules(model), expected(model)
    assert len(set(map(str, holds.values()))) == len(BASE)
    rows = [
        (m.name, bits, 0.0 if bits == WIDTHS[i % 6] else 1.0, 10, m.role)
        for i, m in enumerate(candidates)
        for bits in WIDTHS
    ]
    table = pd.DataFrame(rows, columns=["module", "bits", "cost", "bytes", "role"])
    choice = choose(table, max_cost=0)
    assert choice.widths == {m.name: WIDTHS[i % 6] for i, m in enumerate(candidates)}
    recipe = Recipe(rules=rules(choice, BASE))
    path = tmp_path / "mixed.json"
    path.write_text(recipe.model_dump_json())
    loaded = load_recipe(str(path))
    assert loaded == recipe
    student = rewrite(model, loaded.rules)
    for m in candidates:
        layer: Any = student.get_submodule(m.name)
        if choice.widths[m.name] == FP:
            assert type(layer) in (nn.Linear, nn.Embedding)
            continue
        base = holds[m.name]
        assert base.weight is not None
        assert layer.weight_quantizer.spec.bits == choice.widths[m.name]
        assert layer.weight_quantizer.spec.model_dump(exclude={"bits"}) == base.weight.model_dump(
            exclude={"bits"}
        )
        if isinstance(layer, QuantLinear):
            assert (layer.input_quantizer and layer.input_quantizer.spec) == base.activation


def test_what_the_choice_does_not_name_stays_as_in_the_base(tiny: Any) -> None:
    model = tiny()
    name = next(m.name for m in modules(model) if m.role == "q")
    student = rewrite(model, rules(Choice({name: 3}, 0, 0, {name: "q"}), BASE))
    plain = rewrite(model, BASE)
    for m in modules(model):
        bits = 3 if m.name == name else plain.get_submodule(m.name).weight_quantizer.spec.bits  # type: ignore[union-attr]
        assert student.get_submodule(m.name).weight_quantizer.spec.bits == bits  # type: ignore[union-attr]


def test_a_width_needs_a_base_rule() -> None:
    only_inputs = Rule(activation=ActivationSpec())
    for base in (
        (),
        (Rule(name="b", weight=WeightSpec()),),
        (Rule(weight=WeightSpec()), only_inputs),
    ):
        with pytest.raises(ValueError, match="how the weight of a is quantized, none does"):
            rules(Choice({"a": 4}, 0, 0), base)
        assert rules(Choice({"a": FP}, 0, 0), base) == (
            (*base, Rule(name="a")) if only_inputs in base else base
        )
    with pytest.raises(ValueError, match="must have a column role"):
        rules(Choice({"a": 4}, 0, 0), BASE)
    assert rules(Choice({"a": 4}, 0, 0), (Rule(name="b", roles=("q",)), BASE[0]))[
        -1
    ].weight == BASE[0].weight.model_copy(update={"bits": 4})


def test_the_worst_stay_fp(tiny: Any) -> None:
    model = tiny("distilbert")
    candidates = [m.name for m in modules(model)]
    costs = {name: float((7 * i) % 5) for i, name in enumerate(candidates)}
    order = sorted(range(len(candidates)), key=lambda i: (-((7 * i) % 5), i))
    for k in (0, 1, 4, len(candidates)):
        for given_as in (costs, pd.Series(costs)):
            student = rewrite(
                model,
                Recipe.model_validate_json(
                    Recipe(rules=keep_worst(given_as, k, BASE)).model_dump_json()
                ).rules,
            )
            plain = {
                name
                for name in candidates
                if type(student.get_submodule(name)) in (nn.Linear, nn.Embedding)
            }
            assert plain == {candidates[i] for i in order[:k]}
    for k in (-1, len(candidates) + 1):
        with pytest.raises(
            ValueError, match=f"from 0 to the number of modules, {len(candidates)}, got {k}"
        ):
            keep_worst(costs, k, BASE)
    with pytest.raises(ValueError, match="that of b is nan"):
        keep_worst({"a": 1.0, "b": math.nan}, 1, BASE)


# --- sizes


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(
    "granularity", [PerTensor(), PerChannel(), PerGroup(size=8)], ids=lambda g: g.kind
)
def test_weight_bytes_are_those_of_the_report(granularity: Any, symmetric: bool, tiny: Any) -> None:
    """Summed over the modules they are what a report says of the whole model; and by hand."""
    model = tiny("bert")
    shapes = {m.name: tuple(model.get_submodule(m.name).weight.shape) for m in modules(model)}  # type: ignore[union-attr,arg-type]
    for bits in (2, 3, 8):
        spec = WeightSpec(bits=bits, symmetric=symmetric, granularity=granularity)
        whole = size_bytes(rewrite(model, (Rule(weight=spec),)))
        saved = sum(
            weight_bytes(shape, None) - weight_bytes(shape, spec) for shape in shapes.values()
        )
        assert whole["quantized_simulated"] == whole["fp32"] - saved
        ranges = {"tensor": 1, "channel": 5, "group": 15}[granularity.kind]
        assert weight_bytes((5, 24), spec) == math.ceil(120 * bits / 8) + ranges * (
            4 if symmetric else 5
        )
    assert weight_bytes((5, 24), None) == 480


def test_a_choice_needs_neither_torch_nor_scipy_to_be_read() -> None:
    code = "import sys, sdq.quant.mixed_precision; print(' '.join(sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=Path(__file__).parents[3],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    loaded = set(done.stdout.split())
    assert "sdq.quant.mixed_precision" in loaded
    assert not loaded & {"torch", "transformers", "streamlit", "scipy"}
