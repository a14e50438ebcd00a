"""What a run is asked for, resolved once."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from sdq.data.registry import task_fingerprint
from sdq.data.task import Task
from sdq.models.checkpoint import canonical_name, folder_of
from sdq.recipe import Recipe, no_idle_rule
from sdq.settings import UserError
from sdq.store import run_id
from sdq.store.identity import weights_in


@dataclass(frozen=True)
class Request:
    """What is asked for, resolved once: a recipe, the names of model and task, and the fingerprints
    of what they name."""

    recipe: Recipe
    model: str
    task: str
    folder: Path
    weights: str
    data: str

    @classmethod
    def of(cls, recipe: Recipe, model: str, task: str) -> Request:
        """The request behind names. UserError for a model or task that is not there, and a recipe
        with a rule that does nothing."""
        no_idle_rule(recipe)
        data, model = task_fingerprint(task, fetch=True), canonical_name(model)
        folder = folder_of(model, task, fetch=True)
        return cls(recipe, model, task, folder, weights_in(folder, model), data)

    @property
    def run(self) -> str:
        return run_id(self.recipe, self.weights, self.data)

    @property
    def reference(self) -> str:
        """The run that scores the FP32 model."""
        return run_id(Recipe(), self.weights, self.data)

    def check(self, task: Task) -> None:
        """UserError if the model, or the `task` that was read, is not what the request names: it
        was replaced since, say while this run waited."""
        for what, name, asked, now in (
            ("model", self.model, self.weights, weights_in(self.folder, self.model)),
            ("task", task.name, self.data, task.fingerprint),
        ):
            if asked != now:
                raise UserError(
                    f"the {what} {name} must stay as it is while a run reads it, it was replaced; "
                    "run the recipe again"
                )
