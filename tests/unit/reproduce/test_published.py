"""The tables of README and docs/results.md are what the shipped runs say; only they are written."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sdq.reproduce import documents, running
from sdq.reproduce.documents import overview, results
from sdq.reproduce.plan import MIDI, MINI, STUDIES, Study
from sdq.settings import ROOT
from sdq.store import SHIPPED, Store
from tests.helpers.published import made, rows, section

SEEDS = [0, 1, 2]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs", SHIPPED)


@pytest.mark.parametrize("published", STUDIES.values(), ids=list(STUDIES))
def test_the_table_of_the_readme_is_what_the_shipped_runs_say(
    store: Store, published: Study
) -> None:
    assert made(ROOT / "README.md", f"results {published.model}") == overview(
        published, store, SEEDS
    )


@pytest.mark.slow
def test_the_tables_of_midi_are_what_the_shipped_runs_say(store: Store) -> None:
    assert made(ROOT / "docs" / "results.md", "results midi") == results(MIDI, store, SEEDS)


@pytest.mark.slow
def test_reproducing_mini_from_the_shipped_runs_writes_the_same(
    store: Store, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(running, "in_process", lambda *job: pytest.fail("all runs are stored"))
    said: list[str] = []
    running.reproduce(MINI, store, SEEDS, said.append)
    assert said == ["72 runs, 0 to do"]
    for name in ("README.md", "docs/results.md"):
        assert (root / name).read_bytes() == (ROOT / name).read_bytes()


def test_a_table_of_the_docs_is_written_the_same(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The words above the tables and one of them; the rest takes longer."""
    monkeypatch.setattr(Study, "tables", [(MINI.schemes[0], "intent")])
    text = made(ROOT / "docs" / "results.md", "results mini")
    assert results(MINI, store, SEEDS) == text.partition("\n## mini, intent, W3A8\n")[0]


def test_readme_and_docs_have_the_same_figures() -> None:
    """Each score of the README stands in the full table of its width, in the row of its method."""
    _, _, *shown = rows(made(ROOT / "README.md", "results mini"))
    full = made(ROOT / "docs" / "results.md", "results mini")
    assert [row[0] for row in shown] == ["W2A8", "W3A8", "W4A8", "INT8"]
    for scheme, (width, *cells) in zip(MINI.schemes, shown, strict=True):
        scores = {
            row[0].split(" ")[0]: row[2] for row in rows(section(full, f"mini, intent, {width}"))
        }
        assert cells == [scores[preset] for preset in MINI.presets(scheme)[:5]], width


def test_publishing_leaves_the_words_around_the_tables(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(documents, "ROOT", tmp_path)
    monkeypatch.setattr(documents, "results", lambda *of: "all tables\n")
    monkeypatch.setattr(documents, "overview", lambda *of: "one table\n")
    (tmp_path / "docs").mkdir()
    for name in ("README.md", "docs/results.md"):
        around = "Before é.\n\n<!-- results mini -->\nold\n<!-- /results mini -->\n\nAfter.\n"
        (tmp_path / name).write_text(around, "utf-8")
    for _ in "12":
        documents.publish(MINI, Store(tmp_path / "runs", None), SEEDS, shipping=False)
    for name, table in {"README.md": "one table", "docs/results.md": "all tables"}.items():
        expected = (
            f"Before é.\n\n<!-- results mini -->\n{table}\n\n<!-- /results mini -->\n\nAfter.\n"
        )
        assert (tmp_path / name).read_text("utf-8") == expected


@pytest.mark.parametrize("path", ["README.md", "docs/results.md"])
def test_a_difference_told_in_words_is_one_of_the_tables(path: str) -> None:
    """With its p, as corrected there."""
    text = (ROOT / path).read_text("utf-8")
    words = re.sub(r"<!-- results.*? -->.*?<!-- /results.*? -->", "", text, flags=re.S)
    words = " ".join(words.split())
    tables = (ROOT / "docs" / "results.md").read_text("utf-8")
    cells = re.findall(r"([+-]\d+\.\d\d) \[[^]]*\], (p [<=] [\d.]+)", tables)
    there = {(f"{float(change):+.1f}", p) for change, p in cells}
    told = re.findall(r"([+-]\d+\.\d) points, (p [<=] [\d.]+\d)", words)
    assert len(told) >= 4
    assert set(told) <= there
    assert len(re.findall(r"\bp [<=≤]", words)) == len(told), "no p stands alone"
