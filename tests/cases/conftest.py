"""A data folder of its own for every case."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.cases.doors import Doors

torch.set_num_threads(1)


@pytest.fixture
def doors(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Doors:
    monkeypatch.setenv("SDQ_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SDQ_SHIPPED", "no")
    return Doors(capsys)
