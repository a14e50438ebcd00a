"""The product's doors, as somebody at a terminal meets them: words in; exit code, stdout and stderr
out. No process is started."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest

from sdq import __main__ as cli

SECONDS = 15  # within which every answer must come
Said = tuple[int, str, str]


class TooLate(BaseException):
    """No answer in time. Not an Exception: nothing in the product may take it for one of its
    own."""


@contextmanager
def in_time(seconds: int = SECONDS) -> Iterator[None]:
    """Raises TooLate inside when the time is over. In the main thread only."""

    def ring(number: int, frame: FrameType | None) -> None:
        raise TooLate(f"no answer within {seconds} s")

    before = signal.signal(signal.SIGALRM, ring)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


class Outcome(NamedTuple):
    """What a run came to: score by language (of the metric that counts, 0..1), the mean, what it
    remarks on, the further metrics."""

    scores: dict[str, float]
    mean: float
    remarks: str
    metric: str
    beside: dict[str, dict[str, float]]


class Doors:
    """`python -m sdq ...` in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def call(self, *words: str) -> Said:
        """(exit code, stdout, stderr) of the words. Whatever is no SystemExit comes through: it
        would be a traceback."""
        self.capsys.readouterr()
        before, sys.argv, code = sys.argv, ["sdq", *words], 0
        try:
            with in_time():
                cli.main()
        except SystemExit as stop:
            code = int(stop.code or 0)
        finally:
            sys.argv = before
        return code, *self.capsys.readouterr()

    def run(self, model: Path, task: Path, recipe: str = "fp32") -> Outcome:
        """The report of a run that goes well."""
        code, out, err = self.call(
            "run", recipe, "--model", str(model), "--task", str(task), "--json"
        )
        assert code == 0, err
        report = json.loads(out)
        found = report["quantized"]
        beside = {name: after["by_language"] for name, (_, after) in report["beside"].items()}
        return Outcome(
            found["by_language"],
            found["mean"],
            str(report["provenance"].get("remarks", "")),
            report["metric"],
            beside,
        )

    def refused(self, model: Path, task: Path, *named: str, recipe: str = "fp32") -> str:
        """The one sentence of a run that is refused; it names each of `named`."""
        return self._sentence(
            self.call("run", recipe, "--model", str(model), "--task", str(task), "--json"), named
        )

    def check(self, task: Path) -> dict[str, Any]:
        """What `task check --json` says of a task that can be read."""
        code, out, err = self.call("task", "check", str(task), "--json")
        assert code == 0, err
        found: dict[str, Any] = json.loads(out)
        return found

    def warned(self, task: Path) -> str:
        """All warnings of a task, joined."""
        return " | ".join(self.check(task)["warnings"])

    def check_refused(self, task: Path, *named: str) -> str:
        """The one sentence with which `task check` refuses; it names each of `named`."""
        return self._sentence(self.call("task", "check", str(task)), named)

    def _sentence(self, said: Said, named: tuple[str, ...]) -> str:
        code, out, err = said
        assert code == 2, (code, out, err)
        assert out == ""
        lines = err.strip().splitlines()
        assert len(lines) == 1, err
        assert lines[0].startswith("error: ")
        assert len(lines[0]) < 1200
        for each in named:
            assert each.lower() in lines[0].lower(), f"{each!r} is not in: {lines[0]}"
        return lines[0]


def either(sentence: str, *words: str) -> None:
    """At least one of the words is in the sentence, whatever its case."""
    assert any(word.lower() in sentence.lower() for word in words), (
        f"none of {words} is in: {sentence}"
    )
