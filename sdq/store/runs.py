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
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd
from pydantic import ValidationError

from sdq.io import events, files, sealed
from sdq.io.explain import explain
from sdq.io.files import private
from sdq.io.sealed import Damaged
from sdq.recipe import Recipe
from sdq.results import Report
from sdq.settings import ASSETS, UserError, data_folder, unfitting, unwritable

ENGINE = 2  # raised when the same recipe would give other numbers
SHIPPED = ASSETS / "runs"
# see sdq.inspect: weights, activations and profiles (per module), depth (errors) and tokens (errors
# per token), sample (the sentences looked at)
TABLES = ("weights", "activations", "profiles", "depth", "tokens", "sample")
# the columns that pages read: a table of a run whose `done` is of an earlier version, and tells no
# sums, must have these
COLUMNS: dict[str, tuple[str, ...]] = {
    "sentences": ("id", "language", "tp", "predicted", "gold", "answer"),
    "weights": ("module", "role", "block", "rows", "columns", "low", "high", "fp32", "bits"),
    "activations": (
        "module",
        "role",
        "block",
        "low",
        "high",
        "bits",
        "language",
        "counts",
        "language_low",
        "language_high",
    ),
    "profiles": (
        "module",
        "role",
        "block",
        "position_low",
        "position_high",
        "dimension_peak",
        "dimension_rms",
    ),
    "depth": (
        "site",
        "role",
        "block",
        "order",
        "measure",
        "language",
        "relative_l2",
        "sqnr_db",
        "mean_abs",
        "frobenius",
    ),
    "tokens": ("sentence", "position", "block", "relative_l2"),
    "sample": ("sentence", "id", "language", "tokens"),
}
CHECKPOINT = "checkpoint.safetensors"  # of a training under way
WEIGHTS = "model.safetensors"
PACKED = "packed.safetensors"  # of a shipped run: codes instead of weights
AGAIN = "run its recipe again, or bring an earlier copy back from the trash"
AWAY = "the weights of this run are not on this machine; run its recipe here to have them"
INSPECTIONS = "inspections"  # the folder of those, beside that of the runs
_ID = re.compile(r"[0-9a-f]{12}")


def run_id(recipe: Recipe, model: str, task: str) -> str:
    """12 hex digits from the recipe (without its name), the fingerprints of model and task, and the
    engine's version."""
    return hashlib.sha256(
        json.dumps([ENGINE, recipe.canonical(), model, task]).encode()
    ).hexdigest()[:12]


def write(table: pd.DataFrame, path: Path) -> None:
    """Write a table as a small parquet file, at once or not at all.

    The bytes of floats, and of the integers in histograms, are sorted by significance, which lets
    them compress by a third.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = pa.Table.from_pandas(table, preserve_index=False)
    split: list[str] = []
    whole: list[str] = []
    for column in content.schema:
        listed = pa.types.is_list(column.type)
        kind = column.type.value_type if listed else column.type
        sorts = (
            pa.types.is_float32(kind)
            or pa.types.is_float64(kind)
            or (listed and pa.types.is_integer(kind))
        )
        (split if sorts else whole).append(f"{column.name}.list.element" if listed else column.name)
    small = {"compression": "zstd", "compression_level": 19, "write_statistics": False}
    with files.replacing(path) as part:
        pq.write_table(content, part, use_dictionary=whole, use_byte_stream_split=split, **small)


def seal(folder: Path) -> None:
    """Write the marker `done` of a run's folder: the SHA-256 of each of its files. OSError if the
    disk refuses."""
    sealed.write(folder / "done", _written(folder))


def _written(folder: Path) -> list[str]:
    """Names of the files that make a run's result."""
    named = [
        name for name in ("spec.json", "report.json", WEIGHTS, PACKED) if (folder / name).is_file()
    ]
    return sorted([*named, *(path.name for path in folder.glob("*.parquet"))])


def _report(home: Path) -> tuple[Report | None, Damaged | None]:
    """(the report of a finished run, None), or (None, why it cannot be read)."""
    path = home / "report.json"
    try:
        found = read_report(path)
        if found.run != home.name:
            raise ValueError(f"it is of run {found.run[:12]}")
    except (OSError, ValueError, RecursionError) as error:
        return None, sealed.damaged(
            path, f"run {home.name}", f"it is no report of this version ({_brief(error)})", AGAIN
        )
    return found, None


