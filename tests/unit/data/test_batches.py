"""Examples -> batches: pairs go in as two texts, what is cut is counted, what has no label is never
scored by accident."""

from __future__ import annotations

import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from sdq.data.batches import IGNORE, encode
from sdq.data.task import Example, Task
from sdq.settings import ROOT

WORDS = ("a", "b", "c", "d", "e")


@pytest.fixture(scope="module")
def bert() -> PreTrainedTokenizerFast:
    """A word tokenizer that marks the two texts of a pair, as BERT's does."""
    vocabulary = {word: i for i, word in enumerate(("[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS))}
    made = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    made.pre_tokenizer = pre_tokenizers.Whitespace()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=made,
        pad_token="[PAD]",
        unk_token="[UNK]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],
    )


def task(kind: str = "sequence", longest: int = 128) -> Task:
    return Task("made", kind, ("no", "yes"), ("en",), "en", "accuracy", "0", {}, (), longest)  # type: ignore[arg-type]


def pair(text: str, second: str | None, label: str = "yes") -> Example:
    return Example("1", "en", text, (), (label,), second)


def test_pairs_go_in_as_two_texts_and_their_places_are_marked(
    bert: PreTrainedTokenizerFast,
) -> None:
    data = encode([pair("a b", "c"), pair("a", "c d e", "no")], task(), bert)
    assert data.ids == [[2, 4, 5, 3, 6, 3], [2, 4, 3, 6, 7, 8, 3]]
    batch = data.batch([0, 1])
    assert batch.inputs["token_type_ids"].tolist() == [[0, 0, 0, 0, 1, 1, 0], [0, 0, 0, 1, 1, 1, 1]]
    assert batch.labels.tolist() == [1, 0]


def test_single_texts_have_no_marks_and_a_model_without_them_gets_none(
    bert: PreTrainedTokenizerFast,
) -> None:
    assert "token_type_ids" not in encode([pair("a b", None)], task(), bert).batch([0]).inputs
    xlmr = AutoTokenizer.from_pretrained(ROOT / "assets" / "mini" / "encoder")
    data = encode([pair("one text", "another text")], task(), xlmr)
    assert "token_type_ids" not in data.batch([0]).inputs
    assert (
        data.ids[0]
        == xlmr("one text", "another text")["input_ids"]
        != xlmr("one text")["input_ids"]
    )


def test_joined_data_keep_texts_marks_and_counts(bert: PreTrainedTokenizerFast) -> None:
    one, two = (
        encode([pair("a", "b")], task(longest=5), bert),
        encode([pair("c", "d e a")], task(longest=5), bert),
    )
    both = one.followed_by(two)
    assert (both.ids, both.labels, both.types, both.cut) == (
        one.ids + two.ids,
        one.labels + two.labels,
        one.types + two.types,
        1,
    )  # type: ignore[operator]
    assert torch.equal(
        both.batch([1]).inputs["token_type_ids"], two.batch([0]).inputs["token_type_ids"]
    )


def test_the_longer_text_is_cut_and_counted(bert: PreTrainedTokenizerFast) -> None:
    data = encode([pair("a b", "c d e c d e"), pair("a", "b")], task(longest=8), bert)
    assert data.ids == [[2, 4, 5, 3, 6, 7, 8, 3], [2, 4, 3, 5, 3]]
    assert data.cut == 1
    words = Example("1", "en", "", ("a",) * 9, ("yes",) * 9)
    tagged = encode([words], task("token", longest=6), bert)
    assert (tagged.cut, tagged.labels) == (1, [[IGNORE, 1, 1, 1, 1, IGNORE]])


def test_sentences_without_labels_get_a_stand_in(bert: PreTrainedTokenizerFast) -> None:
    assert encode([Example("1", "de", "a", (), ())], task(), bert).labels == [[0]]
    assert encode([Example("1", "de", "a b", ("a", "b"), ())], task("token"), bert).labels == [
        [IGNORE, 0, 0, IGNORE]
    ]
