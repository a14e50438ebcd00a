"""Numbers of a configuration that no model has, and shapes that do not fit them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from sdq.models.loading import encoder, start
from sdq.settings import UserError
from tests.helpers.checkpoints import ABC, configured, refused, weights


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
        ({"dtype": "auto"}, "dtype must be the name .* got 'auto'; correct it"),
        (
            {"get_text_config": "x"},
            "must hold settings of a model, get_text_config in .* a function of .*; take it out",
        ),
        ({"to_dict": 3}, "to_dict in .* is what a function of transformers is called; take it"),
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
def test_numbers_that_no_model_has(bert_copy: Path, changes: dict[str, Any], said: str) -> None:
    configured(bert_copy, **changes)
    refused(bert_copy, said)


@pytest.mark.parametrize(
    "door",
    [
        lambda bert_copy: start(bert_copy, "sequence", ("x", "y"), 0),
        lambda bert_copy: start(bert_copy, "token", ABC, 0),
        encoder,
    ],
)
def test_shapes_are_checked_by_every_door(bert_copy: Path, door: Callable[[Path], Any]) -> None:
    """Only the head may have another shape, where it will be new."""
    door(bert_copy)
    configured(bert_copy, intermediate_size=15)
    with pytest.raises(
        UserError,
        match=r"intermediate.dense.bias in .* has 16, and should have 15 \(and 5 more do not "
        r"fit\); its intermediate_size is 15",
    ):
        door(bert_copy)


def test_the_shape_of_a_head_is_checked(bert_copy: Path) -> None:
    weights(
        bert_copy,
        lambda tensors: (
            tensors | {"classifier.weight": torch.ones(4, 12), "classifier.bias": torch.ones(4)}
        ),
    )
    refused(
        bert_copy,
        r"classifier.bias in .* has 4, and should have 3 \(and 1 more do not fit\); its number of "
        r"labels \(id2label\) is 3, that of the weights 4",
    )


def test_shapes_of_one_row_are_refused_without_a_warning(
    bert_copy: Path, recwarn: pytest.WarningsRecorder
) -> None:
    """Half of one row was tried as a size: torch warned of tensors without elements."""
    configured(bert_copy, intermediate_size=6)  # half of the hidden size
    weights(
        bert_copy,
        lambda tensors: (
            tensors | {"bert.encoder.layer.0.attention.self.key.weight": torch.ones(1, 256)}
        ),
    )
    refused(bert_copy, "every tensor must have the shape that config.json asks for")
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.parametrize("dtype", ["float64", "double", "float32", "float", "float16", "half"])
def test_every_name_of_a_type_that_is_offered_is_taken(bert_copy: Path, dtype: str) -> None:
    configured(bert_copy, dtype=dtype)
    assert next(encoder(bert_copy).parameters()).dtype == torch.float32


def test_a_shape_that_no_number_mends_is_named_too(bert_copy: Path) -> None:
    weights(
        bert_copy,
        lambda tensors: (
            tensors | {"bert.encoder.layer.1.attention.self.key.weight": torch.ones(12, 11)}
        ),
    )
    refused(
        bert_copy,
        "key.weight in .* has 12 x 11, and should have 12 x 12; take the config.json that was "
        "saved with these weights",
    )
