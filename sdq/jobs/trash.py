"""The trash: runs that are deleted, brought back, or removed for good."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from sdq.io import files, sealed
from sdq.jobs import queue as jobs
from sdq.jobs.data_folder import TRASHED, bytes_of, changing, move, must_lead, trashed
from sdq.jobs.kept_tasks import TRASHED_TASKS
from sdq.jobs.processes import process_of
from sdq.jobs.unfinished import QUIET, standing_of
from sdq.labels import width
from sdq.service.visitors import OWNER, Visitor
from sdq.settings import UserError
from sdq.store import Store, read_report
from sdq.store.folder import RUN_ID

GOING = ".going"  # in the trash: what is being removed for good


def _theirs(who: Visitor, folder: Path, run: str, what: str) -> None:
    """UserError for a run that this visitor did not start alone."""
    if not who.may_change(folder):
        raise UserError(
            f"run {run} must be one that you alone started to be {what} by you, others asked for "
            "it too or it is theirs; ask the teacher to do it"
        )


def may_delete(store: Store, run: str, who: Visitor) -> bool:
    """Whether this visitor may delete or stop a run of the data folder, finished or not."""
    return bool(RUN_ID.fullmatch(run)) and who.may_change(store.folder / run)


def _deletable(store: Store, run: str, who: Visitor) -> Path:
    """The folder of a run that may be moved to the trash. UserError for all others."""
    shipped = store.done(run)  # refuses what is not a run id
    path = store.folder / run
    if path.is_symlink():
        raise UserError(
            f"run {run} must be a folder of its own to be deleted, it is a link to another place; "
            "remove it there"
        )
    if not path.is_dir():
        if shipped:
            raise UserError(
                f"only runs of your own can be deleted, {run} came with the project; use the "
                "search to leave it out"
            )
        raise UserError(
            f"run {run} must be in {store.folder} to be deleted, it is not there any more; load "
            "the page again"
        )
    _theirs(who, path, run, "deleted")
    if not (path / "done").is_file():
        standing = standing_of(store, run)
        if files.busy(path):
            raise UserError(
                f"run {run} must have ended to be deleted, a process computes it at this moment; "
                "cancel it, or stop it in its terminal, first"
            )
        if standing.status == "elsewhere":
            raise UserError(
                f"run {run} must have ended to be deleted, it was heard of {standing.heard:.0f} s "
                "ago and may be under way in a terminal; stop it there, or wait until it has been "
                f"silent for {QUIET // 60} minutes"
            )
        if (
            standing.active
            or (jobs.queue(store) / run).exists()
            or process_of(path / "worker.pid") is not None
        ):
            raise UserError(
                f"run {run} must have ended to be deleted, it is under way; cancel it on the page "
                "Quantize, and wait a moment"
            )
    return path


def delete(store: Store, runs: Sequence[str], who: Visitor = OWNER) -> None:
    """Move runs to the trash; none if one of them must stay. UserError for shipped runs, those of
    others, runs under way, and a folder that cannot be written.

    A visitor deletes what nobody else asked for; who leads deletes every run.
    """
    with changing(store) as folder, jobs.locked_queue(store):
        paths = [_deletable(store, run, who) for run in dict.fromkeys(runs)]
        trash = folder / "trash"
        trash.mkdir(exist_ok=True)
        moves = []
        for path in paths:
            place = trash / path.name
            if os.path.lexists(place):  # deleted before and made again since
                numbers = [
                    int(match[2])
                    for p in trash.iterdir()
                    if (match := TRASHED.fullmatch(p.name)) and match[1] == path.name and match[2]
                ]
                moves.append((place, trash / f"{path.name}.{max([1, *numbers]) + 1}"))
            moves.append((store.folder / path.name, place))
            # nobody shall compute it from a folder that is gone
            (jobs.queue(store) / path.name).unlink(missing_ok=True)
        move(folder, moves)


def restore(store: Store, runs: Sequence[str], who: Visitor = OWNER) -> None:
    """Bring runs back from the trash. UserError for a run that is not there, that is another's, or
    that was made again since."""
    with changing(store) as folder:
        pairs = []
        for run in dict.fromkeys(runs):
            store.done(run)  # refuses what is not a run id
            kept = [
                (int(m[2] or 10**9), p)
                for p in trashed(folder)
                if (m := TRASHED.fullmatch(p.name)) and m[1] == run
            ]
            if not kept:
                raise UserError(
                    f"run {run} must be in the trash to be brought back, it is not there any more; "
                    "run its recipe again"
                )
            _theirs(who, max(kept)[1], run, "brought back")
            if os.path.lexists(store.folder / run):
                raise UserError(
                    f"run {run} must be gone to be brought back, it was made again since; delete "
                    "that one first"
                )
            pairs.append((max(kept)[1], store.folder / run))
        store.folder.mkdir(exist_ok=True)
        move(folder, pairs)


def in_trash(store: Store, who: Visitor = OWNER) -> dict[str, str]:
    """Run id -> what it is, of the runs that this visitor can bring back, last deleted first."""
    deleted: dict[str, str] = {}
    for path in (path for path in trashed(store.folder.parent) if who.may_change(path)):
        try:
            report = read_report(path / "report.json")
            bits = f" {width(report.recipe)}" if report.is_quantized else ""
            what = f"{report.method}{bits} on {report.on}, seed {report.recipe['seed']}"
        except (OSError, ValueError, RecursionError):
            what = "a run without a result"
        deleted.setdefault(path.name[:12], what)
    return deleted


def empty_trash(store: Store, who: Visitor = OWNER) -> int:
    """Remove what is in the trash for good, runs with their inspections. Returns the bytes that
    were freed. UserError for who leads nobody."""
    must_lead(who, "empty the trash")
    with changing(store) as folder:
        freed, deleted = 0, trashed(folder)
        gone = {path.name[:12] for path in deleted} - {run for run, _ in store.listing()}
        going = folder / "trash" / GOING
        inspections = (home for home in _inspections(store) if _inspected(home) in gone)
        for path in [*deleted, *inspections, *_tasks(folder)]:
            freed += bytes_of(path)
            sealed.aside(path, going / path.name)  # at once: half of a run must not be brought back
        if going.is_dir() and not going.is_symlink():
            shutil.rmtree(going)
        return freed


def _inspections(store: Store) -> list[Path]:
    """The folders of own inspections."""
    folder = store.inspections().folder
    return (
        [
            p
            for p in folder.iterdir()
            if RUN_ID.fullmatch(p.name) and p.is_dir() and not p.is_symlink()
        ]
        if folder.is_dir()
        else []
    )


def _tasks(folder: Path) -> list[Path]:
    """The folder of deleted tasks, if there is one."""
    tasks = folder / "trash" / TRASHED_TASKS
    return (
        [tasks] if tasks.is_dir() and not (tasks.is_symlink() or tasks.parent.is_symlink()) else []
    )


def _inspected(home: Path) -> str | None:
    """Which run an inspection is of; None if it does not say."""
    try:
        return str(json.loads((home / "spec.json").read_text("utf-8"))["inspects"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
