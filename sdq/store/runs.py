"""Where runs are kept: one content-addressed folder each. Reading needs no torch.

A run folder holds spec.json, events.jsonl, report.json, sentences.parquet (per-sentence outcomes),
the tables of TABLES (what a look inside showed) and, for trained students, model.safetensors; the
file `done` is written last, and holds a SHA-256 of each of them (see sdq.io.sealed): every file is
checked against it before it is first read. Finished runs that ship with the project are read from
assets/runs; of some students they hold packed.safetensors (see sdq.quant.packed).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sdq.io import events, files, sealed
from sdq.io.files import private
from sdq.recipe import Recipe
from sdq.results import Report
from sdq.settings import ASSETS, UserError, data_folder, unfitting, unwritable
from sdq.store.damage import AGAIN, damage_of, fault_of, report_of, spec_of
from sdq.store.folder import (
    CHECKPOINT,
    COLUMNS,
    INSPECTIONS,
    PACKED,
    RUN_ID,
    TABLES,
    WEIGHTS,
    blocking,
    finished_in,
    finished_kept,
    listed_files,
    seal,
    write,
    written,
)

ENGINE = 2  # raised when the same recipe would give other numbers
SHIPPED = ASSETS / "runs"
AWAY = "the weights of this run are not on this machine; run its recipe here to have them"


def run_id(recipe: Recipe, model: str, task: str) -> str:
    """12 hex digits from the recipe (without its name), model, task and the engine's version.

    recipe: what is done
    model, task: their fingerprints (see sdq.store.identity)
    """
    return hashlib.sha256(
        json.dumps([ENGINE, recipe.canonical(), model, task]).encode()
    ).hexdigest()[:12]


@dataclass(frozen=True)
class Store:
    """The data folder. `SDQ_DATA` names another one than `data/` beside the code."""

    folder: Path
    shipped: Path | None = SHIPPED

    @classmethod
    def default(cls) -> Store:
        """The folder `SDQ_DATA` names, or `data/` beside the code; with the shipped runs, unless
        SDQ_SHIPPED=no."""
        shipped = None if os.environ.get("SDQ_SHIPPED") == "no" else SHIPPED
        return cls(data_folder() / "runs", shipped)

    def inspections(self) -> Store:
        """Where inspections of runs are kept: beside the runs, in folders of the same kind (see
        sdq.inspection.storage)."""
        return Store(
            self.folder.parent / INSPECTIONS,
            None if self.shipped is None else self.shipped.parent / INSPECTIONS,
        )

    def folders(self) -> list[Path]:
        """The folders that are read: our own, and the shipped one."""
        return [folder for folder in (self.folder, self.shipped) if folder is not None]

    def _path(self, run: str) -> Path:
        if not RUN_ID.fullmatch(run):
            raise UserError(
                f"a run id must be 12 hexadecimal digits, got {run[:40]!r}; `python -m sdq runs` "
                "lists them"
            )
        return self.folder / run

    def _homes(self, run: str) -> list[Path]:
        """The folders of a run that have the marker of a finished one: ours, then the shipped
        one."""
        own = self._path(run)
        return [
            path
            for path in (own, *([self.shipped / run] if self.shipped else []))
            if (path / "done").is_file()
        ]

    def _sound(self, run: str, name: str) -> Path | None:
        """A file of a finished run as it was written; None if no copy of the run has one. Damaged
        if the only one is not as it was written."""
        homes, fault = self._homes(run), None
        if not homes:
            raise UserError(
                f"run {run} must be finished to be read, no finished run has this id; `python -m "
                "sdq runs` lists them"
            )
        for home in homes:
            if name not in listed_files(home) and not (home / name).is_file():
                continue
            damaged = fault_of(home, name, self.shipped)
            if damaged is None:
                return home / name
            fault = fault or damaged
        if fault is not None:
            raise fault
        return None

    def home(self, run: str) -> Path:
        """The folder of a finished run, ours or a shipped one. UserError if there is none, Damaged
        if its report is not as it was written."""
        report = self._sound(run, "report.json")
        if report is None:
            raise sealed.damaged(Path("report.json"), f"run {run}", "it is not there", AGAIN)
        return report.parent

    def done(self, run: str, weights: bool = False) -> bool:
        """Whether the run is finished and its files are as they were written; those of `weights`,
        which are large, only if asked for."""
        self._path(run)
        return any(damage_of(home, weights, self.shipped) is None for home in self._homes(run))

    def damage(self, run: str, weights: bool = False) -> str | None:
        """The sentence about the first file of a finished run that is not as it was written; None
        if all are, or a shipped copy of the run is whole."""
        homes = self._homes(run)
        faults = [damage_of(home, weights, self.shipped) for home in homes]
        return None if None in faults or not homes else str(faults[0])

    def begin(self, run: str, spec: dict[str, Any], goes_on: bool = False) -> Path:
        """Make the run's folder and write what it is going to do; its log starts anew, unless it
        `goes_on`. UserError if the folder cannot be written."""
        path = self._path(run)
        try:
            private(self.folder.parent)
            path.mkdir(parents=True, exist_ok=True)
            files.write_text(path / "spec.json", json.dumps(spec, indent=1))
            # a training with a checkpoint goes on where it was, and so does its log
            if not goes_on and not self.checkpoint(run).exists():
                files.write_text(path / "events.jsonl", "")
        except OSError as error:
            raise unwritable(self.folder, error) from error
        return path

    @contextlib.contextmanager
    def alone(self, run: str, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
        """Compute this run as the only process; see sdq.io.files.alone. UserError if nothing can be
        written to the data folder."""
        with contextlib.ExitStack() as stack:
            try:
                private(self.folder.parent)
                stack.enter_context(files.alone(self._path(run), waiting))
            except OSError as error:
                raise unwritable(self.folder, error) from error
            yield

    def set_aside(self, run: str) -> str | None:
        """Move the results of a run that is not whole from its folder to `damaged/` in the data
        folder; the sentence about it, None if there was nothing to move.

        UserError if the disk refuses.
        """
        home, blocked = self._path(run), self.unblock(run)
        if not (home / "done").is_file() or (fault := damage_of(home, True, self.shipped)) is None:
            return blocked
        try:
            place = self.folder.parent / "damaged" / run
            sealed.aside(home / "done", place / "done")  # first: what lost its marker is no result
            for name in written(home):
                sealed.aside(home / name, place / name)
        except OSError as error:
            raise unfitting(self.folder, error) from error
        return blocked or str(fault)

    def unblock(self, run: str) -> str | None:
        """Move folders that stand where files of a run belong to `damaged/`, as nothing can be
        written in their place; the sentence about the first, None if there is none.

        UserError if the disk refuses.
        """
        home = self._path(run)
        found = blocking(home)
        try:
            for path in found:
                sealed.aside(path, self.folder.parent / "damaged" / run / path.name)
        except OSError as error:
            raise unfitting(self.folder, error) from error
        said = "it is a folder"
        return str(sealed.damaged(found[0], f"run {run}", said, AGAIN)) if found else None

    def checkpoint(self, run: str) -> Path:
        """Where a training under way keeps its state."""
        return self._path(run) / CHECKPOINT

    def tell(self, run: str, event: dict[str, Any]) -> None:
        """Append one event (a JSON line) to the run's log."""
        events.tell(self._path(run) / "events.jsonl", event)

    def events(self, run: str) -> list[dict[str, Any]]:
        """Events so far; a line that cannot be read is left out (see sdq.io.events)."""
        return events.read(self._path(run) / "events.jsonl")

    def lost(self, run: str) -> int:
        """How many lines of the log cannot be read."""
        return events.lost(self._path(run) / "events.jsonl")

    def keep(self, run: str, name: str, table: pd.DataFrame) -> None:
        """Write a table, at once or not at all. UserError if the disk refuses."""
        try:
            write(table, self._path(run) / f"{name}.parquet")
        except OSError as error:
            raise unfitting(self.folder, error) from error

    def table(self, run: str, name: str) -> pd.DataFrame:
        """One of TABLES of a finished run. UserError if the run has none (FP32 has no errors; old
        runs have no tables), Damaged if it is not as it was written."""
        path = self._sound(run, f"{name}.parquet") if name in TABLES else None
        if path is None:
            raise UserError(
                f"run {run} must have the table {name!r} to be shown here, it has none; choose a "
                "quantized run, or run its recipe again if an older version made it"
            )
        return sealed.read_table(path, f"run {run}", AGAIN, COLUMNS[name])

    def finish(self, report: Report, sentences: pd.DataFrame) -> None:
        """Write the results, then the marker that makes the run count. UserError if the disk
        refuses."""
        path = self._path(report.run)
        try:
            write(sentences, path / "sentences.parquet")
            files.write_text(path / "report.json", report.model_dump_json(indent=1))
            seal(path)
            self.checkpoint(report.run).unlink(missing_ok=True)
        except OSError as error:
            raise unfitting(self.folder, error) from error

    def report(self, run: str) -> Report:
        """The report of a finished run. UserError if there is none; Damaged if it is not as it was
        written, or says what cannot be."""
        found, fault = report_of(self.home(run))
        if found is None:
            raise fault or UserError(f"run {run} must have a report, it has none; {AGAIN}")
        return found

    def spec(self, run: str) -> dict[str, Any]:
        """What a run is to do, by its spec.json; of a finished run only if that is as it was
        written. Empty if none tells."""
        finished = self._homes(run)
        for home in finished or [self._path(run)]:
            with contextlib.suppress(OSError, ValueError, RecursionError):
                if not finished or fault_of(home, "spec.json", self.shipped) is None:
                    return spec_of(home / "spec.json")
        return {}

    def made_of(self, report: Report, what: str = "data") -> str | None:
        """The fingerprint of the `data` or `weights` that a run was made of: its report says it, or
        its spec.json; None if neither does."""
        said = report.provenance.get(what)
        for home in self._homes(report.run) if said is None else ():
            with contextlib.suppress(OSError, ValueError, RecursionError):
                said = said or spec_of(home / "spec.json").get(what)
        return said if isinstance(said, str) else None

    def alike(self, one: Report, other: Report) -> bool:
        """Whether two runs can be compared: of one model and task, and both were the same when the
        runs were made, as far as is known."""
        if (one.model, one.task) != (other.model, other.task):
            return False
        pairs = [
            (self.made_of(one, what), self.made_of(other, what)) for what in ("data", "weights")
        ]
        return all(None in pair or pair[0] == pair[1] for pair in pairs)

    def weights(self, report: Report) -> Path | None:
        """The file with a trained student's weights or codes, as it was written; None for a run
        that trained nothing. UserError if it is not here, Damaged if it is not as it was
        written."""
        if not report.recipe.get("training"):
            return None
        file = next(
            (
                path
                for name in (WEIGHTS, PACKED)
                if (path := self._sound(report.run, name)) is not None
            ),
            None,
        )
        if file is None:
            raise UserError(AWAY)
        return file

    def sentences(self, run: str) -> pd.DataFrame:
        """One row per test sentence: id, language, tp, predicted, gold (counts), answer. UserError
        if there is no such run, Damaged if they are not as written."""
        path = self._sound(run, "sentences.parquet")
        if path is None:
            raise sealed.damaged(Path("sentences.parquet"), f"run {run}", "it is not there", AGAIN)
        return sealed.read_table(path, f"run {run}", AGAIN, COLUMNS["sentences"])

    def listing(self) -> tuple[tuple[str, float], ...]:
        """(run, time of finishing) of all finished runs, newest first. Shipped ones come last, at
        time 0: their files tell only when they were copied here."""
        times: dict[str, float] = {}
        if self.shipped is not None and self.shipped.is_dir():
            times |= dict.fromkeys(
                finished_kept(str(self.shipped), self.shipped.stat().st_mtime_ns), 0.0
            )
        if self.folder.is_dir():
            times |= finished_in(self.folder)
        return tuple(sorted(times.items(), key=lambda item: (-item[1], item[0])))

    def finished(self) -> list[Report]:
        """Reports of all finished runs, newest first; one that cannot be read is left out."""
        return self.readable(self.listing())

    def readable(self, listing: Iterable[tuple[str, float]]) -> list[Report]:
        """The reports of runs that were listed, without those that cannot be read. Runs of one time
        stand in the order of `Report.rank`."""
        ranked = []
        for run, time in listing:
            with contextlib.suppress(UserError):
                report = self.report(run)
                ranked.append((-time, report.rank, report))
        return [report for _, _, report in sorted(ranked, key=lambda each: each[:2])]

    def damaged(self, weights: bool = False) -> dict[str, str]:
        """Run -> the sentence about it, of all finished runs with a file that is not as it was
        written (large ones of `weights` only if asked for)."""
        return {
            run: sentence
            for run, _ in self.listing()
            if (sentence := self.damage(run, weights)) is not None
        }
