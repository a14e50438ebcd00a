"""Random tables, written in every format."""

from __future__ import annotations

import csv
import io
import json
import random
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet

# what stands in texts: separators of all formats, quotes, white space of Unicode, right-to-left and
# combining marks
PIECES = [
    "a",
    "Zoë",
    "日本",
    "🙂",
    " ",
    ",",
    ";",
    "'",
    '"',
    "#",
    "-",
    "\u00a0",
    "\u3000",
    "\u2028",
    "\u0085",
    "\u200f",
    "e\u0301",
    "[",
    "]",
    "{",
    "=",
    "\\",
    "|",
    ".",
    "0",
]


def text(chance: random.Random, extra: str = "", without: str = "") -> str:
    pieces = [piece for piece in (*PIECES, *extra) if piece not in without]
    return "w" + "".join(chance.choice(pieces) for _ in range(chance.randint(0, 8)))


def _csv(rows: list[dict[str, str]], path: Path, chance: random.Random) -> None:
    delimiter, end = chance.choice(",,;"), chance.choice(["\n", "\r\n"])
    out = io.StringIO(newline="")
    writer = csv.DictWriter(
        out,
        list(rows[0]),
        delimiter=delimiter,
        lineterminator=end,
        quoting=chance.choice([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    )
    writer.writeheader()
    writer.writerows(rows)
    path.write_bytes(chance.choice([b"", b"\xef\xbb\xbf"]) + out.getvalue().encode())
    if chance.random() < 0.7:  # pandas is slow
        return
    reference = pd.read_csv(
        path,
        sep=delimiter,
        dtype=str,
        keep_default_na=False,
        encoding="utf-8-sig",
        lineterminator=None,
    )
    assert reference.to_dict("records") == rows, "the reference reads it otherwise"


def _tsv(rows: list[dict[str, str]], path: Path, chance: random.Random) -> None:
    end = chance.choice(["\n", "\r\n"])
    lines = ["\t".join(rows[0]), *("\t".join(row.values()) for row in rows)]
    path.write_bytes((end.join(lines) + chance.choice(["", end])).encode())


def _jsonl(rows: list[dict[str, str]], path: Path, chance: random.Random) -> None:
    ascii_only = chance.random() < 0.5
    path.write_text(
        "".join(
            json.dumps(row, ensure_ascii=ascii_only) + chance.choice(["\n", "\r\n", "\n\n"])
            for row in rows
        ),
        "utf-8",
        newline="",
    )


def _json(rows: list[dict[str, str]], path: Path, chance: random.Random) -> None:
    path.write_text(
        json.dumps(rows, ensure_ascii=chance.random() < 0.5, indent=chance.choice([None, 1])),
        "utf-8",
    )


def _parquet(rows: list[dict[str, str]], path: Path, chance: random.Random) -> None:
    pa.parquet.write_table(pa.Table.from_pylist(rows), path, use_dictionary=chance.random() < 0.5)


TABLES: dict[str, tuple[Callable[..., None], dict[str, str]]] = {
    "csv": (_csv, {"extra": "\t\n"}),
    "tsv": (_tsv, {}),
    "jsonl": (_jsonl, {"extra": "\t\n\r"}),
    "json": (_json, {"extra": "\t\n\r"}),
    "parquet": (_parquet, {"extra": "\t\n\r"}),
}
