"""Remedies for a column that explains a broken module: split, or kept in 16 bits."""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from sdq.data.registry import load_task
from sdq.data.task import Task
from sdq.inspection import remedies
from sdq.inspection.reasons import reason
from sdq.inspection.remedies import candidates, outlier_columns
from sdq.inspection.root_causes import root_causes
from sdq.inspection.settings import Inspection
from sdq.inspection.subject import Subject, student_of
from sdq.inspection.trials import price_widths, try_remedies
from sdq.models.loading import load
from sdq.pipeline.student import stratified_sample
from sdq.quant.rewrite import quantized_modules
from sdq.quant.spec import ActivationSpec, OutlierColumns, PerTensor, Rule, WeightSpec
from sdq.recipe import Recipe, no_idle_rule, parse
from tests.helpers import made_up_reasons, made_up_remedies

BASE = Recipe(
    name="base",
    rules=(
        Rule(weight=WeightSpec(granularity=PerTensor()), activation=ActivationSpec()),
        Rule(roles=("embedding",), weight=WeightSpec()),
    ),
)
HOW = Inspection(sentences=15, tested=15)
LAYER = "roberta.encoder.layer.1.output.dense"


def causes(*rows: tuple[str, str, int, int, float]) -> pd.DataFrame:
    """Modules of the made-up model, each with one cause that explains it: (module's number, cause,
    at, position, KL)."""
    table = made_up_reasons.why().iloc[: len(rows)].copy()
    names = [f"roberta.encoder.layer.{number}.output.dense" for number, *_ in rows]
    table["module"], table["role"] = names, "ffn_out"
    table["block"] = [int(number) for number, *_ in rows]
    for i, name in enumerate(("cause", "at", "position", "kl"), 1):
        table[name] = [row[i] for row in rows]
    table["gain"] = 0.9 * table["kl"]
    return table.assign(kept="unit")


def apart(made: list[Any], code: str) -> dict[str, OutlierColumns]:
    """Module -> the columns that a remedy holds apart."""
    (remedy,) = (r for r in made if r.code == code)
    no_idle_rule(remedy.recipe)
    assert parse(remedy.recipe.model_dump_json().encode(), "x") == remedy.recipe
    return {rule.name: rule.outliers for rule in remedy.recipe.rules if rule.outliers is not None}


def test_the_two_worst_modules_whose_reason_is_a_column() -> None:
    why = causes(
        ("0", "outlier_unit", 7, 2, 0.2),
        ("1", "single_weight", 4, 9, 0.5),
        ("2", "weight_range", 3, -1, 0.9),
        ("3", "weight_column", 5, -1, 0.1),
    )
    first, second = (f"roberta.encoder.layer.{i}.output.dense" for i in (1, 0))
    assert [(row["module"], at, how) for row, at, how in outlier_columns(why)] == [
        (first, 9, "split_weight"),
        (second, 7, "split_input"),
    ]
    made = candidates(BASE, made_up_remedies.costs(), 6_000_000, why)
    assert apart(made, "split-column") == {
        first: OutlierColumns(columns=(9,), how="split_weight"),
        second: OutlierColumns(columns=(7,), how="split_input"),
    }
    assert apart(made, "keep-column") == {
        first: OutlierColumns(columns=(9,)),
        second: OutlierColumns(columns=(7,)),
    }
    (kept,) = (r.what for r in made if r.code == "keep-column")
    assert kept == (
        "Keep column 9 of block 1 · feed-forward out and column 7 of block 0 · feed-forward out in "
        "16 bits"
    )
    for rule in made[-1].recipe.rules[2:]:
        assert (rule.weight, rule.activation) == (BASE.rules[0].weight, BASE.rules[0].activation)


def test_without_such_a_reason_there_are_none() -> None:
    costs = made_up_remedies.costs()
    for why in (None, causes(("2", "weight_range", 3, -1, 0.9))):
        codes = {r.code for r in candidates(BASE, costs, 6_000_000, why)}
        assert not {"split-column", "keep-column"} & codes
    weak = causes(("1", "single_weight", 4, 9, 0.5)).assign(gain=0.1)
    assert reason(weak) is None
    assert outlier_columns(weak) == []


def test_columns_that_are_apart_already_stay_so() -> None:
    why, costs = causes(("1", "single_weight", 4, 9, 0.5)), made_up_remedies.costs()
    for before, split, kept in (
        (OutlierColumns(columns=(2,)), None, (2, 9)),
        (OutlierColumns(columns=(2,), how="split_weight"), (2, 9), None),
        (OutlierColumns(columns=(9,)), None, None),
    ):
        rule = BASE.rules[0].model_copy(update={"name": LAYER, "outliers": before})
        recipe = BASE.model_copy(update={"rules": (*BASE.rules, rule)})
        made = candidates(recipe, costs, 6_000_000, why)
        wanted = {"split-column": split, "keep-column": kept}
        for code, columns in wanted.items():
            there = [r for r in made if r.code == code]
            assert bool(there) == (columns is not None)
            if there:
                assert there[0].recipe.rules[-1].outliers.columns == columns  # type: ignore[union-attr]


@lru_cache
def shortened() -> Task:
    full = load_task("intent")
    few = {name: stratified_sample(examples, 45) for name, examples in full.splits.items()}
    return replace(full, splits=few)


def test_a_planted_weight_is_named_and_its_remedies_are_measured(
    tiny_model: Path, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Keeping the column wins nearly all that the module lost, splitting it most."""
    monkeypatch.setattr(remedies, "SHARES", ())
    monkeypatch.setattr(remedies, "WORST", ())
    monkeypatch.setattr("sdq.inspection.root_causes.WORST", 1)
    task = shortened()
    model, tokenizer = load(tiny_model, task.kind, task.labels)
    planted: Any = copy.deepcopy(model)
    with torch.no_grad():
        weight = planted.get_submodule(LAYER).weight
        weight[5, 3] = 30 * weight.abs().max()
    student = student_of(BASE, planted, task, tokenizer)
    examples = stratified_sample(task.examples("test"), 15)
    subject = Subject(BASE, str(tiny_model), task, tokenizer, student, examples)
    subject.__dict__["teacher"] = planted
    subject.tables = price_widths(subject, HOW) | root_causes(subject, HOW)
    ((row, column, how),) = outlier_columns(subject.tables["why"])
    assert (row["module"], row["cause"], column, how) == (LAYER, "single_weight", 3, "split_weight")
    tried = try_remedies(subject, HOW)["remedies"].set_index("remedy")
    assert {"split-column", "keep-column", "channel", "migration"} == set(tried.index)
    costs = subject.tables["costs"]
    now = costs.loc[costs["present"], ["module", "cost"]].set_index("module")["cost"]
    for code, least in (("split-column", 0.5), ("keep-column", 0.9)):
        won = (now.sum() - tried.loc[code, "predicted"]) / now[LAYER]
        assert won > least, code
        assert tried.loc[code, "n"] > 0
        recipe = Recipe.model_validate_json(tried.loc[code, "recipe"])
        made = quantized_modules(student_of(recipe, planted, task, tokenizer))
        assert [n for n, m in made.items() if getattr(m, "outliers", None)] == [LAYER]
    split, kept = tried.loc["split-column", "bytes"], tried.loc["keep-column", "bytes"]
    assert split == kept, "a second code in a row of 8 bits is as much as 2 bytes for one"
    assert split < tried.loc["channel", "bytes"]
