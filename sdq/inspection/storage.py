"""How an inspection of a run is computed, kept and read. Reading one needs no torch.

An inspection is a folder beside the runs, named by what it is of: a run and its settings. It holds
spec.json, a table per file, and sealed.json with their SHA-256 (see sdq.io.sealed), which grows
with each analysis; an older one without that is taken as it is. An analysis is added by one line in
ANALYSES (sdq.inspection.registry).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sdq.inspection.registry import ANALYSES
from sdq.inspection.settings import Inspection, Tables
from sdq.io import files, sealed
from sdq.io.boundary import begun, boundary, in_words
from sdq.io.events import Progress
from sdq.io.sealed import SEAL
from sdq.results import Report
from sdq.settings import UserError, unfitting
from sdq.store import ENGINE, PACKED, Store
from sdq.store.identity import unreplaced

AGAIN = "look into the run again"  # the way out of a damaged table


def inspection_id(run: str, settings: Inspection) -> str:
    """12 hex digits from the run, the settings and the engine's version."""
    return hashlib.sha256(
        json.dumps(["inspection", ENGINE, run, settings.model_dump(mode="json")]).encode()
    ).hexdigest()[:12]


def paths(run: str, store: Store, settings: Inspection | None = None) -> dict[str, Path]:
    """The files of an inspection's tables that are there and as they were written, by the names of
    the tables; our own before shipped ones.

    run: its id
    store: where it is kept
    settings: settings of the inspection; None: the usual ones
    """
    return _sound_and_damaged(run, store, settings)[0]


def damage(run: str, store: Store, settings: Inspection | None = None) -> dict[str, str]:
    """Table (or other file) -> the sentence about it, of what is not as it was written in an
    inspection, and of which no copy is.

    run, store, settings: as of `paths`
    """
    return {
        name: sentence
        for name, (sentence, _) in _sound_and_damaged(run, store, settings)[1].items()
    } | _others(run, store, settings)


def _others(run: str, store: Store, settings: Inspection | None) -> dict[str, str]:
    """The same of the files that are no tables: what the inspection is of and, of one that ships,
    its log."""
    sentences, home = {}, inspection_id(run, settings or Inspection())
    for folder in store.inspections().folders():
        # none there; a damaged seal is told of with the tables
        with contextlib.suppress(OSError, ValueError):
            sums = sealed.read(folder / home / SEAL)
            for name in sums:
                if (
                    not name.endswith(".parquet")
                    and (fault := sealed.fault(folder / home / name, sums)) is not None
                ):
                    sentences[name] = str(
                        sealed.damaged(
                            folder / home / name, f"the inspection of run {run}", fault, AGAIN
                        )
                    )
    return sentences


def damaged(store: Store) -> dict[str, str]:
    """Inspection -> the sentence about its first file that is not as it was sealed, of all that are
    kept and of which no copy is whole."""
    first_faults, kept = {}, store.inspections()
    for home in sorted(
        {path.parent.name for folder in kept.folders() for path in folder.glob(f"*/{SEAL}")}
    ):
        whole: set[str] = set()
        faults: dict[str, str] = {}
        for folder in (
            folder / home for folder in kept.folders() if (folder / home / SEAL).exists()
        ):
            try:
                sums = sealed.read(folder / SEAL)
            except (OSError, ValueError):
                faults.setdefault(
                    SEAL,
                    str(
                        sealed.damaged(
                            folder / SEAL,
                            f"inspection {home}",
                            "it does not say what was written",
                            AGAIN,
                        )
                    ),
                )
                continue
            for name in (SEAL, *sums):
                fault = None if name == SEAL else sealed.fault(folder / name, sums)
                if fault is None:
                    whole.add(name)
                else:
                    faults.setdefault(
                        name, str(sealed.damaged(folder / name, f"inspection {home}", fault, AGAIN))
                    )
        if (
            first := next(
                (sentence for name, sentence in faults.items() if name not in whole), None
            )
        ) is not None:
            first_faults[home] = first
    return first_faults


