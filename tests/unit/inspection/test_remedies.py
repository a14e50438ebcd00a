"""Remedies: choices that fit, and which apply."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sdq.analyses.bitwidth_sensitivity import bitwidth_sensitivity
from sdq.inspection.remedies import (
    by_channel,
    candidates,
    choice_at,
    current_choice,
    mixed_precision_recipe,
    recipe_within,
)
from sdq.quant.mixed_precision import FP, pareto
from sdq.quant.rewrite import rewrite
from sdq.quant.size import size_bytes
from sdq.quant.spec import PerTensor, Rule, WeightSpec
from sdq.recipe import PRESETS, Calibration, Recipe, load_recipe
from sdq.settings import UserError
from sdq.store import run_id
from tests.helpers.remedies import BASE, DYNAMIC
from tests.helpers.training import text
from tests.profiles import examples

pytestmark = pytest.mark.usefixtures("data")
FRONT: dict[str, pd.DataFrame] = {}


@pytest.fixture(scope="module")
def measured() -> tuple[nn.Module, pd.DataFrame, int]:
    """(a random model, its table of costs under DYNAMIC's rules, its size in bytes)"""
    import transformers

    torch.manual_seed(0)
    shape = {
        "vocab_size": 61,
        "num_hidden_layers": 2,
        "max_position_embeddings": 48,
        "intermediate_size": 40,
        "hidden_size": 24,
        "num_attention_heads": 3,
    }
    model = transformers.XLMRobertaForSequenceClassification(
        transformers.XLMRobertaConfig(**shape, num_labels=3, pad_token_id=1, initializer_range=0.3)
    ).eval()
    student = rewrite(model, DYNAMIC.rules).eval()
    return (
        model,
        bitwidth_sensitivity(student, text(n=4), ["en"] * 4),
        size_bytes(student)["quantized_simulated"],
    )


def report_of(recipe: Recipe, size: int) -> Any:
    return SimpleNamespace(
        recipe=recipe.model_dump(mode="json"),
        size_bytes={"quantized_simulated": size},
        run="0" * 12,
    )


# --- choices and recipes


@examples(8)
@given(st.floats(0, 2))
def test_a_recipe_of_a_size_takes_no_byte_more(measured: Any, share: float) -> None:
    """Counted in the model that the recipe makes; and it costs no more than anything else of the
    front that fits."""
    model, table, size = measured
    rest = size - current_choice(table).bytes
    limit = rest + (1 + share) * int(table.groupby("module")["bytes"].min().sum())
    recipe, choice = recipe_within(report_of(DYNAMIC, size), table, size=limit)
    student = rewrite(model, recipe.rules)
    assert size_bytes(student)["quantized_simulated"] == rest + choice.bytes <= limit
    for name, bits in choice.widths.items():
        layer: Any = student.get_submodule(name)
        quantizer = getattr(layer, "weight_quantizer", None)
        has = (
            (FP, "")
            if quantizer is None
            else (quantizer.spec.bits, quantizer.spec.granularity.kind)
        )
        assert has == (bits, choice.ranges[name])
    front = FRONT.setdefault("front", pareto(table, 6))
    assert choice.cost <= front.loc[front["bytes"] <= choice.bytes, "cost"].min() + 1e-12


def test_the_smallest_recipe_of_a_cost(measured: Any) -> None:
    model, table, size = measured
    report, now = report_of(DYNAMIC, size), current_choice(table)
    recipe, choice = recipe_within(report, table, max_cost=now.cost)
    assert choice.cost <= now.cost
    assert choice.bytes < now.bytes
    assert recipe.name == f"base-mixed-{(size - now.bytes + choice.bytes) / 1e6:.2f}mb"
    for limits, said in (
        ({}, "got neither"),
        ({"size": 1, "max_cost": 1}, "got both"),
        ({"size": 10}, "at least"),
        ({"max_cost": -1}, "at least"),
    ):
        with pytest.raises(UserError, match=said):
            recipe_within(report, table, **limits)
    least = size - now.bytes + int(table.groupby("module")["bytes"].min().sum())
    with pytest.raises(UserError, match=f"at least {least} bytes"):
        recipe_within(report, table, size=least - 1)
    assert (
        size_bytes(rewrite(model, recipe_within(report, table, size=least)[0].rules))[
            "quantized_simulated"
        ]
        == least
    )


def test_a_point_of_the_front_is_its_choice(measured: Any, tmp_path: Path) -> None:
    """And as a recipe it survives a file."""
    _, table, _ = measured
    for row in pareto(table, 5).to_dict("records"):
        choice = choice_at(row, table)
        assert (choice.bytes, choice.cost) == (row["bytes"], row["cost"])
        assert choice.widths == json.loads(row["widths"])
        recipe = mixed_precision_recipe(BASE, choice, "mixed")
        (tmp_path / "mixed.json").write_text(recipe.model_dump_json(indent=1))
        loaded = load_recipe(str(tmp_path / "mixed.json"))
        assert loaded == recipe
        assert run_id(loaded, "m", "t") == run_id(recipe, "m", "t") != run_id(BASE, "m", "t")


def test_which_remedies_apply(measured: Any) -> None:
    _, table, size = measured
    now, by_code = current_choice(table), {r.code: r for r in candidates(BASE, table, size)}
    assert set(by_code) == {
        "mixed-80",
        "mixed-100",
        "mixed-125",
        "mixed-150",
        "keep-1",
        "keep-2",
        "keep-4",
        "migration",
        "channel",
        "calibration",
    }
    assert "calibration" not in {r.code for r in candidates(DYNAMIC, table, size)}
    everywhere = BASE.model_copy(
        update={"calibration": Calibration(languages="all"), "migration": 0.3}
    )
    assert not {"calibration", "migration"} & {r.code for r in candidates(everywhere, table, size)}
    fine = table[table["ranges"] != "tensor"].assign(present=lambda t: t["bits"] == 8)
    assert "channel" not in {r.code for r in candidates(BASE, fine, size)}
    plain = Recipe(rules=(Rule(weight=WeightSpec(bits=4, granularity=PerTensor())),))
    assert "migration" not in {r.code for r in candidates(plain, table, size)}
    alone = table[table["present"]].sort_values("cost", ascending=False)
    for k in (1, 2, 4):
        assert [rule.name for rule in by_code[f"keep-{k}"].recipe.rules[2:]] == alone[
            "module"
        ].tolist()[:k]
        assert by_code[f"keep-{k}"].predicted == pytest.approx(alone["cost"].iloc[k:].sum())
    assert by_code["migration"].recipe == BASE.model_copy(
        update={"name": "base-migrated", "migration": 0.5}
    )
    assert by_code["channel"].recipe.rules[0].weight == WeightSpec(bits=4)
    assert by_code["channel"].recipe.rules[1] == BASE.rules[1]
    assert by_code["channel"].predicted == by_channel(table).cost
    best = recipe_within(report_of(DYNAMIC, size), table, size=size)
    there = [
        (best[1].widths[m], best[1].ranges[m]) == (b, r)
        for m, b, r in zip(table["module"], table["bits"], table["ranges"], strict=True)
    ]
    codes = {
        r.code
        for r in candidates(best[0], table.assign(present=there), size - now.bytes + best[1].bytes)
    }
    assert "mixed-150" in codes
    assert "mixed-100" not in codes, "nothing would change"


# --- migration in a run


def test_ids_of_recipes_without_migration_are_what_they_were() -> None:
    canonical = {"rules", "calibration", "training", "seed"}
    assert set(json.loads(PRESETS["ptq-w4a8"].canonical())) == canonical
    assert set(json.loads(PRESETS["ptq-int8-migrated"].canonical())) == canonical | {"migration"}
    ids = {
        run_id(BASE.model_copy(update={"migration": strength}), "m", "t")
        for strength in (None, 0.0, 0.5, 1.0)
    }
    assert len(ids) == 4
    with pytest.raises(ValueError, match="migration must come with at least one quantization rule"):
        Recipe(migration=0.5)
    assert (
        Recipe.model_validate_json(PRESETS["ptq-int8-migrated"].model_dump_json())
        == PRESETS["ptq-int8-migrated"]
    )
