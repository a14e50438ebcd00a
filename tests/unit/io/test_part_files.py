"""Files written at once or not at all: what a killed writer leaves goes with the next one, and
nothing of anybody else's does."""

from __future__ import annotations

import os
import signal
import socket
from pathlib import Path

import pytest

from sdq.io import files


def killed_while_writing(path: Path) -> str:
    """The name of the part file that a process leaves which is killed while it writes."""
    before = set(path.parent.iterdir())
    if (pid := os.fork()) == 0:
        with files.replacing(path) as part:
            part.write_text("half")
            os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(pid, 0)
    (left,) = set(path.parent.iterdir()) - before
    return left.name


@pytest.mark.parametrize(
    "name", ["recipe.json", "a-b.1-2.csv", "[x]*?.json", ".hidden", "long" * 20]
)
def test_a_killed_writer_leaves_nothing_behind_the_next(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_text("old")
    assert killed_while_writing(path).endswith(".part")
    assert path.read_text() == "old"
    files.write_text(path, "new")
    assert [p.name for p in tmp_path.iterdir()] == [name]
    assert path.read_text() == "new"


def test_part_files_of_others_stay(tmp_path: Path) -> None:
    """Of a process that lives, of another machine, of another file, and what somebody else calls
    so."""
    host = socket.gethostname()[:20]
    others = [
        f"recipe.json.{host}-{os.getppid()}-1.part",
        f"other.json.{host}-99999999-1.part",
        f"recipe.json.{host}-x-1.part",
        "recipe.json.elsewhere-99999999-1.part",
        "recipe.json.part",
        "film.part",
    ]
    for other in others:
        (tmp_path / other).write_text("theirs")
    files.write_text(tmp_path / "recipe.json", "mine")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([*others, "recipe.json"])


def test_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    """Nor a device: who may, as root in a container, would lose /dev/null to a report."""
    pipe = tmp_path / "recipe.json"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="a pipe or a device"):
        files.write_text(pipe, "new")
    assert pipe.is_fifo()
    assert [p.name for p in tmp_path.iterdir()] == ["recipe.json"]


@pytest.mark.parametrize("name", [".", "/"])
def test_a_folder_is_no_file(name: str) -> None:
    with pytest.raises(IsADirectoryError):
        files.write_text(Path(name), "new")
