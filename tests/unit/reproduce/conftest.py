"""A study whose runs are made up, and copies of the documents that its tables stand in."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdq.models import composition
from sdq.recipe import Recipe
from sdq.reproduce import documents, plan
from sdq.reproduce.plan import Study
from sdq.settings import ROOT
from sdq.store import run_id
from tests.helpers import made_up_study

DOCUMENTS = ("README.md", "docs/results.md")


@pytest.fixture
def study(monkeypatch: pytest.MonkeyPatch) -> Study:
    """Two schemes of midi, as if it were there: its runs have ids, no model is asked for them."""

    def made_up_id(recipe: Recipe, model: str, task: str) -> str:
        return run_id(recipe, f"made-up {model}", task)

    monkeypatch.setattr(composition, "ships", lambda: True)
    monkeypatch.setattr(plan, "identify", made_up_id)
    return made_up_study.STUDY


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with copies of the documents, into which tables are written."""
    root = tmp_path / "root"
    (root / "docs").mkdir(parents=True)
    for name in DOCUMENTS:
        (root / name).write_bytes((ROOT / name).read_bytes())
    monkeypatch.setattr(documents, "ROOT", root)
    return root
