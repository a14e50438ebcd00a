"""Processes of the data folder, by their pid files."""

from __future__ import annotations

from pathlib import Path

import psutil  # type: ignore[import-untyped]

from sdq.io.files import write_text


def process_of(path: Path) -> psutil.Process | None:
    """The living process a pid file names. Its start time is compared as well: after a restart
    another process may have its pid."""
    try:
        pid, started = path.read_text().split()
        process = psutil.Process(int(pid))
        alive = (
            process.status() != psutil.STATUS_ZOMBIE
            and abs(process.create_time() - float(started)) < 1
        )
    except (OSError, ValueError, psutil.Error):
        return None
    return process if alive else None


def write_pid(path: Path, pid: int) -> None:
    """Write a pid file at once or not at all."""
    write_text(path, f"{pid} {psutil.Process(pid).create_time()}")
