"""Cells, labels and spaces of files, in every form that they are written in."""

from __future__ import annotations

import unicodedata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tests.cases.build import checkpoint, conll, csv, jsonl, task_folder
from tests.cases.doors import Doors, either
from tests.helpers.parquet import parquet_of
from tests.helpers.tagged import TAGGED, WORDS, loaded

TAGS = ("O", "B-LOC", "B-PER", "I-PER")


def quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"'


# how libraries write a list into a cell
WRITTEN = {
    "pandas, a list": lambda words: repr(list(words)),
    "pandas, a tuple": lambda words: repr(tuple(words)),
    "pandas, an array": lambda words: "[" + " ".join(map(repr, words)) + "]",
    "an array over two lines": lambda words: "[" + "\n ".join(map(repr, words)) + "]",
    "JSON": lambda words: "[" + ", ".join(f'"{word}"' for word in words) + "]",
    "apostrophes": lambda words: repr([word.replace("Smith", "O'Hara") for word in words]),
    "double quotes and single ones": lambda words: repr(["a'b", *words[1:]]),
    "cut by numpy": lambda words: f"['{words[0]}' ... '{words[-1]}']",
    "strings of numpy 2": lambda words: (
        "[" + ", ".join(f"np.str_('{word}')" for word in words) + "]"
    ),
    "a list in a list": lambda words: repr([list(words)]),
    "no end": lambda words: repr(list(words))[:-1],
    "a set": lambda words: "{" + ", ".join(map(repr, words)) + "}",
}


@pytest.mark.parametrize("case", WRITTEN)
def test_cells_that_are_lists_are_read_or_refused(tmp_path: Path, case: str) -> None:
    plain = (
        "pandas, a list" if case == "double quotes and single ones" else case
    )  # of the tags: a'b is none
    rows = [
        (quoted(WRITTEN[case](words)), quoted(WRITTEN[plain](tags)))
        for words, tags in zip(WORDS, TAGGED, strict=True)
    ]
    task = loaded(task_folder(tmp_path, {"train/en": csv(rows, "tokens", "tags")}, ".csv", "token"))
    if isinstance(task, str):
        assert "en.csv" in task
        assert "line 2" in task
    else:
        assert set(task.labels) <= {*TAGS}
        first = task.examples("train")[0]
        assert first.targets == TAGGED[0]
        assert first.words in (WORDS[0], ("Anna", "O'Hara", *WORDS[0][2:]), ("a'b", *WORDS[0][1:]))


def test_words_that_begin_with_a_bracket_are_words(tmp_path: Path) -> None:
    task = loaded(
        task_folder(
            tmp_path,
            {
                "train/en": csv(
                    [("[CLS] Anna", "O B-PER"), ("[1] ]", "O O"), ("( a", "O O")], "tokens", "tags"
                )
            },
            ".csv",
            "token",
        )
    )
    assert not isinstance(task, str), task
    assert [e.words for e in task.examples("train")] == [
        ("[CLS]", "Anna"),
        ("[1]", "]"),
        ("(", "a"),
    ]


SPACES = {
    "no-break": "\u00a0",
    "narrow no-break": "\u202f",
    "ideographic": "\u3000",
    "thin": "\u2009",
    "line separator": "\u2028",
    "next line": "\u0085",
    "form feed": "\f",
    "file separator": "\x1c",
}


@pytest.mark.parametrize("name", SPACES)
def test_only_space_and_tab_part_fields_and_words(tmp_path: Path, name: str) -> None:
    word = f"10{SPACES[name]}000"
    for between, more in ((" ", ""), ("\t", "")):
        sentences = [[(word, "B-NUM"), ("euros", "O")], [(word, "B-NUM")]]
        task = loaded(
            task_folder(
                tmp_path / f"conll{len(between)}{ord(between)}{more}",
                {"train/en": conll(sentences, between)},
                ".conll",
                "token",
            )
        )
        assert not isinstance(task, str), task
        assert task.examples("train")[0].words == (word, "euros")
    task = loaded(
        task_folder(
            tmp_path / "text",
            {"train/en": jsonl([{"tokens": f"{word} euros", "tags": "B-NUM O"}])},
            ".jsonl",
            "token",
        )
    )
    assert not isinstance(task, str), task
    assert task.examples("train")[0].words == (word, "euros")


def test_three_columns_with_a_no_break_space(tmp_path: Path) -> None:
    task = loaded(
        task_folder(
            tmp_path, {"train/en": "euros NN O\n10\u00a0000 CD B-NUM\n\n"}, ".conll", "token"
        )
    )
    assert not isinstance(task, str), task
    assert task.examples("train")[0].words == ("euros", "10\u00a0000")


LABELLED = {
    "space before": " good",
    "space after": "good ",
    "tab after": "good\t",
    "no-break space": "good\u00a0",
    "ideographic space": "\u3000good",
    "byte order mark": "\ufeffgood",
}


@pytest.mark.parametrize("name", LABELLED)
@pytest.mark.parametrize("ending", [".csv", ".jsonl"])
def test_white_space_around_labels_is_no_part_of_them(
    doors: Doors, tmp_path: Path, name: str, ending: str
) -> None:
    rows = [("x", "good"), ("y", "bad"), ("z", LABELLED[name])]
    content = (
        csv([(text, quoted(label)) for text, label in rows])
        if ending == ".csv"
        else jsonl([{"text": t, "label": v} for t, v in rows])
    )
    path = task_folder(tmp_path / "task", {"train/en": content}, ending)
    task = loaded(path)
    assert not isinstance(task, str), task
    assert task.labels == ("bad", "good")
    either(doors.warned(path), "space", "trim")


