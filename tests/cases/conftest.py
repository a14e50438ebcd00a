"""A data folder of its own for every case."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.cases.build import checkpoint, csv, task_folder
from tests.cases.doors import Doors

torch.set_num_threads(1)
ROWS = csv([("good good", "a"), ("bad bad", "b")])


@pytest.fixture
def doors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Doors:
    monkeypatch.setenv("SDQ_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SDQ_SHIPPED", "no")
    return Doors(capsys)


@pytest.fixture
def task(tmp_path: Path) -> Path:
    return task_folder(tmp_path / "task", {"train/en": ROWS, "test/de": ROWS}, ".csv")


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return checkpoint(tmp_path / "model", {"good": 0, "bad": 1}, ("a", "b"), token=False)
