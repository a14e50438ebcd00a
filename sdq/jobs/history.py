"""What has been run: the rows of the page Runs, pins, the trash, disk use. Imports neither
streamlit nor torch.

The data folder (the store's folder is its `runs/`) also holds pins.json (a list of run ids) and
trash/ (deleted runs, one folder each). Nothing outside it is written or removed, and no symbolic
link is followed.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import shutil
import time
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from sdq.io import files, sealed
from sdq.io.files import private
from sdq.jobs import queue as jobs
from sdq.jobs.wanted import Wanted, wanted
from sdq.labels import width
from sdq.results import Report
from sdq.service.visitors import OWNER, Visitor
from sdq.settings import UserError, unwritable
from sdq.store import Store, read_report

# seconds without a sign of life after which a run that nobody asked for here counts as ended
QUIET = 600
DAMAGED = "damaged"  # the state of a run whose files are not as they were written
SIDE_BY_SIDE = 5  # runs that the pages under Compare take
MOVES = "moves.json"  # what is being moved: pairs of places in the data folder
GOING = ".going"  # in the trash: what is being removed for good
_RUN = re.compile(r"[0-9a-f]{12}")
_TRASHED = re.compile(
    r"([0-9a-f]{12})(?:\.(\d+))?"
)  # .2, .3: older copies of a run that was deleted more than once
_PLACE = re.compile(r"[\w-]+/[0-9a-f]{12}(\.\d+)?")


def own(store: Store, run: str) -> bool:
    """Whether a finished run lies in the data folder, and not only among those that came with the
    project."""
    return bool(_RUN.fullmatch(run)) and (store.folder / run / "done").is_file()


def rows(reports: Sequence[Report], store: Store, damaged: Collection[str] = ()) -> pd.DataFrame:
    """One row per finished run: pinned ones first, then newest first; shipped ones (made elsewhere,
    no time known) last.

    `damaged`: the ids of those with a file that is not as it was written, as `state` says. score is
    the zero-shot mean in % (of a task of one language its score), size_mb in 10^6 bytes (simulated;
    of an FP32 run what its parameters take), made a time in UTC.
    """
    pins, times = set(pinned(store)), dict(store.listing())
    found = []
    for report in reports:
        mine, quantized = own(store, report.run), bool(report.recipe["rules"])
        size = report.size_bytes["quantized_simulated" if quantized else "fp32"]
        found.append(
            {
                "pinned": report.run in pins,
                "state": DAMAGED if report.run in damaged else "whole",
                "method": report.method,
                "width": width(report.recipe),
                "score": 100 * report.quantized.leading,
                "recipe": report.recipe["name"],
                "task": report.on,
                "model": report.model,
                "seed": report.recipe["seed"],
                "size_mb": size / 1e6,
                "seconds": sum(report.seconds.values()),
                "made": pd.Timestamp(times[report.run], unit="s", tz="UTC")
                if mine and report.run in times
                else pd.NaT,
                "origin": "own" if mine else "shipped",
                "run": report.run,
            }
        )
    table = pd.DataFrame(found)
    if table.empty:
        return table
    table["made"] = pd.to_datetime(table["made"], utc=True)
    return table.sort_values(
        ["pinned", "made"], ascending=False, na_position="last", kind="stable", ignore_index=True
    )


def _text(row: Any) -> str:
    day = "" if pd.isna(row.made) else f"{row.made:%Y-%m-%d}"
    pin = "pinned" if row.pinned else ""
    return (
        f"{row.method} {row.width} {row.recipe} {row.task} {row.model} seed {row.seed} {row.run} "
        f"{row.origin} {row.state} {day} {pin}"
    ).casefold()


def matching(
    table: pd.DataFrame, text: str = "", tasks: Sequence[str] = (), methods: Sequence[str] = ()
) -> pd.DataFrame:
    """The rows in whose text every word of `text` occurs, of these tasks and methods; nothing given
    means all."""
    words = text.casefold().split()
    keep = [
        all(word in _text(row) for word in words)
        and (not tasks or row.task in tasks)
        and (not methods or row.method in methods)
        for row in table.itertuples(index=False)
    ]
    return table.loc[keep].reset_index(drop=True)


def reading(table: pd.DataFrame) -> str:
    """How many runs there are, whose they are, and which is the newest."""
    if table.empty:
        return "No run is finished yet."
    mine = table[table["origin"] == "own"]
    text = (
        f"{len(table)} finished run{'s' if len(table) > 1 else ''}: {len(mine)} of your own, "
        f"{len(table) - len(mine)} that came with the project."
    )
    if broken := int((table["state"] == DAMAGED).sum()):
        text += (
            f" {broken} of them {'is' if broken == 1 else 'are'} damaged, and no result any more."
        )
    if len(mine):
        newest = mine.sort_values("made", ascending=False, kind="stable").iloc[0]
        bits = "" if newest["method"] == "FP32" else f" {newest['width']}"
        text += (
            f" The newest is {newest['method']}{bits} on {newest['task']}, {newest['score']:.1f} % "
            "zero-shot."
        )
    return text


def comparable(reports: Sequence[Report], store: Store | None = None) -> list[str]:
    """Of the chosen runs those that can stand side by side: of the model and task of the first (in
    `store`: of the same data too), at most SIDE_BY_SIDE."""
    kept = store or Store(Path(), None)
    return [r.run for r in reports if kept.alike(r, reports[0])][:SIDE_BY_SIDE]


def in_bytes(size: float) -> str:
    """A number of bytes for people: 512 B, 3.4 MB, 1.2 GB."""
    for unit in ("B", "kB", "MB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} GB"


@contextlib.contextmanager
def _changing(store: Store) -> Iterator[Path]:
    """The data folder, for one writer at a time. UserError, one sentence, for whatever the disk
    refuses."""
    folder = store.folder.parent
    try:
        private(folder)
        for part in (store.folder, folder / "trash"):
            if part.is_symlink():
                raise UserError(
                    f"{part} must be a folder of its own to be changed here, it is a link to "
                    "another place; change it there"
                )
        lock = os.open(folder / "history.lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            for name in (MOVES, "pins.json"):
                for part in folder.glob(f"{name}.*.part"):  # of a process killed while it wrote
                    part.unlink(missing_ok=True)
            _move(folder)
            yield folder
        finally:
            os.close(lock)
    except OSError as error:
        raise unwritable(folder, error) from error


def _move(folder: Path, moves: Sequence[tuple[Path, Path]] = ()) -> None:
    """Move folders of the data folder, all of them: the next change finishes what a killed process
    began. OSError if the disk refuses."""
    journal = folder / MOVES
    if moves:
        files.write_text(
            journal,
            json.dumps([[str(path.relative_to(folder)) for path in pair] for pair in moves]),
        )
    elif not journal.is_file():
        return
    try:
        pairs = [(str(here), str(there)) for here, there in json.loads(journal.read_text("utf-8"))]
    except (ValueError, TypeError):
        sealed.aside(journal, folder / "damaged" / MOVES)
        return
    for here, there in pairs:
        if not (_PLACE.fullmatch(here) and _PLACE.fullmatch(there)):
            continue  # not written here
        if (folder / here).is_dir() and not os.path.lexists(folder / there):
            (folder / there).parent.mkdir(exist_ok=True)
            (folder / here).rename(folder / there)
    journal.unlink()


def pinned(store: Store) -> tuple[str, ...]:
    """Ids of the pinned runs; none if the file is not there or cannot be read."""
    path = store.folder.parent / "pins.json"
    try:
        found = [] if path.is_symlink() else json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return ()
    return (
        tuple(run for run in found if isinstance(run, str) and _RUN.fullmatch(run))
        if isinstance(found, list)
        else ()
    )


def pin(store: Store, runs: Sequence[str], on: bool = True, who: Visitor = OWNER) -> None:
    """Pin finished runs, or unpin runs. UserError for a run that is not finished, for who leads
    nobody, or if the folder cannot be written."""
    _lead(who, "pin runs for everybody")
    for run in runs:
        if not store.done(run) and on:
            raise UserError(
                f"a run must be finished to be pinned, {run} is not; load the page again"
            )
    with _changing(store) as folder:
        rest = [run for run in pinned(store) if run not in runs]
        files.write_text(
            folder / "pins.json", json.dumps([*rest, *dict.fromkeys(runs)] if on else rest)
        )


@dataclass(frozen=True)
class Unfinished:
    """A run folder without a result. `elsewhere`: nobody asked for it here, but it was heard of
    lately (a run in a terminal); `stopped`: nobody does it."""

    run: str
    wanted: Wanted | None  # None: nothing tells
    status: Literal["queued", "running", "failed", "elsewhere", "stopped"]
    heard: float  # seconds ago
    failure: str | None

    @property
    def what(self) -> str:
        """What it is to do: "SDQ W3A8 on intent, seed 0"."""
        return "a run whose request cannot be read" if self.wanted is None else self.wanted.what

    @property
    def active(self) -> bool:
        """Whether it may still come to a result."""
        return self.status in ("queued", "running", "elsewhere")


def _heard(folder: Path) -> float:
    """Seconds since the newest change in a run folder, 0 or more."""
    times = [folder.lstat().st_mtime]
    for name in ("events.jsonl", "spec.json", files.LOCK):
        with contextlib.suppress(OSError):
            times.append((folder / name).lstat().st_mtime)
    return max(0.0, time.time() - max(times))


def _standing(store: Store, run: str) -> Unfinished:
    folder, state = store.folder / run, jobs.state(run, store)
    heard = _heard(folder)
    last = (store.events(run) or [{}])[-1]
    told = last.get("event") == "failed"
    status: Literal["queued", "running", "failed", "elsewhere", "stopped"]
    if state.status == "queued" or state.status == "running":
        status = state.status
    elif told and not files.busy(folder):
        status = "failed"
    elif heard < QUIET or files.busy(folder):
        status = "elsewhere"
    else:
        status = "failed" if state.status == "failed" else "stopped"
    failure = state.failure or (str(last.get("message")) if told else None)
    return Unfinished(
        run, wanted(run, store), status, heard, failure if status == "failed" else None
    )


def unfinished(store: Store) -> list[Unfinished]:
    """The runs under way and those that ended without a result, last heard of first."""
    if not store.folder.is_dir():
        return []
    folders = [
        p
        for p in store.folder.iterdir()
        if _RUN.fullmatch(p.name)
        and p.is_dir()
        and not p.is_symlink()
        and not (p / "done").exists()
    ]
    found = []
    for path in folders:
        with contextlib.suppress(
            OSError, ValueError
        ):  # gone, or finished, while we looked; or a log that is not ours
            found.append(_standing(store, path.name))
    return sorted((u for u in found if not store.done(u.run)), key=lambda u: (u.heard, u.run))


def _lead(who: Visitor, what: str) -> None:
    if not who.leads:
        raise UserError(
            f"only the teacher or the owner of this machine can {what}, you came by the students' "
            "link; ask them to do it"
        )


def _theirs(who: Visitor, folder: Path, run: str, what: str) -> None:
    """UserError for a run that this visitor did not start alone."""
    if not who.may_change(folder):
        raise UserError(
            f"run {run} must be one that you alone started to be {what} by you, others asked for "
            "it too or it is theirs; ask the teacher to do it"
        )


def mine(store: Store, run: str, who: Visitor) -> bool:
    """Whether this visitor may delete or stop a run of the data folder, finished or not."""
    return bool(_RUN.fullmatch(run)) and who.may_change(store.folder / run)


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
        standing = _standing(store, run)
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
            or jobs.process_of(path / "worker.pid") is not None
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
    with _changing(store) as folder, jobs.locked_queue(store):
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
                    if (match := _TRASHED.fullmatch(p.name)) and match[1] == path.name and match[2]
                ]
                moves.append((place, trash / f"{path.name}.{max([1, *numbers]) + 1}"))
            moves.append((store.folder / path.name, place))
            (jobs.queue(store) / path.name).unlink(
                missing_ok=True
            )  # nobody shall compute it from a folder that is gone
        _move(folder, moves)


def restore(store: Store, runs: Sequence[str], who: Visitor = OWNER) -> None:
    """Bring runs back from the trash. UserError for a run that is not there, that is another's, or
    that was made again since."""
    with _changing(store) as folder:
        pairs = []
        for run in dict.fromkeys(runs):
            store.done(run)  # refuses what is not a run id
            kept = [
                (int(m[2] or 10**9), p)
                for p in _trashed(folder)
                if (m := _TRASHED.fullmatch(p.name)) and m[1] == run
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
        _move(folder, pairs)


def _trashed(folder: Path) -> list[Path]:
    """Run folders in the trash, last deleted first. Links and whatever else lies there are left
    alone."""
    trash = folder / "trash"
    if trash.is_symlink() or not trash.is_dir():
        return []
    found = []
    with contextlib.suppress(FileNotFoundError):  # the trash itself
        for path in trash.iterdir():
            if _TRASHED.fullmatch(path.name) and path.is_dir() and not path.is_symlink():
                with contextlib.suppress(
                    FileNotFoundError
                ):  # brought back, or gone for good, this moment
                    found.append((-path.lstat().st_ctime, path.name, path))
    return [path for _, _, path in sorted(found)]


def in_trash(store: Store, who: Visitor = OWNER) -> dict[str, str]:
    """Run id -> what it is, of the runs that this visitor can bring back, last deleted first."""
    found: dict[str, str] = {}
    for path in (path for path in _trashed(store.folder.parent) if who.may_change(path)):
        try:
            report = read_report(path / "report.json")
            bits = f" {width(report.recipe)}" if report.recipe["rules"] else ""
            what = f"{report.method}{bits} on {report.on}, seed {report.recipe['seed']}"
        except (OSError, ValueError, RecursionError):
            what = "a run without a result"
        found.setdefault(path.name[:12], what)
    return found


def empty_trash(store: Store, who: Visitor = OWNER) -> int:
    """Remove the runs in the trash for good, with their inspections. Returns the bytes that were
    freed. UserError for who leads nobody."""
    _lead(who, "empty the trash")
    with _changing(store) as folder:
        freed, trashed = 0, _trashed(folder)
        gone = {path.name[:12] for path in trashed} - {run for run, _ in store.listing()}
        going = folder / "trash" / GOING
        for path in [*trashed, *(home for home in _inspections(store) if _inspected(home) in gone)]:
            freed += _bytes(path)
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
            if _RUN.fullmatch(p.name) and p.is_dir() and not p.is_symlink()
        ]
        if folder.is_dir()
        else []
    )


def _inspected(home: Path) -> str | None:
    """Which run an inspection is of; None if it does not say."""
    try:
        return str(json.loads((home / "spec.json").read_text("utf-8"))["inspects"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


@dataclass(frozen=True)
class Disk:
    """Bytes taken by own runs, by the trash and by the shipped runs, with their inspections; bytes
    free where the data folder is."""

    own: int
    trash: int
    shipped: int
    free: int


def _bytes(path: Path) -> int:
    """Bytes of all files under a folder; links count as nothing and are not followed."""
    total = 0
    with contextlib.suppress(OSError):
        for entry in os.scandir(path):
            with contextlib.suppress(OSError):
                if entry.is_dir(follow_symlinks=False):
                    total += _bytes(Path(entry.path))
                elif entry.is_file(follow_symlinks=False):
                    total += entry.stat(follow_symlinks=False).st_size
    return total


def disk(store: Store) -> Disk:
    """What the runs take, in bytes."""
    folder = store.folder.parent
    there = next((p for p in (folder, *folder.parents) if p.is_dir()), Path("/"))
    trash = sum(_bytes(path) for path in _trashed(folder))
    own = _bytes(store.folder) + _bytes(store.inspections().folder)
    shipped = sum(
        _bytes(path) for path in (store.shipped, store.inspections().shipped) if path is not None
    )
    return Disk(own, trash, shipped, shutil.disk_usage(there).free)
