"""What a grid will cost: time, memory and disk, before it is computed."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from sdq.data.check import TOKENIZER
from sdq.data.registry import load_task
from sdq.data.task import Task
from sdq.jobs.estimate import memory, parameters
from sdq.models.checkpoint import base_of
from sdq.pipeline.finetune import usual
from sdq.reproduce.grid import Cell, Grid
from sdq.settings import UserError
from sdq.store import Store
from sdq.train.settings import Training

SLOWER = 3.0  # than bare products of matrices: attention, norms, rounding, the looks inside


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
        f"Very roughly {duration(seconds)}, judged by {tokens:.2g} subwords to be passed through "
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


def duration(seconds: float) -> str:
    """Seconds in the largest unit of which there are two, in words."""
    for size, name in ((86_400, "days"), (3_600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {name}"
    return f"{max(1, seconds):.0f} seconds"
