"""Checkpoints to spoil."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file, save_file

from sdq.models.checkpoint import base_of
from sdq.models.loading import load
from sdq.settings import UserError

ABC = ("a", "b", "c")


def weights(folder: Path, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    save_file(
        {k: v.clone() for k, v in change(load_file(folder / "model.safetensors")).items()},
        folder / "model.safetensors",
        metadata={"format": "pt"},
    )


def configured(folder: Path, **changes: Any) -> None:
    said = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(said | changes))


def refused(folder: Path, said: str) -> None:
    """By the door of a user, in one sentence; and never by an allocation or an endless loop."""
    with pytest.raises(UserError, match=said) as caught:
        load(base_of(str(folder)), "sequence", ABC)
    assert "\n" not in str(caught.value)


def added(**tensors: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda before: before | {name.replace("__", "."): t for name, t in tensors.items()}
