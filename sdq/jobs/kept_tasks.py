"""Deleting a task that is kept in the data folder: it goes to the trash. Needs no torch."""

from __future__ import annotations

import os
from pathlib import Path

from sdq.data.kept import home, kept
from sdq.data.registry import TASKS
from sdq.io.files import alone
from sdq.jobs.data_folder import changing, must_lead
from sdq.jobs.unfinished import unfinished
from sdq.service.visitors import OWNER, Visitor
from sdq.settings import UserError, one_line
from sdq.store import Store

TRASHED_TASKS = "tasks"  # in the trash


def delete_task(store: Store, name: str, who: Visitor = OWNER) -> Path:
    """Move a task that is kept in the data folder to the trash; where it is now. Its runs stay.

    UserError for who leads nobody, for a task that is not kept here, and while a run of it is under
    way or waits.
    """
    must_lead(who, "delete a task")
    if name not in kept():
        there = f"name one of {', '.join(kept())}" if kept() else "none is kept there"
        why = "came with the project" if name in TASKS else "is not there"
        raise UserError(
            f"only a task that is kept in {home()} can be deleted, {one_line(name, 60)!r} {why}; "
            f"{there}, and delete a task file elsewhere by hand"
        )
    with changing(store) as folder, alone(home()):
        busy = [u.run for u in unfinished(store) if u.active and u.wanted and u.wanted.task == name]
        if busy:
            raise UserError(
                f"runs of the task {name} must have ended for it to be deleted, {busy[0]} is under "
                "way or waits; cancel it on the page Quantize, or wait"
            )
        trash = folder / "trash" / TRASHED_TASKS
        trash.mkdir(parents=True, exist_ok=True)
        place, number = trash / name, 2
        while os.path.lexists(place):
            place, number = trash / f"{name}.{number}", number + 1
        (home() / name).rename(place)
    return place
