"""What a run is to do, whatever became of it: its recipe, model and task, in words and to ask for
again. Needs no torch."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import NamedTuple

from sdq.data.registry import called
from sdq.jobs import queue as jobs
from sdq.labels import width
from sdq.recipe import Recipe
from sdq.settings import UserError
from sdq.store import Store


def model_title(model: str) -> str:
    """What a model is called in a sentence: of a folder its last part, as of a task (see
    sdq.results.title)."""
    return Path(model).name if model.startswith(("/", "~")) else model


class Wanted(NamedTuple):
    """A recipe, and the model and the task it is for."""

    recipe: Recipe
    model: str
    task: str

    @property
    def what(self) -> str:
        """What it is: "SDQ W3A8 on intent, seed 0"."""
        bits = f" {width(self.recipe.model_dump())}" if self.recipe.rules else ""
        return f"{self.recipe.method}{bits} on {called(self.task)}, seed {self.recipe.seed}"

    @property
    def how(self) -> str:
        """What of: "recipe sdq-att-kld-w3a8, model mini"."""
        return f"recipe {self.recipe.name}, model {model_title(self.model)}"


def wanted(run: str, store: Store) -> Wanted | None:
    """What a run is to do: finished, damaged, failed or waiting. None if nothing that can be
    trusted tells. UserError for what is no run id.

    Of a finished run its report or its spec.json tells, each if it is as it was written; of others
    what it was asked for with, or what it began with.
    """
    store.done(run)  # refuses what is not a run id
    with contextlib.suppress(UserError, ValueError):
        report = store.report(run)
        return Wanted(Recipe.model_validate(report.recipe), report.model, report.task)
    with contextlib.suppress(ValueError, KeyError, TypeError):
        spec = store.spec(run)
        return Wanted(Recipe.model_validate(spec["recipe"]), str(spec["model"]), str(spec["task"]))
    asked = jobs.request(run, store)
    return None if asked is None else Wanted(*asked)
