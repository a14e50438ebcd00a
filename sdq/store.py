"""Where runs are kept: one content-addressed folder each. Reading needs no torch.

A run folder holds spec.json, events.jsonl, report.json, sentences.parquet (per-sentence outcomes), the tables of TABLES (what a look
inside showed) and, for trained students, model.safetensors; the file `done` is written last. Finished runs that ship with the
project are read from assets/runs; of some students they hold packed.safetensors (see sdq.quant.packed).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import pandas as pd

from sdq.files import private
from sdq.recipe import Recipe
from sdq.report import Report
from sdq.settings import ASSETS, ROOT, UserError, unfitting, unwritable

ENGINE = 2  # raised when the same recipe would give other numbers
SHIPPED = ASSETS / "runs"
# see sdq.inspect: weights, activations and profiles (per module), depth (errors) and tokens (errors per token), sample (the sentences looked at)
TABLES = ("weights", "activations", "profiles", "depth", "tokens", "sample")
PACKED = "packed.safetensors"  # of a shipped run: codes instead of weights
AWAY = "the weights of this run are not on this machine; run its recipe here to have them"
_ID = re.compile(r"[0-9a-f]{12}")


def run_id(recipe: Recipe, model: str, task: str) -> str:
    """12 hex digits from the recipe (without its name), the fingerprints of model and task, and the engine's version."""
    return hashlib.sha256(json.dumps([ENGINE, recipe.canonical(), model, task]).encode()).hexdigest()[:12]


