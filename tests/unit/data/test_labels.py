"""Labels: their order, their names, and what spoils a result."""

from __future__ import annotations

import io
import json
import random
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from sdq.data import cells
from sdq.data.check import bearing, check
from sdq.data.registry import load_task
from sdq.data.task import SPLITS, Example, Task
from sdq.data.warnings import _repeated, folded
from sdq.settings import UserError
from tests.helpers.brought_files import SENTENCE, TOKEN, made
from tests.helpers.moods import write
from tests.helpers.tables import text

# --- labels


def test_labels_have_an_order_whatever_they_are() -> None:
    chance = random.Random(2)
    odd = [
        "--5",
        "+3",
        "-",
        "+",
        "",
        "007",
        "7",
        "٣",
        "²",
        "1.0",
        "nan",
        "1e3",
        "O",
        "-0",
        "0",
        "\ud800",
        "½",
        "٣-",
        "-٣",
    ]
    for _ in range(500):
        labels = chance.sample(odd, 8) + [text(chance) for _ in range(3)]
        once = sorted(labels, key=cells.order)
        chance.shuffle(labels)
        assert sorted(labels, key=cells.order) == once
    # int() refuses these
    assert (
        cells.order("9" * 6000)
        > cells.order("8" * 6000)
        > cells.order("-" + "8" * 6000)
        > cells.order("-" + "9" * 6000)
    )
    assert sorted(["10", "9", "-2", "-10", "O", "0"], key=cells.order) == [
        "O",
        "-10",
        "-2",
        "0",
        "9",
        "10",
    ]


@pytest.mark.parametrize(
    "label",
    ["1.0", "nan", "NaN", "inf", "-Infinity", "1e3", "1_000", "--5", "+-3", "5.", "1,", ".5"],
)
def test_broken_numbers_are_no_labels(label: str, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"a\.jsonl, line 2, column label: a label must be a name or a whole number"
    ):
        made(
            tmp_path,
            "a.jsonl",
            "\n".join(json.dumps({"text": "x", "label": each}) for each in ("good", label)),
            SENTENCE,
        )


@pytest.mark.parametrize(
    "label", ["٣", "+3", "-3", "007", "²", "1st", "3D", "e3", "-", "_", "½ pound", "9" * 150]
)
def test_other_labels_are_names_or_numbers(label: str, tmp_path: Path) -> None:
    assert set(
        made(
            tmp_path,
            "a.jsonl",
            "\n".join(json.dumps({"text": "x", "label": each}) for each in ("good", label)),
            SENTENCE,
        ).labels
    ) == {"good", label}


@pytest.mark.parametrize("around", [" ", "\t", "\u00a0", "\u3000", "\u2028", "\r", "\ufeff"])
def test_white_space_around_labels_and_tags_is_taken_away(around: str, tmp_path: Path) -> None:
    task = made(
        tmp_path,
        "a.jsonl",
        "\n".join(
            json.dumps({"text": "x", "label": each})
            for each in ("good", f"{around}good", f"bad{around}")
        ),
        SENTENCE,
    )
    assert task.labels == ("bad", "good")
    assert any(
        "White space around" in warning and "a.jsonl, line 2" in warning
        for warning in check(task).warnings
    )
    task = made(
        tmp_path,
        "b.jsonl",
        json.dumps({"tokens": [f"a{around}b", "c"], "tags": [f"B-x{around}", "O"]}),
        TOKEN,
    )
    assert (task.labels, task.examples("test")[0].words[0]) == (("O", "B-x"), f"a{around}b")
    given = made(
        tmp_path,
        "c.jsonl",
        json.dumps({"text": "x", "label": f"1{around}"}),
        SENTENCE | {"labels": {"0": "no", "1": "yes"}},
    )
    assert given.examples("test")[0].targets == ("yes",)


