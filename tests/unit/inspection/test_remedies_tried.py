"""What remedies won, against the same answers by another way."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from torch import nn

from benchmarks.mixed import measure
from sdq.analyses.bitwidth_sensitivity import bitwidth_sensitivity, summed_sensitivity
from sdq.data.batches import encode
from sdq.data.registry import TASKS, load_task
from sdq.data.task import Task
from sdq.evaluate.predict import outcomes, predict
from sdq.evaluate.significance import paired_tests
from sdq.inspection import remedies
from sdq.inspection.remedies import candidates, choice_at, mixed_precision_recipe
from sdq.inspection.settings import Inspection
from sdq.inspection.subject import Subject, student_of
from sdq.inspection.trials import price_widths, try_remedies
from sdq.models.loading import load
from sdq.pipeline.run import run
from sdq.pipeline.student import calibration_examples, stratified_sample
from sdq.quant.rewrite import calibrate_, rewrite
from sdq.quant.size import size_bytes
from sdq.quant.smoothquant import smoothquant
from sdq.quant.spec import ActivationSpec, Rule
from sdq.recipe import Calibration, Recipe
from sdq.results import Report
from sdq.settings import UserError
from sdq.store import Store
from sdq.train.losses import KLD
from sdq.train.settings import Training
from tests.helpers.remedies import BASE, DYNAMIC

pytestmark = pytest.mark.usefixtures("data")
HOW = Inspection(sentences=15, tested=30)


@lru_cache
def shortened() -> Task:
    """The intent task with three sentences per language and split."""
    full = load_task("intent")
    return replace(
        full,
        splits={name: stratified_sample(examples, 45) for name, examples in full.splits.items()},
    )


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> Task:
    task = shortened()
    monkeypatch.setitem(TASKS, "intent", lambda name: task)
    return task


@pytest.fixture
def fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    """One mixed recipe, and one with a module kept."""
    monkeypatch.setattr(remedies, "SHARES", (1.0,))
    monkeypatch.setattr(remedies, "WORST", (1,))


@lru_cache
def read(folder: Path) -> tuple[nn.Module, Any]:
    return load(folder, shortened().kind, shortened().labels)


def subject_of(recipe: Recipe, folder: Path, task: Task, **more: Any) -> Subject:
    teacher, tokenizer = read(folder)
    return Subject(
        recipe,
        str(folder),
        task,
        tokenizer,
        student_of(recipe, teacher, task, tokenizer),
        stratified_sample(task.examples("test"), 15),
        **more,
    )


@pytest.fixture(scope="module")
def prices(tiny_model: Path) -> dict[str, pd.DataFrame]:
    """Of DYNAMIC."""
    return price_widths(subject_of(DYNAMIC, tiny_model, shortened()), HOW)


def test_a_run_migrates_before_it_rounds(tiny_model: Path, few: Task, tmp_path: Path) -> None:
    """Bit for bit what migrate, rewrite and calibrate_ give by hand, also in the margins; and the
    model of the run is that again."""
    recipe = BASE.model_copy(update={"migration": 0.4, "calibration": Calibration(sentences=20)})
    store = Store(tmp_path / "data" / "runs", shipped=None)
    report = run(recipe, str(tiny_model), "intent", store)
    teacher, tokenizer = read(tiny_model)
    seen = [
        b.inputs
        for b in encode(calibration_examples(recipe, few), few, tokenizer).in_order(
            recipe.calibration.batch_size
        )
    ]
    student = rewrite(smoothquant(teacher, seen, 0.4), recipe.rules)
    calibrate_(student, seen)
    test = few.examples("test")
    by_hand = outcomes(test, *predict(student.eval(), encode(test, few, tokenizer)), few)
    pd.testing.assert_frame_equal(store.sentences(report.run), by_hand, check_exact=True)
    again = student_of(recipe, teacher, few, tokenizer)
    pd.testing.assert_frame_equal(
        outcomes(test, *predict(again, encode(test, few, tokenizer)), few),
        by_hand,
        check_exact=True,
    )
    assert report.size_bytes == size_bytes(student)
    factors = 4 * sum(b.numel() for n, b in student.named_buffers() if n.endswith("input_scale"))
    assert factors == 4 * 24 * 4 * 2  # q, k, v and ffn_in of two blocks
    assert (
        size_bytes(student)["quantized_simulated"]
        == size_bytes(rewrite(teacher, recipe.rules))["quantized_simulated"] + factors
    )


def test_a_trained_student_of_a_migrated_model_is_read_again(
    tiny_model: Path,
    few: Task,
    tmp_path: Path,
) -> None:
    training = Training(steps=4, check_every=2, batch_size=8, distillation=(KLD(),))
    recipe = DYNAMIC.model_copy(
        update={"migration": 0.5, "calibration": Calibration(sentences=20), "training": training}
    )
    store = Store(tmp_path / "data" / "runs", shipped=None)
    report = run(recipe, str(tiny_model), "intent", store)
    teacher, tokenizer = read(tiny_model)
    student = student_of(recipe, teacher, few, tokenizer, store.weights(report))
    test = few.examples("test")
    pd.testing.assert_frame_equal(
        outcomes(test, *predict(student, encode(test, few, tokenizer)), few),
        store.sentences(report.run),
        check_exact=True,
    )


# --- what is computed


def test_costs_and_front_of_a_run(
    tiny_model: Path, few: Task, prices: dict[str, pd.DataFrame]
) -> None:
    subject, tried = subject_of(DYNAMIC, tiny_model, few), prices
    unlabelled = subject.unlabelled(15)
    assert {e.language for e in unlabelled} == set(few.languages)
    assert {e.id for e in unlabelled} <= {e.id for e in few.splits["train"]}
    student = student_of(DYNAMIC, read(tiny_model)[0], few, subject.tokenizer)
    pd.testing.assert_frame_equal(
        tried["costs"],
        bitwidth_sensitivity(
            student,
            encode(unlabelled, few, subject.tokenizer),
            [e.language for e in unlabelled],
            batch_size=32,
        ),
    )
    front = tried["pareto"]
    for row in front.iloc[[0, len(front) // 2, -1]].to_dict("records"):
        choice = choice_at(row, tried["costs"])
        assert (
            size_bytes(
                rewrite(subject.teacher, mixed_precision_recipe(DYNAMIC, choice, "x").rules)
            )["quantized_simulated"]
            == row["bytes"]
        )


def test_without_rounded_weights_there_is_nothing_to_choose(tiny_model: Path, few: Task) -> None:
    with pytest.raises(UserError, match="must round weights"):
        price_widths(
            subject_of(Recipe(rules=(Rule(activation=ActivationSpec()),)), tiny_model, few), HOW
        )


def test_remedies_are_run_and_paired_with_the_run(tiny_model: Path, few: Task, fewer: None) -> None:
    subject = subject_of(BASE, tiny_model, few)
    subject.tables = price_widths(subject, HOW)
    tried = try_remedies(subject, HOW)["remedies"].set_index("remedy")
    size = size_bytes(subject.student)["quantized_simulated"]
    assert list(tried.index) == ["mixed-100", "keep-1", "migration", "channel", "calibration"]
    test = stratified_sample(few.examples("test"), 30)
    data, text = (
        encode(test, few, subject.tokenizer),
        encode(subject.unlabelled(15), few, subject.tokenizer),
    )
    before = outcomes(test, *predict(subject.student, data), few)
    for code, row in tried.iterrows():
        recipe = Recipe.model_validate_json(row["recipe"])
        student = student_of(recipe, subject.teacher, few, subject.tokenizer)
        assert row["bytes"] == size_bytes(student)["quantized_simulated"]
        assert row["predicted"] == pytest.approx(
            summed_sensitivity(student, text, [e.language for e in subject.unlabelled(15)], 32),
            rel=1e-9,
        )
        by_hand = (
            paired_tests(
                before, outcomes(test, *predict(student, data), few), few.languages, ("en",)
            )
            .set_index("language")
            .loc["zero-shot"]
        )
        assert (
            row[["zero_shot", "change", "low", "high", "p", "n"]].tolist()
            == by_hand[["other", "change", "low", "high", "p", "n"]].tolist()
        ), code
        assert row["run"] == ""
    assert tried.loc["mixed-100", "bytes"] <= size
    assert tried["n"].tolist() == [28] * len(tried)


@pytest.mark.slow
def test_a_recipe_that_trains_is_not_run_but_its_stored_run_counts(
    few: Task,
    fewer: None,
    tiny_model: Path,
    tmp_path: Path,
    prices: Any,
) -> None:
    """And the costs are those before training."""
    recipe = DYNAMIC.model_copy(update={"training": Training(steps=2, check_every=1, batch_size=4)})
    store, how = Store(tmp_path / "data" / "runs", shipped=None), Inspection(sentences=15)
    report: Report = run(recipe, str(tiny_model), "intent", store)
    subject = subject_of(recipe, tiny_model, few, report=report, store=store)
    subject.tables = price_widths(subject, how)
    assert subject.tables["costs"].equals(prices["costs"])
    channel = next(
        r.recipe
        for r in candidates(
            recipe, subject.tables["costs"], report.size_bytes["quantized_simulated"]
        )
        if r.code == "channel"
    )
    assert channel.training == recipe.training
    other = run(channel, str(tiny_model), "intent", store)
    tried = try_remedies(subject, how)["remedies"].set_index("remedy")
    row = tried.loc["channel"]
    assert row["run"] == other.run
    assert row["zero_shot"] == pytest.approx(100 * other.quantized.zero_shot_mean)
    assert row["change"] == pytest.approx(
        100 * (other.quantized.zero_shot_mean - report.quantized.zero_shot_mean)
    )
    rest = tried.drop("channel")
    assert rest["change"].isna().all()
    assert (rest["n"] == 0).all()
    assert rest["predicted"].notna().all()
    assert not math.isnan(row["predicted"])


# --- what mixed precision promises


@pytest.mark.slow
@pytest.mark.parametrize("base", ["ptq-w4a8-channel", "ptq-w4a8"])
def test_the_choice_beats_uniform_widths_and_costs_order_recipes(base: str) -> None:
    """On mini, all test sentences: at the size of uniform W4, and over thirteen recipes or more,
    four of them by chance."""
    lines = list(measure(base, 4, False, 0))
    assert next(line for line in lines if line["what"] == "base")["beaten"]
    rho = next(line for line in lines if line.get("over") == "all recipes")
    assert rho["n"] >= 12
    assert rho["rho"] >= 0.8