def write(table: pd.DataFrame, path: Path) -> None:
    """Write a table as a small parquet file, at once or not at all.

    The bytes of floats, and of the integers in histograms, are sorted by significance, which lets them compress by a third.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    content = pa.Table.from_pandas(table, preserve_index=False)
    split: list[str] = []
    whole: list[str] = []
    for column in content.schema:
        listed = pa.types.is_list(column.type)
        kind = column.type.value_type if listed else column.type
        sorts = pa.types.is_float32(kind) or pa.types.is_float64(kind) or (listed and pa.types.is_integer(kind))
        (split if sorts else whole).append(f"{column.name}.list.element" if listed else column.name)
    part = path.with_name(f"{path.name}.{os.getpid()}.part")
    small = {"compression": "zstd", "compression_level": 19, "write_statistics": False}
    try:
        pq.write_table(content, part, use_dictionary=whole, use_byte_stream_split=split, **small)
        part.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
        raise


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
    """The same of a folder where runs come and go whole: looked at anew when one did. A page asks several times, and each look at a file lets others in."""
    return _done(Path(folder))


@dataclass(frozen=True)
class Store:
    """The data folder. `SDQ_DATA` names another one than `data/` beside the code."""

    folder: Path
    shipped: Path | None = SHIPPED

    @classmethod
    def default(cls) -> Store:
        """The folder `SDQ_DATA` names, or `data/` beside the code; with the shipped runs, unless SDQ_SHIPPED=no."""
        shipped = None if os.environ.get("SDQ_SHIPPED") == "no" else SHIPPED
        return cls(Path(os.environ.get("SDQ_DATA", ROOT / "data")) / "runs", shipped)

    def inspections(self) -> Store:
        """Where inspections of runs are kept: beside the runs, in folders of the same kind (see sdq.inspection)."""
        return Store(self.folder.parent / "inspections", None if self.shipped is None else self.shipped.parent / "inspections")

    def folders(self) -> list[Path]:
        """The folders that are read: our own, and the shipped one."""
        return [folder for folder in (self.folder, self.shipped) if folder is not None]

    def _path(self, run: str) -> Path:
        if not _ID.fullmatch(run):
            raise UserError(f"a run id must be 12 hexadecimal digits, got {run[:40]!r}; `python -m sdq runs` lists them")
        return self.folder / run

    def home(self, run: str) -> Path:
        """The folder of a finished run, ours or a shipped one. UserError if there is none."""
        own = self._path(run)
        for path in (own, *([self.shipped / run] if self.shipped else [])):
            if (path / "done").is_file():
                return path
        raise UserError(f"run {run} must be finished to be read, no finished run has this id; `python -m sdq runs` lists them")

    def done(self, run: str) -> bool:
        """Whether the run is finished."""
        self._path(run)
        return any((folder / run / "done").is_file() for folder in (self.folder, self.shipped) if folder)

    def begin(self, run: str, spec: dict[str, Any], goes_on: bool = False) -> Path:
        """Make the run's folder and write what it is going to do; its log starts anew, unless it `goes_on`. UserError if the folder cannot be written."""
        path = self._path(run)
        try:
            private(self.folder.parent)
            path.mkdir(parents=True, exist_ok=True)
            (path / "spec.json").write_text(json.dumps(spec, indent=1))
            if not goes_on and not self.checkpoint(run).exists():  # otherwise a training goes on where it was, and so does its log
                (path / "events.jsonl").write_text("")
        except OSError as error:
            raise unwritable(self.folder, error) from error
        return path

    def checkpoint(self, run: str) -> Path:
        """Where a training under way keeps its state."""
        return self._path(run) / "checkpoint.safetensors"

    def tell(self, run: str, event: dict[str, Any]) -> None:
        """Append one event (a JSON line) to the run's log."""
        with (self._path(run) / "events.jsonl").open("a") as file:
            file.write(json.dumps({"time": time.time(), **event}) + "\n")

    def events(self, run: str) -> list[dict[str, Any]]:
        """Events so far; a half-written last line is left out."""
        path = self._path(run) / "events.jsonl"
        lines = path.read_text().split("\n")[:-1] if path.exists() else []
        return [json.loads(line) for line in lines]

    def keep(self, run: str, name: str, table: pd.DataFrame) -> None:
        """Write a table, at once or not at all. UserError if the disk refuses."""
        try:
            write(table, self._path(run) / f"{name}.parquet")
        except OSError as error:
            raise unfitting(self.folder, error) from error

    def table(self, run: str, name: str) -> pd.DataFrame:
        """One of TABLES of a finished run. UserError if the run has none (FP32 has no errors; old runs have no tables)."""
        path = self.home(run) / f"{name}.parquet"
        if name not in TABLES or not path.is_file():
            raise UserError(
                f"run {run} must have the table {name!r} to be shown here, it has none; choose a quantized run, or run its recipe again if an older version made it"
            )
        return pd.read_parquet(path)

    def finish(self, report: Report, sentences: pd.DataFrame) -> None:
        """Write the results, then the marker that makes the run count. UserError if the disk refuses."""
        path = self._path(report.run)
        try:
            write(sentences, path / "sentences.parquet")
            (path / "report.json").write_text(report.model_dump_json(indent=1))
            (path / "done.part").write_text("")
            (path / "done.part").replace(path / "done")
            self.checkpoint(report.run).unlink(missing_ok=True)
        except OSError as error:
            raise unfitting(self.folder, error) from error

    def report(self, run: str) -> Report:
        """The report of a finished run. UserError if it cannot be read."""
        try:
            return Report.model_validate_json((self.home(run) / "report.json").read_text())
        except (OSError, ValueError) as error:
            raise UserError(f"the report of run {run} must be readable, it is damaged or of another version; delete the run or make it again") from error

    def weights(self, report: Report) -> Path | None:
        """The file with a trained student's weights or codes; None for a run that trained nothing. UserError if it is not here."""
        if not report.recipe.get("training"):
            return None
        found = next((path for name in ("model.safetensors", PACKED) if (path := self.home(report.run) / name).is_file()), None)
        if found is None:
            raise UserError(AWAY)
        return found

    def sentences(self, run: str) -> pd.DataFrame:
        """One row per test sentence: id, language, tp, predicted, gold (counts), answer."""
        return pd.read_parquet(self.home(run) / "sentences.parquet")

    def listing(self) -> tuple[tuple[str, float], ...]:
        """(run, time of finishing) of all finished runs, newest first."""
        found: dict[str, float] = {}
        if self.shipped is not None and self.shipped.is_dir():
            found |= _kept(str(self.shipped), self.shipped.stat().st_mtime_ns)
        if self.folder.is_dir():
            found |= _done(self.folder)
        return tuple(sorted(found.items(), key=lambda item: (-item[1], item[0])))

    def finished(self) -> list[Report]:
        """Reports of all finished runs, newest first; one that cannot be read is left out."""
        return self.readable(run for run, _ in self.listing())

    def readable(self, runs: Iterable[str]) -> list[Report]:
        """The reports of these runs, without those that cannot be read."""
        found = []
        for run in runs:
            with contextlib.suppress(UserError):
                found.append(self.report(run))
        return found
