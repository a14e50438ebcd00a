"""What ships with the project: runs and inspections, copied into assets/ as small as can be."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from sdq.inspection.registry import ANALYSES
from sdq.inspection.settings import Inspection
from sdq.inspection.storage import inspect, inspection_id, paths
from sdq.io import events, sealed
from sdq.io.events import Progress
from sdq.io.files import replacing, settle, write_bytes, write_text
from sdq.io.sealed import SEAL, as_shipped, seal_embedded
from sdq.recipe import Recipe, preset_of
from sdq.reproduce.plan import MINI, Job
from sdq.results import Report
from sdq.settings import UserError
from sdq.store import SHIPPED, TABLES, Store, seal, write

# presets whose students of intent are shipped: with two bits a weight they are small
PACKED = tuple(f"{name}-w2a8" for name in MINI.trained)


def ship(store: Store, runs: Mapping[str, bool]) -> None:
    """Copy what a finished run is read from into assets/runs, so that it comes with the project.

    runs: each with whether what a look inside showed goes along; where not, it is taken out

    The weights of the packed students go along as codes, so that they can be asked.
    """
    for run, shown in runs.items():
        if (sentence := store.damage(run, weights=True)) is not None:
            raise UserError(sentence)
        report = store.report(run)
        inside = TABLES if shown else ()
        home, place = store.home(run), SHIPPED / run
        if home != place:
            place.mkdir(parents=True, exist_ok=True)
            for name in (
                "spec.json",
                "report.json",
                "sentences.parquet",
                *(f"{table}.parquet" for table in inside),
            ):
                if (home / name).exists():
                    with replacing(place / name) as part:
                        shutil.copyfile(home / name, part)
            if inside and report.task == "intent" and preset_of(report.recipe) in PACKED:
                _pack(report, home, place)
        for table in set(TABLES) - set(inside):
            (place / f"{table}.parquet").unlink(missing_ok=True)
        seal(place)


def _pack(report: Report, home: Path, place: Path) -> None:
    from safetensors.torch import save_file

    from sdq.data.registry import load_task
    from sdq.models.checkpoint import folder_of
    from sdq.models.loading import load
    from sdq.pipeline.student import build_student
    from sdq.quant.packed import pack

    task = load_task(report.task)
    teacher, _ = load(folder_of(report.model, report.task), task.kind, task.labels)
    recipe = Recipe.model_validate(report.recipe)
    student = build_student(recipe, teacher, weights=home / "model.safetensors")
    with replacing(place / "packed.safetensors") as part:
        save_file(pack(student, teacher), part)


def ship_inspections(store: Store, place: Path, progress: Progress = lambda event: None) -> None:
    """Look into those runs of `mini` that ship with an inspection, as far as that was not done yet,
    and copy what was found to `place` in the stead of what is there.

    Without the marker `done`: an analysis that is added later can then be computed for a shipped
    run. UserError if a run or its weights are missing.
    """
    fresh = {}
    for preset in MINI.inspected:
        run = MINI.run_of(Job(preset, "intent", 0))
        inspect(run, store, progress=progress)
        files = paths(run, store)
        made = [
            e
            for folder in {path.parent for path in files.values()}
            for e in _analysed(folder / "events.jsonl")
        ]
        tables = {
            table: files[table].read_bytes()
            for analysis in ANALYSES.values()
            for table in analysis.tables
        }
        spec = {"inspects": run, "settings": Inspection().model_dump(mode="json")}
        fresh[inspection_id(run, Inspection())] = tables, spec, made
    if place.exists():
        shutil.rmtree(place)
    for home, (tables, spec, made) in fresh.items():
        (place / home).mkdir(parents=True)
        for name, content in tables.items():
            write_bytes(place / home / f"{name}.parquet", content)
        write_text(place / home / "spec.json", json.dumps(spec, indent=1))
        write_text(place / home / "events.jsonl", "".join(json.dumps(e) + "\n" for e in made))
        _seal(place / home)


def _seal(home: Path) -> None:
    """Seal a shipped inspection: its tables, what it is of, and the times in its log."""
    sealed.write(home / SEAL, [path.name for path in sorted(home.iterdir()) if path.name != SEAL])


def _analysed(log: Path) -> list[dict[str, Any]]:
    """What a log says about how long each analysis took, the last time."""
    return list({e["name"]: e for e in events.read(log) if e["event"] == "analysed"}.values())


def compact(assets: Path) -> int:
    """Write the tables of shipped runs and inspections, and the encoder's tokenizer, as small as
    they can be; returns the bytes saved.

    Every table is read back and must be the same, number by number, before it takes the place of
    the other.
    """
    saved, mini = 0, assets / "mini"
    _whole(assets)
    for path in sorted([*assets.glob("runs/*/*.parquet"), *assets.glob("inspections/*/*.parquet")]):
        table, other = pd.read_parquet(path), path.with_suffix(".smaller")
        write(table, other)
        pd.testing.assert_frame_equal(pd.read_parquet(other), table, check_exact=True)
        saved += _take(other, path)
    # that of a joined model, which is part of the run ids, is written anew and stays as it is
    path = mini / "encoder" / "tokenizer.json"
    other = path.with_suffix(".smaller")
    other.write_text(
        json.dumps(json.loads(path.read_text("utf-8")), ensure_ascii=False, separators=(",", ":")),
        "utf-8",
    )
    saved += _take(other, path)
    for home in sorted(assets.glob("runs/*")):
        seal(home)
    for home in sorted(assets.glob("inspections/*")):
        _seal(home)
    seal_embedded(mini)
    return saved


def _whole(assets: Path) -> None:
    """UserError if something that ships is not as it was written: sealing it again would hide
    that."""
    for kept, marker in (("runs", "done"), ("inspections", SEAL)):
        for path in sorted((assets / kept).glob("*/*.parquet")):
            try:
                fault = sealed.fault(path, sealed.read(path.with_name(marker)))
            except FileNotFoundError:
                fault = None
            except ValueError:
                fault = f"{marker} does not say what was written"
            if fault is not None:
                raise sealed.damaged(path, path.parent.name, fault, "have it made again")
    for part in ("data", "encoder", "intent", "slots"):
        as_shipped(assets / "mini" / part)


def _take(other: Path, path: Path) -> int:
    """Put the smaller one of two files at `path`; returns the bytes that saves."""
    saved = path.stat().st_size - other.stat().st_size
    if saved > 0:
        settle(other, path)
    other.unlink(missing_ok=True)
    return max(0, saved)
