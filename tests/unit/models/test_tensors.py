"""What a model folder may hold: every file, number and tensor that does not belong is refused in
one sentence, before anything is computed."""

from __future__ import annotations

import json
import os
import shutil
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    BertConfig,
    BertForMaskedLM,
    BertForPreTraining,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
)

from sdq.data.batches import encode
from sdq.data.task import Example, Task
from sdq.io.limits import limits
from sdq.models.checkpoint import base_of, ready
from sdq.models.loading import encoder, load, remarks, start
from sdq.models.tensors import has_head, tensors_of
from sdq.settings import UserError, path_of, text_of

LABELS = ("a", "b", "c")


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tiny BERT with a head of three labels and a tokenizer of 30 words."""
    folder = tmp_path_factory.mktemp("original")
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=30,
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=16,
        max_position_embeddings=40,
        id2label=dict(enumerate(LABELS)),
        label2id={label: i for i, label in enumerate(LABELS)},
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    made = Tokenizer(
        WordLevel({"[PAD]": 0, "[UNK]": 1, **{f"w{i}": i for i in range(2, 30)}}, unk_token="[UNK]")
    )
    made.pre_tokenizer = Whitespace()
    PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]"
    ).save_pretrained(folder)
    return folder


@pytest.fixture
def own(original: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    return Path(shutil.copytree(original, tmp_path / "own"))


def weights(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    save_file(
        {k: v.clone() for k, v in change(load_file(folder / "model.safetensors")).items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )


def configured(folder: Path, **changes: Any) -> None:
    said = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(said | changes))


def refused(folder: Path, said: str) -> None:
    """By the door of a user, in one sentence; and never by an allocation or an endless loop."""
    with pytest.raises(UserError, match=said) as caught:
        load(base_of(str(folder)), "sequence", LABELS)
    assert "\n" not in str(caught.value)


def prefixed(prefix: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda tensors: {prefix + name: t for name, t in tensors.items()}


def added(**tensors: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda before: before | {name.replace("__", "."): t for name, t in tensors.items()}


def inner(tensors: dict[str, Any]) -> dict[str, Any]:
    """As torch.compile of one submodule leaves it."""
    return {
        name.replace("bert.encoder.", "bert._orig_mod.encoder."): t for name, t in tensors.items()
    }


def packed(dtype: torch.dtype) -> Callable[[dict[str, Any]], dict[str, Any]]:
    name = "bert.encoder.layer.0.output.dense.weight"
    return lambda tensors: tensors | {name: (tensors[name] * 100).to(dtype)}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (prefixed("module."), r"the prefix 'module\.' of a wrapper; take 'module\.' out"),
        (prefixed("_orig_mod."), r"the prefix '_orig_mod\.'"),
        (prefixed("module._orig_mod."), r"the prefix 'module\._orig_mod\.'"),
        (prefixed("model."), r"the prefix 'model\.'"),
        (prefixed("net.backbone."), r"the prefix 'net\.backbone\.'"),
        (inner, r"the prefix '_orig_mod\.'"),
        (
            added(
                bert__encoder__layer__0__attention__self__distance_embedding__weight=torch.ones(
                    79, 4
                )
            ),
            "distance_embedding.weight .* relative positions",
        ),
        (
            added(bert__encoder__layer__1__output__adapters__x__down__weight=torch.ones(2, 12)),
            "adapters.x.down.weight .* merge",
        ),
        (
            added(
                bert__encoder__layer__1__attention__self__query__lora_A__weight=torch.ones(2, 12)
            ),
            "lora_A.weight .* merge",
        ),
        (
            added(bert__encoder__layer__2__output__dense__weight=torch.ones(12, 16)),
            "layer.2.output.dense.weight .* num_hidden_layers .* says 2",
        ),
        (
            added(bert__embeddings__language_embeddings__weight=torch.ones(5, 12)),
            "language_embeddings.weight .* has none",
        ),
        (added(crf__transitions=torch.ones(3, 3)), "crf.transitions .* has none"),
        (added(lstm__weight_ih_l0=torch.ones(4, 12)), "lstm.weight_ih_l0 .* has none"),
        (
            added(bert__pooler__extra__weight=torch.ones(12, 12)),
            "bert.pooler.extra.weight .* has none",
        ),
        (
            added(bert__pooler__dense__weight_scale=torch.ones(1)),
            "bert.pooler.dense.weight_scale .* has none",
        ),
        (
            added(cls__predictions__adapted__weight=torch.ones(1)),
            "cls.predictions.adapted.weight .* has none|merge",
        ),
        (
            added(cls__predictions__gate__weight=torch.ones(1)),
            "cls.predictions.gate.weight .* has none",
        ),
        (added(lm_head__experts__weight=torch.ones(1)), "lm_head.experts.weight .* has none"),
        (
            packed(torch.int8),
            r"floating point numbers, bert.encoder.layer.0.output.dense.weight in .* is int8",
        ),
        (packed(torch.uint8), "is uint8"),
        (packed(torch.bool), "is bool"),
        (packed(torch.float8_e4m3fn), "is float8_e4m3"),
        (
            added(bert__encoder__layer__0__output__dense__SCB=torch.ones(12, dtype=torch.int32)),
            "SCB .* is int32",
        ),
    ],
)
def test_tensors_that_do_not_belong(
    own: Path, change: Callable[[dict[str, Any]], dict[str, Any]], said: str
) -> None:
    weights(own, change)
    refused(own, said)


@pytest.mark.parametrize(
    ("dtype", "said"),
    [
        ("float64", ", to which they are rounded"),
        ("float16", ""),
        ("bfloat16", ""),
        ("float32", None),
    ],
)
def test_the_type_of_the_weights_is_remarked_on(own: Path, dtype: str, said: str | None) -> None:
    weights(own, lambda tensors: {name: t.to(getattr(torch, dtype)) for name, t in tensors.items()})
    wanted = (
        []
        if said is None
        else [f"the weights are stored in {dtype}: computations are done in float32{said}"]
    )
    for model in (
        load(own, "sequence", LABELS)[0],
        encoder(own),
        start(own, "sequence", LABELS, 0)[0],
    ):
        assert remarks(model) == wanted
        assert {p.dtype for p in model.parameters()} == {torch.float32}


def test_a_type_beside_another_is_remarked_on(own: Path) -> None:
    weights(own, packed(torch.float16))
    assert remarks(load(own, "sequence", LABELS)[0]) == [
        "the weights are stored in float16 and float32: computations are done in float32"
    ]


def test_what_is_known_to_be_harmless_stays_silent(own: Path) -> None:
    """Position numbers, pretraining heads and the old names of LayerNorm; of a base model also the
    heads of tasks."""
    before: Any = load(own, "sequence", LABELS)[0]
    heads = {
        "cls__predictions__bias": torch.ones(30),
        "cls__seq_relationship__weight": torch.ones(2, 12),
        "lm_head__bias": torch.ones(30),
    }
    weights(own, added(bert__embeddings__position_ids=torch.arange(40)[None], **heads))
    weights(
        own,
        lambda tensors: {
            n.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
                "LayerNorm.bias", "LayerNorm.beta"
            ): t
            for n, t in tensors.items()
        },
    )
    after: Any = load(base_of(str(own)), "sequence", LABELS)[0]
    assert all(
        torch.equal(a, b)
        for a, b in zip(before.state_dict().values(), after.state_dict().values(), strict=True)
    )
    assert torch.equal(
        encoder(own).state_dict()["embeddings.word_embeddings.weight"],
        before.bert.embeddings.word_embeddings.weight,
    )
    assert start(own, "sequence", ("x", "y"), 0)[0] is not None
    for pretrained in (BertForPreTraining, BertForMaskedLM):
        pretrained(before.config).save_pretrained(own)
        assert start(base_of(str(own)), "token", LABELS, 0)[0] is not None


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"num_attention_heads": 0}, "num_attention_heads must be a whole number from 1"),
        ({"num_attention_heads": 5}, "multiple of num_attention_heads"),
        ({"num_hidden_layers": 10**7}, "num_hidden_layers must be a whole number"),
        ({"num_hidden_layers": 9999}, "config.json must fit the weights"),
        (
            {"num_hidden_layers": 3},
            r"lack 16 tensors of the encoder "
            r"\(bert.encoder.layer.2.attention.output.LayerNorm.bias, .* the weights have 2 "
            r"layers: correct num_hidden_layers",
        ),
        (
            {"hidden_size": 24},
            r"has 12, and should have 24 \(and \d+ more do not fit\); its hidden_size is 24, that "
            r"of the weights 12",
        ),
        ({"num_hidden_layers": True}, "num_hidden_layers must be a whole number"),
        ({"hidden_size": "12"}, "hidden_size must be a whole number .* got '12'"),
        ({"hidden_size": 12.0}, "hidden_size must be a whole number"),
        ({"hidden_size": {"a": [1]}}, "hidden_size must be a whole number"),
        ({"vocab_size": 10**12}, "vocab_size must be a whole number"),
        ({"vocab_size": -1}, "vocab_size must be a whole number"),
        ({"vocab_size": 40_000_000, "hidden_size": 6000}, r"must have at most \d+ parameters here"),
        (
            {"vocab_size": 31},
            r"word_embeddings.weight in .* has 30 x 12, and should have 31 x 12; its vocab_size "
            r"is 31, that of the weights 30: correct it",
        ),
        ({"vocab_size": 29}, "at most as many tokens"),
        (
            {"max_position_embeddings": 10**7},
            "position_embeddings.weight in .* has 40 x 12, and should have 10000000 x 12; its "
            "max_position_embeddings is 10000000",
        ),
        (
            {"max_position_embeddings": 4},
            r"has 40 x 12, and should have 4 x 12; its max_position_embeddings is 4, that of the "
            r"weights 40",
        ),
        (
            {"hidden_size": 6},
            r"has 12, and should have 6 \(and \d+ more do not fit\); its hidden_size is 6, that "
            r"of the weights 12",
        ),
        (
            {"intermediate_size": 15},
            r"has 16, and should have 15 .*; its intermediate_size is 15, that of the weights 16",
        ),
        ({"type_vocab_size": 0}, "its type_vocab_size is 0, that of the weights 2"),
        ({"id2label": {"0": "a", "1": "b"}, "label2id": None}, "labels the model never learned: c"),
        ({"type_vocab_size": -2}, "type_vocab_size must be a whole number"),
        ({"pad_token_id": 99}, "pad_token_id must be a whole number from 0 to 29"),
        ({"pad_token_id": "x"}, "pad_token_id must be a whole number"),
        (
            {"hidden_act": "os.system"},
            "hidden_act must be an activation function that transformers has .* got 'os.system'; "
            "correct it",
        ),
        ({"hidden_act": "gelo"}, 'perhaps to "gelu"'),
        ({"hidden_act": 5}, "hidden_act in config.json must be text, got 5; correct it"),
        ({"use_cache": "x"}, "use_cache in config.json must be true or false, got 'x'; correct it"),
        (
            {"bos_token_id": []},
            r"bos_token_id in config.json must be a whole number or null, got \[\]; correct it",
        ),
        ({"add_cross_attention": True}, "must be an encoder, add_cross_attention"),
        ({"dtype": "os.system"}, "dtype must be the name of a floating point type"),
        ({"torch_dtype": "int8"}, "torch_dtype must be the name of a floating point type"),
        ({"dtype": 3}, "dtype must be the name"),
        (
            {"dtype": "torch.float32"},
            "dtype must be the name .* got 'torch.float32'; write \"float32\"",
        ),
        ({"torch_dtype": "torch.bfloat16"}, "got 'torch.bfloat16'; write \"bfloat16\""),
        (
            {"quantization_config": {"quant_method": "bitsandbytes", "load_in_8bit": True}},
            r"quantized \('bitsandbytes'\)",
        ),
        ({"id2label": ["a", "b", "c"]}, "id2label must map"),
        ({"num_labels": 10**9, "id2label": None}, "num_labels must be a whole number"),
        ({"hidden_dropout_prob": "much"}, "hidden_dropout_prob must be a number from 0 to"),
        (
            {"attention_probs_dropout_prob": 7},
            "attention_probs_dropout_prob must be a number from 0 to .* got 7",
        ),
        ({"classifier_dropout": -0.1}, "classifier_dropout must be a number from 0"),
        *(
            ({"layer_norm_eps": e}, "layer_norm_eps must be a number from 1e-20 to 0.1")
            for e in (1e30, 0, -1.0, 1e-42, "x", True)
        ),
        (
            {"layer_norm_eps": float("nan")},
            "config.json must be JSON text, it holds NaN, which is no JSON",
        ),
        *(
            ({"initializer_range": e}, "initializer_range must be a number from 0 to 100")
            for e in (-1, 1e30, "x")
        ),
        ({"layer_norm_eps": [1]}, "layer_norm_eps must be a number"),
        ({"model_type": "../../x"}, "must be an encoder that transformers has .*'../../x'"),
        (
            {"model_type": "vit"},
            "must be an encoder that transformers has for sequence classification, model_type in "
            ".* is 'vit'",
        ),
        ({"model_type": None}, "model_type in .* is not given"),
        ({"model_type": 7}, "must be the name of an architecture"),
    ],
)
def test_numbers_that_no_model_has(own: Path, changes: dict[str, Any], said: str) -> None:
    configured(own, **changes)
    refused(own, said)


@pytest.mark.parametrize(
    "door",
    [
        lambda own: start(own, "sequence", ("x", "y"), 0),
        lambda own: start(own, "token", LABELS, 0),
        encoder,
    ],
)
def test_shapes_are_checked_by_every_door(own: Path, door: Callable[[Path], Any]) -> None:
    """Only the head may have another shape, where it will be new."""
    door(own)
    configured(own, intermediate_size=15)
    with pytest.raises(
        UserError,
        match=r"intermediate.dense.bias in .* has 16, and should have 15 \(and 5 more do not "
        r"fit\); its intermediate_size is 15",
    ):
        door(own)


def test_the_shape_of_a_head_is_checked(own: Path) -> None:
    weights(
        own,
        lambda tensors: (
            tensors | {"classifier.weight": torch.ones(4, 12), "classifier.bias": torch.ones(4)}
        ),
    )
    refused(
        own,
        r"classifier.bias in .* has 4, and should have 3 \(and 1 more do not fit\); its number of "
        r"labels \(id2label\) is 3, that of the weights 4",
    )


def test_a_shape_that_no_number_mends_is_named_too(own: Path) -> None:
    weights(
        own,
        lambda tensors: (
            tensors | {"bert.encoder.layer.1.attention.self.key.weight": torch.ones(12, 11)}
        ),
    )
    refused(
        own,
        "key.weight in .* has 12 x 11, and should have 12 x 12; take the config.json that was "
        "saved with these weights",
    )


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
    own: Path, file: str, spoil: Callable[[Path], None], said: str
) -> None:
    spoil(own / file)
    refused(own, said)


def test_parts_of_weights(own: Path) -> None:
    tensors = load_file(own / "model.safetensors")
    names = sorted(tensors)
    (own / "model.safetensors").unlink()
    halves = {"one.safetensors": names[:10], "two.safetensors": names[10:]}
    for part, some in halves.items():
        save_file({name: tensors[name] for name in some}, own / part, metadata={"format": "pt"})
    index = own / "model.safetensors.index.json"

    def say(weight_map: Any) -> None:
        index.write_text(json.dumps({"metadata": {}, "weight_map": weight_map}))

    right = {name: part for part, some in halves.items() for name in some}
    say(right)
    assert set(tensors_of(own)) == set(names)
    load(base_of(str(own)), "sequence", LABELS)
    for wrong, said in (
        (None, "must have a weight_map"),
        ({"x": 1}, "must have a weight_map"),
        (right | {"x": "../x.safetensors"}, "must be files beside"),
    ):
        say(wrong)
        refused(own, said)
    say(right | {"x": "three.safetensors"})
    refused(own, "three.safetensors is not")
    save_file(tensors, own / "two.safetensors", metadata={"format": "pt"})
    say(right)
    refused(own, "is in two of")


def test_a_tokenizer_larger_than_the_embedding(own: Path, original: Path) -> None:
    words = PreTrainedTokenizerFast.from_pretrained(original)
    words.add_tokens(["@user"])
    words.save_pretrained(own)
    refused(
        own,
        r"at most as many tokens as the model has embeddings \(30\), in .* it has 1 more "
        r"\('@user' is 30\)",
    )
    with pytest.raises(UserError, match="'@user' is 30"):
        start(own, "sequence", LABELS, 0)
    said = json.loads((original / "tokenizer.json").read_text())
    said["post_processor"] = {
        "type": "TemplateProcessing",
        "single": [
            {"SpecialToken": {"id": "[CLS]", "type_id": 0}},
            {"Sequence": {"id": "A", "type_id": 0}},
        ],
        "pair": [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}],
        "special_tokens": {"[CLS]": {"id": "[CLS]", "ids": [77], "tokens": ["[CLS]"]}},
    }
    (own / "tokenizer.json").write_text(json.dumps(said))
    refused(own, "is 77")


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
    own: Path, file: str, changes: dict[str, Any] | None, said: str
) -> None:
    value = json.loads((own / file).read_text())
    (own / file).write_text(
        "[]"
        if changes is None
        else json.dumps({k: v for k, v in (value | changes).items() if v is not None})
    )
    (own / "special_tokens_map.json").unlink(missing_ok=True)
    refused(own, said)


@pytest.mark.parametrize("value", [0, -5, "many", True])
def test_a_tokenizer_that_takes_nothing(own: Path, value: Any) -> None:
    said = json.loads((own / "tokenizer_config.json").read_text())
    (own / "tokenizer_config.json").write_text(json.dumps(said | {"model_max_length": value}))
    refused(own, "model_max_length must be a number above 0|it was refused")


@pytest.mark.parametrize("types", [1, 2])
def test_pairs_are_numbered_only_where_the_model_tells_them_apart(
    types: int, original: Path, own: Path
) -> None:
    said = json.loads((own / "tokenizer_config.json").read_text())
    (own / "tokenizer_config.json").write_text(
        json.dumps(said | {"model_input_names": ["input_ids", "token_type_ids", "attention_mask"]})
    )
    BertForSequenceClassification(
        BertConfig.from_pretrained(original, type_vocab_size=types)
    ).save_pretrained(own)
    model, words = load(own, "sequence", LABELS)
    rows = [
        Example("1", "en", "w3 w4", (), ("a",), "w5"),
        Example("2", "en", "w3", (), ("b",), "w6 w7"),
    ]
    data = encode(
        rows,
        Task("pairs", "sequence", LABELS, ("en",), "en", "accuracy", "0" * 16, {"test": rows}),
        words,
    )
    assert (data.types is None) == (types == 1)
    assert model(**data.batch([0, 1]).inputs).logits.shape == (2, 3)


# --- what users name


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("~nobody-of-that-name/x", "only for a user of this machine"),
        ("a\0b", "no NUL"),
        ("x" * 5000, "at most 4000 bytes"),
        ("y" * 300, "255 in each part"),
        ("a\ud800b", "must be readable text"),
    ],
)
def test_paths_that_are_none(given: str, said: str) -> None:
    for door in (path_of, base_of):
        with pytest.raises(UserError, match=said) as caught:
            door(given)
        str(caught.value).encode("utf-8")
        assert str(caught.value).isprintable()
    assert path_of("~") == Path.home()


def test_files_that_a_user_names(tmp_path: Path) -> None:
    (tmp_path / "good").write_text("grüß")
    assert text_of(tmp_path / "good", "a file") == "grüß"
    (tmp_path / "latin").write_bytes("grüß".encode("latin-1"))
    os.mkfifo(tmp_path / "pipe")
    _long(tmp_path / "long")
    for path, said in (
        (tmp_path, "must be a regular file"),
        (tmp_path / "pipe", "must be a regular file"),
        (Path("/dev/zero"), "must be a regular file"),
        (tmp_path / "nowhere", "must exist"),
        (tmp_path / "latin", "must be UTF-8"),
        (tmp_path / "long", "at most 10000 kB"),
        (tmp_path / "good" / "x", "must exist"),
    ):
        with pytest.raises(UserError, match=said):
            text_of(path, "a file")


def test_a_limit_can_be_raised_by_name(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits.cache_clear()
    monkeypatch.setenv("SDQ_CHECKPOINT_PARAMETERS", "1000")
    try:
        refused(own, r"at most 1000 parameters here, .* raise SDQ_CHECKPOINT_PARAMETERS")
    finally:
        limits.cache_clear()
    assert np.prod(tensors_of(own)["classifier.weight"].shape) == 36
    assert stat.S_ISREG((own / "config.json").stat().st_mode)


def test_counters_of_training_are_no_quantized_weights(own: Path) -> None:
    weights(own, added(n_averaged=torch.tensor(7)))
    assert load(base_of(str(own)), "sequence", LABELS)[0] is not None
    weights(own, added(seen=torch.tensor(7)))
    refused(own, "every tensor of the weights must have a place in the model, seen")


@pytest.mark.parametrize(
    ("architecture", "said"),
    [
        ("BertCRF", "its config.json names BertCRF, which is no such"),
        ("BertForQuestionAnswering", "names BertForQuestionAnswering, which is no such"),
        ("BertModel", r"it is a base model \(BertModel\)"),
        ("BertForMaskedLM", r"it is a base model \(BertForMaskedLM\)"),
    ],
)
def test_only_a_base_model_is_called_one(own: Path, architecture: str, said: str) -> None:
    configured(own, architectures=[architecture])
    weights(
        own,
        lambda tensors: {
            name: tensor for name, tensor in tensors.items() if "classifier" not in name
        },
    )
    with pytest.raises(UserError, match=said):
        ready(str(own), "task.json")


@pytest.mark.parametrize(
    "door",
    [
        lambda own: load(own, "sequence", LABELS),
        lambda own: start(own, "token", LABELS, 0),
        encoder,
    ],
    ids=["load", "start", "encoder"],
)
def test_the_prefix_of_another_architecture_is_named(
    own: Path, door: Callable[[Path], Any]
) -> None:
    configured(own, model_type="roberta")
    with pytest.raises(
        UserError,
        match=r"begin with 'bert', the prefix of another architecture \(that of its model_type is "
        r"'roberta'\): correct model_type",
    ):
        door(own)


@pytest.mark.parametrize("kind", ["BertModel", "BertForMaskedLM"])
def test_a_base_model_is_one_whose_weights_have_no_head(own: Path, kind: str) -> None:
    configured(own, architectures=[kind])
    ready(str(own), "intent")
    weights(own, lambda tensors: {f"module.{name}": tensor for name, tensor in tensors.items()})
    ready(str(own), "intent")  # what is wrong with it is said when it is loaded
    weights(
        own,
        lambda tensors: {
            name: tensor for name, tensor in tensors.items() if "classifier" not in name
        },
    )
    ready(str(own), "intent", head=False)
    with pytest.raises(
        UserError, match=rf"must have a head for a task, it is a base model \({kind}\)"
    ):
        ready(str(own), "intent")


def test_the_heads_of_pretraining_are_none_of_a_task() -> None:
    assert not has_head(
        [
            "cls.seq_relationship.weight",
            "sop_classifier.classifier.weight",
            "mask_predictions.classifier.bias",
            "lm_head.bias",
            "head.dense.weight",
        ]
    )
    assert has_head(["bert.pooler.dense.weight", "classifier.out_proj.bias"])
