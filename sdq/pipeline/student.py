"""The quantized student of a recipe: the one place where a model is migrated, rewritten, calibrated
and loaded."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

from torch import Tensor, nn

from sdq.data.batches import Encoded
from sdq.data.task import Example, Task
from sdq.evaluate.predict import predict, watched
from sdq.quant.packed import unpack_
from sdq.quant.rewrite import calibrate_, rewrite
from sdq.quant.smoothquant import smoothquant
from sdq.recipe import Recipe
from sdq.settings import UserError
from sdq.store import PACKED
from sdq.train.loop import frozen_by


def build_student(
    recipe: Recipe,
    teacher: nn.Module,
    calibration: Encoded | None = None,
    weights: Path | None = None,
) -> nn.Module:
    """The quantized model of a recipe, a copy of the teacher in eval mode.

    calibration: the sentences that static ranges are measured on, see `calibration_examples`; none
    are needed where the recipe does not calibrate. weights: the file of a trained student; without
    it the student has the teacher's weights, and is calibrated. UserError if the teacher's answers
    are not finite numbers.
    """

    def batches() -> Iterator[dict[str, Tensor]]:
        return (
            iter(())
            if calibration is None
            else watched(teacher, calibration, recipe.calibration.batch_size)
        )

    base = (
        teacher if recipe.migration is None else smoothquant(teacher, batches(), recipe.migration)
    )
    # what is not trained, and what a file takes the place of, is shared with the teacher
    shared = frozen_by(recipe.training if weights is None else None, base)
    student = rewrite(base, recipe.rules, share=shared)
    if weights is not None:
        load_weights_(student, weights)
    elif calibration is not None:
        calibrate_student_(student, teacher, calibration, recipe.calibration.batch_size)
    return student.eval()


def calibrate_student_(
    student: nn.Module, teacher: nn.Module, calibration: Encoded, batch_size: int
) -> None:
    """Measure the static ranges of a student's inputs. UserError if the teacher's answers are not
    finite numbers."""
    try:
        calibrate_(student, watched(student, calibration, batch_size))
    except (ValueError, RuntimeError):
        predict(
            teacher, calibration
        )  # an observer may stumble over numbers that are not finite before they reach the logits
        raise


def load_weights_(student: nn.Module, weights: Path) -> None:
    """Put the weights of a trained student into a rewritten model: those of a finished run, or
    packed as codes."""
    from safetensors.torch import load_file

    tensors = load_file(weights)
    if weights.name == PACKED:
        unpack_(student, tensors)
    else:
        student.load_state_dict(tensors, assign=True)


def calibration_examples(recipe: Recipe, task: Task) -> list[Example]:
    """The sentences static ranges are measured on: a seeded sample of the train split. UserError
    for a language that the task does not have."""
    pool = task.examples("train", calibration_languages(recipe, task))
    return random.Random(recipe.seed).sample(pool, min(recipe.calibration.sentences, len(pool)))


def calibration_languages(recipe: Recipe, task: Task) -> tuple[str, ...]:
    """The languages that static ranges are measured on. UserError for one that the task does not
    have."""
    chosen = recipe.calibration.languages
    if isinstance(chosen, str):
        return (task.labelled,) if chosen == "labelled" else task.languages
    if unknown := [code for code in chosen if code not in task.languages]:
        raise UserError(
            f"the languages to calibrate on must be among {', '.join(task.languages)}, those of "
            f"task {task.name}; got {unknown[0]!r}"
        )
    return chosen


def stratified_sample(examples: Sequence[Example], sentences: int) -> list[Example]:
    """About that many examples, equally many of each language, at least one; the same ids in every
    language, where ids are shared."""
    codes = list(dict.fromkeys(e.language for e in examples))
    each = max(1, sentences // len(codes))
    chosen = []
    for code in codes:
        mine = (e for e in examples if e.language == code)
        chosen += sorted(
            mine, key=lambda e: hashlib.sha256(e.id.removeprefix(code).encode()).digest()
        )[:each]
    return chosen
