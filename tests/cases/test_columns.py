"""Columns without a name or a use, and what is said beside a score and of a task."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sdq.data.kept import home
from sdq.data.registry import called, load_task
from sdq.data.task import Task
from tests.cases.build import checkpoint, csv, jsonl, task_folder
from tests.cases.doors import Doors
from tests.helpers.tagged import loaded


def refused(said: Task | str, *named: str) -> None:
    assert isinstance(said, str), said
    for name in named:
        assert name in said


# --- columns without a name, and lines that are no rows

TABLES = {
    "the index of pandas": (",text,label\n0,x,a\n1,y,b\n", "no name"),
    "an index of R": ('"","text","label"\n"1","x","a"\n"2","y","b"\n', "no name"),
    "an index of names": (",text,label\nrow one,x,a\nrow two,y,b\n", "no name"),
    "a comma at the end of every line": ("text,label,\nx,a,\ny,b,\n", "neither a name nor values"),
    "empty columns of a sheet": ("text,label,,,\nx,a,,,\ny,b,,,\n", "neither a name nor values"),
    "an empty column in the middle": ("text,,label\nx,,a\ny,,b\n", "neither a name nor values"),
    "an index and a comma": (",text,label,\n0,x,a,\n1,y,b,\n", "no name"),
    "sep=;": ("sep=;\ntext;label\nx;a\ny;b\n", "first line"),
    "sep=; and commas in a text": ('sep=;\ntext;label\n"x";a\ny;b\n', "first line"),
    "a quoted sep=,": ('"sep=,"\ntext,label\nx,a\ny,b\n', "first line"),
    "sep= with a tab": ("sep=\t\r\ntext\tlabel\r\nx\ta\r\ny\tb\r\n", "first line"),
    "a byte order mark and SEP=|": ("\ufeffSEP=|\ntext|label\nx|a\ny|b\n", "first line"),
}


@pytest.mark.parametrize("case", TABLES)
@pytest.mark.parametrize("ending", [".csv", ".txt", ".tsv"])
@pytest.mark.parametrize("quoting", [None, "none", "double"])
def test_tables_with_more_than_rows(tmp_path: Path, case: str, ending: str, quoting: Any) -> None:
    content, said = TABLES[case]
    if quoting == "none" and '"' in content:
        return
    task = loaded(task_folder(tmp_path, {"train/en": content}, ending, quoting=quoting))
    assert isinstance(task, Task), task
    assert [(e.text, *e.targets) for e in task.examples("train")] == [("x", "a"), ("y", "b")]
    assert said in " ".join(task.remarks)


def test_a_tsv_with_an_index_is_read(tmp_path: Path) -> None:
    task = loaded(task_folder(tmp_path, {"train/en": "\ttext\tlabel\n0\tx\ta\n1\ty\tb\n"}, ".tsv"))
    assert isinstance(task, Task), task
    assert [e.text for e in task.examples("train")] == ["x", "y"]


OFF = {
    "a value without a name": ("text,label,\nx,a,\ny,b,c\n", "line 3", "column 3"),
    "no names at all": (",,\nx,a,\n", "line 1", "none has one"),
    "a comma more in every row": ("text,label\nx,a,\ny,b,\n", "line 2", "delimiter at its end"),
    "a name twice after sep=": ("sep=;\ntext;text\nx;a\n", "line 2", "twice"),
    "a row too long after sep=": ("sep=;\ntext;label\nx;a\ny;b;c\n", "line 4", "has 3"),
    "an index without rows": (",text,label\n", "rows", "only a header"),
}


@pytest.mark.parametrize("case", OFF)
def test_tables_that_are_off_are_refused_with_the_line(tmp_path: Path, case: str) -> None:
    content, *named = OFF[case]
    refused(loaded(task_folder(tmp_path, {"train/en": content}, ".csv")), "en.csv", *named)


# --- columns of CoNLL


@pytest.mark.parametrize("between", ["\t", " "])
@pytest.mark.parametrize("end", ["\t", "\t\t", " \t", "\t "])
@pytest.mark.parametrize("ending", [".conll", ".iob2", ".txt"])
@pytest.mark.parametrize("every", [1, 2])
def test_a_tab_at_the_end_of_a_line_begins_no_column(
    tmp_path: Path, between: str, end: str, ending: str, every: int
) -> None:
    words = [("#", "O"), ("Anna", "B-PER"), ("sees", "O"), ("Oslo", "B-LOC")]
    lines = [
        f"{word}{between}{tag}{'' if i % every else end}\n" for i, (word, tag) in enumerate(words)
    ]
    task = loaded(
        task_folder(tmp_path, {"train/en": "".join([*lines, "\n", *lines])}, ending, "token")
    )
    if end in (" \t", "\t ") and isinstance(task, str):
        return  # a field of a space
    assert isinstance(task, Task), task
    assert task.examples("train")[0].words == ("#", "Anna", "sees", "Oslo")
    assert task.labels == ("O", "B-LOC", "B-PER")


def test_a_last_column_that_some_words_have_is_one(tmp_path: Path) -> None:
    lines = "Anna\tB-PER\t\nOslo\tB-LOC\tcity\n\nsees\tO\t\n"
    columns = {"tokens": "1", "tags": "2"}
    task = loaded(task_folder(tmp_path, {"train/en": lines}, ".conll", "token", columns=columns))
    assert isinstance(task, Task), task
    assert task.labels == ("O", "B-LOC", "B-PER")


@pytest.mark.parametrize("between", [" ", "\t"])
def test_the_id_of_a_sentence_is_no_word(tmp_path: Path, between: str) -> None:
    words = [("Anna", "B-PER"), ("Smith", "I-PER"), ("sees", "O"), ("Oslo", "B-LOC")]
    lines = [
        "".join(f"{between.join((f's{i}', *word))}\n" for word in words) + "\n" for i in range(3)
    ]
    said = loaded(task_folder(tmp_path, {"train/en": "".join(lines)}, ".conll", "token"))
    refused(said, '"tokens": "2"', '"tags": "3"')


def test_a_word_without_a_tag_is_none_with_a_tab(tmp_path: Path) -> None:
    said = loaded(
        task_folder(tmp_path, {"train/en": "Anna\tB-PER\nNew York\t\n"}, ".conll", "token")
    )
    refused(said, "en.conll")


CONLLU = (
    "# text = Im "
    "Tal\n1-2\tIm\t_\t_\t_\t_\t_\t_\t_\t_\n1\tIn\tin\tADP\tAPPR\t_\t3\tcase\t_\t_\n2\tdem\tder\tDE"
    "T\tART\t_\t3\tdet\t_\t_\n3\tTal\tTal\tNOUN\tNN\t_\t0\troot\t_\t_\n\n"
)


@pytest.mark.parametrize("change", [("\t", " "), ("\t", "  "), ("\t_\n", "\t_\t\n"), ("", "")])
@pytest.mark.parametrize("ending", [".conllu", ".txt", ".conll"])
def test_conllu_with_spaces_or_a_tab_too_many(
    tmp_path: Path, change: tuple[str, str], ending: str
) -> None:
    content = CONLLU.replace(*change) if change[0] else CONLLU
    columns = {"tokens": "form", "tags": "upos"}
    task = loaded(task_folder(tmp_path, {"train/en": content}, ending, "token", columns=columns))
    assert isinstance(task, Task), task
    example = task.examples("train")[0]
    assert (example.words, example.targets) == (("In", "dem", "Tal"), ("ADP", "DET", "NOUN"))
    assert ("tabs" in " ".join(task.remarks)) == (" " in change[1])


# lines of a file -> the column that is proposed for tags, from 1
PROPOSED = {
    "a last column of O": ("Anna NNP B-PER O\nsees VBZ O O\n\nOslo NNP B-LOC O\n", 3),
    "parts of speech before O": ("Anna PROPN O\nsees VERB O\n\nOslo PROPN O\n", 2),
    "few values before O": ("a X1 O\nb X2 O\nc X1 O\n\nd X2 O\ne X1 O\nf X1 O\n", 2),
    "nothing but _ at the end": ("Anna NOUN _ _\nsees VERB _ _\n\nOslo NOUN _ _\n", 2),
    "O between tags": ("Anna NNP O B-PER\nsees VBZ O O\n\nOslo NNP O B-LOC\n", 4),
}


@pytest.mark.parametrize("case", PROPOSED)
def test_a_column_that_says_nothing_is_not_proposed(tmp_path: Path, case: str) -> None:
    from sdq.data.conll import conll_head, proposed

    content, column = PROPOSED[case]
    path = tmp_path / "a.conll"
    path.write_text(content)
    head = conll_head(path)
    found = proposed(head)
    assert found is not None
    assert found[0] == column
    assert "tags" not in head.called or head.called[column - 1] == "tags"


# --- what is said beside a score


def test_a_run_remarks_on_what_check_warns_of(doors: Doors, tmp_path: Path) -> None:
    rows = csv([("good day", "a"), ("bad day", " b"), ("good good", "a")])
    path = task_folder(tmp_path / "task", {"train/en": rows, "test/de": rows}, ".csv")
    model = checkpoint(
        tmp_path / "model", {"good": 0, "bad": 1}, ("LABEL_0", "LABEL_1"), token=False
    )
    found = doors.run(model, path)
    for said in (
        "in train and in test",
        "White space",
        "Fewer than 30 test sentences",
        "order of the head's outputs was assumed",
    ):
        assert found.remarks.count(said) == 1, said
    assert "in train and in dev" not in found.remarks


# --- the name of a task


def test_a_task_is_called_as_its_file_says(doors: Doors, tmp_path: Path) -> None:
    rows = csv([("good day", "a"), ("bad day", "b")])
    path = task_folder(tmp_path / "folder", {"train/en": rows}, ".csv", name="mood")
    model = checkpoint(tmp_path / "model", {"good": 0, "bad": 1}, ("a", "b"), token=False)
    assert doors.call("task", "check", str(path))[1].startswith("mood: ")
    assert doors.check(path)["name"] == "mood"
    assert "task mood," in doors.call("run", "fp32", "--model", str(model), "--task", str(path))[1]
    assert called(str(path)) == "mood"
    path.unlink()
    assert " mood " in doors.call("runs")[1]  # as it was called when it was run
    assert called(str(path)) == "folder"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("intent", "intent"),
        ("xglue:/a/NC", "XGLUE NC"),
        ("hub:sib200", "Hub sib200"),
        ("gone", "gone"),
        ("/a/gone/task.json", "gone"),
    ],
)
def test_tasks_without_a_file_are_called_by_their_address(name: str, said: str) -> None:
    assert called(name) == said


def test_a_task_that_is_kept_is_called_as_its_file_says(doors: Doors) -> None:
    path = task_folder(
        home() / "kept", {"train/en": csv([("x", "a"), ("y", "b")])}, ".csv", name="mood"
    )
    assert path.is_file()
    assert called("kept") == "mood"
    assert load_task("kept").name == "kept"
    assert load_task("kept").called == "mood"


def test_sentences_without_tags_may_begin_like_a_list(tmp_path: Path) -> None:
    files = {"train/en": jsonl([{"tokens": "Anna sees", "tags": "B-PER O"}])}
    files["train/de"] = jsonl([{"tokens": '("So" sagt sie)', "tags": ""}])
    files |= {f"{split}/de": files["train/en"] for split in ("dev", "test")}
    task = loaded(task_folder(tmp_path, files, ".jsonl", "token"))
    assert isinstance(task, Task), task
    assert task.examples("train", ("de",))[0].words == ('("So"', "sagt", "sie)")
