"""What is looked into: the model of a finished run, its task, and the sentences it is looked at
on."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
from torch import nn

from sdq.data.batches import Encoded, encode
from sdq.data.registry import load_task
from sdq.data.task import Example, Task
from sdq.models.checkpoint import folder_of
from sdq.models.heads import widened
from sdq.models.retrieval import load_for
from sdq.pipeline.student import build_student, calibration_examples, stratified_sample
from sdq.recipe import Recipe
from sdq.results import Report
from sdq.settings import UserError
from sdq.store import Store
from sdq.store.identity import unreplaced


def student_of(
    recipe: Recipe, teacher: nn.Module, task: Task, tokenizer: Any, weights: Path | None = None
) -> nn.Module:
    """The model of a recipe (see `build_student`), quantized on the task's own sentences. Without
    rules and without weights: the teacher.

    recipe: how the model is quantized
    teacher: the FP32 model
    task: whose sentences it is calibrated on
    tokenizer: the teacher's
    weights: of a trained student; None: the teacher's
    """
    if not recipe.rules and weights is None:
        return teacher
    calibration = (
        encode(calibration_examples(recipe, task), task, tokenizer) if recipe.calibrates else None
    )
    return build_student(recipe, teacher, calibration, weights)


@dataclass
class Subject:
    """A quantized model (eval mode, this subject's own copy) with its task, tokenizer and recipe,
    and the test sentences chosen to look at it on."""

    recipe: Recipe
    model: str
    task: Task
    tokenizer: Any
    student: nn.Module
    examples: list[Example]
    # what earlier analyses of the same inspection gave
    tables: dict[str, pd.DataFrame] = field(default_factory=dict)
    report: Report | None = None  # of the run, and where that is kept
    store: Store | None = None

    @classmethod
    def of_run(cls, report: Report, store: Store, sentences: int) -> Subject:
        """The subject of a finished run. UserError if it is FP32, or a trained student's weights
        are not on this machine.

        report: of the run
        store: where it is kept
        sentences: how many of the test split, spread over the languages
        """
        recipe, task = Recipe.model_validate(report.recipe), load_task(report.task)
        if not recipe.rules:
            raise UserError(
                f"a quantized run must be chosen to be inspected, {report.run} is FP32; choose "
                "another run"
            )
        unreplaced(report, store, model=True)
        weights = store.weights(report)
        teacher, tokenizer = load_for(task, folder_of(report.model, task.name))
        task = widened(task, teacher)
        student = student_of(recipe, teacher, task, tokenizer, weights)
        return cls(
            recipe,
            report.model,
            task,
            tokenizer,
            student,
            stratified_sample(task.examples("test"), sentences),
            report=report,
            store=store,
        )

    @cached_property
    def data(self) -> Encoded:
        """The examples, tokenized."""
        return encode(self.examples, self.task, self.tokenizer)

    @property
    def languages(self) -> list[str]:
        """One code per example."""
        return [e.language for e in self.examples]

    @cached_property
    def teacher(self) -> nn.Module:
        """The FP32 model the student was made of, read anew: most analyses need only the student,
        whose quantizers can be switched off."""
        return load_for(self.task, folder_of(self.model, self.task.name))[0]

    def unlabelled(self, sentences: int) -> list[Example]:
        """Sentences of the train split in all languages: what may be used to choose by (never dev
        or test, and never a zero-shot label)."""
        return stratified_sample(self.task.examples("train"), sentences)
