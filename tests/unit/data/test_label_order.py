"""Which labels a task has, and in which order."""

from __future__ import annotations

from typing import Any

import pytest

from sdq.data.label_order import are_numbers, called, occurring, pairs


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        ({"2": "neu", "1": "neg", "0": "pos"}, ["pos", "neg", "neu"]),
        ({"10": "k", "9": "j", "-1": "none"}, ["none", "j", "k"]),
        ({"b": "bad", "a": "fine"}, ["bad", "fine"]),
        (("2", " 1", "0"), ["0", "1", "2"]),
        (("3", "2", "1"), ["3", "2", "1"]),  # stars, from the best: no output has such a number
        (("b", "a"), ["b", "a"]),
    ],
)
def test_numbers_are_the_order_of_the_names_they_are_given(labels: Any, names: list[str]) -> None:
    assert called(pairs(labels), []) == names


def test_numbers_that_are_names_in_a_file_have_its_order() -> None:
    """`datasets.class_encode_column` orders numbers by alphabet, and so does a model trained on
    them."""
    classes = [("0", "1", "10", "2")]
    assert called(pairs(("0", "1", "2", "10")), classes) == ["0", "1", "10", "2"]
    assert called(pairs({"0": "a", "2": "b", "10": "c"}), classes) == ["a", "c", "b"]
    assert called(pairs(("b", "a")), [("a", "b")]) == ["b", "a"]


@pytest.mark.parametrize(
    ("labels", "names", "numbers"),
    [
        ((), ("a", "b"), False),
        (("0", "1"), ("a", "b"), True),
        (("a", "b"), ("a", "b"), False),
        (("0", "1", "2"), ("1", "0", "2"), False),
        (("1", "2", "3"), ("1", "2", "3", "4"), False),
        (("1", "2", "3", "4"), ("1", "2", "3"), False),
        (("0", "1", "2"), ("1", "2", "3"), True),
    ],
)
def test_listed_numbers_are_names_where_the_file_has_such_names(
    labels: tuple[str, ...], names: tuple[str, ...], numbers: bool
) -> None:
    assert are_numbers(labels, names) is numbers


def test_files_give_the_order() -> None:
    said: list[tuple[str, str]] = []

    def remark(text: str, file: str) -> None:
        said.append((file, text))

    assert occurring({}, {"c10", "c2", "O", "c2x", "c"}, remark) == ["O", "c", "c2", "c2x", "c10"]
    assert occurring({("pos", "neg"): "a"}, {"neg", "pos", "new"}, remark) == ["pos", "neg", "new"]
    assert occurring({("b", "a"): "a", ("b", "a", "c"): "b"}, {"a", "b", "c"}, remark) == [
        "b",
        "a",
        "c",
    ]
    assert not said
    assert occurring({("b", "a"): "x", ("a", "b"): "y"}, {"a", "b"}, remark) == ["b", "a"]
    assert said.pop() == (
        "y",
        "its labels are in another order than those of x, which counts; give the order under "
        "`labels`",
    )
    assert occurring({("b", "a", "z"): "x"}, {"a", "b"}, remark) == ["b", "a", "z"]
    assert said[0][1].startswith("no row has z,")
