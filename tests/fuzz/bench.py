"""The kinds with what they need: a tiny model, a task, and a data folder with three finished
runs."""

from __future__ import annotations

from pathlib import Path

from sdq.recipe import PRESETS
from sdq.store import Store
from tests.cases.build import checkpoint, task_folder
from tests.fuzz.configs import Configs
from tests.fuzz.datafiles import DataFiles
from tests.fuzz.harness import Kind
from tests.fuzz.mutate import damaged
from tests.fuzz.queries import Queries
from tests.fuzz.recipes import Recipes
from tests.fuzz.stored import Stored, changed_log, changed_report
from tests.fuzz.taskfiles import SENTENCES, TaskFiles
from tests.helpers import made_up, made_up_inspection

# how many of each
COUNTS = {
    "recipes": 900,
    "task files": 900,
    "data files": 1500,
    "configurations": 600,
    "logs": 250,
    "reports": 250,
    "tables": 200,
    "query strings": 400,
}


def kinds(folder: Path, only: str = "") -> list[Kind]:
    """All kinds of input, or one. `folder` is empty; its data folder must be named by SDQ_DATA."""
    model = checkpoint(
        folder / "model",
        {"good": 1, "bad": 0, "day": 2},
        ("bad", "good"),
        token=False,
        outputs=2,
        num_hidden_layers=2,
    )
    task = task_folder(folder / "task", {"train/en": SENTENCES, "test/de": SENTENCES}, ".csv")
    made: list[Kind] = [
        Recipes(folder, model, task),
        TaskFiles(folder / "taskfiles"),
        DataFiles(folder / "datafiles"),
        Configs(model, task),
    ]
    if only not in ("", "logs", "reports", "tables", "query strings"):
        return [kind for kind in made if kind.name == only]
    store = Store(folder / "data" / "runs", shipped=None)
    runs = [
        made_up.add(store, PRESETS[name]).run for name in ("fp32", "ptq-w3a8", "sdq-att-kld-w3a8")
    ]
    for run in runs:
        store.tell(
            run, {"event": "stage", "name": "train", "text": "Training the quantized student"}
        )
        store.tell(run, {"event": "step", "step": 1, "of": 2, "loss": 1.0})
    made_up_inspection.write(store, runs[1])
    made += [
        Stored("logs", ".jsonl", changed_log, store, runs),
        Stored("reports", "report.json", changed_report, store, runs),
    ]
    made += [Stored("tables", ".parquet", damaged, store, runs), Queries(runs)]
    return [kind for kind in made if only in ("", kind.name)]
