"""The tables of README and docs/results.md are what the shipped runs say; only they are written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sdq.reproduce import mini
from sdq.reproduce.mini import overview, publish, results
from sdq.reproduce.plan import WIDTHS, plan
from sdq.settings import ROOT, UserError
from sdq.store import SHIPPED, Store

SEEDS = [0, 1, 2]
MADE = re.compile(r"<!-- results -->\n(.*)\n<!-- /results -->", re.S)


def made(path: Path) -> str:
    """What stands between the marks of a Markdown file."""
    (inside,) = MADE.findall(path.read_text("utf-8"))
    return inside


def rows(text: str) -> list[list[str]]:
    """The cells of every row of Markdown tables."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs", SHIPPED)


def test_the_table_of_the_readme_is_what_the_shipped_runs_say(store: Store) -> None:
    assert made(ROOT / "README.md") == overview(store, SEEDS)


@pytest.mark.slow
def test_the_tables_of_the_docs_are_what_the_shipped_runs_say(store: Store) -> None:
    assert made(ROOT / "docs" / "results.md") == results(store, SEEDS)


def test_readme_and_docs_have_the_same_figures() -> None:
    """Each score of the README stands in the full table of its width, in the row of its method."""
    _, _, *shown = rows(made(ROOT / "README.md"))
    full = made(ROOT / "docs" / "results.md")
    assert [row[0] for row in shown] == ["W2A8", "W3A8", "W4A8", "INT8"]
    for width, *cells in shown:
        table = full.partition(f"## intent, {width}\n")[2].partition("\n## ")[0]
        scores = {row[0]: row[3] for row in rows(table)}
        assert cells == [scores[preset] for preset in ("fp32", *plan(WIDTHS[width])[:3])], width


def test_a_table_without_its_runs_says_which_are_missing(tmp_path: Path) -> None:
    text = overview(Store(tmp_path / "runs", None), SEEDS)
    assert (
        "Not complete: 41 runs are missing (fp32 seed 0, ptq-w2a8 seed 0, qat-w2a8 seed 0" in text
    )
    assert "|" not in text


def test_publishing_leaves_the_words_around_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mini, "ROOT", tmp_path)
    monkeypatch.setattr(mini, "results", lambda store, seeds: "all tables\n")
    monkeypatch.setattr(mini, "overview", lambda store, seeds: "one table\n")
    (tmp_path / "docs").mkdir()
    for name in ("README.md", "docs/results.md"):
        around = "Before é.\n\n<!-- results -->\nold\n<!-- /results -->\n\nAfter.\n"
        (tmp_path / name).write_text(around, "utf-8")
    for _ in "12":
        publish(Store(tmp_path / "runs", None), SEEDS, shipping=False)
    for name, table in {"README.md": "one table", "docs/results.md": "all tables"}.items():
        expected = f"Before é.\n\n<!-- results -->\n{table}\n\n<!-- /results -->\n\nAfter.\n"
        assert (tmp_path / name).read_text("utf-8") == expected


def test_a_file_without_marks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mini, "ROOT", tmp_path)
    monkeypatch.setattr(mini, "results", lambda store, seeds: "all tables\n")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs" / "results.md").write_text("No marks.\n")
    with pytest.raises(UserError, match=r"results\.md must hold the two marks"):
        publish(Store(tmp_path / "runs", None), SEEDS, shipping=False)
    assert (tmp_path / "docs" / "results.md").read_text() == "No marks.\n"
