"""The comparison by one command, on the embedded tasks or on XGLUE."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sdq.data.registry import TASKS, canonical_name, load_task
from sdq.io.events import Progress
from sdq.pipeline.finetune import usual
from sdq.reproduce.cost import cost, duration
from sdq.reproduce.grid import Grid, fill, noisy, scored
from sdq.reproduce.tables import write
from sdq.settings import UserError
from sdq.store import Store

QUICK = 100  # steps of a student where only a quick look is asked for


def compare(
    model: str,
    xglue: Path | None,
    tasks: str,
    seeds: int | None,
    steps: int | None,
    teacher_steps: int | None,
    limit: int | None,
    out: Path | None,
    say: Callable[[str], None],
    progress: Progress,
) -> str:
    """Say what it will cost, do what is missing, write the tables; returns them as Markdown.

    xglue, tasks, limit: the folder, names of tasks of it and rows per file; without a folder the
        embedded tasks, with one seed and QUICK steps if nothing else is asked for, so that it takes
        minutes.
    seeds, steps, teacher_steps: how many; None: as the presets and the fine-tuning say.
    out: the folder of the tables.

    UserError for a task that cannot be read (before anything is computed), or at the end if a run
    failed: the tables have the others.
    """
    store = Store.default()
    addresses = tuple(TASKS) if xglue is None else _xglue(xglue, tasks, limit)
    for task in addresses:
        load_task(task)
    trained = None if teacher_steps is None else usual(model, addresses[0], steps=teacher_steps)
    if xglue is None and seeds is None and steps is None:
        steps = QUICK
        say(
            f"A quick look: one seed and {QUICK} steps of each student. Numbers to rely on: "
            f"--seeds 3 --steps {noisy().steps} (hours)."
        )
    seeds = seeds or (1 if xglue is None else 3)
    grid = Grid(model, addresses, tuple(range(seeds)), steps, trained)
    for sentence in cost(grid, store):
        say(sentence)

    def tell(event: dict[str, Any]) -> None:
        if event["event"] == "cell":
            say(_begun(event))
        progress(event)

    failures = fill(grid, store, tell)
    kind = (
        "the embedded tasks"
        if xglue is None
        else f"XGLUE{'' if limit is None else f' (the first {limit} rows of every file)'}"
    )
    folder = out or store.folder.parent / ("grid" if xglue is None else "xglue")
    text = write(folder, scored(grid, store), f"{Path(model).name} on {kind}", failures)
    say(f"Written to {folder}: results.csv, results.html, results.tex, results.md")
    if failures:
        raise UserError(
            f"every run must finish, {len(failures)} did not, the first: {failures[0]}; the tables "
            f"in {folder} have the others, and the command goes on where it was"
        )
    return text


def _begun(event: dict[str, Any]) -> str:
    """A run that begins, in words."""
    left = "" if event["left"] is None else f", about {duration(event['left'])} left"
    return f"{event['number']} of {event['of']}: {event['text']}{left}"


def _xglue(folder: Path, tasks: str, limit: int | None) -> tuple[str, ...]:
    """Addresses of XGLUE tasks: those named, or all whose folder is there."""
    from sdq.data import xglue

    named = [name.strip().upper() for name in tasks.split(",") if name.strip()]
    if wrong := [name for name in named if name not in xglue.TASKS]:
        raise UserError(
            f"an XGLUE task must be one of {', '.join(xglue.TASKS)}, got {wrong[0][:40]!r}; "
            "correct --tasks"
        )
    chosen = named or [name for name in xglue.TASKS if (folder / name).is_dir()]
    if not chosen:
        raise UserError(
            f"the XGLUE folder must hold {', '.join(xglue.TASKS)}, {folder} has none of them; "
            "extract xglue_full_dataset.tar.gz and name its folder"
        )
    return tuple(
        canonical_name(f"xglue:{folder / name}{'' if limit is None else f'@{limit}'}")
        for name in chosen
    )
