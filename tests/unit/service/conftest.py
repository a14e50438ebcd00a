"""What tests of service share."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdq.service.visitors import Room
from tests.helpers.visiting import TEACHERS, TOKEN


@pytest.fixture
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SDQ_HOSTS", "SDQ_ROOM_TOKEN", "SDQ_TEACHER_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def at_home(tmp_path: Path) -> Room:
    return Room.at("127.0.0.1", tmp_path / "data")


@pytest.fixture
def classroom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Room:
    monkeypatch.setenv("SDQ_ROOM_TOKEN", TOKEN)
    monkeypatch.setenv("SDQ_TEACHER_TOKEN", TEACHERS)
    monkeypatch.setenv("SDQ_HOSTS", "lab.example.org")
    return Room.at("0.0.0.0", tmp_path / "data")
