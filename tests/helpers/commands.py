"""`python -m sdq` in this process."""

from __future__ import annotations

import sys

import pytest

from sdq import __main__ as cli
from sdq.settings import PROGRESS


def run(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of `python -m sdq words`, in this process."""
    capsys.readouterr()
    before = sys.argv
    sys.argv = ["sdq", *words]
    try:
        cli.main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    finally:
        sys.argv = before
    return code, *capsys.readouterr()


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    code, out, err = run(capsys, *words)
    assert code == 2
    assert out == ""
    lines = [
        line
        for line in err.strip().splitlines()
        if "Loading weights" not in line and not line.startswith(PROGRESS)
    ]
    assert len(lines) == 1, err
    assert lines[0].startswith("error: ")
    return lines[0]
