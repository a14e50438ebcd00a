"""IBM model 1 against the textbook's loops."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
import pytest

from sdq.midi import alignment

# das haus = the house, das buch = the book, ein buch = a book
FOREIGN = [np.array(row) for row in ([0, 1], [0, 2], [3, 2], [3, 2, 2], [])]
ENGLISH = [np.array(row) for row in ([5, 6], [5, 7], [8, 7], [8, 7], [9])]


def naive(rounds: int) -> tuple[dict[tuple[int, int], float], dict[tuple[int, int], float]]:
    """t(f | e) and p(e | f), pair by pair."""
    t: dict[tuple[int, int], float] = defaultdict(lambda: 1.0)
    counts: dict[tuple[int, int], float] = {}
    for _ in range(rounds):
        counts = defaultdict(float)
        for foreign, english in zip(FOREIGN, ENGLISH, strict=True):
            for f in foreign.tolist():
                total = sum(t[f, e] for e in english.tolist())
                for e in english.tolist():
                    counts[f, e] += t[f, e] / total
        of_english: dict[int, float] = defaultdict(float)
        for (_, e), count in counts.items():
            of_english[e] += count
        t = {(f, e): count / of_english[e] for (f, e), count in counts.items()}
    of_foreign: dict[int, float] = defaultdict(float)
    for (f, _), count in counts.items():
        of_foreign[f] += count
    return t, {(f, e): count / of_foreign[f] for (f, e), count in counts.items()}


@pytest.mark.parametrize("rounds", [1, 4])
def test_it_is_the_textbooks(rounds: int) -> None:
    table = alignment.model1(FOREIGN, ENGLISH, rounds)
    t, p = naive(rounds)
    keys = [divmod(int(key), table.base) for key in table.keys]
    assert keys == sorted(t)
    assert dict(zip(keys, table.given_english, strict=True)) == pytest.approx(dict(t))
    assert dict(zip(keys, table.given_foreign, strict=True)) == pytest.approx(p)


def test_known_alignments_are_found() -> None:
    table = alignment.model1(FOREIGN, ENGLISH, 20)
    share = table.posterior(np.array([0, 1]), np.array([5, 6]))
    assert share[0, 0] > 0.9
    assert share[1, 1] > 0.9
    assert share.sum(1) == pytest.approx([1, 1])


def test_what_never_occurred_together_stands_for_nothing() -> None:
    table = alignment.model1(FOREIGN, ENGLISH)
    share = table.posterior(np.array([1, 4, 0]), np.array([8, 99]))
    assert (share == 0).all()  # 99 is above every number of the table: no key of another pair
    twice = table.posterior(np.array([1]), np.array([6, 6, 99]))
    assert twice[0] == pytest.approx([0.5, 0.5, 0])


def test_rows_are_weighted_means_as_long_as_what_they_are_of() -> None:
    table = alignment.model1(FOREIGN, ENGLISH)
    english = np.random.default_rng(0).normal(size=(10, 4)).astype(np.float32)
    unknown = np.full(4, 7.0, np.float32)
    rows = alignment.rows(table, english, np.array([1, 4, 2]), unknown)
    _, p = naive(alignment.ROUNDS)
    for row, f in ((rows[0], 1), (rows[2], 2)):
        weight = {e: share**1.5 for (g, e), share in p.items() if g == f}
        total = sum(weight.values())
        mean = sum(w * english[e] for e, w in weight.items()) / total
        length = sum(w * np.linalg.norm(english[e]) for e, w in weight.items()) / total
        assert row == pytest.approx(mean * length / np.linalg.norm(mean), rel=1e-5)
    assert (rows[1] == unknown).all()
