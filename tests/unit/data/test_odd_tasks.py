"""What is odd in a task file, but works."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import pytest

from sdq.data import registry as tasks
from sdq.data import taskfile
from sdq.data.check import check
from sdq.data.registry import load_task
from sdq.recipe import PRESETS
from sdq.settings import UserError
from sdq.store import Store
from sdq.store.identity import identify
from tests.helpers.moods import SPLITS, command, mood


def test_run_ids_follow_the_data(tmp_path: Path, model: Path) -> None:
    path = mood(tmp_path / "one")
    first = identify(PRESETS["fp32"], str(model), str(path))
    # the same content elsewhere is the same run
    assert identify(PRESETS["fp32"], str(model), str(mood(tmp_path / "two"))) == first
    (tmp_path / "one" / "train" / "de.csv").write_text("id,text,label\n1,anders,good\n", "utf-8")
    assert identify(PRESETS["fp32"], str(model), str(path)) != first


def test_one_language_endless_text_and_empty_text_run_and_are_told(
    tmp_path: Path,
    data: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = mood(tmp_path / "task", splits={s: f"{s}/en.csv" for s in SPLITS})
    (tmp_path / "task" / "test" / "en.csv").write_text(
        f"id,text,label\n1,{'word ' * 20_000},good\n2,,bad\n", "utf-8"
    )
    checked = check(load_task(str(path)))
    assert any("The only test language is en" in w for w in checked.warnings)
    assert any("1 of 2 texts are empty in test, en" in w for w in checked.warnings)
    assert any("longer than 128 subwords" in w for w in checked.warnings)
    code, out, _ = command(
        capsys,
        monkeypatch,
        "run",
        "ptq-int8-dynamic",
        "--model",
        str(model),
        "--task",
        str(path),
        "--json",
    )
    assert code == 0
    assert json.loads(out)["quantized"]["zero_shot_mean"] is None
    report = Store.default().report(json.loads(out)["run"])
    assert report.provenance["test_sentences_cut"] == 1
    assert report.task == str(path)
    assert set(report.quantized.by_language) == {"en"}
    assert {
        "event": "cut",
        "split": "test",
        "sentences": 1,
        "of": 2,
        "longest": 128,
    }.items() <= next(e for e in Store.default().events(report.run) if e["event"] == "cut").items()


def test_a_task_file_survives_the_round_trip(tmp_path: Path) -> None:
    file = taskfile.read(
        mood(tmp_path, languages={"en": "en", "de": "deu"}, labels=["good", "bad"])
    )
    assert taskfile.parse(file.model_dump_json(exclude_defaults=True).encode(), "x") == file


@pytest.mark.parametrize("collects", [True, False])
def test_garbage_is_collected_afterwards_as_it_was_before(
    monkeypatch: pytest.MonkeyPatch, collects: bool
) -> None:
    during = []
    monkeypatch.setitem(tasks.TASKS, "intent", lambda name: during.append(gc.isenabled()))
    (gc.enable if collects else gc.disable)()
    try:
        tasks.load_task("intent")
        with pytest.raises(UserError):
            tasks.load_task("nowhere.json")
        assert (during, gc.isenabled()) == ([False], collects)
    finally:
        gc.enable()
