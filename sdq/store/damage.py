"""Whether the files of a finished run are as they were written, and what is said if not."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from sdq.io import sealed
from sdq.io.explain import explain
from sdq.io.sealed import Damaged
from sdq.recipe import Recipe
from sdq.results import Report
from sdq.store.folder import INSPECTIONS, listed_files, written

SEALED_SINCE = 2  # the first engine all of whose runs are taken to have sums in `done`
AGAIN = "run its recipe again, or bring an earlier copy back from the trash"


def report_of(home: Path) -> tuple[Report | None, Damaged | None]:
    """(the report of a finished run, None), or (None, why it cannot be read)."""
    path = home / "report.json"
    try:
        report = read_report(path)
        if report.run != home.name:
            raise ValueError(f"it is of run {report.run[:12]}")
    except (OSError, ValueError, RecursionError) as error:
        return None, sealed.damaged(
            path, f"run {home.name}", f"it is no report of this version ({_brief(error)})", AGAIN
        )
    return report, None


def read_report(path: Path) -> Report:
    """The report in a file, wherever it lies. ValueError, RecursionError or OSError for one that is
    none of this version."""
    return _parsed(*sealed.state(path))


@lru_cache(maxsize=512)
def _parsed(path: str, size: int, changed: int, inode: int) -> Report:
    report = Report.model_validate_json(Path(path).read_bytes()).within()
    if report.method != Recipe.model_validate(report.recipe).method:
        raise ValueError(f"its recipe is not one of {report.method}")
    return report


def spec_of(path: Path) -> dict[str, Any]:
    """What a JSON file of a run says, such as what it is to do (spec.json); empty if it holds no
    object. ValueError, RecursionError or OSError for a file that cannot be read."""
    return _spec(*sealed.state(path))


@lru_cache(maxsize=512)
def _spec(path: str, size: int, changed: int, inode: int) -> dict[str, Any]:
    spec = json.loads(Path(path).read_bytes())
    return spec if isinstance(spec, dict) else {}


def _brief(error: Exception) -> str:
    """An error in a few words."""
    return (
        explain(error)
        if isinstance(error, ValidationError)
        else (str(error) or type(error).__name__)[:200]
    )


def fault_of(home: Path, name: str, shipped: Path | None) -> Damaged | None:
    """What is wrong with a file of a finished run, by what `done` says of it; None if nothing is. A
    file checked before is read again only if it changed.

    home: the folder of the run
    name: the file in it
    shipped: where the runs are that came with the project; None for nowhere
    """
    what, came_along = f"run {home.name}", home.parent == shipped
    way = "clone the project again, or run its recipe here" if came_along else AGAIN
    try:
        sums = None if not came_along and _of_earlier_version(home) else sealed.read(home / "done")
    except (OSError, ValueError):
        return sealed.damaged(home / "done", what, "it does not say what was written", way)
    fault = sealed.fault(home / name, sums)
    return None if fault is None else sealed.damaged(home / name, what, fault, way)


def _of_earlier_version(home: Path) -> bool:
    """Whether a run was finished before `done` held sums: it is empty, and the report is of an
    engine of that time. An emptied one of a later run tells nothing of its files. OSError if it is
    not there."""
    if (home / "done").stat().st_size:
        return False
    try:
        made = spec_of(home / "report.json").get("provenance")
    except (OSError, ValueError, RecursionError):
        return False
    engine = made.get("engine", 1) if isinstance(made, dict) else None
    return isinstance(engine, int) and engine < SEALED_SINCE


def damage_of(home: Path, weights: bool, shipped: Path | None) -> Damaged | None:
    """What is wrong with the first file of a finished run that is not as it was written; None if
    all are.

    home: the folder of the run
    weights: whether its weights, which are large, are looked at too
    shipped: where the runs are that came with the project; None for nowhere
    """
    # the tables of an inspection are checked one by one; see sdq.inspection.storage
    if home.parent.name == INSPECTIONS:
        return None
    names = dict.fromkeys(
        ("report.json", "spec.json", "sentences.parquet", *listed_files(home), *written(home))
    )
    kept = [name for name in names if weights or not name.endswith(".safetensors")]
    fault = next(
        (fault for name in kept if (fault := fault_of(home, name, shipped)) is not None), None
    )
    return fault or report_of(home)[1]
