"""A file is read in one sitting, a function on one screen."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULE, FUNCTION = 350, 60  # lines at most, with docstrings
FILES = [
    ROOT / "app.py",
    *(
        path
        for top in ("benchmarks", "pages", "sdq", "tests")
        for path in (ROOT / top).rglob("*.py")
    ),
]


@pytest.mark.parametrize("path", sorted(FILES), ids=lambda path: str(path.relative_to(ROOT)))
def test_no_module_and_no_function_is_long(path: Path) -> None:
    text = path.read_text("utf-8")
    assert text.count("\n") <= MODULE
    long = {
        f"{node.name}: {length} lines"
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > FUNCTION
    }
    assert not long
