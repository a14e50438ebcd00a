"""The command line: one sentence and exit code 2 for bad input; JSON alone on stdout; a second run
is stored."""

from __future__ import annotations

import json
import math
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import (
    GPT2Config,
    GPT2ForSequenceClassification,
)

from sdq import __main__ as cli
from sdq.cli.output import report_words, row_of
from sdq.data import registry as tasks
from sdq.recipe import PRESETS
from sdq.results import Report
from sdq.settings import PROGRESS, ROOT
from sdq.store import Store
from sdq.store.identity import identify
from tests.cases.build import csv, task_folder

MINI = ROOT / "assets" / "mini"


@pytest.fixture(scope="module")
def cut(whole: dict[str, tasks.Task]) -> dict[str, tasks.Task]:
    """A few sentences of every language and split: what is asked for here says the same on 700."""

    def every(examples: list[tasks.Example], code: str) -> list[tasks.Example]:
        return [e for e in examples if e.language == code][::100]

    return {
        name: replace(
            task,
            splits={
                s: [e for code in task.languages for e in every(task.splits[s], code)]
                for s in tasks.SPLITS
            },
        )
        for name, task in whole.items()
    }


@pytest.fixture(autouse=True)
def few(cut: dict[str, tasks.Task], monkeypatch: pytest.MonkeyPatch) -> dict[str, tasks.Task]:
    """The embedded tasks have a few sentences only."""
    for name in cut:
        monkeypatch.setitem(tasks.TASKS, name, lambda name, only=None: cut[name])
    return cut


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of `python -m sdq words`, in this process."""
    capsys.readouterr()
    before = sys.argv
    sys.argv = ["sdq", *words]
    try:
        cli.main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        sys.argv = before
    return code, *capsys.readouterr()


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    code, out, err = run(capsys, *words)
    assert code == 2
    assert out == ""
    lines = [
        line
        for line in err.strip().splitlines()
        if "Loading weights" not in line and not line.startswith(PROGRESS)
    ]
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    return lines[0]


def test_unknown_preset(capsys: pytest.CaptureFixture[str]) -> None:
    assert "'ptq-int9'" in refused(capsys, "run", "ptq-int9")


def test_unknown_task(capsys: pytest.CaptureFixture[str]) -> None:
    assert "intent, slots" in refused(capsys, "run", "fp32", "--task", "poems")


@pytest.mark.parametrize(
    ("recipe", "path"),
    [
        ({"rulez": []}, "rulez: unknown field"),
        ({"rules": [{"weight": {"bitz": 8}}]}, "rules.0.weight.bitz: unknown field"),
        ({"rules": [{"weight": {"bits": 9}}]}, "rules.0.weight.bits: "),
        ({"rules": [{"weight": {"bits": 1}}]}, "rules.0.weight.bits: "),
        ({"rules": [{"weight": {"observer": {"kind": "magic"}}}]}, "rules.0.weight.observer: "),
        ({"rules": [{"activation": {"dynamic": False}}]}, "per-token ranges must be dynamic"),
        ({"training": {"steps": 5}}, "training must come with"),
        ({"seed": -1}, "seed: "),
    ],
)
def test_wrong_recipe_names_the_path(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, recipe: dict[str, object], path: str
) -> None:
    file = tmp_path / "recipe.json"
    file.write_text(json.dumps(recipe))
    assert path in refused(capsys, "run", str(file))


@pytest.mark.parametrize("content", [b"{", b"\xff\xfe\x00", b"[]"])
def test_recipe_that_is_no_recipe(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, content: bytes
) -> None:
    file = tmp_path / "recipe.json"
    file.write_bytes(content)
    assert "recipe.json" in refused(capsys, "run", str(file))


def test_missing_recipe_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert "nowhere.json" in refused(capsys, "run", "nowhere.json")


def test_missing_model_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert "does not exist" in refused(capsys, "run", "fp32", "--model", "/nowhere/model")


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ("tokenizer.json", "tokenizer"),
        ("config.json", "config.json"),
        ("model.safetensors", "safetensors"),
    ],
)
def test_folder_without_a_part(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny: Path, file: str, said: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny, folder)
    (folder / file).unlink()
    assert said in refused(capsys, "run", "ptq-w4a8", "--model", str(folder))


def test_pickled_weights_are_never_loaded(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny, folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert "never loaded" in refused(capsys, "run", "fp32", "--model", str(folder))


def test_nan_in_the_weights(capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny, folder)
    weights = load_file(folder / "model.safetensors")
    name = next(n for n in weights if n.endswith("query.weight"))
    weights[name][0, 0] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert name in refused(capsys, "run", "ptq-w4a8", "--model", str(folder))


def test_damaged_weights(capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny, folder)
    (folder / "model.safetensors").write_bytes(b"not safetensors at all")
    assert str(folder) in refused(capsys, "run", "ptq-w4a8", "--model", str(folder))


def test_unsupported_architecture(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, few: dict[str, tasks.Task], tiny: Path
) -> None:
    folder = tmp_path / "model"
    labels = len(few["intent"].labels)
    GPT2ForSequenceClassification(
        GPT2Config(
            vocab_size=16_000, n_embd=24, n_layer=1, n_head=2, num_labels=labels, pad_token_id=1
        )
    ).save_pretrained(folder)
    shutil.copy(tiny / "tokenizer.json", folder)
    shutil.copy(tiny / "tokenizer_config.json", folder)
    assert "encoder" in refused(capsys, "run", "ptq-w4a8", "--model", str(folder))


def test_unknown_architecture(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny, folder)
    config = json.loads((folder / "config.json").read_text()) | {
        "model_type": "tomorrow",
    }
    (folder / "config.json").write_text(json.dumps(config))
    assert "must be an encoder" in refused(capsys, "run", "ptq-w4a8", "--model", str(folder))


def test_wrong_number_of_labels(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny: Path
) -> None:
    assert "one output per label" in refused(
        capsys, "run", "ptq-w4a8", "--model", str(tiny), "--task", "slots"
    )
    folder = tmp_path / "model"
    shutil.copytree(tiny, folder)
    said = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(
        json.dumps(said | {"id2label": None, "label2id": None, "num_labels": 3})
    )
    assert "one output per label" in refused(capsys, "run", "ptq-w4a8", "--model", str(folder))


@pytest.mark.parametrize("split", ["test", "train"])
def test_empty_split(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    few: dict[str, tasks.Task],
    tiny: Path,
    split: str,
) -> None:
    task = few["intent"]
    monkeypatch.setitem(
        tasks.TASKS, "intent", lambda name: replace(task, splits=task.splits | {split: []})
    )
    assert f"the {split} split" in refused(capsys, "run", "ptq-int8-static", "--model", str(tiny))


def test_folder_that_cannot_be_written(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, tiny: Path
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file stands where the folder should be")
    monkeypatch.setenv("SDQ_DATA", str(blocked))
    assert "must be writable" in refused(capsys, "run", "ptq-w4a8", "--model", str(tiny))
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    if os.geteuid() != 0:  # nothing is read-only for root
        monkeypatch.setenv("SDQ_DATA", str(locked))
        assert "must be writable" in refused(capsys, "run", "ptq-w4a8", "--model", str(tiny))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("run", "fp32", "--seed", "x"), "--seed must be a whole number, got 'x';"),
        (("run", "fp32", "--seed", "1.5"), "--seed must be a whole number, got '1.5';"),
        (("run", "fp32", "--seed", "-1"), "seed: must be a whole number of at least 0"),
        (("reproduce", "--seeds", "0"), "--seeds must be a number of at least 1, got '0';"),
        (("reproduce", "--seeds", "9" * 30), "--seeds must be"),
        (("remedy", "0" * 12, "--size", "x"), "--size must be a number, got 'x';"),
        (
            ("finetune", "--out", "o", "--task", "intent", "--seed", "-1"),
            "--seed must be a number of at least 0, got '-1';",
        ),
        (
            ("finetune", "--out", "o", "--task", "intent", "--steps", "x"),
            "--steps must be a whole number",
        ),
        (("finetune", "--out", "", "--task", "intent"), "the word after --out is empty"),
        (("inspect", "0" * 12, "--out", ""), "the word after --out is empty"),
        (("run", "fp32", "--model", ""), "the word after --model is empty"),
        (("run", "fp32", "--model="), "--model= is empty"),
        (("run", "fp32", "--model", " "), "a model must be named, got ' '"),
        (("run", ""), "the word after run is empty"),
        (("task", "check", ""), "the word after check is empty"),
    ],
)
def test_values_of_options_are_refused_in_our_own_words(
    capsys: pytest.CaptureFixture[str], words: tuple[str, ...], said: str
) -> None:
    sentence = refused(capsys, *words)
    assert said in sentence
    assert not any(leak in sentence for leak in ("Input should", "Invalid value", "parse"))


def test_the_folder_of_a_task_is_its_task(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = task_folder(
        tmp_path / "topics", {"train/en": csv([("good", "a"), ("bad", "b")])}, ".csv"
    ).parent
    by_file = run(capsys, "task", "check", str(folder / "task.json"))
    assert by_file[0] == 0, by_file[2]
    assert run(capsys, "task", "check", str(folder)) == by_file
    assert tasks.address(str(folder)) == tasks.address(str(folder / "task.json"))
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
    assert text.splitlines()[-3:] == [
        "note: 3 of 1,200 test inputs are longer than the task allows and were cut",
        "note: one thing",
        "note: another",
    ]
    assert row_of(alone).endswith(" 50.0 % mean")
    assert row_of(report).endswith("% zero-shot")


@pytest.mark.parametrize("run_id", ["../../etc", "0123456789abz", "", "0" * 12])
def test_run_ids_are_checked(capsys: pytest.CaptureFixture[str], run_id: str) -> None:
    assert "run" in refused(capsys, "show", run_id)


def test_a_whole_run_and_its_second_time(
    capsys: pytest.CaptureFixture[str], data: Path, tiny: Path
) -> None:
    code, out, _ = run(capsys, "run", "ptq-w4a8", "--model", str(tiny), "--json")
    assert code == 0
    report = json.loads(out)
    assert {"run", "recipe", "reference", "quantized", "seconds", "size_bytes"} <= set(report)
    assert len(report["quantized"]["by_language"]) == 15
    assert report["quantized"]["mean"] == pytest.approx(
        sum(report["quantized"]["by_language"].values()) / 15
    )
    started = time.perf_counter()
    again = subprocess.run(
        [sys.executable, "-m", "sdq", "run", "ptq-w4a8", "--model", str(tiny), "--json"],
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


def test_reading_a_stored_run_imports_no_torch(tiny: Path, data: Path) -> None:
    code = (
        "import sys; sys.argv = ['sdq', 'runs']\nfrom sdq.__main__ import main\ntry: "
        "main()\nexcept SystemExit: pass\nassert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)


def test_training_by_recipe_file_is_repeatable(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny: Path, monkeypatch: pytest.MonkeyPatch
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
            str(tiny),
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


# --- inspect


@pytest.fixture
def shipped(
    monkeypatch: pytest.MonkeyPatch, whole: dict[str, tasks.Task], few: dict[str, tasks.Task]
) -> Callable[[str], str]:
    """Preset -> the id of its shipped run, which is of all sentences."""
    monkeypatch.delenv("SDQ_SHIPPED")
    monkeypatch.setitem(tasks.TASKS, "intent", lambda name, only=None: whole["intent"])
    return lambda preset: identify(PRESETS[preset], "mini", "intent")


LOOK = ("--only", "estimate", "--sentences", "15")


def test_inspect_prints_json_alone_with_the_numbers_of_the_files(
    capsys: pytest.CaptureFixture[str], data: Path, tmp_path: Path, shipped: Callable[[str], str]
) -> None:
    name = shipped("ptq-w2a8")
    code, out, err = run(capsys, "inspect", name, *LOOK, "--json", "--out", str(tmp_path / "out"))
    assert code == 0, err
    found = json.loads(out)
    assert (found["run"], found["settings"]["sentences"]) == (name, 15)
    (path,) = data.glob("inspections/*/*.parquet")
    kept = pd.read_parquet(path)
    assert found["tables"]["estimate"] == kept.to_dict("records")
    assert kept["estimate"].gt(0).any()
    assert (tmp_path / "out" / "index.html").is_file()
    before = path.stat().st_mtime_ns
    code, words, _ = run(capsys, "inspect", name, *LOOK)
    assert code == 0
    assert f"estimate         {len(kept)} rows of module" in words
    assert path.stat().st_mtime_ns == before, "what was found is not computed again"


@pytest.mark.parametrize(
    ("preset", "options", "said"),
    [
        ("fp32", (), "is FP32"),
        ("qat-int8", (), "weights of this run are not on this machine"),
        ("ptq-w2a8", ("--only", "colour"), "an analysis must be one of sensitivity"),
        ("ptq-w2a8", ("--sentences", "0"), "sentences: "),
        ("ptq-w2a8", ("--settings", "nowhere.json"), "'nowhere.json' does not"),
    ],
)
def test_what_cannot_be_inspected(
    capsys: pytest.CaptureFixture[str],
    data: Path,
    shipped: Callable[[str], str],
    preset: str,
    options: tuple[str, ...],
    said: str,
) -> None:
    assert said in refused(capsys, "inspect", shipped(preset), *options)
    assert not data.exists()


@pytest.mark.parametrize("run_id", ["../../etc", "0" * 12])
def test_inspect_wants_a_finished_run(capsys: pytest.CaptureFixture[str], run_id: str) -> None:
    assert "run" in refused(capsys, "inspect", run_id)


def test_inspect_where_nothing_can_be_written(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    data: Path,
    shipped: Callable[[str], str],
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file stands where the folder should be")
    assert "the folder for what was found must be writable" in refused(
        capsys, "inspect", shipped("ptq-w2a8"), *LOOK, "--out", str(blocked)
    )
    assert not data.exists(), "said before anything is computed"
    monkeypatch.setenv("SDQ_DATA", str(blocked))
    assert "the data folder must be writable" in refused(
        capsys, "inspect", shipped("ptq-w2a8"), *LOOK
    )


def test_the_links_of_a_room_are_printed_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDQ_HOSTS", "lab.example.org")
    monkeypatch.setenv("SDQ_ROOM_TOKEN", "students-of-2026")
    monkeypatch.delenv("SDQ_TEACHER_TOKEN", raising=False)
    said = [run(capsys, "links", *more)[1] for more in ((), (), ("--https",))]
    assert said[0] == said[1]
    assert (
        "students: http://lab.example.org/?token=students-of-2026\nteacher:  "
        "http://lab.example.org/?token=" in said[0]
    )
    assert said[2] == said[0].replace("http:", "https:")


def test_what_computes_can_be_ended(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, data: Path
) -> None:
    ended: list[Path] = []
    monkeypatch.setattr("sdq.jobs.queue.stop", lambda store: ended.append(store.folder))
    assert run(capsys, "stop")[0] == 0
    assert ended == [data / "runs"]
