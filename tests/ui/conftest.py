"""Pages under AppTest find uploaded files where those of the served app are: on the disk. They are
decoded here, which saves a process for each."""

from __future__ import annotations

from pathlib import Path

import pytest
from streamlit.runtime.uploaded_file_manager import UploadedFileRec
from streamlit.testing.v1 import local_script_runner

from pages.components.uploads import Uploads
from sdq.intake import decoding, reading
from sdq.jobs import queue as jobs
from sdq.recipe import PRESETS, Recipe
from sdq.results import Report
from sdq.store import Store
from tests.helpers import made_up
from tests.helpers.pages import scan_once

scan_once()
NAMES = ("fp32", "ptq-w3a8", "sdq-att-kld-w3a8")


class Replayed(Uploads):
    """AppTest uploads anew at every run what the page was given, which is no bytes: then those on
    the disk."""

    def add_file(self, session_id: str, file: UploadedFileRec) -> None:
        """As of Uploads."""
        there = self.path(session_id, file.file_id, file.name)
        super().add_file(
            session_id,
            file if file.data or not there.exists() else file._replace(data=there.read_bytes()),
        )


@pytest.fixture(autouse=True)
def _uploads_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        decoding, "ask", lambda question, about, **given: reading.QUESTIONS[question](**given)
    )
    monkeypatch.setattr(local_script_runner, "MemoryUploadedFileManager", Replayed)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("SDQ_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SDQ_SHIPPED", "no")
    return Store(tmp_path / "data" / "runs", shipped=None)


@pytest.fixture
def reports(store: Store) -> dict[str, Report]:
    return {name: made_up.add(store, PRESETS[name]) for name in NAMES}


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Recipe, str, str]]:
    """What was submitted, with no worker started."""
    seen: list[tuple[Recipe, str, str]] = []

    def submit(recipe: Recipe, model: str, task: str, store: Store, who: str) -> str:
        seen.append((recipe, model, task))
        return "0123456789ab"

    monkeypatch.setattr(jobs, "submit", submit)
    return seen
