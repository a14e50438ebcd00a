"""What tests of store share."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from sdq.jobs import queue as jobs
from sdq.store import SHIPPED, Store

RUN = "0e16b6a1c9d9"  # a shipped one


@pytest.fixture
def store(tmp_path: Path) -> Store:
    """One finished run."""
    shutil.copytree(SHIPPED / RUN, tmp_path / "data" / "runs" / RUN)
    return Store(tmp_path / "data" / "runs", None)


@pytest.fixture
def nobody_works(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "ensure", lambda store: None)