def _sound_and_damaged(
    run: str, store: Store, settings: Inspection | None
) -> tuple[dict[str, Path], dict[str, tuple[str, Path]]]:
    """(table -> file, table -> (the sentence about it, file)): of those that are as they were
    written, and of the others."""
    whole: dict[str, Path] = {}
    faults: dict[str, tuple[str, Path]] = {}
    home, what = inspection_id(run, settings or Inspection()), f"the inspection of run {run}"
    for folder in store.inspections().folders():
        sums: sealed.Sums | None = None
        unsealed = None
        try:
            sums = sealed.read(folder / home / SEAL)
        except FileNotFoundError:  # of an earlier version; what ships is sealed
            shipped = folder == store.inspections().shipped
            unsealed = "it is not among those that were written" if shipped else None
        except (OSError, ValueError):
            unsealed = f"{SEAL}, which tells what was written, is damaged itself"
        names = {path.stem for path in (folder / home).glob("*.parquet")} | {
            name[:-8] for name in sums or () if name.endswith(".parquet")
        }
        for name in sorted(names - whole.keys()):
            path = folder / home / f"{name}.parquet"
            if sums is not None and path.name not in sums:
                continue  # written by an analysis that was killed before its end
            if (problem := unsealed or sealed.fault(path, sums)) is None:
                whole[name] = path
            else:
                faults.setdefault(name, (str(sealed.damaged(path, what, problem, AGAIN)), path))
    return whole, {name: fault for name, fault in faults.items() if name not in whole}


def read_table(path: Path) -> pd.DataFrame:
    """One of the tables that `paths` names. UserError if it is no table."""
    return sealed.read_table(path, f"the inspection {path.parent.name}", AGAIN)


def read(run: str, store: Store, settings: Inspection | None = None) -> Tables:
    """The tables of an inspection that are there, by name; empty if it was never made. UserError
    with one sentence if one is damaged.

    run, store, settings: as of `paths`
    """
    sound, faults = _sound_and_damaged(run, store, settings)
    for sentence, _ in faults.values():
        raise sealed.Damaged(sentence)
    return {name: read_table(path) for name, path in sound.items()}


def keep(home: str, tables: Tables, store: Store) -> None:
    """Keep what an analysis gave in an inspection's folder: the tables, then the seal that makes
    them count. UserError if the disk refuses.

    home: id of the inspection
    tables: by name
    store: where it is kept
    """
    kept, folder = store.inspections(), store.inspections().folder / home
    for name, rows in tables.items():
        kept.keep(home, name, rows)
    try:
        try:
            previous = sealed.read(folder / SEAL)
            names = [f"{name}.parquet" for name in tables]
        except (
            FileNotFoundError,
            ValueError,
        ):  # of an earlier version, or what it told of was set aside
            previous, names = {}, [path.name for path in folder.glob("*.parquet")]
        sealed.write(folder / SEAL, ["spec.json", *names], previous)
    except OSError as error:
        raise unfitting(kept.folder, error) from error


def missing(
    run: str, store: Store, settings: Inspection | None = None, only: Collection[str] = ()
) -> list[str]:
    """The analyses whose tables are not all there. UserError for an unknown one.

    run, store, settings: as of `paths`
    only: names of analyses; none: all
    """
    if unknown := [name for name in only if name not in ANALYSES]:
        raise UserError(f"an analysis must be one of {', '.join(ANALYSES)}, got {unknown[0]!r}")
    there = paths(run, store, settings).keys()
    return [
        name
        for name in ANALYSES
        if (not only or name in only) and not set(ANALYSES[name].tables) <= there
    ]


def inspectable(report: Report, store: Store) -> None:
    """UserError for a run that cannot be looked into: FP32, or trained, and its weights are not on
    this machine, or only as codes: rounding does nothing to those, so that every error would be
    measured as 0."""
    if not report.is_quantized:
        raise UserError(
            f"a quantized run must be chosen to be inspected, {report.run} is FP32; choose "
            "another run"
        )
    unreplaced(report, store)
    weights = store.weights(report)
    if weights is not None and weights.name == PACKED:
        raise UserError(
            "the weights of this run came as codes, and what rounding did to them cannot be seen "
            "from these; run its recipe here to look into it"
        )


