"""Reading the documents that results stand in."""

from __future__ import annotations

from pathlib import Path


def made(path: Path, mark: str) -> str:
    """What stands between the marks of a Markdown file."""
    before, start, rest = path.read_text("utf-8").partition(f"<!-- {mark} -->\n")
    inside, end, after = rest.partition(f"\n<!-- /{mark} -->")
    assert start
    assert end
    assert f"<!-- {mark} -->" not in before + after, "marks stand once"
    return inside


def section(text: str, heading: str) -> str:
    """What stands under a heading of the second level."""
    _, found, rest = text.partition(f"## {heading}\n")
    assert found, heading
    return rest.partition("\n## ")[0]


def rows(text: str) -> list[list[str]]:
    """The cells of every row of Markdown tables."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line[1:-1].split("|")] for line in lines]
