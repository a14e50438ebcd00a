"""Lists in cells are read as whoever wrote them, or refused."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from sdq.data import cells
from tests.helpers.tables import text

SPACED = " ".join


@pytest.mark.parametrize(
    "write",
    [
        str,
        repr,
        lambda words: str(tuple(words)),
        json.dumps,
        lambda words: json.dumps(words, ensure_ascii=False),
        lambda words: str(np.array(words)),
        lambda words: repr(np.array(words, dtype=object)),
        lambda words: str([np.str_(word) for word in words]),
        SPACED,
    ],
    ids=[
        "str",
        "repr",
        "tuple",
        "json",
        "json as it is",
        "numpy",
        "numpy repr",
        "numpy strings",
        "spaces",
    ],
)
def test_lists_are_read_as_whoever_wrote_them(write: Callable[[list[str]], str]) -> None:
    chance = random.Random(1)
    with np.printoptions(threshold=10**6, linewidth=60):
        for _ in range(60):
            words = [text(chance, without=" []{}'\"\\,") for _ in range(chance.randint(2, 7))]
            if write is not SPACED:
                words = [
                    chance.choice(["O'Neill", 'say "x"', "a b", "[", word])
                    if chance.random() < 0.3
                    else word
                    for word in words
                ]
            written = write(words)
            if "\\u" in written and "array" in written:
                continue
            assert cells.words_of(written) == tuple(words), written


@pytest.mark.parametrize(
    "tags", ["[0 1 2]", "[ 0  1 10]", "[0, 1, 2]", "(0, 1)", "[np.int64(3), np.int64(4)]", "[7]"]
)
def test_lists_of_numbers(tags: str) -> None:
    assert cells.words_of(tags, tags=True) == tuple(
        part
        for part in tags.replace("np.int64", "").translate(str.maketrans("[](),", "     ")).split()
    )


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("(2)", "(2)"),
        ("(007)", "(007)"),
        ("[12]", "[12]"),
        ("[-3]", "[-3]"),
        ("[007, 8]", "007 8"),
        ("(2,)", "2"),
        ("(007, 08)", "007 08"),
    ],
)
def test_a_number_in_brackets_is_a_word_and_keeps_its_zeros(cell: str, words: str) -> None:
    assert cells.words_of(cell) == tuple(words.split())


@pytest.mark.parametrize(
    "plain",
    [
        "[ Applause ]",
        "( laughs )",
        "[UNK] is a word",
        "he said 'x' .",
        "[1] See there",
        "[ 1 ]",
        "a\u00a0b c\u3000d",
    ],
)
def test_text_in_brackets_is_text(plain: str) -> None:
    assert cells.words_of(plain) == tuple(plain.split(" "))


@pytest.mark.parametrize(
    "write",
    [
        lambda words: json.dumps(words, indent=1),
        lambda words: f"[ {json.dumps(words)[1:-1]} ]",
        lambda words: f"[ {str(words)[1:-1]} ]",
    ],
)
@pytest.mark.parametrize(
    "words", [["Anna"], ["Anna", "x"], ["O", "B-PER", "I-PER"], ["a b", "[", "don't"]]
)
@pytest.mark.parametrize("tags", [False, True])
def test_a_list_may_have_white_space_after_its_bracket(
    write: Callable[[list[str]], str], words: list[str], tags: bool
) -> None:
    assert cells.words_of(write(words), tags) == tuple(words)


def test_text_in_brackets_and_quotes_is_what_has_as_many_words_as_tags() -> None:
    assert cells.words_of('[ "So" ]', fitting=3) == ("[", '"So"', "]")
    assert cells.words_of('[ "So" ]', fitting=1) == ("So",)
    assert cells.words_of("[ 'tis so ]", fitting=4) == ("[", "'tis", "so", "]")


@pytest.mark.parametrize("tags", ["[\n 1,\n 2\n]", "[ 1, 2 ]"])
def test_tags_that_are_numbers_may_stand_apart(tags: str) -> None:
    assert cells.words_of(tags, tags=True) == ("1", "2")


@pytest.mark.parametrize(
    "tags",
    [
        "[O B-PER]",
        "[O]",
        "(O B-PER)",
        "[B-PER, O]",
        "[ B-PER, O ]",
        "[ 'O', None ]",
        '[ "O", null ]',
        "[ 1.5 ]",
    ],
)
def test_lists_of_tags_without_quotes_are_refused(tags: str) -> None:
    with pytest.raises(cells.Refused, match=";"):
        cells.words_of(tags, tags=True)


@pytest.mark.parametrize("tags", ["[ NN ]", "[PAD] O [PAD]", "(A0* * *)", "( NN )"])
def test_tags_may_hold_brackets(tags: str) -> None:
    assert cells.words_of(tags, tags=True) == tuple(tags.split(" "))


@pytest.mark.parametrize(
    "cell",
    [
        "['a' ... 'b']",
        "['a' 'b', 'c']",
        "['a', None]",
        "['a', nan]",
        "[Anna, Smith]",
        "{'a', 'b'}",
        "['a', ['b']]",
        "['a', 'b'",
        "[b'a']",
        '[b"a" b"b"]',
        "[b'a' b'b']",
        "[ 'a', None ]",
        '[ "a", null ]',
        "['a''b']",
        "['\\q']",
        {"a": 1},
        [1.5],
        [None],
        [["a"]],
        b"x",
        3,
        "[" + "'a'," * 3 + "os.system('x')]",
    ],
    ids=repr,
)
def test_what_is_no_list_is_refused_and_never_split(cell: Any) -> None:
    with pytest.raises(cells.Refused, match=";"):
        cells.words_of(cell)