def test_listed_labels_are_found_behind_space(tmp_path: Path) -> None:
    rows = csv([("x", " good"), ("y", "bad ")])
    task = loaded(
        task_folder(
            tmp_path, {"train/en": rows}, ".csv", labels={"good": "positive", "bad": "negative"}
        )
    )
    assert not isinstance(task, str), task
    assert [e.targets for e in task.examples("train")] == [("positive",), ("negative",)]


def test_labels_that_differ_by_case_stay_two(doors: Doors, tmp_path: Path) -> None:
    path = task_folder(tmp_path, {"train/en": csv([("x", "Good"), ("y", "good")])}, ".csv")
    assert len(loaded(path).labels) == 2  # type: ignore[union-attr]


# labels that look like numbers: names, or refused with the file
NUMBERLIKE = (
    ("nan", "cdo"),
    ("--5", "7"),
    ("1e3", "m5"),
    ("١", "٢"),
    ("007", "7"),
    ("Infinity", "Inception"),
    ("1_000", "2_000"),
    ("²", "2"),
    ("-", "7"),
    ("+5", "5"),
    ("-0", "0"),
    ("⑤", "5"),
    ("９", "9"),
    ("1.0", "2.0"),
    ("0x10", "16"),
    ("½", "1"),
    ("-²", "3"),
    ("9" * 5000, "1"),
    ("NaN", "NA"),
    ("null", "None"),
    ("", "x"),
)


@pytest.mark.parametrize("labels", NUMBERLIKE, ids=lambda labels: labels[0][:9])
def test_labels_that_look_like_numbers(tmp_path: Path, labels: tuple[str, str]) -> None:
    task = loaded(
        task_folder(
            tmp_path,
            {"train/en": csv([(f"x{i}", label) for i, label in enumerate(labels)])},
            ".csv",
        )
    )
    if isinstance(task, str):
        assert "en.csv" in task
        assert "line " in task
    else:
        assert set(task.labels) == set(labels)
        assert [e.targets[0] for e in task.examples("train")] == list(labels)


@pytest.mark.parametrize("ending", [".jsonl", ".parquet"])
def test_true_and_false_are_names(tmp_path: Path, ending: str) -> None:
    rows: list[dict[str, Any]] = [{"text": "x", "label": True}, {"text": "y", "label": False}]
    task = loaded(
        task_folder(
            tmp_path, {"train/en": jsonl(rows) if ending == ".jsonl" else parquet_of(rows)}, ending
        )
    )
    assert not isinstance(task, str), task
    assert sorted(label.lower() for label in task.labels) == ["false", "true"]


def test_a_missing_number_is_no_label(tmp_path: Path) -> None:
    task = loaded(
        task_folder(
            tmp_path,
            {
                "train/en": parquet_of(
                    [{"text": "x", "label": 1.0}, {"text": "y", "label": float("nan")}]
                )
            },
            ".parquet",
        )
    )
    assert isinstance(task, str)
    assert "en.parquet" in task
    assert "row " in task


def test_class_labels_of_datasets(doors: Doors, tmp_path: Path) -> None:
    """`datasets` keeps the names in the schema: they are the labels, or numbers stay numbers; the
    names are never joined in another order."""
    import json

    feature = {
        "info": {
            "features": {
                "text": {"dtype": "string", "_type": "Value"},
                "label": {"names": ["neg", "pos"], "_type": "ClassLabel"},
            }
        }
    }
    schema = pa.schema(
        [("text", pa.string()), ("label", pa.int64())],
        metadata={"huggingface": json.dumps(feature)},
    )
    rows = parquet_of([{"text": "good", "label": 1}, {"text": "bad", "label": 0}], schema)
    path = task_folder(tmp_path / "task", {"train/en": rows}, ".parquet")
    task = loaded(path)
    assert not isinstance(task, str), task
    assert task.labels in (("0", "1"), ("neg", "pos"))
    found = doors.run(
        checkpoint(tmp_path / "model", {"good": 1, "bad": 0}, ("neg", "pos"), token=False), path
    )
    assert found.mean == 1
    assert task.labels == ("neg", "pos") or "order" in found.remarks


# texts of a test split against those of training: one and the same to a reader
FORMS = {
    "decomposed": (
        unicodedata.normalize("NFC", "café déjà vu"),
        unicodedata.normalize("NFD", "café déjà vu"),
    ),
    "full width": ("ABC 123", "ＡＢＣ １２３"),
    "ligature": ("find it", "ﬁnd it"),
    "no-break space": ("10 000 euros", "10\u00a0000 euros"),
    "half-width kana": ("カタカナ", "ｶﾀｶﾅ"),
    "Hangul": ("한국어", unicodedata.normalize("NFD", "한국어")),
}


@pytest.mark.parametrize("name", FORMS)
def test_texts_in_two_splits_are_found_in_every_form(
    doors: Doors, tmp_path: Path, name: str
) -> None:
    one, other = FORMS[name]
    train, test = (csv([(f"{text} {i}", "ab"[i % 2]) for i in range(40)]) for text in (one, other))
    dev = csv([(f"something else {i}", "ab"[i % 2]) for i in range(40)])
    path = task_folder(tmp_path, {"train/en": train, "dev/en": dev, "test/en": test}, ".csv")
    assert "in train and in test" in doors.warned(path)
