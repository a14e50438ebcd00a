"""What is malformed in a task file is refused in one sentence that names the place."""

from __future__ import annotations

import json
import os
import pickle
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdq.store import Store
from tests.helpers.moods import GOOD, SPLITS, command, mood, tagged, write


class Evil:
    """Unpickling this writes a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("touch executed",))


def _file(name: str, content: bytes | str) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        path = mood(folder)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return build


def _with(**changed: Any) -> Callable[[Path], Path]:
    return lambda folder: mood(folder, **changed)


def _huge(folder: Path) -> Path:
    path = mood(folder)
    with (folder / "test" / "de.csv").open("wb") as file:
        file.truncate(200_000_000)
    return path


def _linked(folder: Path) -> Path:
    path = mood(folder)
    (folder.parent / "secret.csv").write_text("id,text,label\n1,secret,good\n")
    (folder / "test" / "de.csv").unlink()
    (folder / "test" / "de.csv").symlink_to(folder.parent / "secret.csv")
    return path


def _pickled(folder: Path) -> Path:
    path = mood(folder, splits=SPLITS | {"test": "test/{language}.parquet"})
    (folder / "test" / "en.parquet").write_bytes(pickle.dumps(Evil()))
    return path


def _twice(folder: Path) -> Path:
    path = mood(folder, splits=SPLITS | {"test": "*/{language}.csv"})
    return path


def _not_json(text: str) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        path = mood(folder)
        path.write_text(text)
        return path

    return build


HEAD = "id,text,label\n"
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
MALFORMED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "binary as CSV": (_file("test/de.csv", PNG), r"de\.csv is binary \(line 3"),
    "mixed encodings": (
        _file(
            "test/de.csv",
            HEAD.encode() + "1,schön,good\n".encode() + "2,trüb,bad\n".encode("latin-1"),
        ),
        r"line 3 of de\.csv is not \(byte 0xfc\).*UTF-8",
    ),
    "UTF-16": (
        _file("test/de.csv", (HEAD + "1,x,good\n").encode("utf-16")),
        r"de\.csv is UTF-16; save it again as UTF-8",
    ),
    "200 MB": (_huge, r"at most 100 MB, de\.csv has 200 MB; take a sample"),
    "labels as floats": (
        _file("test/de.csv", HEAD + "1,x,0.5\n"),
        r"de\.csv, line 2, column label: .*got '0\.5'",
    ),
    "NaN labels": (
        _file("test/de.csv", HEAD + "1,x,nan\n"),
        r"de\.csv, line 2, column label: .*got 'nan'",
    ),
    "missing column": (
        _file("test/de.csv", "id,words,label\n1,x,good\n"),
        r"de\.csv, line 2: the file must have a column 'text', it has id, words, label",
    ),
    "duplicated ids": (
        lambda folder: (
            _file("test/de.csv", HEAD + "7,x,good\n8,y,bad\n7,z,bad\n")(folder),
            mood_ids(folder),
        )[1],
        r"de\.csv, line 4, column id: ids must be unique.*'7' was in de\.csv, line 2",
    ),
    "unknown label": (
        _with(labels=["good", "fair"]),
        r"column label: a label must be one of good, fair, got 'bad'; correct it, or add it under "
        r"`labels`",
    ),
    "unknown tags": (
        lambda folder: tagged_labels(folder),
        r"en\.conll, line 1, column tags: a label must be one of O, B-city, got 'I-city'",
    ),
    "path that climbs out": (
        _with(splits=SPLITS | {"test": "../{language}.csv"}),
        r"files must be given relative to the task file's folder and stay in it, got '\.\./",
    ),
    "absolute path": (
        _with(splits=SPLITS | {"test": "/etc/passwd.csv"}),
        r"stay in it, got '/etc/passwd\.csv'",
    ),
    "link that leads out": (_linked, r"de\.csv is a link that leads out of it"),
    "ragged CoNLL": (
        lambda folder: tagged(folder, ".conll", "In O\nNew York B-city\n"),
        r"line 2 of en\.conll has 3",
    ),
    "ragged CoNLL-U": (
        lambda folder: tagged(folder, ".conllu", "1\tIn\tin\tADP\n", tokens="form", tags="upos"),
        r"line 1 of en\.conllu has 4",
    ),
    "tags and words of unequal number": (
        lambda folder: tagged(folder, ".jsonl", '{"tokens": ["a", "b"], "tags": ["O"]}\n'),
        r"en\.jsonl, line 1, column tags: every word must have one tag, there are 2 words and 1 "
        r"tags",
    ),
    "ragged CSV": (_file("test/de.csv", HEAD + "1,x,y,good\n"), r"line 2 of de\.csv has 4"),
    "open quote": (
        _file("test/de.csv", HEAD + '1,"x,good\n2,y,bad\n'),
        r"de\.csv must be CSV, the row that begins in line 2 is not",
    ),
    "name twice": (
        _file("test/de.csv", "text,text,label\nx,y,good\n"),
        r"in line 1 of de\.csv the name 'text' is there twice",
    ),
    "empty file": (_file("test/de.csv", b""), r"de\.csv is empty"),
    "header only": (_file("test/de.csv", HEAD), r"de\.csv has only a header"),
    "JSON that is no object": (
        lambda folder: tagged(folder, ".jsonl", '["a", "b"]\n'),
        r"line 1 of en\.jsonl is a list; write one object a line",
    ),
    "a task file that is a list": (_not_json("[1, 2]"), r"a task file must be a JSON object"),
    "a task file that is no JSON": (_not_json("{'name': 1}"), r"a task file must be JSON text"),
    "unknown field": (_with(speed=3), r"speed: unknown field; remove it"),
    "unknown metric": (
        _with(metric="f1"),
        r"metric must be one of accuracy in a sentence task, got 'f1'",
    ),
    "name that is a path": (_with(name="../../x"), r"name: "),
    "pickle as Parquet": (_pickled, r"en\.parquet must be a Parquet file"),
    "unknown ending": (
        lambda folder: (
            mood(folder),
            (folder / "t.xlsx").write_bytes(PNG),
            write(folder, splits=SPLITS | {"test": "t.xlsx"}),
        )[2],
        r"must be text or Parquet, t\.xlsx is binary \(line 3",
    ),
    "two files for one language": (_twice, r"test has two for de: dev/de\.csv and test/de\.csv"),
    "no file": (
        _with(splits=SPLITS | {"test": "tests/{language}.csv"}),
        r"splits\.test must match at least one file, 'tests/\{language\}\.csv' matches none",
    ),
    "no training language": (
        _with(training_language="fr"),
        r"the train split must have examples in the training language fr",
    ),
    "one label": (
        _with(labels={"good": "good", "bad": "good"}),
        r"2 to 500 different labels, mood has 1",
    ),
    "split that is none": (
        lambda folder: (
            mood(folder),
            (folder / "a.csv").write_text("text,label,part\nx,good,trian\n"),
            write(folder, splits={"all": "a.csv"}, columns=GOOD["columns"] | {"split": "part"}),
        )[2],
        r"a\.csv, line 2, column part: a split must be train, dev or test, got 'trian'",
    ),
    "language that is none": (
        lambda folder: (
            mood(folder),
            (folder / "a.csv").write_text("text,label,part,lang\nx,good,train,<b>\n"),
            write(
                folder,
                splits={"all": "a.csv"},
                columns=GOOD["columns"] | {"split": "part", "language": "lang"},
            ),
        )[2],
        r"a\.csv, line 2, column lang: a language must be a code",
    ),
}


def mood_ids(folder: Path) -> Path:
    return write(folder, columns=GOOD["columns"] | {"id": "id"})


def tagged_labels(folder: Path) -> Path:
    path = tagged(folder, ".conll", "In O\nNew B-city\nYork I-city\n")
    return write(folder, json.loads(path.read_text()), labels=["O", "B-city"])


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_input_is_refused_in_one_sentence_and_starts_nothing(
    case: str,
    tmp_path: Path,
    data: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    build, said = MALFORMED[case]
    path = build(tmp_path / "task")
    monkeypatch.chdir(tmp_path)
    for words in (
        ("task", "check", str(path)),
        ("run", "ptq-int8-dynamic", "--model", str(model), "--task", str(path)),
    ):
        code, out, err = command(capsys, monkeypatch, *words)
        assert (code, out) == (2, "")
        assert len(err.strip().splitlines()) == 1, err
        assert re.search(said, err), err
        assert ";" in err, "the sentence names no remedy"
    assert not list((data / "runs").glob("*")), "a run was begun"
    assert not (tmp_path / "executed").exists()


def test_pickle_renamed_to_safetensors_is_not_executed(
    tmp_path: Path,
    data: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for part in model.iterdir():
        (folder / part.name).write_bytes(
            pickle.dumps(Evil()) if part.suffix == ".safetensors" else part.read_bytes()
        )
    monkeypatch.chdir(tmp_path)
    code, out, err = command(
        capsys,
        monkeypatch,
        "run",
        "ptq-int8-dynamic",
        "--model",
        str(folder),
        "--task",
        str(mood(tmp_path / "task")),
    )
    assert (code, out) == (2, "")
    assert str(folder) in err.strip().splitlines()[-1]
    assert not (tmp_path / "executed").exists()
    assert not list(Store.default().finished())
