"""Limits hold in every format, and what is not worth opening is refused soon."""

from __future__ import annotations

import contextlib
import io
import os
import random
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from sdq.data.formats import accept, read
from sdq.io.limits import limits
from sdq.settings import ROOT, UserError, data_folder
from tests.helpers.tables import TABLES


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in {
        "ROWS": "10",
        "COLUMNS": "5",
        "DECODED_MB": "1",
        "DATA_FILE_MB": "2",
    }.items():
        monkeypatch.setenv(f"SDQ_{name}", value)
    limits.cache_clear()
    yield
    limits.cache_clear()


def test_an_empty_variable_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    usual = (limits().rows, limits().job_hours, data_folder())
    for name in ("ROWS", "JOB_HOURS"):
        monkeypatch.setenv(f"SDQ_{name}", "")
    limits.cache_clear()
    assert (limits().rows, limits().job_hours) == usual[:2]
    monkeypatch.setenv("SDQ_DATA", "")
    assert data_folder() == ROOT / "data"
    limits.cache_clear()


def _rows(n: int, wide: int = 2, long: int = 1) -> list[dict[str, str]]:
    return [{f"c{j}": "x" * long for j in range(wide)} for _ in range(n)]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (_rows(11), "at most 10 rows"),
        (_rows(2, wide=6), "at most 5 columns"),
        (_rows(2, long=600_000), "at most 1 MB|at most 2 MB"),
    ],
)
@pytest.mark.parametrize("ending", TABLES)
def test_limits_hold_in_every_format(
    ending: str, rows: list[dict[str, str]], said: str, small: None, tmp_path: Path
) -> None:
    path = tmp_path / f"a.{ending}"
    if ending == "csv":
        pd.DataFrame(rows).to_csv(path, index=False)
    else:
        TABLES[ending][0](rows, path, random.Random(0))
    with pytest.raises(UserError, match=said) as error:
        list(read(path))
    assert "SDQ_" in str(error.value)
    TABLES[ending][0]([{"a": "x", "b": "y"}], path, random.Random(0))
    assert len(list(read(path))) == 1


def test_a_million_columns_and_sentences_are_refused_soon(small: None, tmp_path: Path) -> None:
    for name, content, said in (
        ("a.csv", "," * 1_500_000, "columns"),
        ("a.tsv", "a\t" * 900_000, "columns"),
        ("a.conll", "w " * 900_000 + "O\n", "columns"),
        ("b.conll", "w O\n\n" * 11, "rows"),
        ("c.jsonl", "[" * 1_000_000, "no JSON|too many brackets"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(UserError, match=said):
            list(read(tmp_path / name))


def test_what_never_ends_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    (tmp_path / "folder.csv").mkdir()
    for name in ("pipe.csv", "zero.csv", "folder.csv"):
        with pytest.raises(UserError, match="must be a regular file"):
            accept(tmp_path / name)
        with pytest.raises(UserError, match="must be a regular file"):
            list(read(tmp_path / name))
    for name in ("none.csv", "x\0.csv", "y" * 5000 + ".csv"):
        with pytest.raises(UserError, match="must be readable"):
            accept(tmp_path / name)


def test_random_bytes_leave_no_traceback(tmp_path: Path) -> None:
    chance = random.Random(3)
    whole = [
        b"text,label\nx,y\n",
        b'{"text": "x", "label": "y"}\n',
        b"In O\nRome B-x\n\n",
        b'[{"a": 1}]',
        b"a\tb\nc\td\n",
    ]
    out = io.BytesIO()
    pa.parquet.write_table(pa.table({"text": ["x", "y"], "words": [["a"], ["b", "c"]]}), out)
    for i in range(300):
        data = bytearray(chance.choice([*whole, out.getvalue()]))
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(len(data))
            data[at : at + chance.randint(0, 2)] = bytes(
                chance.choice([0, 9, 10, 13, 34, 44, 91, 123, 255, chance.randrange(256)])
                for _ in range(chance.randint(0, 2))
            )
            if not data:
                data = bytearray(b"x")
        endings = (".csv", ".tsv", ".json", ".jsonl", ".conll", ".conllu", ".parquet", ".txt", "")
        path = tmp_path / f"{i}{chance.choice(endings)}"
        path.write_bytes(bytes(data))
        with contextlib.suppress(UserError):
            list(read(path))