@boundary()
def inspect(
    run: str,
    store: Store,
    settings: Inspection | None = None,
    only: Collection[str] = (),
    progress: Progress = lambda event: None,
) -> Tables:
    """All tables of the inspection of a finished run, computing what is missing of the analyses.

    run, store, settings: as of `paths`
    only: names of analyses; none: all
    progress: is told every event

    An analysis that fails does not keep the others from being made; then its failure is raised.
    What was made before is kept.

        from sdq.inspection.storage import inspect, read
        from sdq.store import Store

        tables = inspect("0e16b6a1c9d9", Store.default(), only=("sensitivity",))
        tables["sensitivity"].nlargest(3, "kl")
        read("0e16b6a1c9d9", Store.default())  # only reads, without torch: name -> DataFrame

    UserError for an unknown analysis or run, an FP32 run, weights that are not here, or a disk that
    refuses.
    """
    settings, kept = settings or Inspection(), store.inspections()
    report, home = store.report(run), inspection_id(run, settings)
    if missing(run, store, settings, only):
        inspectable(report, store)

    def tell(event: dict[str, Any]) -> None:
        kept.tell(home, event)
        progress(event)

    if missing(run, store, settings, only) or (kept.folder / home).is_dir():
        wait = "Waiting: another process looks into this run"
        with kept.alone(home, lambda: progress({"event": "stage", "name": "wait", "text": wait})):
            kept.unblock(home)
            begun(kept.folder / home, tell)
            if (todo := missing(run, store, settings, only)) or damage(run, store, settings):
                kept.begin(
                    home,
                    {"inspects": run, "settings": settings.model_dump(mode="json")},
                    goes_on=True,
                )
                _set_aside(run, store, settings, tell)
                if todo:
                    _compute(todo, report, store, settings, tell)
                else:  # another file than a table was damaged, and is written anew
                    keep(home, {}, store)
            if not missing(run, store, settings) and not (kept.folder / home / "done").is_file():
                files.write_text(kept.folder / home / "done", "")
    return read(run, store, settings)


def _set_aside(run: str, store: Store, settings: Inspection, tell: Progress) -> None:
    """Move our own tables that are damaged out of the way, so that they are not met again. OSError
    if the disk refuses."""
    kept = store.inspections()
    home = kept.folder / inspection_id(run, settings)
    place = kept.folder.parent / "damaged" / home.name
    for sentence, path in _sound_and_damaged(run, store, settings)[1].values():
        if path.parent == home:
            tell({"event": "damaged", "message": sentence})
            if path.is_file():
                sealed.aside(path, place / path.name)
    try:
        sealed.read(home / SEAL)
    except FileNotFoundError:
        return
    except ValueError:
        sealed.aside(home / SEAL, place / SEAL)


def _compute(
    names: Sequence[str], report: Report, store: Store, settings: Inspection, tell: Progress
) -> None:
    """Make the tables of these analyses and keep them. Raises the first failure at the end."""
    from sdq.inspection.subject import Subject

    text = "Reading the model and the sentences"
    tell({"event": "stage", "name": "load", "text": text, "of": len(names)})
    subject = Subject.of_run(report, store, settings.sentences)
    subject.tables = {
        name: read_table(path) for name, path in paths(report.run, store, settings).items()
    }
    failures = []
    for number, name in enumerate(names, 1):
        stage = {"event": "stage", "name": name, "text": ANALYSES[name].title}
        tell(stage | {"number": number, "of": len(names)})
        started = time.perf_counter()
        try:
            made = ANALYSES[name].compute(subject, settings)
        except Exception as error:  # of any kind, and a later one may miss the tables of this one
            home = store.inspections().folder / inspection_id(report.run, settings)
            failures.append(UserError(f"the analysis {name} failed: {in_words(error, home)}"))
            continue
        keep(inspection_id(report.run, settings), made, store)
        subject.tables |= made
        seconds = round(time.perf_counter() - started, 2)
        told = {
            "settings": settings.model_dump(mode="json"),
            "model": report.model,
            "task": report.task,
        }
        tell({"event": "analysed", "name": name, "seconds": seconds, **told})
    if failures:
        raise failures[0]
