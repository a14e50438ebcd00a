"""Data files in every format: cells and structure changed, types that nobody meant, and bytes."""

from __future__ import annotations

import datetime
import decimal
import io
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.cases.build import csv, jsonl, task_folder
from tests.fuzz.harness import call, inside
from tests.fuzz.mutate import LONG, VALUES, damaged, mutated

WORDS = (
    "good",
    "day",
    "Anna",
    "Oslo",
    "\u200e",
    "10\u00a0000",
    "[x]",
    "O'Hara",
    "",
    "a b",
    "日本語",
    "e\u0301",
    "#",
    "-DOCSTART-",
)
TAGS = (
    "O",
    "B-PER",
    "I-PER",
    "S-LOC",
    "U-LOC",
    "L-LOC",
    "E-LOC",
    "NOUN",
    "1",
    "B-",
    "-",
    "",
    "b-per",
    "B-PER ",
)
LABELS = ("good", "bad", " good", "Good", "1", "--5", "nan", "", "\ud83d", "²", "true")


def cells(rng: Random, rows: int = 6) -> list[list[str]]:
    """Rows of two text cells, of which some are odd."""
    made = [[" ".join(rng.choices(WORDS[:4], k=3)), rng.choice(LABELS[:2])] for _ in range(rows)]
    for _ in range(rng.randint(0, 3)):
        made[rng.randrange(rows)][rng.randrange(2)] = str(rng.choice((*VALUES, *LABELS, *WORDS)))
    if rng.random() < 0.2:
        made[rng.randrange(rows)] += ["more"] * rng.randint(1, 3)
    if rng.random() < 0.1:
        made[rng.randrange(rows)].pop()
    return made


def header(rng: Random) -> tuple[str, ...]:
    return rng.choice(
        (("text", "label"),) * 6
        + (
            ("label", "text"),
            ("text", "text"),
            ("text", ""),
            ("text ", " label"),
            ("\ufefftext", "label"),
            ("a", "b"),
        )
    )


def csv_file(rng: Random) -> bytes:
    between = rng.choice((",", ",", ",", ";", "\t"))
    quoted = [
        tuple('"' + c.replace('"', '""') + '"' if rng.random() < 0.3 else c for c in row)
        for row in cells(rng)
    ]
    return csv(quoted, *header(rng), delimiter=between).encode("utf-8", "surrogatepass")


def tsv_file(rng: Random) -> bytes:
    return csv([tuple(row) for row in cells(rng)], *header(rng), delimiter="\t").encode(
        "utf-8", "surrogatepass"
    )


def jsonl_file(rng: Random) -> bytes:
    rows: list[Any] = [
        {"text": text, "label": label}
        for text, label, *_ in (row for row in cells(rng) if len(row) > 1)
    ]
    rows = mutated(rows, rng) if rng.random() < 0.7 else rows
    rows = rows if isinstance(rows, list) else [rows]
    joined = (
        "\n".join(json.dumps(row) for row in rows)
        if rng.random() < 0.9
        else json.dumps(rows, indent=rng.choice((None, 1)))
    )
    return joined.replace(f'"{LONG}"', "9" * 5000).encode()


def _sentences(rng: Random) -> list[list[tuple[str, str]]]:
    return [
        [
            (rng.choice(WORDS), rng.choice(TAGS if rng.random() < 0.3 else TAGS[:3]))
            for _ in range(rng.randint(1, 4))
        ]
        for _ in range(4)
    ]


def conll_file(rng: Random) -> bytes:
    between, more = rng.choice(("\t", " ", "  ", "\t ")), rng.choice(("", "", "", "x", "x\tx\tx"))
    return "".join(
        "".join(between.join(filter(None, (w, more, t))) + "\n" for w, t in s)
        + rng.choice(("\n", "\n\n", " \n", "\r\n"))
        for s in _sentences(rng)
    ).encode()


def conllu_file(rng: Random) -> bytes:
    lines = []
    for s in _sentences(rng):
        lines += [rng.choice(("# text = a", "# text", "#", "# form = x", "# upos = y"))]
        lines += [
            "\t".join(
                [
                    rng.choice((str(i), str(i), str(i), f"{i}-{i + 1}", f"{i}.1", "x")),
                    w,
                    "_",
                    t,
                    *"______",
                ]
            )
            for i, (w, t) in enumerate(s, 1)
        ] + [""]
    return "\n".join(lines).encode()


