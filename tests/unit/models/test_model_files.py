"""Files of a model folder: weights in parts, tokenizers, and what is no such file."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForSequenceClassification, PreTrainedTokenizerFast

from sdq.data.batches import encode
from sdq.data.task import Example, Task
from sdq.models.checkpoint import base_of
from sdq.models.loading import load, start
from sdq.models.tensors import tensors_of
from sdq.settings import UserError
from tests.helpers.checkpoints import ABC, refused


def _pipe(path: Path) -> None:
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def _folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _endless(path: Path) -> None:
    path.unlink(missing_ok=True)
    path.symlink_to("/dev/zero")


def _long(path: Path) -> None:
    with path.open("ab") as file:
        file.truncate(300_000_000)  # sparse


def _deep(path: Path) -> None:
    path.write_text("[" * 200_000)


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


def _huge_header(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 2**63) + path.read_bytes()[8:])


def _metadata(value: Any) -> Callable[[Path], None]:
    def spoil(path: Path) -> None:
        data = path.read_bytes()
        length = int.from_bytes(data[:8], "little")
        header = json.dumps(json.loads(data[8 : 8 + length]) | {"__metadata__": value}).encode()
        path.write_bytes(struct.pack("<Q", len(header)) + header + data[8 + length :])

    return spoil


@pytest.mark.parametrize("value", ["pt", ["pt"], {"format": 3}, {"format": None}, 7])
def test_metadata_of_another_kind_are_blamed_on_the_weights(bert_copy: Path, value: Any) -> None:
    _metadata(value)(bert_copy / "model.safetensors")
    refused(bert_copy, "__metadata__ in its header is no object of texts; copy the file again")


def _no_json(path: Path) -> None:
    path.write_bytes(struct.pack("<Q", 64) + b"\xff" * 200)


def _name_twice(path: Path) -> None:
    entry = '"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}'
    header = f"{{{entry}, {entry}}}".encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 4)


def _infinite(path: Path) -> None:
    path.write_text('{"a": [1e999]}')


def _half(path: Path) -> None:
    path.write_text('{"a": "\\ud800"}')


def _offsets(path: Path) -> None:
    header = json.dumps({"x": {"dtype": "F32", "shape": [2, 2], "data_offsets": [0, 17]}}).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 17)


def _negative(path: Path) -> None:
    header = json.dumps(
        {"x\0y": {"dtype": "F32", "shape": [-2, -2], "data_offsets": [0, 16]}}
    ).encode()
    path.write_bytes(struct.pack("<Q", len(header)) + header + b"\0" * 16)


def _other_name(path: Path) -> None:
    path.rename(path.with_name("weights.safetensors"))


def _adapter(path: Path) -> None:
    (path.parent / "adapter_config.json").write_text(
        '{"peft_type": "LORA", "base_model_name_or_path": "some/base"}'
    )


@pytest.mark.parametrize(
    ("file", "spoil", "said"),
    [
        ("config.json", _pipe, "is a pipe"),
        ("config.json", _endless, "is a pipe, a device"),
        ("config.json", _folder, "must hold config.json"),
        ("config.json", _long, "at most 200 MB"),
        ("config.json", _deep, "config.json must be JSON text"),
        (
            "config.json",
            _infinite,
            "config.json must be JSON text, it holds the number 1e999, which is too large; "
            "correct it",
        ),
        (
            "tokenizer_config.json",
            _infinite,
            "tokenizer_config.json must be JSON text, it holds the number 1e999",
        ),
        ("config.json", _half, "it holds half a character"),
        ("tokenizer_config.json", _pipe, "is a pipe"),
        ("tokenizer.json", _endless, "is a pipe, a device"),
        ("tokenizer.json", _long, "at most 200 MB"),
        ("merges.txt", _pipe, "is a pipe"),
        ("model.safetensors", _pipe, "is a pipe"),
        ("model.safetensors", _folder, "must be in model.safetensors"),
        ("model.safetensors", _cut, "does not fit the file"),
        ("model.safetensors", _huge_header, "its header would have"),
        ("model.safetensors", _no_json, "its header is no JSON"),
        ("model.safetensors", _name_twice, "its header has the name 'x' twice in one object"),
        ("model.safetensors", _offsets, "the tensor x does not fit"),
        ("model.safetensors", _negative, r"the tensor x\\x00y does not fit"),
        ("model.safetensors", _other_name, "has neither"),
        (
            "model.safetensors",
            _adapter,
            r"holds an adapter \(LORA, .* of the model some/base; merge it: .*merge_and_unload",
        ),
    ],
)
def test_files_that_are_none(
    bert_copy: Path, file: str, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(bert_copy / file)
    refused(bert_copy, said)


def test_parts_of_weights(bert_copy: Path) -> None:
    tensors = load_file(bert_copy / "model.safetensors")
    names = sorted(tensors)
    (bert_copy / "model.safetensors").unlink()
    halves = {"one.safetensors": names[:10], "two.safetensors": names[10:]}
    for part, some in halves.items():
        save_file(
            {name: tensors[name] for name in some}, bert_copy / part, metadata={"format": "pt"}
        )
    index = bert_copy / "model.safetensors.index.json"

    def say(weight_map: Any) -> None:
        index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))

    right = {name: part for part, some in halves.items() for name in some}
    say(right)
    assert set(tensors_of(bert_copy)) == set(names)
    load(base_of(str(bert_copy)), "sequence", ABC)
    for wrong, said in (
        (None, "must have a weight_map"),
        ({"x": 1}, "must have a weight_map"),
        (right | {"x": "../x.safetensors"}, "must be files beside"),
    ):
        say(wrong)
        refused(bert_copy, said)
    say(right | {"x": "three.safetensors"})
    refused(bert_copy, "three.safetensors is not")
    save_file(tensors, bert_copy / "two.safetensors", metadata={"format": "pt"})
    say(right)
    refused(bert_copy, "is in two of")


def test_a_tokenizer_larger_than_the_embedding(bert_copy: Path, bert_folder: Path) -> None:
    words = PreTrainedTokenizerFast.from_pretrained(bert_folder)
    words.add_tokens(["@user"])
    words.save_pretrained(bert_copy)
    refused(
        bert_copy,
        r"at most as many tokens as the model has embeddings \(30\), in .* it has 1 more "
        r"\('@user' is 30\)",
    )
    with pytest.raises(UserError, match="'@user' is 30"):
        start(bert_copy, "sequence", ABC, 0)
    said = json.loads((bert_folder / "tokenizer.json").read_text())
    said["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [77], "tokens": ["[CLS]"]}},
    }
    (bert_copy / "tokenizer.json").write_text(json.dumps(said))
    refused(bert_copy, "is 77")


@pytest.mark.parametrize(
    ("file", "changes", "said"),
    [
        ("tokenizer_config.json", {"pad_token": None}, "it has no padding token; save it again"),
        (
            "tokenizer_config.json",
            {"tokenizer_class": 5},
            "a value in its files is missing, or of another kind",
        ),
        (
            "tokenizer_config.json",
            {"tokenizer_class": "BertJapaneseTokenizer"},
            "a value in its files is missing|must be",
        ),
        ("tokenizer_config.json", None, "tokenizer_config.json must hold one JSON object"),
        (
            "tokenizer.json",
            {"model": {"type": "Foo"}},
            r"tokenizer.json is not as the library tokenizers writes it, at character \d+",
        ),
        (
            "tokenizer.json",
            {"pre_tokenizer": {"type": "Foo"}},
            "tokenizer.json is not as the library tokenizers writes it",
        ),
        (
            "tokenizer.json",
            {"added_tokens": [{"id": 0}]},
            "tokenizer.json is not as the library tokenizers writes it",
        ),
    ],
)
def test_a_tokenizer_that_cannot_be_read_is_refused_in_our_words(
    bert_copy: Path, file: str, changes: dict[str, Any] | None, said: str
) -> None:
    value = json.loads((bert_copy / file).read_text())
    (bert_copy / file).write_text(
        "[]"
        if changes is None
        else json.dumps({k: v for k, v in (value | changes).items() if v is not None})
    )
    (bert_copy / "special_tokens_map.json").unlink(missing_ok=True)
    refused(bert_copy, said)


@pytest.mark.parametrize("value", [0, -5, "many", True])
def test_a_tokenizer_that_takes_nothing(bert_copy: Path, value: Any) -> None:
    said = json.loads((bert_copy / "tokenizer_config.json").read_text())
    (bert_copy / "tokenizer_config.json").write_text(json.dumps(said | {"model_max_length": value}))
    refused(bert_copy, "model_max_length must be a number above 0|it was refused")


@pytest.mark.parametrize("types", [1, 2])
def test_pairs_are_numbered_only_where_the_model_tells_them_apart(
    types: int, bert_folder: Path, bert_copy: Path
) -> None:
    said = json.loads((bert_copy / "tokenizer_config.json").read_text())
    (bert_copy / "tokenizer_config.json").write_text(
        json.dumps(said | {"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]})
    )
    BertForSequenceClassification(
        BertConfig.from_pretrained(bert_folder, type_vocab_size=types)
    ).save_pretrained(bert_copy)
    model, words = load(bert_copy, "sequence", ABC)
    rows = [
        Example("1", "en", "w3 w4", (), ("a",), "w5"),
        Example("2", "en", "w3", (), ("b",), "w6 w7"),
    ]
    data = encode(
        rows,
        Task("pairs", "sequence", ABC, ("en",), "en", "accuracy", "0" * 16, {"test": rows}),
        words,
    )
    assert (data.types is None) == (types == 1)
    assert model(**data.batch([0, 1]).inputs).logits.shape == (2, 3)
