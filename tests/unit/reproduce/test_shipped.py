"""What comes with the project: small enough, of the present engine and model, complete, and
true."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdq.inspection.settings import Inspection
from sdq.inspection.storage import inspect, inspection_id, missing
from sdq.recipe import PRESETS, Recipe
from sdq.reproduce.plan import MINI, STUDIES, Job, Study
from sdq.reproduce.shipping import PACKED
from sdq.settings import ASSETS, UserError
from sdq.store import SHIPPED, TABLES, Store
from sdq.store.identity import identify


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs", SHIPPED)


def test_assets_are_small() -> None:
    assert sum(p.stat().st_size for p in ASSETS.rglob("*") if p.is_file()) <= 90e6


def test_every_shipped_run_is_one_the_present_engine_would_make(store: Store) -> None:
    """Its id follows from its recipe and the shipped model and data: nothing is left over from an
    earlier build."""
    reports = store.finished()
    assert len(reports) == len([p for p in SHIPPED.iterdir() if p.is_dir()])
    for report in reports:
        assert report.run == identify(
            Recipe.model_validate(report.recipe), report.model, report.task
        ), report.recipe["name"]


def test_the_comparison_of_three_seeds_is_complete(store: Store) -> None:
    for job in MINI.jobs(range(3)):
        run = MINI.run_of(job)
        assert store.done(run), job


@pytest.mark.parametrize("study", STUDIES.values(), ids=list(STUDIES))
def test_what_a_look_inside_showed_ships_with_the_detailed_schemes(
    study: Study, store: Store
) -> None:
    shown = {"weights", "activations", "profiles", "sample"}
    for job, run in study.stored(study.jobs(range(3)), store).items():
        tables = {table for table in TABLES if (SHIPPED / run / f"{table}.parquet").is_file()}
        wanted = set() if not study.ships_tables(job) else set(TABLES)
        if wanted and not PRESETS[job.preset].rules:  # FP32 moves nothing by rounding
            wanted = shown
        assert tables == wanted, job


def test_packed_students_are_not_looked_into(store: Store) -> None:
    """Their weights are codes already: rounding them again would seem to cost nothing."""
    (report,) = [
        r
        for r in store.finished()
        if r.recipe["name"] == "sdq-att-kld-w2a8" and r.task == "intent" and r.recipe["seed"] == 0
    ]
    with pytest.raises(UserError, match=r"came as codes.*run its recipe here to look into it"):
        inspect(report.run, store, only=("sensitivity",))


def test_packed_students_answer_as_their_runs_say(store: Store) -> None:
    """The stored answers were given in other batches; where the lead is tiny that may matter,
    elsewhere not."""
    from sdq.jobs.prediction import answer, task_of

    packed = [r for r in store.finished() if (SHIPPED / r.run / "packed.safetensors").is_file()]
    assert {r.recipe["name"] for r in packed} == set(PACKED)
    for report in packed:
        told = store.sentences(report.run).set_index(["id", "language"])["answer"]
        examples = [e for e in task_of(report.task).examples("test") if e.id.endswith(".02")][::90]
        assert len(examples) >= 15
        same = 0
        for e in examples:
            (row,) = answer(
                " ".join(e.words) if report.task == "slots" else e.text, [report.run], store
            )
            assert "missing" not in row
            same += " ".join(row["answers"]) == told[(e.id, e.language)]
        assert same >= 0.9 * len(examples), report.recipe["name"]


def test_inspections_are_whole_and_of_shipped_runs(store: Store) -> None:
    folder = ASSETS / "inspections"
    runs = [MINI.run_of(Job(preset, "intent", 0)) for preset in MINI.inspected]
    assert {path.name for path in folder.iterdir()} == {
        inspection_id(run, Inspection()) for run in runs
    }
    assert not any(missing(run, store) for run in runs)