def test_names_of_numbers_count_unless_the_task_file_says_otherwise(tmp_path: Path) -> None:
    features = {
        "ner": {"feature": {"names": ["O", "B-x"], "_type": "ClassLabel"}, "_type": "List"},
        "lang": {"names": ["en", "de"], "_type": "ClassLabel"},
    }
    columns = pa.table({"tokens": [["a", "b"], ["c"]], "ner": [[0, 1], [0]], "lang": [0, 1]})
    out = io.BytesIO()
    pa.parquet.write_table(
        columns.replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": features}})}
        ),
        out,
    )
    fields = TOKEN | {"columns": {"tokens": "tokens", "tags": "ner", "language": "lang"}}
    task = made(tmp_path, "a.parquet", out.getvalue(), fields)
    assert task.labels == ("O", "B-x")
    assert any("0 = O, 1 = B-x" in remark for remark in task.remarks)
    assert made(
        tmp_path, "a.parquet", out.getvalue(), fields | {"labels": {"0": "no", "1": "yes"}}
    ).labels == ("no", "yes")
    features["ner"]["feature"]["names"] = ["O"]
    out = io.BytesIO()
    pa.parquet.write_table(
        columns.replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": features}})}
        ),
        out,
    )
    with pytest.raises(
        UserError, match=r"row 1, column ner: a number must stand for one of the 1 names"
    ):
        made(tmp_path, "a.parquet", out.getvalue(), fields)


# --- what spoils a result


def _task(
    *examples: tuple[str, str, str],
    labels: tuple[str, ...] = ("a", "b"),
    languages: tuple[str, ...] = ("en", "de"),
) -> Task:
    splits: dict[str, list[Example]] = {"train": [], "dev": [], "test": []}
    for i, (split, code, said) in enumerate(examples):
        splits[split].append(Example(str(i), code, said, (), (labels[i % 2],)))
    return Task("made", "sequence", labels, languages, "en", "accuracy", "0", splits)


@pytest.mark.parametrize(
    "other",
    ["cafe\u0301 ok", "CAFÉ OK", "café  ok ", "café\u00a0ok", "caf\u00e9 o\u200bk", "ｃａｆé ok"],
)
def test_copies_are_found_in_any_writing(other: str) -> None:
    warnings = list(_repeated(_task(("train", "en", "café ok"), ("test", "en", other))))
    assert any(
        "1 text is in train and in test (1 of them in another" in warning.said
        for warning in warnings
    ), warnings
    assert folded(other) == "café ok"
    assert not list(
        _repeated(
            _task(("train", "en", "café ok"), ("test", "de", other), ("test", "en", "cafe ok"))
        )
    )


def test_labels_and_languages_that_are_one_are_warned_about() -> None:
    report = check(
        _task(("train", "en", "x"), labels=("Good", "good"), languages=("zh_TW", "zh-tw", "en"))
    ).warnings
    assert any("'Good', 'good' differ only in how they are written" in w for w in report)
    assert any("zh_TW and zh-tw are one language" in w for w in report)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Yes", "yes"),
        ("caf\u00e9", "cafe\u0301"),
        ("yes", "ye\u200bs"),
        ("yes", "yes\u2069"),
        ("ok", "o\u2062k"),
        ("\u2764", "\u2764\ufe0f"),
        ("yes", "yes\x07"),
    ],
)
def test_labels_of_a_file_that_look_alike_are_told_before_and_after_a_run(
    tmp_path: Path, one: str, other: str
) -> None:
    for split in SPLITS:
        rows = "".join(f"{split} {i},{(one, other)[i % 2]}\n" for i in range(8))
        (tmp_path / f"{split}.csv").write_text(f"text,label\n{rows}", "utf-8")
    task = load_task(str(write(tmp_path, splits={split: f"{split}.csv" for split in SPLITS})))
    assert len(task.labels) == 2
    for told in (check(task).warnings, bearing(task)):
        assert sum("differ only in how they are written" in said for said in told) == 1


def test_a_task_of_xglue_says_which_languages_are_missing() -> None:
    report = check(
        replace(
            _task(("train", "en", "x"), ("test", "en", "y"), languages=("en",)),
            name="xglue:/data/NER",
        )
    ).warnings
    assert any(
        "XGLUE tests NER in 4 languages, files in de, es, nl are not there" in w for w in report
    )
    assert any("nothing can be said about transfer" in w for w in report)
