"""Progress and durations of runs and inspections as text."""

from __future__ import annotations

import time
from typing import Any

import pandas as pd

_STAGE = {
    "load": "Loading the model",
    "reference": "Scoring the FP32 model",
    "calibrate": "Measuring value ranges",
    "train": "Training",
    "evaluate": "Scoring the result",
    "inspect": "Measuring weights and activations",
}


def duration(seconds: float) -> str:
    """Roughly how long, for people."""
    if seconds < 10:
        return "a few seconds"
    return f"about {5 * round(seconds / 5)} s" if seconds < 90 else f"about {seconds / 60:.0f} min"


def ago(seconds: float, zone: str | None) -> str:
    """When something happened, and how long ago: "2026-11-29 14:05 (12 min ago)", in the reader's
    time zone."""
    when = pd.Timestamp(time.time() - seconds, unit="s", tz="UTC").tz_convert(zone or "UTC")
    size = next(
        (
            f"{seconds / of:.0f} {unit}"
            for of, unit in ((86_400, "d"), (3600, "h"), (60, "min"))
            if seconds >= of
        ),
        f"{seconds:.0f} s",
    )
    return f"{when:%Y-%m-%d %H:%M} ({size} ago)"


def queue_text(place: tuple[int, int] | None) -> str:
    """The state of a queued job. `place`: see `sdq.jobs.queue.position`."""
    if place is None:
        return "Queued"
    before, of = place
    return (
        f"Queued: {before} of the {of} waiting jobs {'is' if before == 1 else 'are'} ahead of it"
        if before
        else "Queued: next in line"
    )


def inspection_progress(
    events: list[dict[str, Any]], seconds: float | None = None, place: tuple[int, int] | None = None
) -> tuple[str, float]:
    """(what is going on, share done) of an inspection under way. `seconds`: what the analyses that
    are not made yet should take; `place`: see `waits`."""
    asked = max((i for i, e in enumerate(events) if e.get("event") == "queued"), default=-1)
    stages = [e for e in events[asked + 1 :] if e.get("event") == "stage"]
    if not stages:
        return queue_text(place), 0.0
    stage = stages[-1]
    if "number" not in stage:
        return stage["text"], 0.0
    left = (
        ""
        if seconds is None
        else f", {duration(max(0.0, seconds - (time.time() - stage['time'])))} left"
    )
    return (
        f"Analysis {stage['number']} of {stage['of']}: "
        f"{stage['text'][:1].lower()}{stage['text'][1:]}{left}",
        (stage["number"] - 1) / stage["of"],
    )


def progress(
    events: list[dict[str, Any]], place: tuple[int, int] | None = None
) -> tuple[str, float | None]:
    """(what is going on, share done of this stage) of a run under way. `place`: see `waits`."""
    asked = max(
        (i for i, e in enumerate(events) if e.get("event") == "queued"), default=-1
    )  # what is before it belongs to an earlier attempt
    stages = [i for i, e in enumerate(events) if e.get("event") == "stage" and i > asked]
    if not stages:
        return (queue_text(place) if asked >= 0 else "Starting the worker"), None
    stage = events[stages[-1]]
    name = _STAGE.get(stage["name"], stage.get("text", stage["name"]))
    rest = events[stages[-1] + 1 :]
    steps = [e for e in rest if e.get("event") == "step"]
    if steps:
        last, of = steps[-1], steps[-1]["of"]
        text, share = f"{name}, step {last['step']} of {of}", last["step"] / of
        spent, steps_seen = (
            last.get("time", 0) - steps[0].get("time", 0),
            last["step"] - steps[0]["step"],
        )
        if steps_seen > 0 and spent > 0:
            text += f", {duration(spent / steps_seen * (of - last['step']))} left"
        return text, min(1.0, share)
    counted = [e for e in rest if e.get("event") == "evaluate" and e.get("of")]
    if counted:
        return f"{name}, {counted[-1]['done']} of {counted[-1]['of']}", min(
            1.0, counted[-1]["done"] / counted[-1]["of"]
        )
    return name, None
