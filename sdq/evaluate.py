"""Predictions of a model and how good they are, per language."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import torch
from torch import nn

from sdq.data.batches import Encoded
from sdq.data.tasks import Example, Task
from sdq.metrics import beside, tally
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
    """One row per sentence (of a ranking: per query): id, language, tp, predicted, gold (counts, see sdq.metrics), answer, margin."""
    return tally(examples, [[task.outputs[i] for i in answer] for answer in answers], margins, task.metric)


def scores(table: pd.DataFrame, task: Task) -> Scores:
    """Scores per language in the task's order, and their means."""
    found = by_language(table)
    ordered = {code: found[code] for code in task.languages if code in found}
    mean, zero_shot = means(ordered, task.labelled)
    return Scores(mean=mean, zero_shot_mean=zero_shot, by_language=ordered)


def scores_beside(table: pd.DataFrame, examples: list[Example], task: Task) -> dict[str, Scores]:
    """Scores by the metrics that are reported beside the one that counts, by name."""
    return {metric: scores(rows, task) for metric, rows in beside(table, examples, task).items()}
