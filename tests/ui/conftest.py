"""Pages under AppTest find uploaded files where those of the served app are: on the disk. They are
decoded here, which saves a process for each."""

from __future__ import annotations

import pytest
from streamlit.runtime.uploaded_file_manager import UploadedFileRec
from streamlit.testing.v1 import local_script_runner

from pages.components.uploads import Uploads
from sdq.intake import decoding, reading


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
