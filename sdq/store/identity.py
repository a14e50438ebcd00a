"""Which run a request is, without torch: the run id from recipe, model name and task name."""

from __future__ import annotations

from pathlib import Path

from sdq.data.registry import task_fingerprint
from sdq.models.checkpoint import checkpoint_fingerprint, folder_of
from sdq.recipe import Recipe, no_idle_rule
from sdq.results import Report
from sdq.settings import UserError
from sdq.store.runs import Store, run_id

REVISION = "-2"  # raised when models are read in another way: heads by names, byte-level spaces


def weights_of(model: str, task: str, fetch: bool = False) -> str:
    """What a run id and spec.json say of the model: the fingerprint of its folder, and how models
    are read. The embedded one is read as ever, and its shipped runs keep their ids. Errors, and
    `fetch`, as sdq.models.checkpoint.folder_of."""
    return weights_in(folder_of(model, task, fetch), model)


def weights_in(folder: Path, model: str) -> str:
    """`weights_of` the model that lies in this folder."""
    return checkpoint_fingerprint(folder) + ("" if model == "mini" else REVISION)


def identify(recipe: Recipe, model: str, task: str) -> str:
    """The run id of a request. UserError if the model folder or the task does not exist, or a rule
    of the recipe does nothing."""
    no_idle_rule(recipe)
    wanted = task_fingerprint(task)
    return run_id(recipe, weights_of(model, task), wanted)


def unreplaced(report: Report, store: Store, model: bool = False) -> str:
    """The fingerprint of a run's task as it is now. UserError if it is not the one that the run was
    made on, or, if asked for, its `model` is another one now (which reads the weights); what an old
    run does not tell is not compared."""
    now, known = task_fingerprint(report.task), store.made_of(report)
    if known not in (None, now):
        raise UserError(
            f"the task {report.on} must be as it was when run {report.run} was made, it was "
            "replaced since; run its recipe again"
        )
    known = store.made_of(report, "weights") if model else None
    if known is not None and known != weights_of(report.model, report.task):
        raise UserError(
            f"the model {report.model} must be as it was when run {report.run} was made, it was "
            "changed since; run its recipe again"
        )
    return now
