"""Tasks of one's own that are kept in the data folder."""

from __future__ import annotations

import contextlib
import re
import shutil
from pathlib import Path

from sdq.io.files import alone
from sdq.settings import data_folder

KEPT = re.compile(r"[a-z0-9][a-z0-9_-]{0,40}")


WAS = ".was-"  # and a name: a task that is being replaced


def home() -> Path:
    """Where task files of one's own are kept, a folder each: `tasks/` in the data folder."""
    return data_folder() / "tasks"


def kept() -> tuple[str, ...]:
    """Names of the tasks kept in the data folder, in alphabetical order."""
    if any(home().glob(f"{WAS}*")):
        # a folder that cannot be written is listed as it is
        with contextlib.suppress(OSError), alone(home()):
            mend()
    return tuple(
        sorted(
            path.parent.name
            for path in home().glob("*/task.json")
            if KEPT.fullmatch(path.parent.name)
        )
    )


def mend() -> None:
    """Bring back each task that was moved away to be replaced, and never was: whoever did it was
    killed. Call it with the data folder locked."""
    for was in home().glob(f"{WAS}*"):
        folder = home() / was.name.removeprefix(WAS)
        if folder.exists():
            shutil.rmtree(was)
        else:
            was.replace(folder)