def read_report(path: Path) -> Report:
    """The report in a file, wherever it lies. ValueError, RecursionError or OSError for one that is
    none of this version."""
    return _parsed(*sealed.state(path))


@lru_cache(maxsize=512)
def _parsed(path: str, size: int, changed: int, inode: int) -> Report:
    found = Report.model_validate_json(Path(path).read_bytes()).within()
    if found.method != Recipe.model_validate(found.recipe).method:
        raise ValueError(f"its recipe is not one of {found.method}")
    return found


@lru_cache(maxsize=512)
def _spec(path: str, size: int, changed: int, inode: int) -> dict[str, Any]:
    found = json.loads(Path(path).read_bytes())
    return found if isinstance(found, dict) else {}


def _brief(error: Exception) -> str:
    """An error in a few words."""
    return (
        explain(error)
        if isinstance(error, ValidationError)
        else (str(error) or type(error).__name__)[:200]
    )


def _listed(home: Path) -> list[str]:
    """Names that a run's `done` tells of; none of one that cannot be read, or is of an earlier
    version."""
    try:
        return list(sealed.read(home / "done") or ())
    except (OSError, ValueError):
        return []


def _done(folder: Path) -> dict[str, float]:
    """Finished run -> time of finishing."""
    found = {}
    for name in os.listdir(folder):
        if _ID.fullmatch(name):
            with contextlib.suppress(OSError):
                found[name] = os.stat(folder / name / "done").st_mtime
    return found


