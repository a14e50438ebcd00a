"""How often 95 % intervals hold the truth, and how often tests find what is not there, by
simulation.

A thousand simulated test sets are a thousand made-up languages of one table: they are resampled at
once. `python -m tests.unit.evaluate.test_coverage` prints the whole grid, the plain bootstrap
beside ours.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest

from sdq.evaluate.draws import draw_counts
from sdq.evaluate.significance import change, interaction, paired_tests
from sdq.evaluate.statistics import intervals, mean_interval, resample

Answers = np.ndarray
ACCURACIES, DROPS, SIZES = (
    (0.3, 0.5, 0.8, 0.9, 0.95, 0.98),
    (0.0, 0.005, 0.01, 0.02, 0.05, 0.1),
    (200, 400, 700),
)
GAINED = (0.005, 0.02, 0.08)  # share of sentences that the quantized model gains


def table(answers: Answers, ids: list[str] | None = None) -> pd.DataFrame:
    """Right or wrong [languages, sentences] as a per-sentence table; all languages share the
    ids."""
    languages, n = answers.shape
    ids = ids or [f"s{i:04d}" for i in range(n)]
    codes = np.repeat([f"l{i:04d}" for i in range(languages)], n)
    return pd.DataFrame(
        {
            "id": ids * languages,
            "language": codes,
            "tp": answers.ravel().astype(int),
            "predicted": 1,
            "gold": 1,
        }
    )


def codes(answers: Answers) -> list[str]:
    return [f"l{i:04d}" for i in range(len(answers))]


def in_batches(covered: Callable[[int], Answers], sets: int, size: int = 250) -> float:
    """Share of `sets` simulations in which something holds, `size` of them at a time."""
    return float(
        np.concatenate([covered(min(size, sets - done)) for done in range(0, sets, size)]).mean()
    )


def of_scores(n: int, accuracy: float, sets: int, rng: np.random.Generator) -> float:
    """Share of simulated test sets whose interval holds the true accuracy."""

    def covered(batch: int) -> Answers:
        right = rng.random((batch, n)) < accuracy
        low, high = np.array(list(intervals(table(right), codes(right), draws=1000).values())).T
        return (low <= accuracy) & (accuracy <= high)

    return in_batches(covered, sets)


def of_drops(
    n: int, drop: float, gained: float, sets: int, rng: np.random.Generator, plain: bool = False
) -> float:
    """Share of simulated pairs whose interval holds the true drop; `plain`: that of the percentile
    bootstrap without smoothing."""

    def covered(batch: int) -> Answers:
        # lost, gained, both wrong, both right
        kind = rng.choice(4, (batch, n), p=[drop + gained, gained, 0.2, 0.8 - drop - 2 * gained])
        before, after = (kind == 0) | (kind == 3), (kind == 1) | (kind == 3)
        if plain:
            weights = draw_counts(n, 1000, 0)
            low, high = np.quantile(
                (before.astype(np.float32) - after) @ weights / weights.sum(0),
                [0.025, 0.975],
                axis=1,
            )
        else:
            estimated = resample([[table(after)], [table(before)]], codes(before), draws=1000)
            low, high = np.array([estimated.estimate(w, change)[1:3] for w in np.eye(batch)]).T
        return (low - 1e-9 <= drop) & (drop <= high + 1e-9)

    return in_batches(covered, sets)


@pytest.mark.parametrize(("n", "accuracy"), [(200, 0.98), (200, 0.9), (700, 0.3)])
def test_intervals_of_scores_cover(n: int, accuracy: float) -> None:
    assert 0.915 <= of_scores(n, accuracy, 250, np.random.default_rng(n)) <= 0.985


@pytest.mark.parametrize(
    ("n", "drop", "gained"), [(200, 0.05, 0.02), (200, 0.0, 0.02), (700, 0.01, 0.02)]
)
def test_intervals_of_drops_cover(n: int, drop: float, gained: float) -> None:
    assert 0.915 <= of_drops(n, drop, gained, 250, np.random.default_rng(n)) <= 0.985


def test_a_plain_bootstrap_does_not_where_little_flips() -> None:
    rng = np.random.default_rng(0)
    assert of_drops(200, 0.005, 0.0025, 250, rng, plain=True) < 0.85
    assert of_drops(200, 0.005, 0.0025, 250, rng) > 0.95


@pytest.mark.slow
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("accuracy", ACCURACIES)
def test_intervals_of_scores_cover_everywhere(n: int, accuracy: float) -> None:
    assert (
        0.93
        <= of_scores(n, accuracy, 2500, np.random.default_rng([n, int(100 * accuracy)]))
        <= 0.97
    )


@pytest.mark.slow
@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("drop", DROPS)
@pytest.mark.parametrize("gained", GAINED)
def test_intervals_of_drops_cover_everywhere(n: int, drop: float, gained: float) -> None:
    """Where fewer than six flips are to be expected, an interval of whole sentences has few ends to
    choose from: it may cover more, never less."""
    few = n * (drop + 2 * gained) < 6
    estimated = of_drops(
        n, drop, gained, 2500, np.random.default_rng([n, int(1000 * drop), int(1000 * gained)])
    )
    assert 0.93 <= estimated <= (1 if few else 0.97)


def frames(
    rng: np.random.Generator,
    languages: int,
    count: int = 140,
    fillings: int = 5,
    drop: tuple[float, ...] = (0.03,),
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two models on `count` frames with `fillings` each, in several languages: sentences of a
    frame, and a sentence in all languages, are alike."""
    hard = rng.normal(0, 1, count).repeat(fillings) + rng.normal(0, 0.7, count * fillings)
    hit = rng.normal(0, 1, count).repeat(fillings)  # which frames quantization hurts
    at = np.resize(drop, languages)[:, None]
    noise = rng.normal(0, 0.7, (languages, count * fillings))
    before = hard + noise < 1.2
    after = before & ~(rng.random(before.shape) < np.clip(at * (1 + hit), 0, 1)) | (
        ~before & (rng.random(before.shape) < 0.02)
    )
    ids = [f"f.test.{i:03d}.{k}" for i in range(count) for k in range(fillings)]
    return table(before, ids), table(after, ids)


