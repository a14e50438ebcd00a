"""Every format of a task file reads to the same examples."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sdq.data.registry import load_task
from sdq.settings import UserError
from tests.helpers.moods import LABELS, SPLITS, tagged, write

POWER = ("O", "B-city", "I-city")


def _rows() -> list[dict[str, Any]]:
    return [
        {"text": f'Zoë said "{i}", then\tleft'.replace("\t", " "), "label": LABELS[i % 2]}
        for i in range(4)
    ]


def _csv(rows: list[dict[str, Any]], path: Path) -> None:
    pd.DataFrame(rows).to_csv(path, index=False)


def _tsv(rows: list[dict[str, Any]], path: Path) -> None:
    path.write_text(
        "\ufefftext\tlabel\r\n" + "".join(f"{r['text']}\t{r['label']}\r\n" for r in rows), "utf-8"
    )


def _jsonl(rows: list[dict[str, Any]], path: Path) -> None:
    path.write_text("\n".join(json.dumps(r) for r in rows) + "\n\n", "utf-8")


def _parquet(rows: list[dict[str, Any]], path: Path) -> None:
    pd.DataFrame(rows).to_parquet(path)


@pytest.mark.parametrize(
    ("ending", "save"), [(".csv", _csv), (".tsv", _tsv), (".jsonl", _jsonl), (".parquet", _parquet)]
)
def test_every_table_format_gives_the_same_examples(
    tmp_path: Path, ending: str, save: Callable[..., None]
) -> None:
    for split in SPLITS:
        (tmp_path / split).mkdir()
        save(_rows(), tmp_path / split / f"en{ending}")
    task = load_task(str(write(tmp_path, splits={s: f"{s}/{{language}}{ending}" for s in SPLITS})))
    assert [e.text for e in task.examples("test")] == [r["text"] for r in _rows()]
    assert [e.targets for e in task.examples("test")] == [(r["label"],) for r in _rows()]
    assert (task.labels, task.languages, task.labelled, task.metric) == (
        LABELS,
        ("en",),
        "en",
        "accuracy",
    )


CONLLU = """# sent_id = s1
# text = Im Tal
1-2\tIm\t_\t_\t_\t_\t_\t_\t_\t_
1\tIn\tin\tADP\tAPPR\t_\t3\tcase\t_\t_
2\tdem\tder\tDET\tART\t_\t3\tdet\t_\t_
3\tTal\tTal\tNOUN\tNN\t_\t0\troot\t_\t_
3.1\tx\tx\tX\tX\t_\t_\t_\t_\t_

# sent_id = s2
1\tJa\tja\tINTJ\tITJ\t_\t0\troot\t_\t_
"""
CONLL = (
    "# id 7 domain=en\n-DOCSTART- -X- O\n\nIn NN O\nNew NN B-city\n# NN O\nYork NN "
    "I-city\n\n# a comment of five words\nHe NN O\n"
)


def test_conllu_leaves_ranges_and_empty_nodes_out(tmp_path: Path) -> None:
    task = load_task(
        str(tagged(tmp_path, ".conllu", CONLLU, tokens="form", tags="upos", id="sent_id"))
    )
    assert [(e.id, e.words, e.targets) for e in task.examples("test")] == [
        ("s1", ("In", "dem", "Tal"), ("ADP", "DET", "NOUN")),
        ("s2", ("Ja",), ("INTJ",)),
    ]
    assert task.kind == "token"


@pytest.mark.parametrize("ending", [".conll", ".iob", ".bio"])
@pytest.mark.parametrize("between", [" ", "\t"])
def test_conll_takes_first_and_last_field(tmp_path: Path, ending: str, between: str) -> None:
    task = load_task(
        str(tagged(tmp_path, ending, CONLL.replace(" ", between) if between == "\t" else CONLL))
    )
    assert [(e.words, e.targets) for e in task.examples("test")] == [
        (("In", "New", "#", "York"), ("O", "B-city", "O", "I-city")),
        (("He",), ("O",)),
    ]
    assert task.labels == POWER


@pytest.mark.parametrize("between", [" ", "\t"])
def test_comments_inside_a_sentence_are_no_words(tmp_path: Path, between: str) -> None:
    """CoNLL-U has them before a sentence alone; a word # has a tag that other words have too."""
    lines = "In O\nOslo B-city\n# O\n# the end of it\n#x=1 2 3\nBea O\n"
    lines += "# end\n" if between == "\t" else "# end = 7\n"
    lines += "\nOslo I-city\n\n#end document\n"
    path = tagged(
        tmp_path,
        ".conll",
        "\n".join(
            line if line[:2] in ("# ", "#x", "#e") and line != "# O" else line.replace(" ", between)
            for line in lines.split("\n")
        ),
    )
    task = load_task(str(path))
    assert [(e.words, e.targets) for e in task.examples("test")] == [
        (("In", "Oslo", "#", "Bea"), ("O", "B-city", "O", "O")),
        (("Oslo",), ("I-city",)),
    ]
    assert any("(the first is line 4)" in said for said in task.remarks)


