"""Pages under AppTest find uploaded files where those of the served app are: on the disk."""

from __future__ import annotations

import pytest
from streamlit.testing.v1 import local_script_runner

from pages.components.uploads import Uploads


@pytest.fixture(autouse=True)
def _uploads_on_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_script_runner, "MemoryUploadedFileManager", Uploads)
