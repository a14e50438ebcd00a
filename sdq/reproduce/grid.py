"""The paper's comparison on any tasks: FP32, dynamic PTQ, Quant-Noise and Quant-Noise with each
distillation, several seeds. Resumable.

Each task gets an FP32 teacher first, fine-tuned from the model on the labels of the training
language; what is stored is not done again.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pandas as pd

from sdq.data.registry import TASKS, called
from sdq.evaluate.statistics import mean_interval
from sdq.io.events import Progress
from sdq.models.checkpoint import EMBEDDED
from sdq.pipeline.finetune import teacher, usual
from sdq.pipeline.run import run
from sdq.recipe import PRESETS, Recipe
from sdq.settings import UserError
from sdq.store import Store
from sdq.store.identity import identify
from sdq.train.losses import KLD, Attention
from sdq.train.settings import Training

ALL = "mean"


def methods(steps: int | None = None, learning_rate: float | None = None) -> dict[str, Recipe]:
    """Name in the table -> recipe, as the paper has them: INT8 throughout, students with
    Quant-Noise; training as the preset says, but for what is given."""
    preset = PRESETS["qnat-int8"]
    changed: dict[str, Any] = (
        {}
        if steps is None
        else {"steps": steps, "check_every": max(1, min(noisy().check_every, steps))}
    )
    changed |= {} if learning_rate is None else {"learning_rate": learning_rate}
    terms: dict[str, tuple[Any, ...]] = {
        "KLD": (KLD(),),
        "Att": (Attention(),),
        "Att-KLD": (KLD(), Attention()),
    }
    recipes = {
        "FP32": PRESETS["fp32"],
        "PTQ, dynamic INT8": PRESETS["ptq-int8-dynamic"],
        "QNAT": _trained(preset, "qnat-int8", changed),
    }
    return recipes | {
        f"QNAT, {name}": _trained(
            preset, f"qnat-{name.lower()}-int8", changed | {"distillation": loss}
        )
        for name, loss in terms.items()
    }


def noisy() -> Training:
    """How students with Quant-Noise are trained."""
    training = PRESETS["qnat-int8"].training
    assert training is not None
    return training


def _trained(recipe: Recipe, name: str, changed: dict[str, Any]) -> Recipe:
    assert recipe.training is not None
    training = Training.model_validate(recipe.training.model_dump() | changed)
    return recipe.model_copy(update={"name": name, "training": training})


@dataclass(frozen=True)
class Cell:
    """One run of the grid."""

    method: str
    recipe: Recipe
    task: str

    @property
    def text(self) -> str:
        """What it is, in words."""
        return f"{self.method}, {called(self.task)}, seed {self.recipe.seed}"


@dataclass(frozen=True)
class Grid:
    """The tasks (addresses) and seeds to be compared, from one model, with steps of training (None:
    as the presets and the fine-tuning say)."""

    model: str
    tasks: tuple[str, ...]
    seeds: tuple[int, ...]
    steps: int | None = None
    teacher: Training | None = None

    def cells(self, task: str) -> list[Cell]:
        """The runs of one task; what nothing random enters has seed 0 alone."""
        cells = []
        # the presets' is for narrow models
        rate = None if self.model == "mini" else usual(self.model, task).learning_rate
        for method, recipe in methods(self.steps, rate).items():
            for seed in self.seeds if recipe.training else (0,):
                cells.append(Cell(method, recipe.model_copy(update={"seed": seed}), task))
        return cells

    def model_of(self, task: str, store: Store, progress: Progress | None = None) -> str | None:
        """The fine-tuned model of a task: made if `progress` is given, otherwise None where it is
        not there. The embedded tasks have theirs."""
        if self.model in EMBEDDED and task in TASKS:
            return self.model
        return teacher(self.model, task, store, self.teacher, progress)

    def missing(self, store: Store) -> list[Cell]:
        """The runs that are not stored yet."""
        cells = []
        for task in self.tasks:
            model = self.model_of(task, store)
            cells += [
                cell
                for cell in self.cells(task)
                if model is None or not store.done(identify(cell.recipe, model, task))
            ]
        return cells


def fill(grid: Grid, store: Store, progress: Progress) -> list[str]:
    """Do what is missing, task by task. Returns one sentence per failure; a task whose teacher
    cannot be made is left out, others go on."""
    failures: list[str] = []
    wanted, done, started = grid.missing(store), 0, time.perf_counter()
    for task in grid.tasks:
        cells = [cell for cell in wanted if cell.task == task]
        if not cells:
            continue
        try:
            model = grid.model_of(task, store, progress)
        except UserError as error:
            failures.append(f"{called(task)}: {error}")
            done += len(cells)
            continue
        for cell in cells:
            left = (time.perf_counter() - started) / done * (len(wanted) - done) if done else None
            progress(
                {
                    "event": "cell",
                    "number": done + 1,
                    "of": len(wanted),
                    "text": cell.text,
                    "left": left,
                }
            )
            try:
                run(cell.recipe, str(model), task, store, progress)
            except UserError as error:
                failures.append(f"{cell.text}: {error}")
            done += 1
    return failures


def scored(grid: Grid, store: Store) -> pd.DataFrame:
    """The finished cells, a row per method, task, language and metric, and one per task with the
    language "mean" (unweighted, over languages).

    task, metric
    counts: whether this metric is the one that counts
    method, language
    score, low, high: 0..1, mean over seeds, with its 95 % interval if the metric counts
    seeds
    units: sentences or queries
    """
    rows: list[dict[str, Any]] = []
    for task in grid.tasks:
        model = grid.model_of(task, store)
        for method in methods() if model is not None else ():
            runs = [
                identify(cell.recipe, str(model), task)
                for cell in grid.cells(task)
                if cell.method == method
            ]
            runs = [run for run in dict.fromkeys(runs) if store.done(run)]
            rows += _rows(called(task), method, runs, store) if runs else []
    return pd.DataFrame(
        rows,
        columns=[
            "task",
            "metric",
            "counts",
            "method",
            "language",
            "score",
            "low",
            "high",
            "seeds",
            "units",
        ],
    )


def _rows(task: str, method: str, runs: Sequence[str], store: Store) -> list[dict[str, Any]]:
    reports, tables = [store.report(run) for run in runs], [store.sentences(run) for run in runs]
    languages = list(reports[0].quantized.by_language)
    units = tables[0]["language"].value_counts()
    rows: list[dict[str, Any]] = []
    for name, codes in [(code, [code]) for code in languages] + [(ALL, languages)]:
        common = {
            "task": task,
            "method": method,
            "language": name,
            "seeds": len(runs),
            "units": int(units[codes].sum()),
        }
        score, low, high = mean_interval(tables, codes)
        rows.append(
            common
            | {
                "metric": reports[0].metric,
                "counts": True,
                "score": score,
                "low": low,
                "high": high,
            }
        )
        for metric in reports[0].beside:
            beside = [report.beside[metric][1] for report in reports]
            values = [scores.mean if name == ALL else scores.by_language[name] for scores in beside]
            rows.append(
                common
                | {
                    "metric": metric,
                    "counts": False,
                    "score": sum(values) / len(values),
                    "low": None,
                    "high": None,
                }
            )
    return rows
