"""Predictions of a model and how good they are, per language."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import torch
from seqeval.metrics.sequence_labeling import get_entities
from torch import nn

from sdq.data.batches import Encoded
from sdq.data.tasks import Example, Task
from sdq.report import Scores
from sdq.statistics import by_language, means

BATCH = 64


@torch.inference_mode()
def predict(model: nn.Module, data: Encoded, progress: Callable[[int], None] = lambda done: None) -> tuple[list[list[int]], list[float]]:
    """(predicted label ids, margin) of each example; one id per scored position. Margin: smallest top-1 minus top-2 logit."""
    answers: list[list[int]] = [[] for _ in range(len(data))]
    margins = [0.0] * len(data)
    done = 0
    for batch in data.in_order(BATCH):
        logits = model(**batch.inputs).logits
        if not data.token:
            logits = logits[:, None]
        best = logits.topk(2, dim=-1)
        scored = batch.scored if data.token else batch.scored[:, None]
        for row, i in enumerate(batch.at):
            at = scored[row]
            answers[i] = best.indices[row, at, 0].tolist()
            gap = (best.values[row, at, 0] - best.values[row, at, 1]).tolist()
            margins[i] = min(gap, default=0.0)
        done += len(batch.at)
        progress(done)
    return answers, margins


def outcomes(examples: list[Example], answers: list[list[int]], margins: list[float], task: Task) -> pd.DataFrame:
    """One row per sentence: id, language, tp, predicted, gold (counts, see sdq.statistics), answer, margin."""
    rows = []
    for example, answer, margin in zip(examples, answers, margins, strict=True):
        labels = [task.labels[i] for i in answer]
        if task.kind == "sequence":
            tp, predicted, gold = int(labels[0] == example.targets[0]), 1, 1
        else:
            # words cut off by truncation have no answer and count as O
            mine = set(get_entities(labels + ["O"] * (len(example.targets) - len(labels))))
            theirs = set(get_entities(list(example.targets)))
            tp, predicted, gold = len(mine & theirs), len(mine), len(theirs)
        rows.append((example.id, example.language, tp, predicted, gold, " ".join(labels), margin))
    return pd.DataFrame(rows, columns=["id", "language", "tp", "predicted", "gold", "answer", "margin"])


def scores(table: pd.DataFrame, task: Task) -> Scores:
    """Scores per language in the task's order, and their means."""
    found = by_language(table)
    ordered = {code: found[code] for code in task.languages if code in found}
    mean, zero_shot = means(ordered, task.labelled)
    return Scores(mean=mean, zero_shot_mean=zero_shot, by_language=ordered)
