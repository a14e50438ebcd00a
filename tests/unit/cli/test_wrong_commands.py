"""What a command is given wrongly, and how it ends otherwise: one sentence and exit code 2, or
silence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from sdq.settings import ROOT
from sdq.store import Store
from tests.helpers.commands import refused
from tests.helpers.commands import run as command


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder."""
    monkeypatch.setenv("SDQ_DATA", str(tmp_path / "data"))
    return tmp_path / "data"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("nonsense",), "nonsense"),
        (("run",), "recipe"),
        (("run", "fp32", "--no-such-option"), "--no-such-option"),
        (("run", "fp32", "--seed", "many"), "--seed"),
        (("run", "fp32", "--model", "~nobody-of-that-name/x"), "must begin with ~"),
        (("run", "fp32", "--model", "x" * 5000), "at most 4000 bytes"),
        (("run", "fp32", "--model", "a\ud800b"), "must be readable text"),
        (("run", "fp32", "--task", "~nobody-of-that-name/x.json"), "must begin with ~"),
        (("run", "fp32", "--task", "y" * 300 + ".json"), "255 in each part"),
        (("run", "fp32", "--task", "xglue:~nobody-of-that-name/NC"), "must begin with ~"),
        (("run", "~nobody-of-that-name/r.json"), "must begin with ~"),
        (("run", "/dev/zero.json"), "must exist"),
        (("finetune", "--task", "intent", "--out", "~nobody-of-that-name/x"), "must begin with ~"),
        (("finetune", "--task", "intent", "--out", "x" * 5000), "at most 4000 bytes"),
        (("inspect", "0" * 12, "--settings", "/dev/zero"), "must be a regular file"),
        (("inspect", "0" * 12, "--settings", "z" * 5000), "at most 4000 bytes"),
        (
            ("remedy", "0" * 12, "--size", "1", "--out", "~nobody-of-that-name/x"),
            "must begin with ~",
        ),
        (("reproduce", "grid", "--out", "x" * 5000), "at most 4000 bytes"),
    ],
    ids=lambda value: " ".join(value)[:40] if isinstance(value, tuple) else None,
)
def test_what_a_command_is_given_wrongly(
    words: tuple[str, ...],
    said: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    assert said in refused(capsys, *words)


def test_a_command_that_is_stopped(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def stopped() -> Store:
        raise KeyboardInterrupt

    monkeypatch.setattr(Store, "default", stopped)
    assert "was stopped before its end" in refused(capsys, "runs")


def test_help_is_no_error(capsys: pytest.CaptureFixture[str]) -> None:
    assert command(capsys, "--help")[0] == 0
    assert command(capsys, "run", "--help")[0] == 0
    code, out, err = command(capsys)
    assert code == 2
    assert "Usage" in out + err


def test_a_reader_who_leaves_is_no_error(data: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "sdq", "presets"],
            cwd=ROOT,
            env={**os.environ, "SDQ_DATA": str(data)},
            stdout=write,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    finally:
        os.close(write)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.dumps(sorted(os.listdir(data.parent))) == "[]"
