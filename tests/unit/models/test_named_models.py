"""Models and files by the names that users give them."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sdq.io.limits import limits
from sdq.models.checkpoint import base_of, ready
from sdq.models.loading import encoder, load, start
from sdq.models.tensor_names import has_head
from sdq.models.tensors import tensors_of
from sdq.settings import UserError, path_of, small
from tests.helpers.checkpoints import ABC, added, configured, refused, weights


def _long(path: Path) -> None:
    with path.open("ab") as file:
        file.truncate(300_000_000)  # sparse


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
    assert small(tmp_path / "good", "a file", 10_000_000) == "grüß".encode()
    os.mkfifo(tmp_path / "pipe")
    _long(tmp_path / "long")
    for path, said in (
        (tmp_path, "must be a regular file"),
        (tmp_path / "pipe", "must be a regular file"),
        (Path("/dev/zero"), "must be a regular file"),
        (tmp_path / "nowhere", "must exist"),
        (tmp_path / "long", "at most 10000 kB"),
        (tmp_path / "good" / "x", "must exist"),
    ):
        with pytest.raises(UserError, match=said):
            small(path, "a file", 10_000_000)


def test_a_limit_can_be_raised_by_name(bert_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    limits.cache_clear()
    monkeypatch.setenv("SDQ_CHECKPOINT_PARAMETERS", "1000")
    try:
        refused(bert_copy, r"at most 1000 parameters here, .* raise SDQ_CHECKPOINT_PARAMETERS")
    finally:
        limits.cache_clear()
    assert np.prod(tensors_of(bert_copy)["classifier.weight"].shape) == 36
    assert stat.S_ISREG((bert_copy / "config.json").stat().st_mode)


def test_counters_of_training_are_no_quantized_weights(bert_copy: Path) -> None:
    weights(bert_copy, added(n_averaged=torch.tensor(7)))
    assert load(base_of(str(bert_copy)), "sequence", ABC)[0] is not None
    weights(bert_copy, added(seen=torch.tensor(7)))
    refused(bert_copy, "every tensor of the weights must have a place in the model, seen")


@pytest.mark.parametrize(
    ("architecture", "said"),
    [
        ("BertCRF", "its config.json names BertCRF, which is no such"),
        ("BertForQuestionAnswering", "names BertForQuestionAnswering, which is no such"),
        ("BertModel", r"it is a base model \(BertModel\)"),
        ("BertForMaskedLM", r"it is a base model \(BertForMaskedLM\)"),
    ],
)
def test_only_a_base_model_is_called_one(bert_copy: Path, architecture: str, said: str) -> None:
    configured(bert_copy, architectures=[architecture])
    weights(
        bert_copy,
        lambda tensors: {
            name: tensor for name, tensor in tensors.items() if "classifier" not in name
        },
    )
    with pytest.raises(UserError, match=said):
        ready(str(bert_copy), "task.json")


@pytest.mark.parametrize(
    "door",
    [
        lambda bert_copy: load(bert_copy, "sequence", ABC),
        lambda bert_copy: start(bert_copy, "token", ABC, 0),
        encoder,
    ],
    ids=["load", "start", "encoder"],
)
def test_the_prefix_of_another_architecture_is_named(
    bert_copy: Path, door: Callable[[Path], Any]
) -> None:
    configured(bert_copy, model_type="roberta")
    with pytest.raises(
        UserError,
        match=r"begin with 'bert', the prefix of another architecture \(that of its model_type is "
        r"'roberta'\): correct model_type",
    ):
        door(bert_copy)


@pytest.mark.parametrize("kind", ["BertModel", "BertForMaskedLM"])
def test_a_base_model_is_one_whose_weights_have_no_head(bert_copy: Path, kind: str) -> None:
    configured(bert_copy, architectures=[kind])
    ready(str(bert_copy), "intent")
    weights(
        bert_copy, lambda tensors: {f"module.{name}": tensor for name, tensor in tensors.items()}
    )
    ready(str(bert_copy), "intent")  # what is wrong with it is said when it is loaded
    weights(
        bert_copy,
        lambda tensors: {
            name: tensor for name, tensor in tensors.items() if "classifier" not in name
        },
    )
    ready(str(bert_copy), "intent", head=False)
    with pytest.raises(
        UserError, match=rf"must have a head for a task, it is a base model \({kind}\)"
    ):
        ready(str(bert_copy), "intent")


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