@lru_cache(maxsize=8)
def _kept(folder: str, changed: int) -> dict[str, float]:
    """The same of a folder where runs come and go whole: looked at anew when one did. A page asks
    several times, and each look at a file lets others in."""
    return _done(Path(folder))


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
        if not _ID.fullmatch(run):
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

    def _fault(self, home: Path, name: str) -> Damaged | None:
        """What is wrong with a file of a finished run, by what `done` says of it; None if nothing
        is. A file checked before is read again only if it changed."""
        what, shipped = f"run {home.name}", home.parent == self.shipped
        way = "clone the project again, or run its recipe here" if shipped else AGAIN
        try:
            sums = sealed.read(home / "done")
            if sums is None and shipped:
                raise ValueError
        except (OSError, ValueError):
            return sealed.damaged(home / "done", what, "it does not say what was written", way)
        why = sealed.fault(home / name, sums)
        return None if why is None else sealed.damaged(home / name, what, why, way)

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
            if name not in _listed(home) and not (home / name).is_file():
                continue
            found = self._fault(home, name)
            if found is None:
                return home / name
            fault = fault or found
        if fault is not None:
            raise fault
        return None

    def home(self, run: str) -> Path:
        """The folder of a finished run, ours or a shipped one. UserError if there is none, Damaged
        if its report is not as it was written."""
        found = self._sound(run, "report.json")
        if found is None:
            raise sealed.damaged(Path("report.json"), f"run {run}", "it is not there", AGAIN)
        return found.parent

    def done(self, run: str, weights: bool = False) -> bool:
        """Whether the run is finished and its files are as they were written; those of `weights`,
        which are large, only if asked for."""
        self._path(run)
        return any(self._damage(home, weights) is None for home in self._homes(run))

    def damage(self, run: str, weights: bool = False) -> str | None:
        """The sentence about the first file of a finished run that is not as it was written; None
        if all are, or a shipped copy of the run is whole."""
        homes = self._homes(run)
        found = [self._damage(home, weights) for home in homes]
        return None if None in found or not homes else str(found[0])

    def _damage(self, home: Path, weights: bool) -> Damaged | None:
        if (
            home.parent.name == INSPECTIONS
        ):  # its tables are checked one by one; see sdq.inspection.storage
            return None
        names = dict.fromkeys(
            ("report.json", "spec.json", "sentences.parquet", *_listed(home), *_written(home))
        )
        kept = [name for name in names if weights or not name.endswith(".safetensors")]
        fault = next(
            (fault for name in kept if (fault := self._fault(home, name)) is not None), None
        )
        return fault or _report(home)[1]

    def begin(self, run: str, spec: dict[str, Any], goes_on: bool = False) -> Path:
        """Make the run's folder and write what it is going to do; its log starts anew, unless it
        `goes_on`. UserError if the folder cannot be written."""
        path = self._path(run)
        try:
            private(self.folder.parent)
            path.mkdir(parents=True, exist_ok=True)
            files.write_text(path / "spec.json", json.dumps(spec, indent=1))
            if (
                not goes_on and not self.checkpoint(run).exists()
            ):  # otherwise a training goes on where it was, and so does its log
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
        home = self._path(run)
        if not (home / "done").is_file() or (fault := self._damage(home, weights=True)) is None:
            return None
        try:
            place = self.folder.parent / "damaged" / run
            sealed.aside(home / "done", place / "done")  # first: what lost its marker is no result
            for name in _written(home):
                sealed.aside(home / name, place / name)
        except OSError as error:
            raise unfitting(self.folder, error) from error
        return str(fault)

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
        return sealed.table(path, f"run {run}", AGAIN, COLUMNS[name])

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
        found, fault = _report(self.home(run))
        if found is None:
            raise fault or UserError(f"run {run} must have a report, it has none; {AGAIN}")
        return found

    def spec(self, run: str) -> dict[str, Any]:
        """What a run is to do, by its spec.json; of a finished run only if that is as it was
        written. Empty if none tells."""
        finished = self._homes(run)
        for home in finished or [self._path(run)]:
            with contextlib.suppress(OSError, ValueError, RecursionError):
                if not finished or self._fault(home, "spec.json") is None:
                    return _spec(*sealed.state(home / "spec.json"))
        return {}

    def made_of(self, report: Report, what: str = "data") -> str | None:
        """The fingerprint of the `data` or `weights` that a run was made of: its report says it, or
        its spec.json; None if neither does."""
        said = report.provenance.get(what)
        for home in self._homes(report.run) if said is None else ():
            with contextlib.suppress(OSError, ValueError, RecursionError):
                said = said or _spec(*sealed.state(home / "spec.json")).get(what)
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
        found = next(
            (
                path
                for name in (WEIGHTS, PACKED)
                if (path := self._sound(report.run, name)) is not None
            ),
            None,
        )
        if found is None:
            raise UserError(AWAY)
        return found

    def sentences(self, run: str) -> pd.DataFrame:
        """One row per test sentence: id, language, tp, predicted, gold (counts), answer. UserError
        if there is no such run, Damaged if they are not as written."""
        path = self._sound(run, "sentences.parquet")
        if path is None:
            raise sealed.damaged(Path("sentences.parquet"), f"run {run}", "it is not there", AGAIN)
        return sealed.table(path, f"run {run}", AGAIN, COLUMNS["sentences"])

    def listing(self) -> tuple[tuple[str, float], ...]:
        """(run, time of finishing) of all finished runs, newest first. Shipped ones come last, at
        time 0: their files tell only when they were copied here."""
        found: dict[str, float] = {}
        if self.shipped is not None and self.shipped.is_dir():
            found |= dict.fromkeys(_kept(str(self.shipped), self.shipped.stat().st_mtime_ns), 0.0)
        if self.folder.is_dir():
            found |= _done(self.folder)
        return tuple(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def finished(self) -> list[Report]:
        """Reports of all finished runs, newest first; one that cannot be read is left out."""
        return self.readable(self.listing())

    def readable(self, listing: Iterable[tuple[str, float]]) -> list[Report]:
        """The reports of runs that were listed, without those that cannot be read. Runs of one time
        stand in the order of `Report.rank`."""
        found = []
        for run, time in listing:
            with contextlib.suppress(UserError):
                report = self.report(run)
                found.append((-time, report.rank, report))
        return [report for _, _, report in sorted(found, key=lambda each: each[:2])]

    def damaged(self, weights: bool = False) -> dict[str, str]:
        """Run -> the sentence about it, of all finished runs with a file that is not as it was
        written (large ones of `weights` only if asked for)."""
        return {
            run: sentence
            for run, _ in self.listing()
            if (sentence := self.damage(run, weights)) is not None
        }