# columns of Parquet that are no text
COLUMNS: tuple[Callable[[], Any], ...] = (
    lambda: pa.array([1, 2, None, 4]),
    lambda: pa.array([1.0, float("nan"), 2.0, None]),
    lambda: pa.array([True, False, None, True]),
    lambda: pa.array([None] * 4),
    lambda: pa.array([["a", "b"], [], None, ["c"]]),
    lambda: pa.array([[1, 2], [0], [], None]),
    lambda: pa.array([{"a": 1}, {"a": 2}, None, {"a": 3}]),
    lambda: pa.array([b"x", b"\xff\xfe", None, b""]),
    lambda: pa.array(["x", "y", "x", None]).dictionary_encode(),
    lambda: pa.array([datetime.date(2020, 1, 1)] * 4),
    lambda: pa.array([datetime.datetime(2020, 1, 1, tzinfo=datetime.UTC)] * 4),
    lambda: pa.array([datetime.timedelta(days=1)] * 4),
    lambda: pa.array([decimal.Decimal("1.5")] * 4),
    lambda: pa.array([[("k", "v")]] * 4, pa.map_(pa.string(), pa.string())),
    lambda: pa.array(["x"] * 4, pa.large_string()),
    lambda: pa.array([[["a"]]] * 4),
    lambda: pa.array([2**63] * 4, pa.uint64()),
    lambda: pa.array([[float("nan")]] * 4),
    lambda: pa.array(["", " ", "\0", "x" * 9999]),
    lambda: pa.array([2**62] * 4, pa.timestamp("ns")),
    lambda: pa.array([2**50] * 4, pa.timestamp("s")),
    lambda: pa.array([2**30] * 4, pa.date32()),
)


def parquet_file(rng: Random) -> bytes:
    good = {
        "text": pa.array(["good day", "bad day", "good", "bad"]),
        "label": pa.array(["good", "bad", "good", "bad"]),
    }
    for _ in range(rng.randint(0, 2)):
        good[rng.choice(("text", "label", "label", "more", ""))] = rng.choice(COLUMNS)()
    names, arrays = list(good), list(good.values())
    if rng.random() < 0.1:
        names[-1] = names[0]
    out = io.BytesIO()
    table = pa.table(arrays, names=names).slice(0, rng.choice((4, 4, 4, 1, 0)))
    pq.write_table(
        table,
        out,
        compression=rng.choice(("snappy", "zstd", "none")),
        row_group_size=rng.choice((None, 1)),
    )
    return out.getvalue()


# ending -> (maker, kind of task, its columns)
FORMATS: dict[str, tuple[Callable[[Random], bytes], str, dict[str, str]]] = {
    ".csv": (csv_file, "sentence", {"text": "text", "label": "label"}),
    ".tsv": (tsv_file, "sentence", {"text": "text", "label": "label"}),
    ".jsonl": (jsonl_file, "sentence", {"text": "text", "label": "label"}),
    ".parquet": (parquet_file, "sentence", {"text": "text", "label": "label"}),
    ".conll": (conll_file, "token", {"tokens": "tokens", "tags": "tags"}),
    ".conllu": (conllu_file, "token", {"tokens": "form", "tags": "upos"}),
}


class DataFiles:
    """`task check` of a task with one odd file in it, and the preview of that file."""

    name = "data files"

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def attempt(self, rng: Random) -> bytes:
        ending = rng.choice(list(FORMATS))
        make, kind, columns = FORMATS[ending]
        held = make(rng)
        if rng.random() < 0.4:
            held = damaged(held, rng)
        if kind == "sentence" and rng.random() < 0.25:  # the same columns, taken for words and tags
            kind, columns = "token", {"tokens": "text", "tags": "label"}
        path = task_folder(
            self.folder / f"{kind}{ending}", {"train/en": held}, ending, kind, columns=columns
        )
        call(held, "task", "check", str(path), *(["--json"] if rng.random() < 0.3 else []))
        if rng.random() < 0.05:
            from sdq.intake.preview import preview

            inside(held, lambda: preview(path.parent / "train" / f"en{ending}"))
        return held


__all__ = ["FORMATS", "DataFiles", "jsonl"]
