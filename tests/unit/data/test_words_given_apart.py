"""Words given apart keep the space before them, whatever the tokenizer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import (
    AddedToken,
    Regex,
    Tokenizer,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from sdq.data import check
from sdq.data.pieces import lead_with_space_
from sdq.data.tagging import Tagging
from sdq.data.task import Example, Task
from sdq.models.loading import tokenizer_of
from sdq.settings import UserError
from tests.helpers.tokenizers import CORPUS, LABELS

GPT4 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| "
    r"?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
BYTES = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)


def _raw(pre_tokenizer: Any, normalizer: Any = None) -> Tokenizer:
    made = Tokenizer(models.BPE(unk_token="<unk>"))
    made.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        made.normalizer = normalizer
    alphabet = [*pre_tokenizers.ByteLevel.alphabet(), "▁"]
    made.train_from_iterator(
        CORPUS,
        trainers.BpeTrainer(
            vocab_size=340,
            special_tokens=["<pad>", "<unk>"],
            initial_alphabet=alphabet,
            show_progress=False,
        ),
    )
    return made


def _gemma() -> Tokenizer:
    made = _raw(pre_tokenizers.Metaspace())
    made.pre_tokenizer, made.normalizer = (
        pre_tokenizers.Split(" ", "merged_with_previous"),
        normalizers.Replace(" ", "▁"),
    )
    return made


MARKED = {
    "roberta": lambda: _raw(pre_tokenizers.ByteLevel(add_prefix_space=False)),
    "llama3": lambda: _raw(
        pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(GPT4), "isolated"), BYTES])
    ),
    "digits": lambda: _raw(
        pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
        )
    ),
    "modernbert": lambda: _raw(pre_tokenizers.ByteLevel(add_prefix_space=False), normalizers.NFC()),
    "metaspace": lambda: _raw(pre_tokenizers.Metaspace(prepend_scheme="never")),
    "gemma": lambda: _gemma(),
}
AS_THEY_ARE = {
    "xlm-r": lambda: _raw(pre_tokenizers.Metaspace()),
    "bert": lambda: _raw(pre_tokenizers.BertPreTokenizer(), normalizers.BertNormalizer()),
    "spaces first": lambda: _raw(
        pre_tokenizers.Sequence([pre_tokenizers.WhitespaceSplit(), BYTES])
    ),
}


@pytest.mark.parametrize("kind", [*MARKED, *AS_THEY_ARE])
def test_a_word_given_apart_is_the_word_in_a_text(kind: str) -> None:
    """After another word: there the text itself has the space."""
    made = (MARKED | AS_THEY_ARE)[kind]()
    text = ["x Anna", "x don't", "x 3,5", "x unforgettable"]
    wanted = [coded.tokens[len(made.encode("x").tokens) :] for coded in made.encode_batch(text)]
    assert lead_with_space_(made, kind) == (kind in MARKED)
    assert [
        made.encode([part.removeprefix("x ")], is_pretokenized=True).tokens for part in text
    ] == wanted
    assert not lead_with_space_(made, kind)  # done once
    assert made.encode(["", "x"], is_pretokenized=True).word_ids[0] == 1


def test_a_folder_of_a_tokenizer_alone_and_what_is_saved_of_it(tmp_path: Path) -> None:
    PreTrainedTokenizerFast(
        tokenizer_object=MARKED["modernbert"](), pad_token="<pad>", unk_token="<unk>"
    ).save_pretrained(tmp_path / "one")
    made = tokenizer_of(tmp_path / "one", 32, apart=True)
    assert made(["Anna", "visits"], is_split_into_words=True).tokens()[0].startswith("Ġ")
    # a text is taken as ever
    assert not tokenizer_of(tmp_path / "one", 32)("Anna").tokens()[0].startswith("Ġ")
    made.save_pretrained(tmp_path / "two")
    again = AutoTokenizer.from_pretrained(tmp_path / "two")
    assert (
        again(["Anna"], is_split_into_words=True).tokens()
        == made(["Anna"], is_split_into_words=True).tokens()
    )


def test_a_tokenizer_that_drops_the_space_is_refused_in_one_sentence() -> None:
    made = _raw(pre_tokenizers.Sequence([pre_tokenizers.Split(Regex("^ "), "removed"), BYTES]))
    with pytest.raises(UserError, match="loses the space before them") as error:
        lead_with_space_(made, "the tokenizer in x")
    assert "\n" not in str(error.value)


def test_check_counts_the_subwords_that_the_model_is_given(tmp_path: Path) -> None:
    made = MARKED["roberta"]()
    made.add_special_tokens([AddedToken("<s>")])
    made.post_processor = processors.TemplateProcessing(
        single="<s> $A", special_tokens=[("<s>", made.token_to_id("<s>"))]
    )
    made.save(str(tmp_path / "tokenizer.json"))
    words = ("Anna", "visits", "Oslo") * 3
    example = Example("1", "en", " ".join(words), words, ("O",) * 9)
    together = len(made.encode(f" {example.text}").ids)
    # "Anna" is a rarer piece than " Anna"
    assert len(made.encode(list(words), is_pretokenized=True).ids) > together
    task = Task(
        "made",
        "token",
        LABELS,
        ("en",),
        "en",
        "f1",
        "0",
        {s: [example] for s in ("train", "dev", "test")},
        (),
        together,
        Tagging("IOB2"),
    )
    assert check._cut(task, [example], tmp_path / "tokenizer.json") == 0
