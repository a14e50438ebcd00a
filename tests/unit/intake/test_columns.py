"""What is proposed for the columns of a file, from their names and from what is in them."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdq.data.assemble import load
from sdq.data.check import check
from sdq.intake.columns import propose
from sdq.intake.preview import preview

HEAD = "sid,lang,headline,topic,part\n"


def news(parts: tuple[str, ...] = ("train", "DEV", "test")) -> str:
    rows = [
        f"n{i:04},{('en', 'de')[i % 2]},The paper of day {i} writes,"
        f"{('sports', 'world')[i // 2 % 2]},{parts[i % len(parts)]}\n"
        for i in range(24)
    ]
    return HEAD + "".join(rows)


def proposed(tmp_path: Path, text: str, name: str = "a.csv") -> tuple[str, dict[str, str]]:
    (tmp_path / name).write_text(text)
    about = preview(tmp_path / name).attrs
    return about["kind"], about["columns"]


def test_columns_of_unusual_names_are_told_by_their_values(tmp_path: Path) -> None:
    assert proposed(tmp_path, news()) == (
        "sentence",
        {"language": "lang", "split": "part", "text": "headline", "label": "topic"},
    )


@pytest.mark.parametrize(
    "parts", [("train",), ("Train", "valid"), ("TRAINING", "validation", "test"), ("test", "val")]
)
def test_a_split_is_told_by_its_values_in_any_case(tmp_path: Path, parts: tuple[str, ...]) -> None:
    assert proposed(tmp_path, news(parts))[1]["split"] == "part"


def test_a_column_called_split_that_holds_something_else_is_none(tmp_path: Path) -> None:
    text = "text,label,set\n" + "".join(f"day {i},{i % 2},box {i}\n" for i in range(9))
    assert proposed(tmp_path, text)[1] == {"text": "text", "label": "label"}


def test_of_several_texts_the_longest_is_proposed_and_ids_and_addresses_never(
    tmp_path: Path,
) -> None:
    text = "a,b,c,d\n" + "".join(
        f"{i:07},in brief {i},https://example.org/a/very/long/address/of/one/page/{i},"
        f"and this is said at length in {i} words\n"
        for i in range(9)
    )
    assert proposed(tmp_path, text)[1] == {"text": "d"}


def test_a_text_without_spaces_between_words_is_a_text(tmp_path: Path) -> None:
    text = "a,b,c\n" + "".join(f"x{i},第{i}天的新聞,{'好壞'[i % 2]}\n" for i in range(9))
    assert proposed(tmp_path, text)[1] == {"text": "b", "label": "c"}


@pytest.mark.parametrize(
    "rows",
    [
        [("sports", "paper"), ("world", "radio")],  # either may be the label
        [("x1", "y1"), ("x2", "y2"), ("x3", "y3"), ("x4", "y4"), ("x5", "y5")],  # nothing recurs
        [("en", "one"), ("de", "one")],  # the language, and what never changes
    ],
)
def test_where_nothing_can_be_told_no_label_is_proposed(
    tmp_path: Path, rows: list[tuple[str, str]]
) -> None:
    many = [(i, *rows[i % len(rows)]) for i in range(len(rows) if len(rows) > 2 else 12)]
    if len(rows) == 2 and rows[0][0] == "sports":  # two columns that do not go together
        many = [(i, rows[i % 2][0], rows[i // 2 % 2][1]) for i in range(12)]
    text = "words said,a,b\n" + "".join(f"day {i} of it,{a},{b}\n" for i, a, b in many)
    columns = proposed(tmp_path, text)[1]
    assert columns["text"] == "words said"
    assert "label" not in columns
    assert len(set(columns.values())) == len(columns)


def test_what_cannot_be_read_further_down_is_no_error_of_a_preview(tmp_path: Path) -> None:
    assert proposed(tmp_path, news() + "one,two\n")[1]["split"] == "part"


def test_names_count_where_there_are_no_rows() -> None:
    assert propose(["body", "title", "split", "lang"]) == (
        "pair",
        {"text": "title", "second": "body", "split": "split", "language": "lang"},
    )


def test_the_warning_of_labels_never_trained_on_says_their_column(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(news() + "n99,en,On the last day it rains,weather,test\n")
    (tmp_path / "task.json").write_text(
        '{"name": "news", "kind": "sentence", "splits": {"all": "a.csv"}, "training_language": '
        '"en", "columns": {"text": "headline", "label": "topic", "language": "lang", "split": '
        '"part"}}'
    )
    (said,) = [w for w in check(load(tmp_path / "task.json", "news")).warnings if "weather" in w]
    assert said == (
        "weather occurs in test and never in the training sentences of en: a model cannot learn "
        "it; labels are from the column 'topic'."
    )
