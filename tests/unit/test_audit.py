"""`make check` passes without an answer on vulnerabilities only where none can be had."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from sdq.settings import ROOT


@pytest.fixture(scope="module")
def audit() -> ModuleType:
    spec = importlib.util.spec_from_file_location("audit", ROOT / ".ci" / "audit.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def said(*packages: dict[str, Any]) -> str:
    return json.dumps({"dependencies": packages, "fixes": []})


GOOD = {"name": "a", "version": "1", "vulns": []}
BAD = {"name": "b", "version": "2", "vulns": [{"id": "PYSEC-1", "fix_versions": ["3"]}]}
UNKNOWN = {"name": "c", "skip_reason": "Dependency not found on PyPI"}


@pytest.mark.parametrize(
    ("code", "answer", "errors", "expected", "words"),
    [
        (0, said(GOOD, UNKNOWN), "No known", 0, "none; the database knows 1 of 2 packages"),
        (1, said(GOOD, BAD), "Found 1 known vulnerability", 1, "b 2: PYSEC-1, mended in 3"),
        (1, said(GOOD), "", 1, "must end well"),
        (1, "", "/usr/bin/python: No module named pip_audit", 1, "No module named pip_audit"),
        (1, "", "ERROR:pip_audit._cli:requirement file x contains invalid specifier", 1, "invalid"),
        (1, "", "Traceback\njson.decoder.JSONDecodeError: Expecting value", 1, "Expecting value"),
        (0, "", "", 1, "no word"),
        (1, "", "Traceback\nrequests.exceptions.ProxyError: no way", 0, "cannot be reached"),
        (1, "", "ERROR: Could not connect to PyPI's vulnerability feed", 0, "cannot be reached"),
        (1, "", "requests.exceptions.ReadTimeout: slow\n", 0, "cannot be reached"),
    ],
)
def test_only_a_database_out_of_reach_is_passed_over(
    audit: ModuleType, code: int, answer: str, errors: str, expected: int, words: str
) -> None:
    found, line = audit.judged(code, answer, errors)
    assert (found, words in line) == (expected, True), line


def test_a_lock_that_cannot_be_read_is_a_fault(audit: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "bad.lock").write_text("x==\n")
    code, line = audit.vulnerabilities(tmp_path / "bad.lock")
    assert (code, "invalid specifier" in line) == (1, True), line
