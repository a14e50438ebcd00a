"""The command line: JSON alone on stdout; a second run is stored."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
import time
from pathlib import Path

import pytest
from safetensors.torch import load_file

from sdq.cli.output import Line, report_words, row_of
from sdq.data import registry as tasks
from sdq.recipe import PRESETS
from sdq.results import Report
from sdq.settings import ROOT
from sdq.store import Store
from sdq.store.identity import identify
from tests.cases.build import csv, task_folder
from tests.helpers.commands import refused, run

pytestmark = pytest.mark.usefixtures("data", "few")


def test_the_folder_of_a_task_is_its_task(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = task_folder(
        tmp_path / "topics", {"train/en": csv([("good", "a"), ("bad", "b")])}, ".csv"
    ).parent
    by_file = run(capsys, "task", "check", str(folder / "task.json"))
    assert by_file[0] == 0, by_file[2]
    assert run(capsys, "task", "check", str(folder)) == by_file
    assert tasks.canonical_name(str(folder)) == tasks.canonical_name(str(folder / "task.json"))
    monkeypatch.chdir(folder)
    assert run(capsys, "task", "check", ".") == by_file
    for words in (("task", "check", str(tmp_path)), ("run", "fp32", "--task", str(tmp_path))):
        assert "the folder of a task must hold task.json" in refused(capsys, *words)


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        (
            {},
            "note: this is FP32: it has no rules, so nothing is quantized; left out, so taken as "
            "usual: name, rules, calibration, migration, training, seed",
        ),
        (
            {"name": "x", "rules": [{"weight": {}}], "seed": 1},
            "note: this is PTQ; left out, so taken as usual: calibration, migration, training",
        ),
    ],
)
def test_what_was_taken_of_a_recipe_is_said(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, recipe: dict[str, object], said: str
) -> None:
    (tmp_path / "mine.json").write_text(json.dumps(recipe))
    code, out, err = run(capsys, "recipe", "check", str(tmp_path / "mine.json"))
    assert (code, err.strip()) == (0, said)
    assert {**json.loads(out), **recipe, "rules": json.loads(out)["rules"]} == json.loads(out)
    assert (
        run(capsys, "recipe", "check", "fp32")[2].strip()
        == "note: this is FP32: it has no rules, so nothing is quantized"
    )


def test_a_run_is_shown_as_a_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SDQ_SHIPPED")
    name = identify(PRESETS["ptq-w4a8"], "mini", "slots")
    report = Store.default().report(name)
    code, out, _ = run(capsys, "show", name)
    assert code == 0
    lines = out.splitlines()
    assert lines[:3] == [
        f"run {name}: ptq-w4a8 (PTQ), seed 0",
        "model mini, task slots, 10,500 test sentences",
        "F1 in % (higher is better)",
    ]
    assert not set("{}[]") & set(out), "nothing is printed as Python or JSON has it"
    for code_, score in report.quantized.by_language.items():
        (line,) = [line for line in lines if line.startswith(f"{code_} ")]
        before = report.reference.by_language[code_]
        assert line.split()[-3:] == [
            f"{100 * before:.1f}",
            f"{100 * score:.1f}",
            f"{100 * (score - before):+.1f}",
        ]
    assert (
        f"size: 23.1 MB in FP32, {report.size_bytes['quantized_simulated'] / 1e6:.1f} MB "
        f"quantized (simulated)" in lines
    )
    assert max(map(len, lines)) <= 100


def test_no_size_is_called_quantized_where_nothing_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SDQ_SHIPPED")
    report = Store.default().report(identify(PRESETS["fp32"], "mini", "intent"))
    assert "size: 23.2 MB in FP32" in report_words(report).splitlines()


def test_a_table_has_remarks_and_no_score_that_there_is_not(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SDQ_SHIPPED")
    report = Store.default().report(identify(PRESETS["ptq-w4a8"], "mini", "intent"))
    one = {"mean": 0.5, "zero_shot_mean": math.nan, "by_language": {"en": 0.5}}
    told = {"test_sentences": 1200, "test_sentences_cut": 3, "remarks": "one thing; another"}
    alone = Report.model_validate(
        report.model_dump() | {"reference": one, "quantized": one, "provenance": told, "beside": {}}
    )
    text = report_words(alone)
    assert "nan" not in text.replace("Afrikaans", "")
    assert text.splitlines()[-2:] == [
        "note: 3 of 1,200 test inputs are longer than the task allows and were cut",
        "note: one thing; another",
    ]
    assert row_of(alone).endswith(" 50.0 % mean")
    assert row_of(report).endswith("% zero-shot")


@pytest.mark.parametrize("run_id", ["../../etc", "0123456789abz", "", "0" * 12])
def test_run_ids_are_checked(capsys: pytest.CaptureFixture[str], run_id: str) -> None:
    assert "run" in refused(capsys, "show", run_id)


def test_a_whole_run_and_its_second_time(
    capsys: pytest.CaptureFixture[str], data: Path, tiny_model: Path
) -> None:
    code, out, _ = run(capsys, "run", "ptq-w4a8", "--model", str(tiny_model), "--json")
    assert code == 0
    report = json.loads(out)
    assert {"run", "recipe", "reference", "quantized", "seconds", "size_bytes"} <= set(report)
    assert len(report["quantized"]["by_language"]) == 15
    assert report["quantized"]["mean"] == pytest.approx(
        sum(report["quantized"]["by_language"].values()) / 15
    )
    started = time.perf_counter()
    again = subprocess.run(
        [sys.executable, "-m", "sdq", "run", "ptq-w4a8", "--model", str(tiny_model), "--json"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    seconds = time.perf_counter() - started
    assert json.loads(again.stdout) == report
    assert seconds < 10, (
        f"{seconds:.1f} s"
    )  # a second and a half on a quiet core; without torch, whatever runs beside it
    assert run(capsys, "show", report["run"], "--json")[1].strip() == out.strip()
    assert report["run"] in run(capsys, "runs")[1]


def test_reading_a_stored_run_imports_no_torch(tiny_model: Path, data: Path) -> None:
    code = (
        "import sys; sys.argv = ['sdq', 'runs']\nfrom sdq.__main__ import main\ntry: "
        "main()\nexcept SystemExit: pass\nassert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_training_by_recipe_file_is_repeatable(
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    tiny_model: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recipe = {
        "rules": [{"weight": {"bits": 4}, "activation": {"bits": 8}}],
        "training": {
            "steps": 6,
            "distillation": [{"kind": "kld"}, {"kind": "attention"}],
            "unlabelled": True,
        },
    }
    (tmp_path / "mine.json").write_text(json.dumps(recipe))
    reports = []
    for folder in ("one", "two"):
        monkeypatch.setenv("SDQ_DATA", str(tmp_path / folder))
        code, out, err = run(
            capsys,
            "run",
            str(tmp_path / "mine.json"),
            "--model",
            str(tiny_model),
            "--seed",
            "3",
            "--json",
        )
        assert code == 0, err
        reports.append(json.loads(out))
    one, two = reports
    assert one["method"] == "SDQ multi"
    assert one["run"] == two["run"]
    assert one["quantized"] == two["quantized"]
    assert one["history"] == two["history"]
    assert one["history"]["steps"][-1]["kld"] >= 0
    student = load_file(
        Store(tmp_path / "one" / "runs", shipped=None).home(one["run"]) / "model.safetensors"
    )
    assert not [name for name in student if "teacher" in name]


def test_work_goes_on_when_nobody_reads_its_progress(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after `2>&1 | head`: the run is not lost, and is no full disk."""

    class Closed(io.StringIO):
        tried = 0

        def write(self, text: str) -> int:
            self.tried += 1
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stderr", stream := Closed())
    with Line(quiet=False) as line:
        for text in ("Reading", "Scoring"):
            line({"event": "stage", "name": "load", "text": text})
    assert stream.tried == 1
