"""A made-up published body of four small blocks, and a midi that stands on it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

from sdq.midi import alignment, tokenizer
from sdq.midi.build import Words
from sdq.mini.corpus import Pair

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
ENGLISH = ["the", "dog", "cat", "sees", "a", "house", "is", "old", "der", ".", ",", "##s", "##y"]
LETTERS = [form for letter in "abcdefghijklmnopqrstuvwxyz" for form in (letter, f"##{letter}")]
OURS = [
    *("ä", "##ä", "und▁", "hund", "##haus", "der▁"),
    *(
        "ก",
        "##ก",
        "า",
        "##า",
        "ห",
        "##ห",
        "ม",
        "##ม",
        "หมา",
        "##หมา",
        "ह",
        "##ह",
        "ि",
        "##ि",
        "的",
        "##的",
        "猫",
        "##猫",
    ),
    *(form for letter in "собак" for form in (letter, f"##{letter}")),
    "собака",
]
PAIRS = [
    Pair("de", "der hund und der hund", "the dog sees the dog", "ntrex"),
    Pair("de", "hund", "dog .", "tatoeba"),
    Pair("de", "der", "the", "tatoeba"),
    Pair("ru", "собака", "a dog", "tatoeba"),
    Pair("th", "หมาหมา", "dogs", "ntrex"),
    Pair("zh", "猫的猫", "the cat is the cat", "ntrex"),
]


def published(folder: Path) -> str:
    """Write the body's folder; the SHA-256 of its weights."""
    torch.manual_seed(3)
    pieces = dict.fromkeys([*SPECIAL, *ENGLISH, *LETTERS])
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    made = Tokenizer(WordPiece(vocabulary, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
    ).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary),
        hidden_size=24,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=40,
    )
    BertModel(config).eval().save_pretrained(folder)
    return hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest()


def vocabulary_of(folder: Path) -> dict[str, int]:
    read: dict[str, int] = json.loads((folder / "tokenizer.json").read_text())["model"]["vocab"]
    return read


def words_on(body: Path, folder: Path) -> Words:
    """Tokenizer, in `folder`, and alignment of PAIRS over the body."""
    package = vocabulary_of(body)
    tokenizer.save(tokenizer.assembled(package, OURS), folder)
    subwords, row_of = tokenizer.load(folder), tokenizer.shared_rows(OURS)
    fold = np.concatenate([np.arange(len(package)), len(package) + np.array(row_of)])

    def numbers(texts: list[str]) -> list[alignment.Ints]:
        return [fold[row] for row in subwords(texts, add_special_tokens=False)["input_ids"]]

    table = alignment.model1(numbers([p.text for p in PAIRS]), numbers([p.english for p in PAIRS]))
    return Words(subwords, row_of, table, fold)
