"""The quantized student of a recipe: the one place where a model is migrated, rewritten, calibrated
and loaded."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Sequence
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

# What static ranges are measured on: encoded sentences, or inputs of the model, a batch each.
Inputs = Encoded | Sequence[dict[str, Tensor]]


def build_student(
    recipe: Recipe,
    teacher: nn.Module,
    calibration: Inputs | None = None,
    weights: Path | None = None,
    share: bool = True,
) -> nn.Module:
    """The quantized model of a recipe, a copy of the teacher in eval mode.

    calibration: what static ranges are measured on, see `calibration_examples`; none is needed
        where the recipe does not calibrate.
    weights: the file of a trained student; without it the student has the teacher's weights, and is
        calibrated.
    share: whether what is not trained, and what a file takes the place of, is the teacher's own
        memory, which then nobody may write to.

    UserError if the teacher's answers to sentences are not finite numbers.
    """
    batch_size = recipe.calibration.batch_size
    base = teacher
    if recipe.migration is not None:
        base = smoothquant(teacher, _batches(teacher, calibration, batch_size), recipe.migration)
    shared = frozen_by(recipe.training if weights is None else None, base) if share else ()
    student = rewrite(base, recipe.rules, share=shared)
    if weights is not None:
        load_weights_(student, weights)
    elif calibration is not None:
        calibrate_student_(student, teacher, calibration, batch_size)
    return student.eval()


def calibrate_student_(
    student: nn.Module, teacher: nn.Module, calibration: Inputs, batch_size: int
) -> None:
    """Measure the static ranges of a student's inputs. UserError if the teacher's answers to
    sentences are not finite numbers."""
    try:
        calibrate_(student, _batches(student, calibration, batch_size))
    except (ValueError, RuntimeError):
        # an observer may stumble over numbers that are not finite before they reach the logits
        if isinstance(calibration, Encoded):
            predict(teacher, calibration)
        raise


def _batches(
    model: nn.Module, calibration: Inputs | None, batch_size: int
) -> Iterable[dict[str, Tensor]]:
    """Inputs for passes through `model`; sentences are refused where its logits are not finite."""
    if isinstance(calibration, Encoded):
        return watched(model, calibration, batch_size)
    return calibration or ()


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
        in_language = (e for e in examples if e.language == code)
        chosen += sorted(
            in_language, key=lambda e: hashlib.sha256(e.id.removeprefix(code).encode()).digest()
        )[:each]
    return chosen
