"""What must hold for any input at all: no traceback, exit code 0 or 2 with one sentence, an answer
in time, memory in bounds."""

from __future__ import annotations

import contextlib
import io
import os
import resource
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Protocol

from sdq import __main__ as cli
from sdq.settings import ROOT
from tests.cases.doors import TooLate, in_time

SECONDS = 20  # an answer
MEMORY = 700  # 10^6 bytes by which the process may grow
# 10^6 bytes of address space that it may take; whoever asks for more gets a MemoryError, and the
# machine stays alive
ROOM = 3_000
SHOWN = 25  # failures that are printed


class Kind(Protocol):
    """One kind of input."""

    name: str

    def attempt(self, rng: Random) -> bytes:
        """Make one input and bring it to its doors; returns what it held. Raises Fault if a door
        does not hold."""


class Fault(Exception):
    """Something that must not happen, and what was brought."""

    def __init__(self, said: str, held: bytes = b"") -> None:
        super().__init__(said)
        self.held = held


@dataclass
class Tally:
    """What came of one kind."""

    kind: str
    tried: int = 0
    slowest: float = 0
    failed: list[str] = field(default_factory=list)


def call(held: bytes, *words: str) -> str:
    """`python -m sdq words` in this process; returns stderr. Fault for anything but exit code 0, or
    2 with one sentence."""
    out, err = (
        io.TextIOWrapper(io.BytesIO(), "utf-8", errors) for errors in ("strict", "backslashreplace")
    )
    before, sys.argv, code = sys.argv, ["sdq", *words], 0
    try:
        with in_time(SECONDS), contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli.main()
            out.flush()
    except SystemExit as stop:
        code = int(stop.code or 0)
    except TooLate as late:
        raise Fault(f"{' '.join(words)[:80]}: {late}", held) from late
    except Exception as error:
        raise Fault(f"{' '.join(words)[:80]}: {_where(error)}", held) from error
    finally:
        sys.argv = before
    err.flush()
    said = err.buffer.getvalue().decode("utf-8", "replace")
    if code not in (0, 2):
        raise Fault(f"{' '.join(words)[:80]}: exit code {code}, {said[-200:]!r}", held)
    lines = said.strip().splitlines()
    if code == 2 and (len(lines) != 1 or not lines[0].startswith("error: ")):
        raise Fault(
            f"{' '.join(words)[:80]}: exit code 2 without one sentence, {said[-300:]!r}", held
        )
    return said


def inside(held: bytes, work: Callable[[], object]) -> None:
    """Work of the engine that pages ask for: a UserError is an answer, any other exception is a
    Fault."""
    from sdq.settings import UserError

    try:
        with in_time(SECONDS):
            work()
    except UserError as error:
        if "\n" in str(error):
            raise Fault(f"a sentence of several lines: {str(error)[:200]!r}", held) from error
    except TooLate as late:
        raise Fault(str(late), held) from late
    except Exception as error:
        raise Fault(_where(error), held) from error


def page(held: bytes, file: str, query: dict[str, str]) -> None:
    """Open a page, as a link to it does. Fault if it shows an exception or does not come."""
    from streamlit.testing.v1 import AppTest

    from tests.helpers.pages import scan_once

    scan_once()
    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=SECONDS)
    if file:
        app.switch_page(file)
    for name, value in query.items():
        app.query_params[name] = value
    try:
        app.run()
    except Exception as error:
        raise Fault(f"{file or 'home'} {query}: {_where(error)}", held) from error
    if app.exception:
        first = app.exception[0]
        raise Fault(
            f"{file or 'home'} {query}: {first.message[:160]!r} at "
            f"{_last(list(first.stack_trace))}",
            held,
        )


def _where(error: BaseException) -> str:
    """An exception and the last line of this project that it passed."""
    at, place = error.__traceback__, ""
    while at is not None:
        name = at.tb_frame.f_code.co_filename
        if "/sdq/" in name or "/pages/" in name:
            place = f"{Path(name).parent.name}/{Path(name).name}:{at.tb_lineno}"
        at = at.tb_next
    return f"{type(error).__name__}: {str(error)[:160]!r} at {place}"


def _last(trace: list[str]) -> str:
    mine = [line.strip() for line in trace if "/sdq/" in line or "/pages/" in line]
    return mine[-1][:160] if mine else ""


@contextlib.contextmanager
def bounded() -> Iterator[None]:
    """Inside, address space is limited, and warnings are what they are at a terminal: no errors."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    taken = int(Path("/proc/self/statm").read_text().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (taken + ROOM * 10**6, hard))
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def tried(kind: Kind, seed: int, indices: range) -> Tally:
    """All inputs of these numbers. Each depends on the seed and its own number alone."""
    found, start = Tally(kind.name), _peak()
    with bounded():
        for index in indices:
            begun = time.perf_counter()
            try:
                kind.attempt(Random(f"{seed} {kind.name} {index}"))
            except Fault as fault:
                found.failed.append(f"{kind.name} {index} (FUZZ_SEED={seed}): {fault}")
            taken = time.perf_counter() - begun
            found.tried, found.slowest = found.tried + 1, max(found.slowest, taken)
    if (grown := _peak() - start) > MEMORY:
        found.failed.append(
            f"{kind.name}: memory grew by {grown:.0f} MB, at most {MEMORY} are allowed"
        )
    return found


def _peak() -> float:
    """10^6 bytes that this process had at most."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000
