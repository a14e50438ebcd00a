"""How answers are scored: one registry. A metric turns a unit (a sentence, or a query with its
documents) into three counts.

The counts are tp, predicted and gold, made such that 2 tp / (predicted + gold) over all units is
the metric (see sdq.evaluate.statistics): whatever resamples units, pairs them or adds them up need
not know which metric it is. Needs no torch. Units and directions: sdq.results.METRICS.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Literal

import numpy as np
import pandas as pd

from sdq.data.tagging import CONLLEVAL, NO_ANSWER, Span, Tagging
from sdq.data.task import Example, Task
from sdq.evaluate.statistics import Counts

Tags = Sequence[str]
Counted = tuple[float, float, float]


@dataclass(frozen=True)
class Scoring:
    """`count(gold, answers, tagging)`: labels of each example of one unit, twice, and how tags make
    spans -> (tp, predicted, gold); three zeros leave the unit out."""

    unit: Literal["sentence", "query"]
    count: Callable[[Sequence[Tags], Sequence[Tags], Tagging], Counted]


def accuracy(
    gold: Sequence[Tags], answers: Sequence[Tags], tagging: Tagging = CONLLEVAL
) -> Counted:
    """1 of 1 for the right label.

    gold, answers: one label each
    tagging: unused
    """
    return int(answers[0][0] == gold[0][0]), 1, 1


def span_f1(gold: Sequence[Tags], answers: Sequence[Tags], tagging: Tagging = CONLLEVAL) -> Counted:
    """Micro F1 over the spans that the tags make (see sdq.data.tagging): a span is right if its
    kind and both ends are.

    gold, answers: the tags of one sentence
    tagging: how tags make spans
    """
    predicted, true = _spans(gold, answers, tagging)
    return len(predicted & true), len(predicted), len(true)


def span_precision(
    gold: Sequence[Tags], answers: Sequence[Tags], tagging: Tagging = CONLLEVAL
) -> Counted:
    """Micro precision over the same spans, `gold` set to what was predicted: with conlleval XGLUE's
    official score of POS. That takes the first letter of a part of speech for B, I, E, S or O and
    the rest for a kind, so that neighbours of one kind are mostly one span, and some are never
    found. Sentence by sentence: seqeval joins all of them into one row, in which the tag X, of no
    kind, takes its start from the sentence before if it opens one, and mostly counts as wrong.

    gold, answers: the tags of one sentence
    tagging: how tags make spans
    """
    predicted, true = _spans(gold, answers, tagging)
    return len(predicted & true), len(predicted), len(predicted)


def token_accuracy(
    gold: Sequence[Tags], answers: Sequence[Tags], tagging: Tagging = CONLLEVAL
) -> Counted:
    """Right tags of all tags; a word without an answer (cut off, or of no subword) is wrong.

    gold, answers: the tags of one sentence
    tagging: unused
    """
    return (
        sum(a == b for a, b in zip(gold[0], answers[0], strict=False)),
        len(gold[0]),
        len(gold[0]),
    )


def ndcg(gold: Sequence[Tags], answers: Sequence[Tags], tagging: Tagging = CONLLEVAL) -> Counted:
    """nDCG of the documents of one query, ranked by the predicted label, gains the true labels,
    ties averaged (as scikit-learn does, and XGLUE).

    gold, answers: one label, a whole number, per document of the query
    tagging: unused

    tp is the query's nDCG, so that the mean over queries comes out. A query with fewer than two
    documents is left out, and one without a relevant document counts 0, as it does there.
    """
    if len(gold) < 2:
        return 0, 0, 0
    relevance, ranked_by = (
        np.array([float(labels[0]) for labels in side]) for side in (gold, answers)
    )
    best = float(_discounts(len(gold)) @ np.sort(relevance)[::-1])
    return (_gain(relevance, ranked_by) / best if best else 0.0), 1, 1


def _discounts(n: int) -> Counts:
    return 1 / np.log2(np.arange(2, n + 2))


def _gain(relevance: Counts, ranked_by: Counts) -> float:
    """Discounted cumulative gain with the mean gain at each place of a tie."""
    discounts, total, place = _discounts(len(relevance)), 0.0, 0
    for value in np.unique(ranked_by)[::-1]:
        tied = relevance[ranked_by == value]
        total += float(tied.mean() * discounts[place : place + len(tied)].sum())
        place += len(tied)
    return total


def _spans(
    gold: Sequence[Tags], answers: Sequence[Tags], tagging: Tagging
) -> tuple[set[Span], set[Span]]:
    """The spans of the answers and of the gold tags; words without an answer are outside, at their
    place."""
    missing = [NO_ANSWER] * (len(gold[0]) - len(answers[0]))
    return tagging.spans([*answers[0], *missing]), tagging.spans(gold[0])


# name -> scoring; a new metric is one line here and one in sdq.results.METRICS
SCORINGS: dict[str, Scoring] = {
    "accuracy": Scoring("sentence", accuracy),
    "f1": Scoring("sentence", span_f1),
    "precision": Scoring("sentence", span_precision),
    "token_accuracy": Scoring("sentence", token_accuracy),
    "ndcg": Scoring("query", ndcg),
}


def units(examples: Sequence[Example], metric: str) -> list[tuple[str, list[int]]]:
    """(id, positions of its examples) of each unit the metric scores, in order: sentences, or
    queries of one language."""
    if SCORINGS[metric].unit == "sentence":
        return [(e.id, [i]) for i, e in enumerate(examples)]
    # stable
    order = sorted(range(len(examples)), key=lambda i: (examples[i].language, examples[i].group))
    return [
        (examples[at[0]].group, at)
        for _, group in groupby(order, key=lambda i: (examples[i].language, examples[i].group))
        if (at := list(group))
    ]


def tally(
    examples: Sequence[Example],
    answers: Sequence[Tags],
    margins: Sequence[float],
    metric: str,
    tagging: Tagging | None = None,
) -> pd.DataFrame:
    """One row per unit.

    examples: of a split
    answers: labels of each, one per word where words have tags
    margins: top-1 minus top-2 logit of each
    metric: one of SCORINGS
    tagging: how tags make spans; conlleval if None

    id, language
    tp, predicted, gold: counts
    answer: labels joined by spaces, one per word where words have tags
    margin: the smallest in it
    """
    count, rows = SCORINGS[metric].count, []
    for id, at in units(examples, metric):
        counted = count(
            [examples[i].targets for i in at], [answers[i] for i in at], tagging or CONLLEVAL
        )
        rows.append(
            (
                id,
                examples[at[0]].language,
                *counted,
                " ".join(label for i in at for label in answers[i]),
                min(margins[i] for i in at),
            )
        )
    return pd.DataFrame(
        rows, columns=["id", "language", "tp", "predicted", "gold", "answer", "margin"]
    )


def secondary_outcomes(
    table: pd.DataFrame, examples: Sequence[Example], task: Task
) -> dict[str, pd.DataFrame]:
    """The tables of the metrics reported beside the one that counts, by name, from the answers in
    the table of that one.

    table: of `tally` by the metric that counts
    examples: that it was made of
    task: theirs
    """
    answers: list[Tags] = [()] * len(examples)
    for (_, at), given in zip(units(examples, task.metric), table["answer"], strict=True):
        labels = given.split() if task.kind == "token" or len(at) > 1 else [given]
        for place, i in enumerate(at):
            answers[i] = labels if task.kind == "token" else labels[place : place + 1]
    return {
        metric: tally(examples, answers, [0.0] * len(examples), metric, task.tagging)
        for metric in task.beside
    }
