"""Scores, intervals and paired tests against independent implementations and by simulation."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from seqeval.metrics import f1_score

from sdq import statistics
from sdq.data.tasks import Example, Task
from sdq.evaluate import outcomes, scores

TAGS = ("O", "B-city", "I-city", "B-time", "I-time")


def table(right: np.ndarray, language: str = "de") -> pd.DataFrame:
    ones = np.ones(len(right), dtype=int)
    return pd.DataFrame({"id": [f"s{i}" for i in range(len(right))], "language": language, "tp": right.astype(int), "predicted": ones, "gold": ones})


def task(kind: str, labels: tuple[str, ...]) -> Task:
    return Task("made", kind, labels, ("de", "en"), "en", "f1" if kind == "token" else "accuracy", "0", {"test": []})  # type: ignore[arg-type]


@given(st.lists(st.tuples(st.lists(st.integers(0, 4), min_size=1, max_size=8), st.integers(0, 2**20)), min_size=1, max_size=12))
def test_counts_give_seqeval_f1(sentences: list[tuple[list[int], int]]) -> None:
    gold = [[TAGS[i] for i in ids] for ids, _ in sentences]
    answers = [list(np.random.default_rng(seed).integers(0, 5, len(ids))) for ids, seed in sentences]
    examples = [Example(f"s{i}", "de", "", tuple(tags), tuple(tags)) for i, tags in enumerate(gold)]
    found = outcomes(examples, answers, [0.0] * len(gold), task("token", TAGS))
    expected = f1_score(gold, [[TAGS[i] for i in a] for a in answers], zero_division=0)
    assert statistics.score(found["tp"].to_numpy(), found["predicted"].to_numpy(), found["gold"].to_numpy()) == pytest.approx(expected)


def test_cut_words_count_as_outside() -> None:
    example = Example("s", "de", "", ("a", "b", "c"), ("B-city", "O", "B-time"))
    row = outcomes([example], [[1, 0]], [0.0], task("token", TAGS)).iloc[0]
    assert (row.tp, row.predicted, row.gold) == (1, 1, 2)


def test_accuracy_and_means() -> None:
    examples = [Example(f"s{i}", code, "", (), ("b",)) for code in ("de", "en") for i in range(4)]
    answers = [[1], [1], [0], [1], [1], [1], [1], [1]]
    found = scores(outcomes(examples, answers, [1.0] * 8, task("sequence", ("a", "b"))), task("sequence", ("a", "b")))
    assert found.by_language == {"de": 0.75, "en": 1.0}
    assert (found.mean, found.zero_shot_mean) == (0.875, 0.75)


def test_interval_covers_the_truth() -> None:
    rng = np.random.default_rng(0)
    ones = np.ones(200, dtype=int)
    hits = 0
    for i in range(300):
        low, high = statistics.interval((rng.random(200) < 0.8).astype(int), ones, ones, seed=i, draws=400)
        hits += low <= 0.8 <= high
    assert 0.91 <= hits / 300 <= 0.985


def test_compare_finds_a_difference_and_its_direction() -> None:
    rng = np.random.default_rng(1)
    a = rng.random(600) < 0.70
    b = a | (rng.random(600) < 0.2)
    found = statistics.compare([table(a)], [table(b)], ["de"])
    assert found.mean == pytest.approx(b.mean() - a.mean())
    assert 0 < found.low < found.mean < found.high
    assert found.p < 0.001
    back = statistics.compare([table(b)], [table(a)], ["de"])
    assert back.mean == pytest.approx(-found.mean)


def test_compare_does_not_find_what_is_not_there() -> None:
    rng = np.random.default_rng(2)
    small = 0
    for _ in range(100):
        base = rng.random(300)
        a, b = base + rng.normal(0, 0.1, 300) < 0.7, base + rng.normal(0, 0.1, 300) < 0.7
        small += statistics.compare([table(a)], [table(b)], ["de"], draws=200).p < 0.05
    assert small <= 12


def test_randomization_agrees_with_mcnemar() -> None:
    rng = np.random.default_rng(3)
    a, b = rng.random(400) < 0.72, rng.random(400) < 0.78
    lost, won, p = statistics.mcnemar(table(a), table(b))
    assert (lost, won) == (int((a & ~b).sum()), int((~a & b).sum()))
    assert p == pytest.approx(binomtest(lost, lost + won).pvalue)
    assert statistics.compare([table(a)], [table(b)], ["de"], draws=4000).p == pytest.approx(p, abs=0.05)


def test_the_order_of_rows_does_not_matter() -> None:
    rng = np.random.default_rng(4)
    a, b = table(rng.random(100) < 0.5), table(rng.random(100) < 0.6)
    assert statistics.compare([a], [b], ["de"]) == statistics.compare([a.sample(frac=1, random_state=0)], [b.sample(frac=1, random_state=1)], ["de"])


def test_mean_interval_over_seeds_is_wider_with_unlike_seeds() -> None:
    rng = np.random.default_rng(5)
    alike = [table(rng.random(500) < 0.7) for _ in range(3)]
    unlike = [table(rng.random(500) < p) for p in (0.6, 0.7, 0.8)]
    width = [np.subtract(*statistics.mean_interval(runs, ["de"])[:0:-1]) for runs in (alike, unlike)]
    assert width[1] > 1.5 * width[0]
