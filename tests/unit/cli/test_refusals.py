"""The command line: one sentence and exit code 2 for bad input."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import GPT2Config, GPT2ForSequenceClassification

from sdq.data import registry as tasks
from tests.helpers.commands import refused

pytestmark = pytest.mark.usefixtures("data", "few")


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
        ({"training": {"noise": 0.5}}, "a training with noise must come with"),
        ({"training": {"cooldown": 0}}, "training.cooldown: "),
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
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_model: Path, file: str, said: str
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    (folder / file).unlink()
    assert said in refused(capsys, "run", "ptq-w4a8", "--model", str(folder))


def test_pickled_weights_are_never_loaded(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_model: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    assert "never loaded" in refused(capsys, "run", "fp32", "--model", str(folder))


def test_nan_in_the_weights(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_model: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    weights = load_file(folder / "model.safetensors")
    name = next(n for n in weights if n.endswith("query.weight"))
    weights[name][0, 0] = float("nan")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    assert name in refused(capsys, "run", "ptq-w4a8", "--model", str(folder))


def test_damaged_weights(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_model: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    (folder / "model.safetensors").write_bytes(b"not safetensors at all")
    assert str(folder) in refused(capsys, "run", "ptq-w4a8", "--model", str(folder))


def test_unsupported_architecture(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, few: dict[str, tasks.Task], tiny_model: Path
) -> None:
    folder = tmp_path / "model"
    labels = len(few["intent"].labels)
    GPT2ForSequenceClassification(
        GPT2Config(
            vocab_size=16_000, n_embd=24, n_layer=1, n_head=2, num_labels=labels, pad_token_id=1
        )
    ).save_pretrained(folder)
    shutil.copy(tiny_model / "tokenizer.json", folder)
    shutil.copy(tiny_model / "tokenizer_config.json", folder)
    assert "encoder" in refused(capsys, "run", "ptq-w4a8", "--model", str(folder))


def test_unknown_architecture(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_model: Path
) -> None:
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    config = json.loads((folder / "config.json").read_text()) | {
        "model_type": "tomorrow",
    }
    (folder / "config.json").write_text(json.dumps(config))
    assert "must be an encoder" in refused(capsys, "run", "ptq-w4a8", "--model", str(folder))


def test_wrong_number_of_labels(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, tiny_model: Path
) -> None:
    assert "one output per label" in refused(
        capsys, "run", "ptq-w4a8", "--model", str(tiny_model), "--task", "slots"
    )
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
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
    tiny_model: Path,
    split: str,
) -> None:
    task = few["intent"]
    monkeypatch.setitem(
        tasks.TASKS, "intent", lambda name: replace(task, splits=task.splits | {split: []})
    )
    assert f"the {split} split" in refused(
        capsys, "run", "ptq-int8-static", "--model", str(tiny_model)
    )


def test_folder_that_cannot_be_written(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    tiny_model: Path,
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file stands where the folder should be")
    monkeypatch.setenv("SDQ_DATA", str(blocked))
    assert "must be writable" in refused(capsys, "run", "ptq-w4a8", "--model", str(tiny_model))
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    if os.geteuid() != 0:  # nothing is read-only for root
        monkeypatch.setenv("SDQ_DATA", str(locked))
        assert "must be writable" in refused(capsys, "run", "ptq-w4a8", "--model", str(tiny_model))


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


@pytest.mark.parametrize(
    "words",
    [
        "midi --tasks slots",
        "mini --model midi",
        "mini --steps 9",
        "mini --out tables",
        "grid --task slots",
        "grid --minutes 0",
        "xglue --scheme W4A8",
        "grid --ship",
        "grid --limit 3",
        "grid --xglue .",
        "xglue --workers 4",
        "mini --model mini",
    ],
)
def test_an_option_of_another_comparison_is_refused(
    capsys: pytest.CaptureFixture[str], words: str
) -> None:
    """`midi --tasks slots` would make every run of both tasks, for a day."""
    what, option, *_ = words.split()
    said = refused(capsys, "reproduce", *words.split())
    assert f"{option} must be left out of `reproduce {what}`" in said
