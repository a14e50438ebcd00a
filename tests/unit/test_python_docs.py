"""docs/python.md: every public name with its signature, and every example runs."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

import sdq
from sdq.inspection.registry import ANALYSES
from sdq.results import Report
from sdq.settings import ROOT
from tests.helpers.snippets import execute, snippets

PAGE = ROOT / "docs" / "python.md"
TEXT = PAGE.read_text("utf-8")
HEADINGS = re.findall(r"^## `sdq\.(.*)`$", TEXT, re.M)


def signature(name: str) -> str:
    """A name as a heading has it: its parameters with their defaults."""
    value = getattr(sdq, name)
    if not callable(value) or (
        isinstance(value, type) and issubclass(value, BaseModel | Exception)
    ):
        return name
    parts: list[str] = []
    for parameter in inspect.signature(value).parameters.values():
        if parameter.kind is parameter.KEYWORD_ONLY and not any(p.startswith("*") for p in parts):
            parts.append("*")
        default = parameter.default
        plain = isinstance(default, str | tuple | None)
        text = json.dumps(default) if isinstance(default, str) else str(default)
        shown = "" if default is parameter.empty else f"={text if plain else '...'}"
        star = "*" if parameter.kind is parameter.VAR_POSITIONAL else ""
        parts.append(f"{star}{parameter.name}{shown}")
    return f"{name}({', '.join(parts)})"


def table(part: str) -> list[list[str]]:
    """The rows of a table of the page, without its head, as cells."""
    rows = TEXT.partition(f"<!-- {part} -->\n")[2].partition("<!-- end -->")[0].splitlines()
    return [row.split(" | ") for row in rows[2:]]


def names_in(cell: str) -> list[str]:
    return re.findall(r"`(\w+)`", cell)


def test_every_public_name_has_its_signature_and_an_example() -> None:
    assert sorted(HEADINGS) == sorted(map(signature, sdq.__all__))
    for part in re.split(r"^## ", TEXT, flags=re.M)[1:]:
        assert "```python" in part


def test_every_field_of_a_report_is_named() -> None:
    table = TEXT.partition("Returns a report:")[2].partition("```")[0]
    assert set(Report.model_fields) <= set(re.findall(r"`(\w+)`", table))


def test_the_tables_of_an_inspection_are_named() -> None:
    named = [(*names_in(analysis), *names_in(of)) for analysis, of, *_ in table("inspect")]
    assert named == [(name, of) for name, each in ANALYSES.items() for of in each.tables]


def test_every_example_runs_and_gives_the_columns_that_are_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SDQ_DATA", str(tmp_path / "data"))
    names: dict[str, Any] = {}
    for snippet in snippets(PAGE):
        execute(snippet, PAGE, names)
    shown = [name for first, *_ in table("compare") for name in names_in(first)]
    assert sorted(shown) == sorted(names["table"].columns)
    assert (tmp_path / "report.html").is_file()
    tables = sdq.inspect(names["ptq"])
    for _, of, listed, _ in table("inspect"):
        assert names_in(listed) == list(tables[names_in(of)[0]].columns), of