def test_a_line_that_may_be_a_comment_or_a_word_is_refused(tmp_path: Path) -> None:
    path = tagged(tmp_path, ".conll", "In O\nOslo B-city\n# end\nBea I-city\n")
    with pytest.raises(UserError, match="must be a comment or a word with its tags, line 3 of"):
        load_task(str(path))


@pytest.mark.parametrize(
    ("word", "kept"),
    [
        ("http://a.b/c", "http://a.b/c"),
        ("https://a.b", "https://a.b"),
        ("doi:10.1", "doi:10.1"),
        ("mailto:a@b", "mailto:a@b"),
        ("ftp://a", "ftp://a"),
        ("en:Anna", "Anna"),
        ("be-x-old:Anna", "Anna"),
        ("zh-classical:Anna", "Anna"),
        ("simple:Anna", "Anna"),
        ("ace:Anna", "Anna"),
    ],
)
def test_only_codes_of_languages_are_taken_off_words(tmp_path: Path, word: str, kept: str) -> None:
    path = tagged(tmp_path, ".conll", f"{word} O\n{word} B-city\n{word} I-city\n")
    assert load_task(str(path)).examples("test")[0].words == (kept,) * 3


def test_a_task_file_is_none_of_its_data(tmp_path: Path) -> None:
    for code in ("en", "de"):
        rows = [{"text": f"{code} {i}", "label": LABELS[i % 2]} for i in range(4)]
        (tmp_path / f"{code}.json").write_text(json.dumps(rows))
    path = write(tmp_path, splits=dict.fromkeys(SPLITS, "{language}.json"))
    assert sorted(load_task(str(path)).languages) == ["de", "en"]


def test_lines_of_csv_that_end_in_two_ways_are_named(tmp_path: Path) -> None:
    for split in SPLITS:
        (tmp_path / f"{split}.csv").write_bytes(b"text,label\na,happy\nb,sad\rc,happy\nd,sad\n")
    path = write(tmp_path, splits={split: f"{split}.csv" for split in SPLITS})
    with pytest.raises(UserError, match=r"all lines of .*csv must end alike, in line 3 a CR") as e:
        load_task(str(path))
    assert "universal" not in str(e.value)


def test_words_may_be_lists_or_text(tmp_path: Path) -> None:
    for split in SPLITS:
        (tmp_path / split).mkdir()
        lines = [
            {"tokens": ["New", "York"], "tags": ["B-city", "I-city"]},
            {"tokens": "in Rome", "tags": "O B-city"},
            {"tokens": '["a b"]', "tags": '["O"]'},
        ]
        (tmp_path / split / "en.jsonl").write_text("\n".join(map(json.dumps, lines)))
    task = load_task(
        str(
            write(
                tmp_path,
                kind="token",
                columns={"tokens": "tokens", "tags": "tags"},
                splits={s: f"{s}/{{language}}.jsonl" for s in SPLITS},
            )
        )
    )
    assert [e.words for e in task.examples("dev")] == [("New", "York"), ("in", "Rome"), ("a b",)]


def test_numbers_that_stand_for_names(tmp_path: Path) -> None:
    for split in SPLITS:
        (tmp_path / split).mkdir()
        pd.DataFrame({"tokens": [["in", "Rome"]], "tags": [[0, 1]]}).to_parquet(
            tmp_path / split / "en.parquet"
        )
    columns, labels = {"tokens": "tokens", "tags": "tags"}, {"0": "O", "1": "B-city"}
    task = load_task(
        str(
            write(
                tmp_path,
                kind="token",
                columns=columns,
                labels=labels,
                splits={s: f"{s}/{{language}}.parquet" for s in SPLITS},
            )
        )
    )
    assert (task.labels, task.examples("test")[0].targets) == (("O", "B-city"), ("O", "B-city"))
