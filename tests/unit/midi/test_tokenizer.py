"""English is cut as the published model cuts it; other languages keep their marks and lose no
word."""

from __future__ import annotations

from pathlib import Path

import pytest
from transformers import AutoTokenizer

from sdq.midi import tokenizer, vocabulary
from sdq.midi.build import Words
from sdq.mini.corpus import Pair
from tests.helpers.small_body import OURS, vocabulary_of


@pytest.mark.parametrize(
    "text", ["The dogs see a HOUSE, a cat.", "undo", "understands", "x", "Wilders derby"]
)
def test_english_has_the_ids_of_the_package(text: str, body: Path, words: Words) -> None:
    published = AutoTokenizer.from_pretrained(body)
    assert words.tokenizer(text)["input_ids"] == published(text)["input_ids"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("und Und undo", ["und▁", "und▁", "u", "##n", "##d", "##o"]),
        ("der, DER", ["der▁", ",", "der▁"]),
        ("derhund", ["der", "##h", "##u", "##n", "##d"]),
        ("hundhaus", ["hund", "##haus"]),
        ("หมากา", ["หมา", "##ก", "##า"]),
        ("หมา猫的a", ["หมา", "##猫", "##的", "a"]),
        ("猫龘猫", ["猫", "[UNK]", "猫"]),  # one unknown letter, not the whole clause
        ("हि", ["ह", "##ि"]),  # the sign of the vowel stays
        ("ä a\u0308", ["ä", "ä"]),
        ("İ", ["i"]),
    ],
)
def test_how_other_languages_are_cut(text: str, expected: list[str], words: Words) -> None:
    assert words.tokenizer.tokenize(text) == expected


def test_a_long_clause_without_spaces_is_no_unknown_word(words: Words) -> None:
    pieces = words.tokenizer.tokenize("หมา" * 110)
    assert pieces == ["หมา", *["##หมา"] * 109]


def test_words_of_a_split_sentence_are_found_again(words: Words) -> None:
    coded = words.tokenizer(["hundhaus", "und", "หมากา"], is_split_into_words=True)
    assert coded.word_ids() == [None, 0, 0, 1, 2, 2, 2, None]


def test_two_texts_are_told_apart_as_by_xlm_r(words: Words) -> None:
    tokens = words.tokenizer.convert_ids_to_tokens(words.tokenizer("dog", "cat")["input_ids"])
    assert tokens == ["[CLS]", "dog", "[SEP]", "[SEP]", "cat", "[SEP]"]


def test_the_ids_of_the_package_stay_and_ours_follow(body: Path, words: Words) -> None:
    package, both = vocabulary_of(body), words.tokenizer.get_vocab()
    assert {piece: both[piece] for piece in package} == package
    assert [both[piece] for piece in OURS] == list(range(len(package), len(both)))


def test_a_piece_taken_from_the_package_has_our_id(body: Path) -> None:
    package = vocabulary_of(body)
    cut = tokenizer.assembled(package, ["house", "##house"])
    assert cut.token_to_id("house") == len(package)
    assert cut.id_to_token(package["house"]) == "[house]"
    assert cut.encode("[house]").tokens[1:-1] == ["[UNK]", "house", "[UNK]"]


def test_pieces_of_one_meaning_share_a_row() -> None:
    pieces = ["und▁", "หมา", "##หมา", "haus", "##haus", "##的", "的"]
    assert tokenizer.shared_rows(pieces) == [0, 1, 1, 2, 3, 4, 4]
    assert tokenizer.forms(["หมา", "##haus"]) == ["หมา", "##หมา", "##haus"]


@pytest.mark.parametrize(
    "whole", [["und"], ["a", "ab", "abc", "b"], ["für", "fürs", "im"]], ids=lambda w: w[0]
)
def test_the_marked_words_are_those_of_the_list(whole: list[str]) -> None:
    marked = tokenizer.normalizer(whole)
    for word in ("und", "a", "ab", "abc", "abcd", "xab", "für", "fürs", "im", "imm", "b", "ba"):
        expected = f"{word}▁" if word in whole else word
        assert marked.normalize_str(f"{word}, {word}-") == f"{expected}, {expected}-"


def test_chosen_pieces_leave_english_as_it_is(body: Path) -> None:
    package = vocabulary_of(body)
    english = {"news": ["the old house is a cat , dogs"] * 20 + ["he understands hundred"]}
    pairs = [
        Pair("de", "der hund und die hundehütte", "", "ntrex"),
        Pair("de", "und der hund", "", "ntrex"),
        Pair("th", "หมากาหมา", "", "ntrex"),
        Pair("th", "กาหมา หมา", "", "ntrex"),
    ]
    ours = vocabulary.choose(package, pairs, english, size=60, each=200)
    cut, before = tokenizer.assembled(package, ours), AutoTokenizer.from_pretrained(body)
    for sentence in english["news"]:
        assert cut.encode(sentence).ids == before(sentence)["input_ids"]
    assert {"und▁", "der▁", "หมา", "##หมา"} <= set(ours)
    assert "und" not in ours  # a part of understands
    assert max(tokenizer.shared_rows(ours)) < 60
    assert "[UNK]" not in cut.encode("der hund und die hundehütte หมากาหมา").tokens
    assert ours == vocabulary.choose(package, pairs, english, size=60, each=200)


def test_a_word_that_english_has_too_stays_the_packages(body: Path) -> None:
    """Unless its language uses it so much more often that English can spare it."""
    package = vocabulary_of(body)
    english = {"news": ["a dog is old"] * 999 + ["die und der cat sees"]}
    pairs = [Pair("de", "und der hund und die und und", "", "ntrex")]
    chosen = {
        margin: set(
            vocabulary.choose(package, pairs, english, size=60, each=50, whole_margin=margin)
        )
        for margin in (1, 1000)
    }
    assert {"und▁", "die▁"} <= chosen[1]  # 571,429 and 142,857 in a million pieces, of English 249
    assert "und▁" in chosen[1000]
    assert "die▁" not in chosen[1000]