def share(estimated: Callable[[np.random.Generator], bool], times: int) -> float:
    """How often something is so, over simulations with seeds of their own."""
    return float(np.mean([estimated(np.random.default_rng(i)) for i in range(times)]))


@pytest.mark.slow
def test_means_over_languages_cover_with_frames_and_shared_sentences() -> None:
    every = [f"l{i:04d}" for i in range(6)]
    truth = np.mean(
        [
            np.subtract(*(t["tp"].mean() for t in frames(np.random.default_rng(10_000 + i), 6)))
            for i in range(1500)
        ]
    )

    def covered(rng: np.random.Generator) -> bool:
        before, after = frames(rng, 6)
        estimated = resample([[after], [before]], every, draws=1000).estimate(
            np.full(6, 1 / 6), change
        )
        return bool(estimated.low <= truth <= estimated.high)

    assert 0.92 <= share(covered, 600) <= 0.97


@pytest.mark.slow
def test_means_over_seeds_cover() -> None:
    """Three seeds whose true scores vary with a standard deviation of two points; half of what
    makes a sentence hard is the same for all."""

    def covered(rng: np.random.Generator) -> bool:
        hard = rng.random((1, 700))
        runs = [
            table(np.where(rng.random((1, 700)) < 0.5, hard, rng.random((1, 700))) < accuracy)
            for accuracy in rng.normal(0.8, 0.02, 3)
        ]
        _, low, high = mean_interval(runs, ["l0000"], draws=1000)
        return bool(low <= 0.8 <= high)

    assert 0.92 <= share(covered, 600) <= 0.985


@pytest.mark.slow
def test_tests_rarely_find_what_is_not_there() -> None:
    """Two models that differ by chance alone: p < 0.05 in one of twenty, per language and over all,
    though frames and sentences repeat."""

    def both(rng: np.random.Generator) -> tuple[pd.DataFrame, pd.DataFrame]:
        first, _ = frames(rng, 3)
        swap = rng.random(140).repeat(5) < 0.5  # a frame is answered well by one of the two
        answers = first["tp"].to_numpy().reshape(3, 700)
        easy = answers | (rng.random((3, 700)) < 0.1)
        ids = list(first["id"][:700])
        return table(np.where(swap, easy, answers), ids), table(np.where(swap, answers, easy), ids)

    estimated = [
        paired_tests(*both(np.random.default_rng(i)), ["l0000", "l0001", "l0002"])["p"].to_numpy()
        < 0.05
        for i in range(400)
    ]
    for row in np.array(estimated).T:
        assert 0.02 <= row.mean() <= 0.08


@pytest.mark.slow
def test_interaction_is_rarely_found_where_there_is_none_and_mostly_where_there_is() -> None:
    away = ["l0001", "l0002", "l0003"]

    def significant(drop: tuple[float, ...]) -> Callable[[np.random.Generator], bool]:
        def p(rng: np.random.Generator) -> bool:
            return bool(
                interaction(*frames(rng, 4, drop=drop), {"zero-shot": away}, ["l0000"])["p"].iloc[1]
                < 0.05
            )

        return p

    assert 0.02 <= share(significant((0.05,)), 400) <= 0.085
    assert share(significant((0.02, 0.1, 0.1, 0.1)), 100) > 0.8


if __name__ == "__main__":
    for n in SIZES:
        print(
            f"n = {n}: scores",
            {a: round(of_scores(n, a, 2500, np.random.default_rng(n)), 3) for a in ACCURACIES},
        )
        for d in DROPS:
            pairs = {
                g: tuple(
                    round(of_drops(n, d, g, 2500, np.random.default_rng(n), plain), 3)
                    for plain in (False, True)
                )
                for g in GAINED
            }
            print(f"n = {n}, drop {d}: gained -> (ours, plain)", pairs, flush=True)
