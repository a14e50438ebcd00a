"""Which run a request is, without torch: the run id from recipe, model name and task name."""

from __future__ import annotations

from sdq.checkpoint import fingerprint, folder_of
from sdq.data.tasks import fingerprint as task_fingerprint
from sdq.recipe import Recipe
from sdq.store import run_id


def identify(recipe: Recipe, model: str, task: str) -> str:
    """The run id of a request. UserError if the model folder or the task does not exist."""
    wanted = task_fingerprint(task)
    return run_id(recipe, fingerprint(folder_of(model, task)), wanted)
