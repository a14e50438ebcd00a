"""What the widths of a run cost, and what its remedies win when they are run. Imports torch only to
compute."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from sdq.inspection.remedies import candidates, current_choice
from sdq.quant.mixed_precision import pareto
from sdq.recipe import Recipe
from sdq.settings import UserError
from sdq.store.identity import identify

if TYPE_CHECKING:
    from torch import nn

    from sdq.inspection.settings import Inspection
    from sdq.inspection.subject import Subject

_COLUMNS = [
    "remedy",
    "what",
    "recipe",
    "bytes",
    "predicted",
    "score",
    "zero_shot",
    "change",
    "low",
    "high",
    "p",
    "n",
    "run",
]


def price_widths(subject: Subject, settings: Inspection) -> dict[str, pd.DataFrame]:
    """The tables "costs" (see `sdq.analyses.bitwidth_sensitivity`) and "pareto" (see
    `sdq.quant.mixed_precision.pareto`; bytes are of the whole model, simulated).

    Of the FP32 model under the rules of the run, also if the run trains: a recipe with other widths
    would train from there as well. UserError if the rules round no weight.
    """
    from sdq.analyses.bitwidth_sensitivity import bitwidth_sensitivity
    from sdq.quant.size import size_bytes

    student = _untrained(subject, subject.recipe)
    table = bitwidth_sensitivity(student, *_text(subject, settings), batch_size=settings.batch_size)
    if table.empty:
        raise UserError(
            "a recipe must round weights for their widths to be chosen, this one rounds "
            "activations only; choose another run"
        )
    front = pareto(table)
    rest = size_bytes(student)["quantized_simulated"] - current_choice(table).bytes
    return {"costs": table, "pareto": front.assign(bytes=front["bytes"] + rest)}


def try_remedies(subject: Subject, settings: Inspection) -> dict[str, pd.DataFrame]:
    """The table "remedies": each of `candidates`, run on the test split (or on `settings.tested`
    sentences of it) and paired with the run itself.

    remedy, what: its code, and in words
    recipe: JSON
    bytes: of the model, simulated
    predicted: summed cost, nats, lower is better
    score, zero_shot: %: mean over all languages and over those without labels
    change, low, high, p: of zero_shot against the run, points, with its 95 % interval; of score
        where all languages have labels
    n: sentences
    run: its id if it is stored, or empty

    Columns are split or kept where "why" names them, if that was made before; it is measured on
    test sentences, without their labels. All else is chosen on train sentences.

    A recipe that trains is not run here: what it gives is missing, unless it is stored, and
    `predicted` is before training.
    """
    from sdq.analyses.bitwidth_sensitivity import summed_sensitivity
    from sdq.quant.size import size_bytes

    text, trial = _text(subject, settings), _Trial(subject, settings)
    size = size_bytes(_untrained(subject, subject.recipe))["quantized_simulated"]
    before, rows = trial.run(subject.recipe, subject.student), []
    why = subject.tables.get("why")
    for remedy in candidates(subject.recipe, subject.tables["costs"], size, why):
        student = _untrained(subject, remedy.recipe)
        predicted = (
            summed_sensitivity(student, *text, batch_size=settings.batch_size)
            if remedy.predicted is None
            else remedy.predicted
        )
        row: dict[str, Any] = dict.fromkeys(_COLUMNS, math.nan)
        row |= {
            "remedy": remedy.code,
            "what": remedy.what,
            "recipe": remedy.recipe.model_dump_json(),
            "predicted": predicted,
            "n": 0,
            "run": trial.stored(remedy.recipe),
        }
        row["bytes"] = size_bytes(student)["quantized_simulated"]
        if before is not None and (after := trial.run(remedy.recipe, student)) is not None:
            row |= _won(before, after, subject.task.labelled, settings.seed)
        rows.append(row)
    return {
        "remedies": pd.DataFrame(rows, columns=_COLUMNS).astype({"bytes": "int64", "n": "int64"})
    }


def _won(before: pd.DataFrame, after: pd.DataFrame, labelled: str, seed: int) -> dict[str, Any]:
    """The scores of a remedy, and what it changes in the languages without labels."""
    from sdq.evaluate.significance import ALL, ZERO_SHOT, paired_tests

    languages = list(dict.fromkeys(before["language"]))
    rows = paired_tests(before, after, languages, (labelled,), seed).set_index("language")
    name = next((name for name in (ZERO_SHOT, ALL) if name in rows.index), rows.index[0])
    zero = rows.loc[name]
    return {
        "score": rows["other"].get(ALL, zero["other"]),
        "zero_shot": zero["other"],
        **zero[["change", "low", "high", "p", "n"]],
    }


class _Trial:
    """Answers of recipes on the test sentences that remedies are scored on."""

    def __init__(self, subject: Subject, settings: Inspection) -> None:
        from sdq.data.batches import encode
        from sdq.pipeline.student import stratified_sample

        every = subject.task.examples("test")
        self.subject, self.whole = subject, settings.tested is None
        self.examples = (
            every if settings.tested is None else stratified_sample(every, settings.tested)
        )
        self.data = encode(self.examples, subject.task, subject.tokenizer)

    def stored(self, recipe: Recipe) -> str:
        """The id of the recipe's finished run, or nothing."""
        report, store = self.subject.report, self.subject.store
        run = identify(recipe, report.model, report.task) if report is not None else ""
        return run if store is not None and run and store.done(run) else ""

    def run(self, recipe: Recipe, student: nn.Module) -> pd.DataFrame | None:
        """Per-sentence outcomes: the stored ones if there are, else the student's; None for a
        recipe that trains, if the student is not the run's own."""
        from sdq.evaluate.predict import outcomes, predict

        if self.whole and self.subject.store is not None and (run := self.stored(recipe)):
            return self.subject.store.sentences(run)
        if recipe.training is not None and student is not self.subject.student:
            return None
        return outcomes(self.examples, *predict(student, self.data), self.subject.task)


def _untrained(subject: Subject, recipe: Recipe) -> nn.Module:
    """The model of a recipe without its training."""
    from sdq.inspection.subject import student_of

    if recipe == subject.recipe and recipe.training is None:
        return subject.student
    return student_of(
        recipe.model_copy(update={"training": None}),
        subject.teacher,
        subject.task,
        subject.tokenizer,
    )


def _text(subject: Subject, settings: Inspection) -> tuple[Any, list[str]]:
    """(unlabelled train sentences in all languages, tokenized; a language per sentence)"""
    from sdq.data.batches import encode

    examples = subject.unlabelled(settings.sentences)
    return encode(examples, subject.task, subject.tokenizer), [e.language for e in examples]
