"""What the models of finished runs say to one sentence. Keeps the models it loaded."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from sdq.data.batches import encode
from sdq.data.languages import unspaced
from sdq.data.lines import spaced
from sdq.data.registry import load_task, task_fingerprint
from sdq.data.tagging import NO_ANSWER
from sdq.data.task import Example, Task
from sdq.inspection.subject import student_of
from sdq.io.boundary import boundary
from sdq.models.checkpoint import folder_of
from sdq.models.heads import answered, widened
from sdq.models.retrieval import load_for
from sdq.recipe import Recipe
from sdq.settings import UserError
from sdq.store import Store
from sdq.store.identity import unreplaced, weights_of

Made = tuple[str, str | None]  # fingerprints of a run's task and model


@lru_cache(maxsize=4)
def _task(name: str, content: str) -> Task:
    return load_task(name)


def task_of(name: str) -> Task:
    """The task of that name, kept until its data change."""
    return _task(name, task_fingerprint(name))


@lru_cache(maxsize=4)
def _teacher(model: str, task: str, made_of: Made) -> tuple[nn.Module, Any]:
    """The model and tokenizer that runs were made of. UserError if the model is another one now."""
    if made_of[1] not in (None, weights_of(model, task)):
        raise UserError(
            f"the model {model} must be as it was when the run was made, it was changed since; run "
            "its recipe again"
        )
    return load_for(task_of(task), folder_of(model, task))


@lru_cache(maxsize=8)
def _model(
    recipe_json: str, model: str, task: str, weights: str | None, made_of: Made
) -> nn.Module:
    """The model of a run; `weights`: file of a trained student, or of its codes."""
    teacher, tokenizer = _teacher(model, task, made_of)
    return student_of(
        Recipe.model_validate_json(recipe_json),
        teacher,
        task_of(task),
        tokenizer,
        None if weights is None else Path(weights),
    )


def answer(text: str, runs: list[str], store: Store) -> list[dict[str, Any]]:
    """One row per run: run, method, words, answers (one label, or one tag per word, NO_ANSWER for
    one without a subword), shares (probability 0..1 of each answer, None without one) and, for one
    label, `best`: the five likeliest labels with their probabilities. A run whose weights are not
    here, or whose numbers are not finite, has `missing`: one sentence instead.
    """
    return [_guarded(text, run, store) for run in runs]


def _guarded(text: str, run: str, store: Store) -> dict[str, Any]:
    try:
        with boundary():
            return _row(text, run, store)
    except UserError as error:
        return {"run": run, "method": "", "missing": str(error)}


def _row(text: str, run: str, store: Store) -> dict[str, Any]:
    try:
        report = store.report(run)
    except UserError as error:
        return {"run": run, "method": "", "missing": str(error)}
    try:
        made_of = unreplaced(report, store), store.made_of(report, "weights")
        task = task_of(report.task)
        weights = store.weights(report)
        task = widened(task, _teacher(report.model, report.task, made_of)[0])
        model = _model(
            json.dumps(report.recipe),
            report.model,
            report.task,
            None if weights is None else str(weights),
            made_of,
        )
    except UserError as error:
        return {"run": run, "method": report.method, "missing": str(error)}
    words = _words(text, task)
    tokenizer = _teacher(report.model, report.task, made_of)[1]
    example = Example(
        "typed", "", text, words, (task.labels[0],) * (len(words) if task.kind == "token" else 1)
    )
    data = encode([example], task, tokenizer)
    batch = data.batch([0])
    with torch.inference_mode():
        # not around the loading: quantizers watch the version of their weights
        logits = model(**batch.inputs).logits
    chosen = logits[batch.scored] if task.kind == "token" else logits
    shares = chosen.softmax(-1)
    if not shares.isfinite().all():
        return {
            "run": run,
            "method": report.method,
            "missing": "this model's answer to the sentence is no finite number",
        }
    words_at, best = [0] if data.words is None else data.words[0], answered(model, chosen)
    given = zip(words_at, best.tolist(), shares.amax(-1).tolist(), strict=True)
    of = {word: (task.outputs[label], share) for word, label, share in given}
    places = [
        of.get(word, (NO_ANSWER, None)) for word in range(len(words) if task.kind == "token" else 1)
    ]
    row = {
        "run": run,
        "method": report.method,
        "words": list(words),
        "answers": [label for label, _ in places],
        "shares": [share for _, share in places],
    }
    if task.kind == "sequence":
        five = shares[0].topk(min(5, len(task.outputs)))
        row["best"] = [
            [task.outputs[i], share]
            for i, share in zip(five.indices.tolist(), five.values.tolist(), strict=True)
        ]
    return row


def _words(text: str, task: Task) -> tuple[str, ...]:
    """Words by spaces, as data are read; a text without any in a script that has none (Thai,
    Chinese) by characters, as subwords would split it anyway."""
    words = tuple(spaced(text))
    if len(words) > 1 or len(text) < 8 or not any(map(unspaced, text)):
        return words
    return tuple(letter for letter in text if not letter.isspace())
