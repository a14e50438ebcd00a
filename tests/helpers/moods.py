"""A small task as its files, and commands on it."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

from sdq import __main__ as cli

LABELS = ("bad", "good")
SPLITS = {split: f"{split}/{{language}}.csv" for split in ("train", "dev", "test")}
GOOD = {
    "name": "mood",
    "kind": "sentence",
    "splits": SPLITS,
    "columns": {"text": "text", "label": "label"},
    "training_language": "en",
}
SAID = {
    "en": ("a fine day", "a sad day", "good work", "poor work"),
    "de": ("ein schöner Tag", "ein trüber Tag", "gute Arbeit", "schlechte Arbeit"),
}


def write(folder: Path, task: Any = GOOD, **changed: Any) -> Path:
    """A task file in a folder, with some of its fields changed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "task.json").write_text(json.dumps(task | changed if changed else task))
    return folder / "task.json"


def mood(folder: Path, **changed: Any) -> Path:
    """A small task of two languages in CSV files that is all right."""
    for split in SPLITS:
        for code, texts in SAID.items():
            (folder / split).mkdir(parents=True, exist_ok=True)
            rows = [f'{i},"{text}, {split}",{LABELS[(i + 1) % 2]}' for i, text in enumerate(texts)]
            (folder / split / f"{code}.csv").write_text(
                "\n".join(["id,text,label", *rows]) + "\n", "utf-8"
            )
    return write(folder, **changed)


def tagged(folder: Path, ending: str, text: str, **columns: str) -> Path:
    """A tagging task of one file for all splits and languages."""
    for split in SPLITS:
        (folder / split).mkdir(parents=True, exist_ok=True)
        (folder / split / f"en{ending}").write_text(text, "utf-8")
    names = {"tokens": "tokens", "tags": "tags"} | columns
    return write(
        folder,
        GOOD,
        kind="token",
        columns=names,
        splits={s: f"{s}/{{language}}{ending}" for s in SPLITS},
    )


def command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str
) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of `python -m sdq words`, in this process."""
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["sdq", *words])
    try:
        cli.main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, *capsys.readouterr()
