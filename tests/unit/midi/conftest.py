"""A made-up body in a made-up cache of the Hub, known by its own SHA-256."""

from __future__ import annotations

from pathlib import Path

import pytest
from huggingface_hub import constants

from sdq.midi.build import Words
from sdq.models import composition
from tests.helpers import small_body


@pytest.fixture
def body(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SDQ_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    name = composition.BODY.repository.replace("/", "--")
    folder = tmp_path / "hub" / f"models--{name}" / "snapshots" / "0"
    digest = small_body.published(folder)
    made_up = composition.BODY._replace(sha256=digest, package="no_such_package")
    monkeypatch.setattr(composition, "BODY", made_up)
    return folder


@pytest.fixture
def words(body: Path, tmp_path: Path) -> Words:
    return small_body.words_on(body, tmp_path / "tokenizer")
