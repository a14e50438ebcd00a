"""Which labels a task has, and in which order."""

from __future__ import annotations

from typing import Any

import pytest

from sdq.data.label_order import are_numbers, occurring, pairs


@pytest.mark.parametrize(
    ("labels", "called"),
    [
        ({"2": "neu", "1": "neg", "0": "pos"}, ["pos", "neg", "neu"]),
        ({"10": "k", "9": "j", "-1": "none"}, ["none", "j", "k"]),
        ({"b": "bad", "a": "fine"}, ["bad", "fine"]),
        (("2", " 1", "0"), ["2", "1", "0"]),
    ],
)
def test_numbers_are_the_order_of_the_names_they_are_given(labels: Any, called: list[str]) -> None:
    assert list(pairs(labels).values()) == called


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
def test_listed_numbers_are_names_where_the_file_has_such_names(labels: tuple[str, ...], names: tuple[str, ...], numbers: bool) -> None:
    assert are_numbers(labels, names) is numbers


def test_files_give_the_order() -> None:
    said: list[tuple[str, str]] = []

    def remark(text: str, file: str) -> None:
        said.append((file, text))

    assert occurring({}, {"c10", "c2", "O", "c2x", "c"}, remark) == ["O", "c", "c2", "c2x", "c10"]
    assert occurring({("pos", "neg"): "a"}, {"neg", "pos", "new"}, remark) == ["pos", "neg", "new"]
    assert occurring({("b", "a"): "a", ("b", "a", "c"): "b"}, {"a", "b", "c"}, remark) == ["b", "a", "c"]
    assert not said
    assert occurring({("b", "a"): "x", ("a", "b"): "y"}, {"a", "b"}, remark) == ["b", "a"]
    assert said.pop() == (
        "y", "its labels are in another order than those of x, which counts; give the order under `labels`",
    )  # fmt: skip
    assert occurring({("b", "a", "z"): "x"}, {"a", "b"}, remark) == ["b", "a", "z"]
    assert said[0][1].startswith("no row has z,")
