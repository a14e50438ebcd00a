"""What tests of jobs share."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sdq.jobs import queue as jobs
from sdq.recipe import PRESETS
from sdq.results import Report
from sdq.store import Store
from tests.helpers import made_up
from tests.helpers.queue import id_of

NAMES = ("fp32", "ptq-w3a8", "sdq-att-kld-w3a8")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data" / "runs", shipped=tmp_path / "shipped")


@pytest.fixture
def reports(store: Store) -> list[Report]:
    """Three own runs, the last of NAMES the newest."""
    made = [made_up.add(store, PRESETS[name]) for name in NAMES]
    for age, report in enumerate(reversed(made)):
        os.utime(store.folder / report.run / "done", (1e9 - age, 1e9 - age))
    return store.finished()


@pytest.fixture
def shipped(store: Store) -> Report:
    assert store.shipped is not None
    return made_up.add(Store(store.shipped, None), PRESETS["qat-w3a8"], "slots")


@pytest.fixture
def idle_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run is known by its seed, and nothing computes."""
    monkeypatch.setattr(jobs, "identify", lambda recipe, model, task: id_of(recipe.seed))
    monkeypatch.setattr(jobs, "ensure", lambda store: None)
    monkeypatch.setattr(
        os, "cpu_count", lambda: 4
    )  # two workers in the quick lane, one in the others
