"""What CONTRIBUTING names for a change is there: every path, and every name in the file it is said
to be in."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from sdq.settings import ROOT

TEXT = (ROOT / "CONTRIBUTING.md").read_text("utf-8")
TABLE = TEXT.partition("## I want to change ...")[2].partition("\n## ")[0]
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in TABLE.splitlines()
    if line.startswith("| ") and not line.startswith(("| what |", "|---"))
]
NAME = re.compile(r"[A-Za-z_]\w*")
MOST = 3  # files to touch beside the one to open


def is_path(word: str) -> bool:
    return "/" in word or word.endswith((".py", ".md", ".json", ".txt"))


def places(word: str) -> list[Path]:
    """The files of a path, in which <...> and * stand for anything."""
    return list(ROOT.glob(re.sub(r"<\w+>", "*", word).rstrip("/")))


def defined(path: Path) -> set[str]:
    """What a file defines at any depth: functions, classes, variables."""
    nodes = list(ast.walk(ast.parse(path.read_text("utf-8"))))
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    named = {node.name for node in nodes if isinstance(node, kinds)}
    stored = (n for n in nodes if isinstance(n, ast.Name) and isinstance(n.ctx, ast.Store))
    return named | {node.id for node in stored}


def claims(cell: str) -> list[tuple[list[str], set[str]]]:
    """(paths, names said to be in the first of them) of each part of a cell."""
    found = []
    for part in cell.split(";"):
        words = [w for w in re.findall(r"`([^`]+)`", part) if " " not in w]
        paths = [word for word in words if is_path(word)]
        found.append((paths, {w for w in words if not is_path(w) and NAME.fullmatch(w)}))
    return found


def test_the_table_is_read() -> None:
    assert len(ROWS) > 25
    assert all(len(row) in (2, 3) for row in ROWS), [row for row in ROWS if len(row) not in (2, 3)]
    assert claims("`a.py`: one class, its name in `A` and `B`; `C` of `b/c.py`") == [
        (["a.py"], {"A", "B"}),
        (["b/c.py"], {"C"}),
    ]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row[0])
def test_what_a_row_names_is_there(row: list[str]) -> None:
    opened = claims(row[1])
    assert sum(len(paths) for paths, _ in opened) == 1, "one file to open"
    touched = [path for cell in row[2:] for paths, _ in claims(cell) for path in paths]
    assert len(touched) <= MOST
    for cell in row[1:]:
        for paths, names in claims(cell):
            for path in paths:
                assert places(path), f"{path} is not there"
            if names:
                assert paths, f"{', '.join(names)}: of no file"
                assert names <= defined(places(paths[0])[0]), f"{names} in {paths[0]}"


@pytest.mark.parametrize(
    "change",
    [
        "an observer",
        "GPTQ",
        "integers",
        "an export format",
        "a page",
        "a data set",
        "the bootstrap",
        "an axis label",
        "a model family",
        "how a job is cancelled",
        "a metric",
    ],
)
def test_every_usual_change_has_its_row(change: str) -> None:
    assert sum(change in row[0] for row in ROWS) == 1
