"""Files of checkpoints beside the weights: parts, adapters, tokenizers, configurations."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.cases.build import WIDTH, State, checkpoint, csv, edit_json, edit_weights, task_folder
from tests.cases.doors import Doors, either
from tests.helpers.placeless import LAYER, PLACELESS, QUERY

ROWS = csv([("good good", "a"), ("bad bad", "b")])


def sharded(model: Path, change: Callable[[State], State] = lambda state: state) -> Path:
    """The same checkpoint in two files and an index."""
    state = change(load_file(model / "model.safetensors"))
    names = sorted(state)
    halves = [names[::2], names[1::2]]
    files = [f"model-{i}-of-00002.safetensors" for i in ("00001", "00002")]
    for file, half in zip(files, halves, strict=True):
        save_file({name: state[name] for name in half}, model / file, {"format": "pt"})
    mapped = {name: file for file, half in zip(files, halves, strict=True) for name in half}
    (model / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": 1}, "weight_map": mapped})
    )
    (model / "model.safetensors").unlink()
    return model


def test_a_checkpoint_in_parts(doors: Doors, model: Path, task: Path) -> None:
    assert doors.run(sharded(model), task).mean == 1


def test_an_adapter_in_a_part_is_named(doors: Doors, model: Path, task: Path) -> None:
    doors.refused(sharded(model, PLACELESS["an adapter"][0]), task, "adapter")


def test_an_index_that_names_less_is_refused(doors: Doors, model: Path, task: Path) -> None:
    index = sharded(model) / "model.safetensors.index.json"
    said = json.loads(index.read_text())
    said["weight_map"].pop(f"{QUERY}.weight")
    index.write_text(json.dumps(said))
    code, _, _ = doors.call("run", "fp32", "--model", str(model), "--task", str(task), "--json")
    if code:
        doors.refused(model, task, "query")
    else:  # it is in its part all the same
        assert doors.run(model, task).mean == 1


def test_an_adapter_folder_says_how_to_merge(doors: Doors, model: Path, task: Path) -> None:
    (model / "adapter_config.json").write_text(
        json.dumps(
            {"peft_type": "LORA", "base_model_name_or_path": "FacebookAI/xlm-roberta-base", "r": 8}
        )
    )
    (model / "model.safetensors").rename(model / "adapter_model.safetensors")
    either(doors.refused(model, task, "adapter"), "merge")


def test_an_adapter_beside_a_whole_model_is_not_passed_over(
    doors: Doors, model: Path, task: Path
) -> None:
    (model / "adapter_config.json").write_text(json.dumps({"peft_type": "LORA", "r": 8}))
    save_file(
        {f"base_model.model.{QUERY}.lora_A.weight": torch.ones(2, WIDTH)},
        model / "adapter_model.safetensors",
    )
    either(doors.refused(model, task, "adapter"), "merge")


def test_a_tokenizer_larger_than_the_embedding(doors: Doors, tmp_path: Path) -> None:
    model = checkpoint(
        tmp_path / "model", {"good": 0, "bad": 1}, ("a", "b"), token=False, added={"<new>": 7}
    )
    test = csv([("good good", "a"), ("bad <new>", "b")])
    task = task_folder(tmp_path / "task", {"train/en": ROWS, "test/de": test}, ".csv")
    sentence = doors.refused(model, task, "tokenizer", "embedding")
    assert "index out of range" not in sentence
    assert not list((tmp_path / "data").glob("runs/*/events.jsonl"))  # before anything runs


def test_an_added_token_that_no_text_has_is_no_reason_for_a_traceback(
    doors: Doors, tmp_path: Path, task: Path
) -> None:
    model = checkpoint(
        tmp_path / "added", {"good": 0, "bad": 1}, ("a", "b"), token=False, added={"<new>": 5000}
    )
    code, _, _ = doors.call("run", "fp32", "--model", str(model), "--task", str(task), "--json")
    assert code in (0, 2)
    if code:
        doors.refused(model, task, "tokenizer")


@pytest.mark.parametrize("family", ["bert", "roberta"])
def test_one_kind_of_segment_and_pairs(doors: Doors, tmp_path: Path, family: str) -> None:
    rows = csv([("good", "good", "a"), ("bad", "bad", "b")], "text", "second", "label")
    model = checkpoint(
        tmp_path / "pairs",
        {"good": 0, "bad": 1},
        ("a", "b"),
        token=False,
        family=family,
        type_vocab_size=1,
    )
    task = task_folder(tmp_path / "task", {"train/en": rows}, ".csv", "pair")
    code, _, _ = doors.call("run", "fp32", "--model", str(model), "--task", str(task), "--json")
    if code:
        either(doors.refused(model, task), "type_vocab_size", "token type", "segment")
    else:
        assert doors.run(model, task).mean == 1


HUGE = 3e38


@pytest.mark.parametrize("recipe", ["fp32", "ptq-int8-dynamic", "ptq-w3a8"])
def test_numbers_that_overflow_are_refused(
    doors: Doors, model: Path, task: Path, recipe: str
) -> None:
    edit_weights(
        model,
        lambda s: (
            s
            | {
                f"{LAYER}.attention.self.value.weight": torch.eye(WIDTH) * HUGE,
                f"{LAYER}.attention.output.dense.weight": torch.eye(WIDTH) * HUGE,
            }
        ),
    )
    sentence = doors.refused(model, task, recipe=recipe)
    either(sentence, "NaN", "finite", "overflow")
    either(sentence, "layer", "attention")
    assert "bincount" not in sentence


def test_one_sentence_without_numbers_is_named(doors: Doors, tmp_path: Path) -> None:
    model = checkpoint(
        tmp_path / "model", {"good": 0, "bad": 1, "boom": 0}, ("a", "b"), token=False
    )
    embedding = "bert.embeddings.word_embeddings.weight"
    edit_weights(
        model,
        lambda s: s | {embedding: torch.cat([s[embedding][:-1], torch.full((1, WIDTH), HUGE)])},
    )
    test = csv([("good good", "a"), ("boom boom", "a"), ("bad bad", "b")])
    task = task_folder(tmp_path / "task", {"train/en": ROWS, "test/de": test}, ".csv")
    sentence = doors.refused(model, task)
    either(sentence, "NaN", "finite", "overflow")
    either(sentence, "000002", "de", "sentence")
    code, _, err = doors.call("runs")
    assert (code, err) == (0, "")


# fields of config.json that no model can be made of
ODD: dict[str, dict[str, object]] = {
    "no attention heads": {"num_attention_heads": 0},
    "heads that do not divide": {"num_attention_heads": 3},
    "a negative width": {"hidden_size": -16},
    "a width in words": {"hidden_size": "sixteen"},
    "a fraction of a layer": {"num_hidden_layers": 1.5},
    "no layers": {"num_hidden_layers": 0},
    "no words": {"vocab_size": 0},
    "no positions": {"max_position_embeddings": 0},
    "a padding beyond the words": {"pad_token_id": 10**9},
    "an unknown activation": {"hidden_act": "os.system"},
    "a dtype that is code": {"dtype": "os.system"},
    "an unknown dtype": {"torch_dtype": "float7", "dtype": None},
    "no kind": {"model_type": None},
    "a kind that is a list": {"model_type": ["bert"]},
    "a decoder": {"model_type": "gpt2"},
    "architectures that are a number": {"architectures": 5},
    "an architecture that is a number": {"architectures": [5]},
    "a regression": {"problem_type": "regression"},
    "many labels at once": {"problem_type": "multi_label_classification"},
    "a norm in words": {"layer_norm_eps": "tiny"},
    "dropout of two": {"hidden_dropout_prob": 2},
    "layers in millions": {"num_hidden_layers": 10_000_000},
    "a width in millions": {"hidden_size": 10**7},
    "a text": {"id2label": "ab"},
}


@pytest.mark.parametrize("case", ODD)
def test_odd_values_of_the_configuration(doors: Doors, model: Path, task: Path, case: str) -> None:
    edit_json(model / "config.json", **ODD[case])
    code, out, err = doors.call("run", "fp32", "--model", str(model), "--task", str(task), "--json")
    if code == 0:
        assert json.loads(out)["quantized"]["mean"] == 1  # it did not matter
    else:
        sentence = doors.refused(model, task)
        assert not any(
            leak in sentence
            for leak in (
                "object has no attribute",
                "modulo by zero",
                "unhashable",
                "has no attribute",
                "bincount",
                "out of bounds",
            )
        ), err


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{",
        '{"a": ' * 5000,
        '{"model_type": "\\ud83d"}',
        '{"id2label": {"0": "\\ud83d", "1": "b"}}',
        "\ufeff{}",
        "NaN",
    ],
)
def test_a_configuration_that_is_none(doors: Doors, model: Path, task: Path, text: str) -> None:
    (model / "config.json").write_text(text, "utf-8")
    doors.refused(model, task, "config.json")


@pytest.mark.parametrize(
    "name",
    [
        "x" * 5000,
        "a\0b",
        "~nouser/model",
        "/dev/zero",
        "",
        ".",
        "-",
        "a/b\nc",
        "\ud83d",
        "x/" * 3000,
        "//",
        "...",
        "~",
    ],
)
@pytest.mark.parametrize("door", ["model", "task", "recipe", "check", "out"])
def test_names_of_files_that_are_none(
    doors: Doors, model: Path, task: Path, name: str, door: str
) -> None:
    words = {
        "model": ("run", "fp32", "--model", name, "--task", str(task)),
        "task": ("run", "fp32", "--model", str(model), "--task", f"{name}.json"),
        "recipe": ("run", f"./{name}.json", "--model", str(model), "--task", str(task)),
        "check": ("task", "check", name),
        "out": ("inspect", "0123456789ab", "--out", name),
    }[door]
    code, _, err = doors.call(*words)
    assert code == 2
    assert len(err.encode("utf-8", "replace")) < 7000
    assert "Traceback" not in err
