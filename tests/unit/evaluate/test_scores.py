"""Scores of answers: counts per sentence against seqeval, and their means."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from seqeval.metrics import f1_score

from sdq.data.task import Example, Task
from sdq.evaluate import statistics
from sdq.evaluate.predict import outcomes, scores

TAGS = ("O", "B-city", "I-city", "B-time", "I-time")


def task(kind: str, labels: tuple[str, ...]) -> Task:
    return Task(
        "made",
        kind,
        labels,
        ("de", "en"),
        "en",
        "f1" if kind == "token" else "accuracy",
        "0",
        {"test": []},
    )  # type: ignore[arg-type]


@given(
    st.lists(
        st.tuples(st.lists(st.integers(0, 4), min_size=1, max_size=8), st.integers(0, 2**20)),
        min_size=1,
        max_size=12,
    )
)
def test_counts_give_seqeval_f1(sentences: list[tuple[list[int], int]]) -> None:
    gold = [[TAGS[i] for i in ids] for ids, _ in sentences]
    answers = [
        list(np.random.default_rng(seed).integers(0, 5, len(ids))) for ids, seed in sentences
    ]
    examples = [Example(f"s{i}", "de", "", tuple(tags), tuple(tags)) for i, tags in enumerate(gold)]
    counted = outcomes(examples, answers, [0.0] * len(gold), task("token", TAGS))
    expected = f1_score(gold, [[TAGS[i] for i in a] for a in answers], zero_division=0)
    assert statistics.score(
        counted["tp"].to_numpy(), counted["predicted"].to_numpy(), counted["gold"].to_numpy()
    ) == pytest.approx(expected)


def test_cut_words_count_as_outside() -> None:
    example = Example("s", "de", "", ("a", "b", "c"), ("B-city", "O", "B-time"))
    row = outcomes([example], [[1, 0]], [0.0], task("token", TAGS)).iloc[0]
    assert (row.tp, row.predicted, row.gold) == (1, 1, 2)


def test_accuracy_and_means() -> None:
    examples = [Example(f"s{i}", code, "", (), ("b",)) for code in ("de", "en") for i in range(4)]
    answers = [[1], [1], [0], [1], [1], [1], [1], [1]]
    result = scores(
        outcomes(examples, answers, [1.0] * 8, task("sequence", ("a", "b"))),
        task("sequence", ("a", "b")),
    )
    assert result.by_language == {"de": 0.75, "en": 1.0}
    assert (result.mean, result.zero_shot_mean) == (0.875, 0.75)
