"""Where errors end: whatever goes wrong inside leaves as one sentence, a failed event in the log,
and never as a traceback. Needs no torch.

Whoever computes stands behind `boundary()`, as a decorator or a block, and says with `begun` where
its log is once there is one. What is our own fault (and not the user's input) keeps its traceback
in `traceback.txt` there, or in the data folder, and the sentence names that file.
"""

from __future__ import annotations

import contextlib
import dis
import errno
import traceback
from collections.abc import Callable, Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sdq.io.explain import explain
from sdq.io.files import write_text
from sdq.settings import ROOT, UserError, data_folder, one_line, unfitting

TRACEBACK = "traceback.txt"
_FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO}


@dataclass
class _Work:
    """The computation that is under way: its folder, and how its log is written."""

    home: Path | None = None
    tell: Callable[[dict[str, Any]], None] | None = None


_under_way: ContextVar[_Work | None] = ContextVar("under_way", default=None)


def begun(home: Path, tell: Callable[[dict[str, Any]], None] | None = None) -> None:
    """From here on the computation behind the innermost boundary has a folder, and perhaps a log:
    it gets a `failed` event if it fails."""
    if (work := _under_way.get()) is not None:
        work.home, work.tell = home, tell


@contextlib.contextmanager
def boundary() -> Iterator[None]:
    """Whatever is raised inside leaves as a UserError of one sentence, told to the log (see
    `begun`) before. Ctrl-C and exits pass."""
    work = _Work()
    token = _under_way.set(work)
    try:
        yield
    except BaseException as error:  # a panic of the tokenizers' Rust is no Exception
        if _passes(error):
            raise
        said = in_words(error, work.home)
        if work.tell is not None:
            with contextlib.suppress(OSError):  # a full disk is what may have failed
                work.tell({"event": "failed", "message": str(said)})
        if said is error:
            raise
        raise said from error
    finally:
        _under_way.reset(token)


def in_words(error: BaseException, home: Path | None = None) -> UserError:
    """An error as one sentence; a UserError as it is. The traceback of what is our own fault is
    kept in `home`, or in the data folder."""
    if isinstance(error, UserError):
        return error
    if isinstance(error, ValidationError):
        return UserError(one_line(explain(error)))
    if _no_memory(error):
        return UserError(
            "the computation must fit into the memory of this machine, it does not; take a "
            "smaller model, fewer or shorter sentences, or close other programs"
        )
    if isinstance(error, OSError) and error.strerror:
        return _of_files(error, home)
    if isinstance(error, ValueError | RuntimeError) and _ours(error):
        return UserError(one_line(str(error)))
    kept = keep(error, home)
    where = f"; what happened is kept in {kept}" if kept else ""
    return UserError(
        f"this must not happen and is a fault of the program ({type(error).__name__}: "
        f"{one_line(str(error), 200) or 'without a word'}){where}"
    )


def keep(error: BaseException, home: Path | None = None) -> Path | None:
    """The file in which the traceback of an error is kept; None if it cannot be written."""
    text = "".join(traceback.format_exception(error)).encode("utf-8", "backslashreplace").decode()
    for folder in (home, data_folder()):
        if folder is not None:
            with contextlib.suppress(OSError):
                folder.mkdir(parents=True, exist_ok=True)
                write_text(folder / TRACEBACK, text)
                return folder / TRACEBACK
    return None


def _passes(error: BaseException) -> bool:
    return isinstance(error, KeyboardInterrupt | SystemExit | GeneratorExit)


def _of_files(error: OSError, home: Path | None) -> UserError:
    """The disk refused: results that do not fit, or a file that cannot be used."""
    named = None if error.filename is None else one_line(str(error.filename), 300)
    if error.errno in _FULL or named is None:
        return unfitting(data_folder() if home is None else home, error)
    return UserError(
        f"the file {named} must be one that can be used, it is not ({error.strerror}); correct its "
        "path or its permissions"
    )


def _no_memory(error: BaseException) -> bool:
    said = str(error)
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError)
        and ("allocate memory" in said or "out of memory" in said.casefold())
    )


def _ours(error: BaseException) -> bool:
    """Whether a `raise` of this project raised it, in words of its own: what libraries say is no
    sentence for users, nor what Python says where one of our lines called it wrongly."""
    last = error.__traceback__
    while last is not None and last.tb_next is not None:
        last = last.tb_next
    if last is None:
        return False
    code = last.tb_frame.f_code
    return (
        Path(code.co_filename).is_relative_to(ROOT / "sdq")
        and code.co_code[last.tb_lasti] == dis.opmap["RAISE_VARARGS"]
    )
