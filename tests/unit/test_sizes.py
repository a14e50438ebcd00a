"""A file is read in one sitting, a function on one screen."""

from __future__ import annotations

import ast
from pathlib import Path

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


def too_long(path: Path) -> list[str]:
    """What of a file is too long."""
    text, name = path.read_text("utf-8"), path.relative_to(ROOT)
    lengths = [
        (node.name, (node.end_lineno or 0) - node.lineno + 1)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    found = [f"{name}: {called} has {n} lines" for called, n in lengths if n > FUNCTION]
    return [*found, *([f"{name} has {n} lines"] if (n := text.count("\n")) > MODULE else [])]


def test_no_module_and_no_function_is_long() -> None:
    assert len(FILES) > 500
    assert [line for path in FILES for line in too_long(path)] == []
