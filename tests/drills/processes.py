"""Child processes that are killed at a given file operation."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sdq.settings import UserError

EVENTS = {
    "open",
    "os.rename",
    "os.remove",
    "os.mkdir",
    "os.rmdir",
    "os.truncate",
    "os.listdir",
    "os.scandir",
}


REFUSED = 3  # exit code of a child whose operation ended in a sentence


@contextlib.contextmanager
def forked(work: Callable[[], Any]) -> Iterator[int]:
    """A child that does this; exit code 0 if it came to an end, REFUSED if it was refused in a
    sentence, 1 for anything else."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        except UserError as error:
            code = REFUSED if "\n" not in str(error) else 1
        except BaseException:
            traceback.print_exc(file=sys.__stderr__)
        finally:
            os._exit(code)
    yield pid


def ended(pid: int, within: float = 400) -> int:
    """The exit code of a child; -9 if it was killed. AssertionError if it hangs."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        gone, status = os.waitpid(pid, os.WNOHANG)
        if gone:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.005)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise AssertionError("the child hangs")


def counting(folder: Path, last: int | None = None) -> list[int]:
    """Count this process's file operations under a folder (in the list's only element); it kills
    itself just before number `last`."""
    count, own = [0], threading.get_ident()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if (
            event in EVENTS
            and threading.get_ident() == own
            and any(str(a).startswith(str(folder)) for a in arguments[:2])
        ):
            if count[0] == last:
                os.kill(os.getpid(), signal.SIGKILL)
            count[0] += 1

    sys.addaudithook(hook)
    return count
