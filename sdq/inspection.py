"""Which analyses there are, and how an inspection of a run is computed, kept and read. Reading one needs no torch.

An inspection is a folder beside the runs, named by what it is of: a run and its settings. An analysis is added by one line in ANALYSES.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd
from pydantic import Field

from sdq.settings import Settings, UserError, unfitting
from sdq.store import ENGINE, Store

if TYPE_CHECKING:
    from sdq.subject import Subject

Tables = dict[str, pd.DataFrame]
Progress = Callable[[dict[str, Any]], None]


class Inspection(Settings):
    """How closely a run is looked at."""

    sentences: int = Field(120, ge=1, le=10_000, description="Test sentences, spread evenly over the languages")
    batch_size: int = Field(32, ge=1, description="Sentences per forward pass")
    repeats: int = Field(4, ge=2, description="Repetitions under tiny changes, for the noise floor")
    seed: int = Field(0, ge=0, lt=2**31, description="Of the tiny changes and of what is drawn by chance")


@dataclass(frozen=True)
class Analysis:
    """One question about a quantized model. `compute` gives the tables it is answered by, by the names in `tables`."""

    title: str
    tables: tuple[str, ...]
    compute: Callable[[Subject, Inspection], Tables]


# --- one function per analysis: imports its room, because that needs torch


def _sensitivity(subject: Subject, how: Inspection) -> Tables:
    from sdq.inspect.sensitivity import scan

    return {"sensitivity": scan(subject.student, subject.data, subject.languages, ("one", "but_one", "all"), how.batch_size)}


def _estimate(subject: Subject, how: Inspection) -> Tables:
    from sdq.inspect.fisher import estimate

    return {"estimate": estimate(subject.student, subject.data, how.batch_size)}


# name -> analysis, in the order in which they are computed; a later one may read the tables of earlier ones through `subject.tables`
ANALYSES: dict[str, Analysis] = {
    "sensitivity": Analysis("Which module breaks the answers, alone and as the only exception", ("sensitivity",), _sensitivity),
    "estimate": Analysis("The same, estimated from gradients", ("estimate",), _estimate),
}


def inspection_id(run: str, how: Inspection) -> str:
    """12 hex digits from the run, the settings and the engine's version."""
    return hashlib.sha256(json.dumps(["inspection", ENGINE, run, how.model_dump(mode="json")]).encode()).hexdigest()[:12]


def read(run: str, store: Store, how: Inspection | None = None) -> Tables:
    """The tables of an inspection that are there, by name; empty if it was never made."""
    found: Tables = {}
    home = inspection_id(run, how or Inspection())
    for folder in store.inspections().folders():
        for path in sorted((folder / home).glob("*.parquet")):
            found.setdefault(path.stem, pd.read_parquet(path))
    return found


def inspect(run: str, store: Store, how: Inspection | None = None, only: Collection[str] = (), progress: Progress = lambda event: None) -> Tables:
    """All tables of the inspection of a finished run, computing what is missing of the analyses in `only` (none: all of them).

    UserError for an unknown analysis or run, an FP32 run, weights that are not here, or a disk that refuses.
    """
    how = how or Inspection()
    if unknown := [name for name in only if name not in ANALYSES]:
        raise UserError(f"an analysis must be one of {', '.join(ANALYSES)}, got {unknown[0]!r}")
    report, tables = store.report(run), read(run, store, how)
    missing = [name for name in ANALYSES if (not only or name in only) and not set(ANALYSES[name].tables) <= tables.keys()]
    if not missing:
        return tables
    home = inspection_id(run, how)
    kept = store.inspections()
    kept.begin(home, {"inspects": run, "settings": how.model_dump(mode="json")})
    from sdq.subject import Subject

    def tell(event: dict[str, Any]) -> None:
        kept.tell(home, event)
        progress(event)

    tell({"event": "stage", "name": "load", "text": "Reading the model and the sentences"})
    subject = Subject.of_run(report, store, how.sentences)
    subject.tables = tables
    for name in missing:
        tell({"event": "stage", "name": name, "text": ANALYSES[name].title})
        started = time.perf_counter()
        made = ANALYSES[name].compute(subject, how)
        for table, rows in made.items():
            kept.keep(home, table, rows)
            tables[table] = rows
        tell({"event": "analysed", "name": name, "seconds": round(time.perf_counter() - started, 2)})
    try:
        if all(set(a.tables) <= tables.keys() for a in ANALYSES.values()):
            (kept.folder / home / "done").write_text("")
    except OSError as error:
        raise unfitting(kept.folder, error) from error
    return tables
