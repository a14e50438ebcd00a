"""What tests of models share."""

from __future__ import annotations

import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from huggingface_hub import constants
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    PreTrainedTokenizerFast,
    XLMRobertaForSequenceClassification,
)

from sdq.settings import ASSETS
from tests.helpers.architectures import VOCABULARY
from tests.helpers.checkpoints import ABC
from tests.helpers.hub import LABELS, config


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    made = Tokenizer(
        WordLevel(
            {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, **{f"w{i}": i for i in range(3, VOCABULARY)}},
            unk_token="[UNK]",
        )
    )
    made.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(
        tokenizer_object=made, pad_token="[PAD]", unk_token="[UNK]", cls_token="[CLS]"
    )


@pytest.fixture(scope="module")
def xlmr_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny XLM-R under a head of three labels, and the embedded tokenizer."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    XLMRobertaForSequenceClassification(config(id2label=dict(enumerate(LABELS)))).save_pretrained(
        folder
    )
    AutoTokenizer.from_pretrained(ASSETS / "mini" / "encoder").save_pretrained(folder)
    return folder


@pytest.fixture
def xlmr_copy(xlmr_folder: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    return Path(shutil.copytree(xlmr_folder, tmp_path / "own"))


@pytest.fixture
def hub_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and a network on which every look-up fails the test."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    asked = []

    def never(*_: Any, **__: Any) -> Any:
        asked.append(1)
        raise OSError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", never)
    monkeypatch.setattr(socket, "create_connection", never)
    yield tmp_path / "hub"
    assert not asked


@pytest.fixture(scope="module")
def bert_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
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
        id2label=dict(enumerate(ABC)),
        label2id={label: i for i, label in enumerate(ABC)},
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
def bert_copy(bert_folder: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    return Path(shutil.copytree(bert_folder, tmp_path / "own"))
