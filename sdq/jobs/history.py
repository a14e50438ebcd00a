"""What has been run: the rows of the page Runs, what is found among them, pins. Imports neither
streamlit nor torch."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from sdq.io import files
from sdq.jobs.data_folder import changing, must_lead
from sdq.labels import width
from sdq.results import Report
from sdq.service.visitors import OWNER, Visitor
from sdq.settings import UserError
from sdq.store import Store
from sdq.store.folder import RUN_ID

DAMAGED = "damaged"  # the state of a run whose files are not as they were written
SIDE_BY_SIDE = 5  # runs that the pages under Compare take


def own(store: Store, run: str) -> bool:
    """Whether a finished run lies in the data folder, and not only among those that came with the
    project."""
    return bool(RUN_ID.fullmatch(run)) and (store.folder / run / "done").is_file()


def rows(reports: Sequence[Report], store: Store, damaged: Collection[str] = ()) -> pd.DataFrame:
    """One row per finished run: pinned ones first, then newest first; shipped ones (made elsewhere,
    no time known) last.

    reports: the finished runs
    store: where they are
    damaged: ids of those with a file that is not as it was written

    Columns:
        pinned: whether it is
        state: "whole" or DAMAGED
        method, recipe, task, model, seed, run: of the report
        width: such as W3A8
        score: zero-shot mean in % (of a task of one language its score)
        size_mb: 10^6 bytes (simulated; of an FP32 run what its parameters take)
        seconds: all stages together
        made: UTC; NaT of shipped runs
        origin: "own" or "shipped"
    """
    pins, times = set(pinned(store)), dict(store.listing())
    listed = []
    for report in reports:
        is_own = own(store, report.run)
        listed.append(
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
                "size_mb": report.size / 1e6,
                "seconds": sum(report.seconds.values()),
                "made": pd.Timestamp(times[report.run], unit="s", tz="UTC")
                if is_own and report.run in times
                else pd.NaT,
                "origin": "own" if is_own else "shipped",
                "run": report.run,
            }
        )
    table = pd.DataFrame(listed)
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
    """The rows in whose text every word occurs, of these tasks and methods.

    table: see `rows`
    text: words to look for, in any order, upper and lower case alike; none means all rows
    tasks: values of the column `task`; none means all
    methods: values of the column `method`; none means all
    """
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
    own_runs = table[table["origin"] == "own"]
    text = (
        f"{len(table)} finished run{'s' if len(table) > 1 else ''}: {len(own_runs)} of your own, "
        f"{len(table) - len(own_runs)} that came with the project."
    )
    if broken := int((table["state"] == DAMAGED).sum()):
        text += (
            f" {broken} of them {'is' if broken == 1 else 'are'} damaged, and no result any more."
        )
    if len(own_runs):
        newest = own_runs.sort_values("made", ascending=False, kind="stable").iloc[0]
        bits = "" if newest["width"] == "FP32" else f" {newest['width']}"
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


def pinned(store: Store) -> tuple[str, ...]:
    """Ids of the pinned runs; none if the file is not there or cannot be read."""
    path = store.folder.parent / "pins.json"
    try:
        runs = [] if path.is_symlink() else json.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        return ()
    return (
        tuple(run for run in runs if isinstance(run, str) and RUN_ID.fullmatch(run))
        if isinstance(runs, list)
        else ()
    )


def pin(store: Store, runs: Sequence[str], on: bool = True, who: Visitor = OWNER) -> None:
    """Pin finished runs, or unpin runs.

    store: where they are
    runs: their ids
    on: True pins, False unpins
    who: the visitor who asks for it

    UserError for a run that is not finished, for who leads nobody, or if the folder cannot be
    written.
    """
    must_lead(who, "pin runs for everybody")
    for run in runs:
        if not store.done(run) and on:
            raise UserError(
                f"a run must be finished to be pinned, {run} is not; load the page again"
            )
    with changing(store) as folder:
        rest = [run for run in pinned(store) if run not in runs]
        files.write_text(
            folder / "pins.json", json.dumps([*rest, *dict.fromkeys(runs)] if on else rest)
        )
