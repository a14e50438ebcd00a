"""What a run will cost, before it is started: its time from earlier runs, its memory from the
model's size. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from sdq.inspection.settings import Inspection
from sdq.io import events
from sdq.models.checkpoint import folder_of
from sdq.models.tensors import tensors_of
from sdq.recipe import Recipe
from sdq.results import Report
from sdq.settings import UserError
from sdq.store import ENGINE, Store

BASE = 600_000_000  # bytes a worker takes before it holds a model: Python, torch, transformers
# Work is counted in forward passes of one sentence. A backward pass costs about two; a look at the
# dev split of the embedded tasks
# took about as long as two training steps of 32 sentences.
_STEP = 3.0
_TERM = 0.1  # one distillation term, beside the teacher's forward pass
_CHECK = 2 * 32 * _STEP


@dataclass(frozen=True)
class Expected:
    """What a run should cost. `seconds` is None if no stored run tells; `runs` is how many were
    used, `here` whether all of them were made in this data folder; `memory` is in bytes, None if
    the model's weights cannot be read."""

    seconds: float | None
    runs: int
    here: bool
    memory: int | None


@dataclass
class _Earlier:
    """Stored runs of one model and task: those made here, then those that came with the project.
    Remembers which were used."""

    groups: tuple[list[Report], list[Report]]
    used: dict[str, bool] = field(default_factory=dict)

    def typical(
        self,
        of: Callable[[Report], float | None],
        like: Callable[[Report], bool] = lambda report: True,
    ) -> float | None:
        """Median of a number over runs made here, else over the others; over runs that are `like`
        the one asked for, if there are any."""
        for here, reports in zip((True, False), self.groups, strict=True):
            numbers = [(r, number) for r in reports if (number := of(r)) is not None]
            if chosen := [(r, number) for r, number in numbers if like(r)] or numbers:
                self.used |= {r.run: here for r, _ in chosen}
                return float(median(number for _, number in chosen))
        return None


def expect(
    recipe: Recipe, model: str, task: str, store: Store, reports: Sequence[Report] | None = None
) -> Expected:
    """What a run of the recipe should cost. `reports` are the store's finished runs, if they were
    read already."""
    similar = [
        r
        for r in (store.finished() if reports is None else reports)
        if (r.model, r.task) == (model, task)
    ]
    here = {run for run, _ in Store(store.folder, None).listing()}
    earlier = _Earlier(
        ([r for r in similar if r.run in here], [r for r in similar if r.run not in here])
    )
    seconds = _seconds(recipe, earlier)
    count = len(earlier.used) if seconds is not None else 0
    try:
        size: int | None = memory(recipe, parameters(folder_of(model, task)))
    except (UserError, OSError):  # said where the run is started
        size = None
    return Expected(seconds, count, count > 0 and all(earlier.used.values()), size)


def analyses(names: Sequence[str], report: Report, store: Store, how: Inspection) -> float | None:
    """Seconds these analyses of a run (see sdq.inspection.storage) should take, by the median of
    earlier ones of its model; None if one was never made.

    Of the same task and settings, if there are any; otherwise scaled by the number of sentences.
    """
    kept = store.inspections()
    logs = [path for folder in kept.folders() for path in sorted(folder.glob("*/events.jsonl"))]
    made = [
        e
        for path in logs
        for e in events.read(path)
        if (e["event"], e.get("model")) == ("analysed", report.model)
    ]
    total = 0.0
    for name in names:
        earlier = [e for e in made if e["name"] == name]
        earlier = [e for e in earlier if e["task"] == report.task] or earlier
        earlier = [e for e in earlier if e["settings"] == how.model_dump(mode="json")] or earlier
        if not earlier:
            return None
        total += median(e["seconds"] * how.sentences / e["settings"]["sentences"] for e in earlier)
    return total


def memory(recipe: Recipe, parameters: int) -> int:
    """Bytes a run should need: the FP32 model, and as much again for what is rounded and computed
    with it (benchmarks/memory.py), or for the student; if that trains, the optimizer's two numbers
    per weight and the gradients."""
    return BASE + 4 * parameters * (1 + 1 + (2 + 1 if recipe.training is not None else 0))


