"""Models, tokenizers and heads that would answer wrongly are refused."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from sdq.models.heads import loading_remarks
from sdq.models.loading import load, start
from sdq.settings import UserError
from tests.helpers.architectures import VOCABULARY
from tests.helpers.heads import edited, logits, save


def test_a_tokenizer_with_code_of_its_own_is_refused(
    tiny: Callable[..., nn.Module], tokenizer: Any, tmp_path: Path
) -> None:
    folder = save(tiny("bert", "sequence"), ("a", "b", "c"), tokenizer, tmp_path)
    path = folder / "tokenizer_config.json"
    path.write_text(
        json.dumps(
            {**json.loads(path.read_text()), "auto_map": {"AutoTokenizer": ["own.Own", "own.Fast"]}}
        )
    )
    with pytest.raises(
        UserError,
        match=r"tokenizer_config.json puts .*'own.Own', 'own.Fast'.* in the place of AutoTokenizer",
    ):
        load(folder, "sequence", ("a", "b", "c"))


_OTHERS: dict[str, tuple[dict[str, Any], str]] = {
    "xmod": (
        {
            "languages": ["en_XX", "de_DE"],
            "default_language": "de_DE",
            "adapter_reduction_factor": 2,
        },
        "needs lang_ids too",
    ),
    "layoutlm": ({}, "needs bbox too"),
    "longformer": (
        {"attention_window": 4, "sep_token_id": 3},
        "must have one row per token, .* has 4 x 2 x 24",
    ),
    "funnel": (
        {"block_sizes": [1, 1], "d_model": 24, "n_head": 2, "d_head": 12, "d_inner": 40},
        "must have one row per token",
    ),
    "xmod of one language": (
        {"languages": ["en_XX"], "default_language": "en_XX", "adapter_reduction_factor": 2},
        "",
    ),
    "esm": ({"mask_token_id": 4, "token_dropout": True, "position_embedding_type": "rotary"}, ""),
}


@pytest.mark.parametrize("name", _OTHERS)
def test_models_that_need_more_than_a_text_or_have_no_row_per_token(
    name: str, tokenizer: Any, tmp_path: Path
) -> None:
    import transformers

    changes, said = _OTHERS[name]
    sizes = {
        "hidden_size": 24,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "intermediate_size": 40,
        "max_position_embeddings": 48,
    }
    sizes = {} if name == "funnel" else sizes
    config = transformers.AutoConfig.for_model(
        name.split()[0], vocab_size=VOCABULARY, pad_token_id=0, num_labels=3, **{**sizes, **changes}
    )
    made = transformers.AutoModelForSequenceClassification.from_config(config)
    folder = save(made, ("a", "b", "c"), tokenizer, tmp_path)
    if said:
        with pytest.raises(UserError, match=said):
            load(folder, "sequence", ("a", "b", "c"))
    else:
        load(folder, "sequence", ("a", "b", "c"))


def test_a_tokenizer_without_an_unknown_token_is_refused(
    tiny: Callable[..., nn.Module], tokenizer: Any, tmp_path: Path
) -> None:
    """Of any kind, also where the vocabulary has the usual letters."""
    folder = save(tiny("bert", "sequence"), ("a", "b", "c"), tokenizer, tmp_path)
    path = folder / "tokenizer.json"
    text = json.loads(path.read_text())
    words = ["[PAD]", "[UNK]", "[CLS]", "a", "1"]
    ids = {word: i for i, word in enumerate(words)}
    for model in (
        {"type": "WordLevel", "vocab": ids, "unk_token": "<nope>"},
        {
            "type": "Unigram",
            "vocab": [[word, -1.0] for word in words],
            "unk_id": None,
            "byte_fallback": False,
        },
        {
            "type": "WordPiece",
            "vocab": ids,
            "unk_token": "<nope>",
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
        },
    ):
        path.write_text(json.dumps(text | {"model": model}))
        with pytest.raises(UserError, match=r"no token for what its vocabulary lacks; .*unk_token"):
            load(folder, "sequence", ("a", "b", "c"))


def test_label2id_alone_names_the_outputs(
    tiny: Callable[..., nn.Module], tokenizer: Any, tmp_path: Path
) -> None:
    folder = save(tiny("bert", "sequence", 3), ("a", "b", "c"), tokenizer, tmp_path)
    before = load(folder, "sequence", ("a", "b", "c"))[0]
    edited(folder, id2label=None, label2id={"c": 2, "a": 0, "b": 1})
    model: Any = load(folder, "sequence", ("c", "a", "b"))[0]
    assert model.config.id2label == {0: "c", 1: "a", 2: "b"}
    assert torch.equal(logits(model), logits(before)[:, [2, 0, 1]])


def without(folder: Path, *names: str) -> None:
    path = folder / "model.safetensors"
    kept = {name: t for name, t in load_file(path).items() if name not in names}
    assert len(kept) + len(names) == len(load_file(path))
    save_file(kept, path, {"format": "pt"})


@pytest.mark.parametrize(
    ("architecture", "gone", "said"),
    [
        ("bert", ("classifier.bias",), "a whole head for .*, its weights lack classifier.bias; do"),
        (
            "bert",
            ("bert.pooler.dense.weight", "bert.pooler.dense.bias"),
            "its weights lack bert.pooler.dense.bias, bert.pooler.dense.weight; do",
        ),
        ("roberta", ("classifier.out_proj.bias",), "its weights lack classifier.out_proj.bias; do"),
        ("distilbert", ("pre_classifier.weight",), "its weights lack pre_classifier.weight; do"),
        (
            "bert",
            ("classifier.bias", "classifier.weight"),
            "it is a base model: its weights lack classifier.bias, classifier.weight; do",
        ),
        (
            "roberta",
            ("classifier.out_proj.bias", "classifier.out_proj.weight"),
            "it is a base model: its weights lack classifier.out",
        ),
    ],
)
def test_what_a_head_lacks_is_named(
    architecture: str,
    gone: tuple[str, ...],
    said: str,
    tiny: Callable[..., nn.Module],
    tokenizer: Any,
    tmp_path: Path,
) -> None:
    folder = save(tiny(architecture, "sequence"), ("a", "b", "c"), tokenizer, tmp_path)
    without(folder, *gone)
    with pytest.raises(UserError, match=said):
        load(folder, "sequence", ("a", "b", "c"), "do this")
    remarked = " ".join(loading_remarks(start(folder, "sequence", ("a", "b", "c"), 0)[0]))
    whole = "base model" in said
    assert (gone[0] in remarked) is not whole, "a new head is what a base model gets"


def test_a_config_with_a_key_twice_is_refused(
    tiny: Callable[..., nn.Module], tokenizer: Any, tmp_path: Path
) -> None:
    folder = save(tiny("bert", "sequence"), ("a", "b", "c"), tokenizer, tmp_path / "model")
    text = json.dumps(json.loads((folder / "config.json").read_text()))
    for old, new, said in (
        ('"0": "a"', '"0": "b", "0": "a"', "name '0' twice"),
        ('"layer_norm_eps": 1e-12', '"layer_norm_eps": NaN', "NaN"),
        ("1e-12", "1e999", "too large"),
    ):
        assert old in text
        copy = Path(shutil.copytree(folder, tmp_path / said))
        (copy / "config.json").write_text(text.replace(old, new))
        with pytest.raises(UserError, match=f"config.json must be JSON text, it .*{said}"):
            load(copy, "sequence", ("a", "b", "c"))
