"""What files mean without saying so: marks for "no tag", words like brackets, columns without a
name. Read rightly, or refused in one sentence with what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sdq.data.task import Task
from tests.cases.build import jsonl, task_folder
from tests.helpers.parquet import parquet_of
from tests.helpers.tagged import loaded


def tagged(folder: Path, rows: list[tuple[Any, Any]], **fields: Any) -> Task | str:
    """A task of words with tags, from JSONL."""
    lines = jsonl([{"tokens": tokens, "tags": tags} for tokens, tags in rows])
    return loaded(task_folder(folder, {"train/en": lines}, ".jsonl", "token", **fields))


def labelled(folder: Path, given: list[Any], **fields: Any) -> Task | str:
    """A task of sentences with these labels, from JSONL."""
    lines = jsonl([{"text": f"x{i}", "label": label} for i, label in enumerate(given)])
    return loaded(task_folder(folder, {"train/en": lines}, ".jsonl", **fields))


def refused(said: Task | str, *named: str) -> None:
    assert isinstance(said, str), said
    for name in named:
        assert name in said


# --- marks that stand for no tag, or no label


@pytest.mark.parametrize(
    ("tags", "mark"),
    [
        ([0, 1, -100], "-100"),
        ([0, 1, -1], "-1"),
        ([0, -1, -1], "-1"),
        (["O", "B-PER", "-100"], "-100"),
        (["O", "B-PER", -1], "-1"),
        ("0 1 -100", "-100"),
        ([-1, -2, -100], "-100"),
    ],
)
def test_a_mark_is_no_tag(tmp_path: Path, tags: Any, mark: str) -> None:
    said = tagged(
        tmp_path, [("a b c", [1, 0, 0] if isinstance(tags, list) else "1 0 0"), ("a b c", tags)]
    )
    refused(
        said,
        "en.jsonl, line 2, column tags",
        f"{mark} stands for none",
        "take these words",
        "`labels`",
    )


def test_a_mark_is_no_tag_where_the_file_names_its_numbers(tmp_path: Path) -> None:
    import pyarrow as pa

    feature = {
        "tags": {"feature": {"names": ["O", "B-PER"], "_type": "ClassLabel"}, "_type": "Sequence"}
    }
    metadata = {"huggingface": json.dumps({"info": {"features": feature}})}
    schema = pa.schema(
        [("tokens", pa.list_(pa.string())), ("tags", pa.list_(pa.int64()))], metadata=metadata
    )
    for mark in (-1, -100):
        rows = parquet_of([{"tokens": ["a", "b", "c"], "tags": [0, 1, mark]}], schema)
        said = loaded(task_folder(tmp_path / str(mark), {"train/en": rows}, ".parquet", "token"))
        refused(said, "en.parquet, row 1, column tags", f"{mark} stands for none")


@pytest.mark.parametrize(
    "labels", [[0, 1, -1], ["good", "bad", "-1"], [0, 1, -100], ["0", "1", "-1"]]
)
def test_a_mark_is_no_label(tmp_path: Path, labels: list[Any]) -> None:
    refused(labelled(tmp_path, labels), "line 3, column label", "stands for none", "`labels`")


@pytest.mark.parametrize("labels", [[0, 1, -1], [0, 1, -100]])
def test_a_mark_that_is_not_listed_is_named_as_one(tmp_path: Path, labels: list[Any]) -> None:
    refused(labelled(tmp_path, labels, labels=("0", "1")), "line 3", "stands for none")


@pytest.mark.parametrize(
    ("labels", "fields"),
    [
        ([-1, 1], {}),
        ([-2, -1, 0, 1], {}),
        ([-1, 0, 1], {"labels": ("-1", "0", "1")}),
        ([0, 1, -100], {"labels": {"0": "a", "1": "b", "-100": "c"}}),
    ],
)
def test_numbers_below_0_may_be_labels(tmp_path: Path, labels: list[Any], fields: Any) -> None:
    task = labelled(tmp_path, labels, **fields)
    assert isinstance(task, Task), task
    assert len(task.labels) == len(labels)


# --- words that begin like a list

WORDS = (
    '("hello" he)',
    "[1]",
    "(see",
    "[...] he said",
    "[...]",
    '["hello", he said]',
    '("yes")',
    "[]",
    "{}",
    "('Oh,' he said)",
    "(1) yes",
    "[a,b] or [c,d]",
    "['s morgens]",
    '{"So" they say}',
    "[1,2] yes",
    "array( x",
    "(”yes” no)",
)


@pytest.mark.parametrize("text", WORDS)
def test_what_begins_like_a_list_may_be_text(tmp_path: Path, text: str) -> None:
    rows = [(text, " ".join("O" for _ in text.split(" "))), ("Anna", "B-PER")]
    task = tagged(tmp_path, rows)
    assert isinstance(task, Task), task
    assert task.examples("train")[0].words == tuple(text.split(" "))


BROKEN = (
    "[Anna, Smith]",
    "['Anna' ... 'Smith']",
    "['An' 'na', 'Smith']",
    "['Anna', 'Smith'",
    "{'a', 'b'}",
    "[['Anna']]",
    "list(['a'])",
    "{'a': 1}",
    "[b'a']",
    '["Anna","Smith"',
    "array(['a' ... 'b'])",
)


@pytest.mark.parametrize("text", BROKEN)
def test_a_list_that_is_broken_is_no_text(tmp_path: Path, text: str) -> None:
    rows = [("Anna", "B-PER"), (text, " ".join("O" for _ in text.split(" ")))]
    refused(tagged(tmp_path, rows), "en.jsonl, line 2, column tokens", ";")


# --- sentences without words


@pytest.mark.parametrize("tokens", ["", "  ", "\t", [], "[]", None])
@pytest.mark.parametrize("tags", ["", "O", []])
def test_a_sentence_without_words_names_their_column(
    tmp_path: Path, tokens: Any, tags: Any
) -> None:
    if (tokens, tags) == ("[]", "O"):
        return  # a word
    said = tagged(tmp_path, [("Anna sees", "B-PER O"), (tokens, tags)])
    refused(said, "en.jsonl, line 2, column tokens: a sentence must have words")