def memory_words(needed: int) -> str:
    """What a run should need, and what of it no smaller model would save."""
    return (
        f"It should need about {needed / 1e9:.1f} GB of memory (an estimate: {BASE / 1e9:.1f} GB "
        "for Python and its libraries, the rest by the number of its parameters)."
    )


def parameters(folder: Path, without: str | None = None) -> int:
    """How many numbers the weights of a model folder hold, from the headers of its files, but for
    those with `without` in their names.

    Errors as sdq.models.tensors.tensors_of.
    """
    return sum(
        math.prod(tensor.shape)
        for name, tensor in tensors_of(folder).items()
        if not (without and without in name)
    )


def _seconds(recipe: Recipe, earlier: _Earlier) -> float | None:
    """Sum over the stages of a run; None if a long one is not known."""
    quantized, training = bool(recipe.rules), recipe.training
    plain = any(
        r.is_reference and r.provenance.get("engine", ENGINE) == ENGINE
        for group in earlier.groups
        for r in group
    )

    def stage(name: str) -> float | None:
        return earlier.typical(
            lambda r: r.seconds.get(name) if r.is_quantized == quantized else None,
            lambda r: _same_kind(r, recipe),
        )

    needed: list[float | None] = []
    if quantized:
        needed.append(stage("evaluate"))
    elif training is not None:  # takes as long to score as FP32
        needed.append(earlier.typical(_scored))
    if recipe.method == "FP32" or not plain:  # every run scores FP32 too, unless that is stored
        needed.append(earlier.typical(_scored))
    if training is not None:
        rate = earlier.typical(_rate, lambda r: _same_kind(r, recipe))
        needed.append(
            None if rate is None else rate * _work(training.model_dump(mode="json"), training.steps)
        )
    if any(seconds is None for seconds in needed):
        return None
    rest = [stage(name) for name in ("load", "inspect")]
    return sum(
        seconds
        for seconds in (*needed, *rest, _calibrating(recipe, earlier))
        if seconds is not None
    )


def _scored(report: Report) -> float | None:
    """Seconds that scoring the FP32 model took; a run that found the scores stored says nothing
    about it."""
    seconds = report.seconds.get("reference", 0.0) + (
        report.seconds.get("evaluate", 0.0) if report.is_reference else 0.0
    )
    return seconds if seconds > 0.5 else None


def _same_kind(report: Report, recipe: Recipe) -> bool:
    """Whether both train, or neither; whether both quantize; and whether both imitate, and imitate
    on the same text."""
    done, asked = report.recipe.get("training"), recipe.training
    if done is None or asked is None:
        return done is None and asked is None
    return (
        report.is_quantized,
        bool(done.get("distillation")),
        bool(done.get("unlabelled")),
    ) == (bool(recipe.rules), bool(asked.distillation), asked.unlabelled)


def _work(training: Mapping[str, Any], steps: float) -> float:
    """Cost of a training: steps times batch size times passes per sentence (more with a teacher and
    its terms), and the looks at dev."""
    terms = len(training.get("distillation", ()))
    passes = _STEP + (1 + _TERM * terms if terms else 0)
    return float(steps * training["batch_size"] * passes + steps / training["check_every"] * _CHECK)


def _rate(report: Report) -> float | None:
    """Seconds per unit of work in a trained run, over the steps it really made."""
    training, seconds = report.recipe.get("training"), report.seconds.get("train", 0.0)
    if not training or seconds <= 0:
        return None
    logged = (report.history or {}).get("steps") or [{"step": training["steps"]}]
    return seconds / _work(training, float(logged[-1]["step"]))


def _calibrating(recipe: Recipe, earlier: _Earlier) -> float | None:
    """Seconds for measuring static ranges or what to migrate, scaled by the number of sentences;
    next to nothing where neither is asked for."""
    if not recipe.calibrates:
        return None

    def each(report: Report) -> float | None:
        static = any(
            (rule.get("activation") or {}).get("dynamic") is False
            for rule in report.recipe["rules"]
        )
        return (
            report.seconds.get("calibrate", 0.0) / report.recipe["calibration"]["sentences"]
            if static
            else None
        )

    seconds = earlier.typical(each)
    return None if seconds is None else seconds * recipe.calibration.sentences
