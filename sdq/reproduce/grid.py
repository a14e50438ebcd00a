"""The paper's comparison on any tasks: FP32, dynamic PTQ, Quant-Noise and Quant-Noise with each
distillation, several seeds. Resumable.

Each task gets an FP32 teacher first, fine-tuned from the model on the labels of the training
language; what is stored is not done again.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from sdq.data.check import TOKENIZER
from sdq.data.registry import TASKS, address, called, load_task
from sdq.data.task import Task
from sdq.evaluate.statistics import mean_interval
from sdq.jobs.estimate import memory, parameters
from sdq.models.checkpoint import base_of
from sdq.pipeline.finetune import teacher, usual
from sdq.pipeline.run import run
from sdq.recipe import PRESETS, Recipe
from sdq.reproduce.tables import write
from sdq.settings import UserError
from sdq.store import Store
from sdq.store.identity import identify
from sdq.train.losses import KLD, Attention
from sdq.train.settings import Training

ALL = "mean"
QUICK = 100  # steps of a student where only a quick look is asked for
SLOWER = 3.0  # than bare products of matrices: attention, norms, rounding, the looks inside
Progress = Callable[[dict[str, Any]], None]


def methods(steps: int | None = None, learning_rate: float | None = None) -> dict[str, Recipe]:
    """Name in the table -> recipe, as the paper has them: INT8 throughout, students with
    Quant-Noise; training as the preset says, but for what is given."""
    noisy = PRESETS["qnat-int8"]
    changed: dict[str, Any] = (
        {}
        if steps is None
        else {"steps": steps, "check_every": max(1, min(_noisy().check_every, steps))}
    )
    changed |= {} if learning_rate is None else {"learning_rate": learning_rate}
    terms: dict[str, tuple[Any, ...]] = {
        "KLD": (KLD(),),
        "Att": (Attention(),),
        "Att-KLD": (KLD(), Attention()),
    }
    found = {
        "FP32": PRESETS["fp32"],
        "PTQ, dynamic INT8": PRESETS["ptq-int8-dynamic"],
        "QNAT": _trained(noisy, "qnat-int8", changed),
    }
    return found | {
        f"QNAT, {name}": _trained(
            noisy, f"qnat-{name.lower()}-int8", changed | {"distillation": loss}
        )
        for name, loss in terms.items()
    }


def _noisy() -> Training:
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
        found = []
        rate = (
            None if self.model == "mini" else usual(self.model, task).learning_rate
        )  # the presets' is for narrow models
        for method, recipe in methods(self.steps, rate).items():
            for seed in self.seeds if recipe.training else (0,):
                found.append(Cell(method, recipe.model_copy(update={"seed": seed}), task))
        return found

    def model_of(self, task: str, store: Store, progress: Progress | None = None) -> str | None:
        """The fine-tuned model of a task: made if `progress` is given, otherwise None where it is
        not there. The embedded tasks have theirs."""
        if self.model == "mini" and task in TASKS:
            return "mini"
        return teacher(self.model, task, store, self.teacher, progress)

    def missing(self, store: Store) -> list[Cell]:
        """The runs that are not stored yet."""
        found = []
        for task in self.tasks:
            model = self.model_of(task, store)
            found += [
                cell
                for cell in self.cells(task)
                if model is None or not store.done(identify(cell.recipe, model, task))
            ]
        return found


def compare(
    model: str,
    xglue: Path | None,
    tasks: str,
    seeds: int | None,
    steps: int | None,
    teacher_steps: int | None,
    limit: int | None,
    out: Path | None,
    say: Callable[[str], None],
    progress: Progress,
) -> str:
    """Say what it will cost, do what is missing, write the tables; returns them as Markdown.
    Without an XGLUE folder: the embedded tasks, with one seed and QUICK steps if nothing else is
    asked for, so that it takes minutes.

    UserError for a task that cannot be read (before anything is computed), or at the end if a run
    failed: the tables have the others.
    """
    store = Store.default()
    addresses = tuple(TASKS) if xglue is None else _xglue(xglue, tasks, limit)
    for task in addresses:
        load_task(task)
    trained = None if teacher_steps is None else usual(model, addresses[0], steps=teacher_steps)
    if xglue is None and seeds is None and steps is None:
        steps = QUICK
        say(
            f"A quick look: one seed and {QUICK} steps of each student. Numbers to rely on: "
            f"--seeds 3 --steps {_noisy().steps} (hours)."
        )
    seeds = seeds or (1 if xglue is None else 3)
    grid = Grid(model, addresses, tuple(range(seeds)), steps, trained)
    for sentence in cost(grid, store):
        say(sentence)

    def tell(event: dict[str, Any]) -> None:
        if event["event"] == "cell":
            say(
                f"{event['number']} of {event['of']}: {event['text']}"
                + ("" if event["left"] is None else f", about {_duration(event['left'])} left")
            )
        progress(event)

    failures = fill(grid, store, tell)
    kind = (
        "the embedded tasks"
        if xglue is None
        else f"XGLUE{'' if limit is None else f' (the first {limit} rows of every file)'}"
    )
    folder = out or store.folder.parent / ("grid" if xglue is None else "xglue")
    text = write(folder, scored(grid, store), f"{Path(model).name} on {kind}", failures)
    say(f"Written to {folder}: results.csv, results.html, results.tex, results.md")
    if failures:
        raise UserError(
            f"every run must finish, {len(failures)} did not, the first: {failures[0]}; the tables "
            f"in {folder} have the others, and the command goes on where it was"
        )
    return text


def _xglue(folder: Path, tasks: str, limit: int | None) -> tuple[str, ...]:
    """Addresses of XGLUE tasks: those named, or all whose folder is there."""
    from sdq.data import xglue

    named = [name.strip().upper() for name in tasks.split(",") if name.strip()]
    if wrong := [name for name in named if name not in xglue.TASKS]:
        raise UserError(
            f"an XGLUE task must be one of {', '.join(xglue.TASKS)}, got {wrong[0][:40]!r}; "
            "correct --tasks"
        )
    chosen = named or [name for name in xglue.TASKS if (folder / name).is_dir()]
    if not chosen:
        raise UserError(
            f"the XGLUE folder must hold {', '.join(xglue.TASKS)}, {folder} has none of them; "
            "extract xglue_full_dataset.tar.gz and name its folder"
        )
    return tuple(
        address(f"xglue:{folder / name}{'' if limit is None else f'@{limit}'}") for name in chosen
    )


def fill(grid: Grid, store: Store, progress: Progress) -> list[str]:
    """Do what is missing, task by task. Returns one sentence per failure; a task whose teacher
    cannot be made is left out, others go on."""
    failures: list[str] = []
    wanted, done, started = grid.missing(store), 0, time.perf_counter()
    for task in grid.tasks:
        mine = [cell for cell in wanted if cell.task == task]
        if not mine:
            continue
        try:
            model = grid.model_of(task, store, progress)
        except UserError as error:
            failures.append(f"{called(task)}: {error}")
            done += len(mine)
            continue
        for cell in mine:
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

    Columns: task, metric, counts (whether this metric is the one that counts), method, language,
    score with its 95 % interval low, high (0..1, mean over seeds), seeds, units (sentences or
    queries). Metrics beside the one that counts have no interval.
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
            mine = [report.beside[metric][1] for report in reports]
            values = [scores.mean if name == ALL else scores.by_language[name] for scores in mine]
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


# --- what it will cost


def cost(grid: Grid, store: Store) -> list[str]:
    """Sentences on how much there is to do, what time, memory and disk it should take; from the
    sizes of model and data and the speed of this machine.

    UserError if the disk cannot hold the students.
    """
    wanted = grid.missing(store)
    total = sum(len(grid.cells(task)) for task in grid.tasks)
    if not wanted:
        return [f"{total} runs, all of them stored: nothing to compute."]
    size = parameters(base_of(grid.model))
    tasks = list(dict.fromkeys(cell.task for cell in wanted))
    teachers = [task for task in tasks if grid.model_of(task, store) is None]
    speed = _speed()
    tokens = sum(
        _tokens(grid, task, [cell for cell in wanted if cell.task == task], task in teachers)
        for task in tasks
    )
    seconds = SLOWER * tokens * 2 * _body(base_of(grid.model)) / speed
    trained = sum(cell.recipe.training is not None for cell in wanted)
    disk = 4 * size * (trained + len(teachers))
    free = shutil.disk_usage(
        next(path for path in (store.folder, *store.folder.parents) if path.exists())
    ).free
    if disk > free:
        raise UserError(
            f"the students must fit on the disk, {disk / 1e9:.1f} GB are needed and "
            f"{free / 1e9:.1f} GB free in {store.folder}; choose fewer tasks or seeds, or set "
            "SDQ_DATA to another folder"
        )
    need = max(memory(cell.recipe, size) for cell in wanted)
    return [
        f"{total} runs on {len(grid.tasks)} task{'s' if len(grid.tasks) > 1 else ''}, "
        f"{len(wanted)} to do, {len(teachers)} teachers to fine-tune first.",
        f"Very roughly {_duration(seconds)}, judged by {tokens:.2g} subwords to be passed through "
        f"the model and the speed of matrix products here ({speed / 1e9:.0f} GFLOP/s); it may be "
        "wrong by a factor of three. What is interrupted goes on where it was.",
        f"About {need / 1e9:.1f} GB of memory and {disk / 1e9:.1f} GB of disk ({free / 1e9:.0f} "
        "GB are free).",
    ]


def _tokens(grid: Grid, task: str, cells: Sequence[Cell], new: bool) -> float:
    """Subwords that go through the model, a backward pass counted as two forward ones, for the runs
    of one task and its teacher."""
    loaded = load_task(task)
    length = _length(loaded, base_of(grid.model))
    tested, dev = len(loaded.examples("test")), len(loaded.examples("dev", (loaded.labelled,)))
    sentences = float(tested)  # the FP32 model, once
    for cell in cells:
        sentences += tested if cell.recipe.rules else 0
        sentences += 0 if cell.recipe.training is None else _trained_on(cell.recipe.training, dev)
    if new:
        sentences += _trained_on(grid.teacher or usual(grid.model, task), dev)
    return sentences * length


def _trained_on(training: Training, dev: int) -> float:
    return (
        training.steps * training.batch_size * (4 if training.distillation else 3)
        + training.steps / training.check_every * dev
    )


def _length(task: Task, folder: Path) -> float:
    """Mean subwords of an input, by the model's tokenizer if it is a tokenizer.json; of 400 test
    sentences."""
    from tokenizers import Tokenizer

    sample = task.examples("test")[:: max(1, len(task.examples("test")) // 400)]
    file = folder / "tokenizer.json"
    tokenizer = Tokenizer.from_file(str(file if file.is_file() else TOKENIZER))
    tokenizer.no_padding()
    coded = tokenizer.encode_batch(
        [e.text if e.second is None else (e.text, e.second) for e in sample]
    )
    return float(sum(min(len(c.ids), task.longest) for c in coded) / len(sample))


def _body(folder: Path) -> int:
    """Parameters in Linear layers: what is not an embedding, whose rows are only looked up."""
    return parameters(folder, without="embeddings")


def _speed() -> float:
    """Floating-point operations a second in products of matrices of the size of a small encoder's,
    measured for a fifth of a second."""
    import torch

    a, b = torch.ones(512, 768), torch.ones(768, 768)
    torch.mm(a, b)
    started, count = time.perf_counter(), 0
    while time.perf_counter() - started < 0.2:
        torch.mm(a, b)
        count += 1
    return count * 2 * 512 * 768 * 768 / (time.perf_counter() - started)


def _duration(seconds: float) -> str:
    for size, name in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{max(1, seconds):.0f} seconds"
