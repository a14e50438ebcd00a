"""Files of visitors are decoded in a process of their own, with bounds on its memory, time and
answer: the web process never holds what a file decodes to.

`python -m sdq.intake.reading` is that process: a question goes in as one line of JSON, the answer
comes out as one line of JSON and its tables as Arrow.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sdq.data.check import Checked
from sdq.data.registry import TASKS
from sdq.intake.reading import REASONS, rows
from sdq.io.limits import Limits, limits
from sdq.settings import ROOT, UserError

CHILD = (sys.executable, "-m", "sdq.intake.reading")
ALONE = {
    "OMP_NUM_THREADS": "1",
    "ARROW_IO_THREADS": "1",
    "ARROW_DEFAULT_MEMORY_POOL": "system",
    "MALLOC_ARENA_MAX": "2",
    "TOKENIZERS_PARALLELISM": "false",
}
_slots = threading.Condition()
_busy = 0

Decoded = tuple[dict[str, Any], dict[str, pd.DataFrame]]


class Busy(UserError):
    """No child was free in time: it says nothing about the file."""


def preview(path: Path) -> pd.DataFrame:
    """The first rows of a file, all columns as text. UserError if it cannot be read, or takes more
    than the limits allow."""
    previewed = _previews([path])[0]
    if isinstance(previewed, UserError):
        raise previewed
    return previewed


def previews(paths: Sequence[Path]) -> list[pd.DataFrame | UserError]:
    """`preview` of each file, or the error about it, by one child; by one each if a file takes too
    much. Busy as `ask`."""
    try:
        return _previews(paths)
    except Busy:
        raise
    except UserError as error:
        return (
            [error]
            if len(paths) == 1
            else [previewed for path in paths for previewed in previews([path])]
        )


def _previews(paths: Sequence[Path]) -> list[pd.DataFrame | UserError]:
    fields, tables = ask("previews", paths[0].name, paths=[str(path) for path in paths])
    wrong = fields["wrong"]
    return [
        UserError(wrong[str(i)]) if str(i) in wrong else tables[str(i)] for i in range(len(paths))
    ]


def checked(task: str) -> Checked:
    """What a task's data are like (see sdq.data.check). `task`: its name, or the path of its file.
    UserError as above."""
    fields, tables = ask(
        "check", Path(task).name if task.endswith(".json") else f"task {task}", task=task
    )
    return Checked(
        tables["counts"],
        tables["sentences"],
        float(fields["cut"]),
        tuple(fields["warnings"]),
        **_more(fields),
    )


def checked_file(path: Path) -> Checked:
    """The same of the task file at this path."""
    return checked(str(path.absolute()))


def _more(fields: dict[str, Any]) -> dict[str, Any]:
    """Further fields of Checked, as far as they are no tables."""
    return {name: value for name, value in fields.items() if name not in ("cut", "warnings")}


def sentences(task: str) -> pd.DataFrame:
    """The test sentences of a task (see sdq.intake.reading.rows); an embedded one is read here.
    UserError as above."""
    if task in TASKS:
        return rows(task)
    return ask("sentences", f"task {Path(task).name[:60]}", task=task)[1]["sentences"]


def trained(task: str) -> tuple[str, ...]:
    """The languages in which a task has sentences for training. UserError as above."""
    return tuple(ask("trained", f"task {Path(task).name[:60]}", task=task)[0]["languages"])


def ask(question: str, about: str, **given: Any) -> Decoded:
    """What a child answers: (fields, tables). `about`: what is decoded, as the sentence of an error
    calls it.

    UserError if the child refuses it, or if it needs more memory, time or room for its answer than
    the limits allow.
    """
    most = limits()
    with _slot(most), tempfile.TemporaryFile() as output:
        wish = json.dumps({"question": question, "given": given})
        env = {**os.environ, **ALONE}
        child = subprocess.Popen(
            CHILD,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.DEVNULL,
            cwd=ROOT,
            env=env,
            start_new_session=True,
        )
        try:
            child.communicate(wish.encode(), timeout=most.decode_seconds)
        except subprocess.TimeoutExpired:
            raise _beyond(about, f"{most.decode_seconds} seconds") from None
        finally:
            if child.poll() is None:
                child.kill()
                child.wait()
        if child.returncode == -signal.SIGXCPU:
            raise _beyond(about, f"{most.decode_seconds} seconds")
        if child.returncode == REASONS["answer"]:
            raise _beyond(about, f"{most.answer_mb} MB of answer")
        if child.returncode != 0:  # refused memory, or ended by the system
            raise _beyond(about, f"{most.decode_memory_mb} MB of memory")
        output.seek(0)
        return _read(output)


def _read(output: Any) -> Decoded:
    import pyarrow

    head = json.loads(output.readline())
    if "error" in head:
        raise UserError(str(head["error"]))
    tables = {}
    for name, said in head["tables"].items():
        with pyarrow.ipc.open_stream(output) as stream:
            tables[name] = stream.read_all().to_pandas()
        tables[name].attrs = said
    return head["fields"], tables


def _beyond(about: str, what: str) -> UserError:
    return UserError(
        f"{about[:80]} must be readable within {what}, it takes more; take a sample of it, or "
        "split it into smaller files"
    )


class _slot:
    """One of the few children that may decode at a time. UserError if none becomes free in time."""

    def __init__(self, most: Limits) -> None:
        self.most = most

    def __enter__(self) -> None:
        global _busy
        end = time.monotonic() + self.most.decode_seconds
        with _slots:
            while _busy >= self.most.decoders:
                if not _slots.wait(end - time.monotonic()):
                    raise Busy(
                        "a file must wait until those of others are read, they take long; try "
                        "again in a minute"
                    )
            _busy += 1

    def __exit__(self, *_: object) -> None:
        global _busy
        with _slots:
            _busy -= 1
            _slots.notify()
