"""Scores, intervals and paired tests against independent implementations; how often intervals cover
is in test_coverage.py."""

from __future__ import annotations

import gc
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.stats import binomtest, bootstrap, permutation_test
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.proportion import proportion_confint

from sdq.evaluate import statistics
from sdq.settings import UserError
from tests.profiles import examples


def table(right: np.ndarray, language: str = "de") -> pd.DataFrame:
    ones = np.ones(len(right), dtype=int)
    return pd.DataFrame(
        {
            "id": [f"s{i}" for i in range(len(right))],
            "language": language,
            "tp": right.astype(int),
            "predicted": ones,
            "gold": ones,
        }
    )


def spans(rng: np.random.Generator, n: int, quality: float, language: str = "de") -> pd.DataFrame:
    """Made-up counts of n sentences with one to four gold phrases, of which the share `quality` is
    found."""
    gold = rng.integers(1, 5, n)
    tp = rng.binomial(gold, quality)
    return pd.DataFrame(
        {
            "id": [f"s{i}" for i in range(n)],
            "language": language,
            "tp": tp,
            "predicted": tp + rng.binomial(2, 0.2, n),
            "gold": gold,
        }
    )


def f1(tp: np.ndarray, predicted: np.ndarray, gold: np.ndarray, axis: int = -1) -> np.ndarray:
    return 2 * tp.sum(axis) / (predicted.sum(axis) + gold.sum(axis))


@examples(1000)
@given(st.integers(0, 400), st.integers(0, 400))
def test_mcnemar_is_that_of_statsmodels_and_of_scipy(lost: int, gained: int) -> None:
    p = statistics.mcnemar(lost, gained)
    assert p == pytest.approx(mcnemar([[0, lost], [gained, 0]], exact=True).pvalue)
    assert p == pytest.approx(binomtest(lost, lost + gained).pvalue if lost + gained else 1.0)


def test_mcnemar_of_many_flips() -> None:
    assert statistics.mcnemar(5000, 5000) == 1
    assert statistics.mcnemar(4000, 5000) == pytest.approx(binomtest(4000, 9000).pvalue, rel=1e-6)
    assert statistics.mcnemar(0, 3000) == 0  # too small for a float


@pytest.fixture(scope="module")
def uncollected() -> Iterator[None]:
    """statsmodels collects garbage at each correction, which among all our imports takes a tenth of
    a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(gc, "collect", lambda: 0)
        yield


@examples(1000)
@given(p=st.lists(st.floats(0, 1), min_size=1, max_size=20))
def test_holm_is_that_of_statsmodels(uncollected: None, p: list[float]) -> None:
    assert statistics.holm(p) == pytest.approx(multipletests(p, method="holm")[1])


def test_holm_leaves_out_what_is_missing() -> None:
    assert statistics.holm([0.01, float("nan"), 0.04]) == pytest.approx(
        [0.02, float("nan"), 0.04], nan_ok=True
    )


CASES = st.tuples(st.integers(0, 2**31), st.sampled_from([200, 400, 700]), st.floats(0.3, 0.95))


def check_intervals(seed: int, n: int, share: float) -> None:
    """Ours against scipy's percentile bootstrap: same ends but for the chance of the draws (a
    twentieth of the width), for the smoothing (half a sentence), and for scipy's ends, which are
    whole sentences (another half)."""
    rng = np.random.default_rng(seed)
    right = rng.random(n) < share
    low, high = statistics.intervals(table(right), ["de"])["de"]
    theirs = bootstrap(
        (right.astype(float),), np.mean, method="percentile", n_resamples=4000, batch=500, rng=seed
    ).confidence_interval
    room = 0.08 * (theirs.high - theirs.low) + 0.5 / n
    assert (low, high) == pytest.approx((theirs.low, theirs.high), abs=room + 0.5 / n)
    assert (low, high) == pytest.approx(
        proportion_confint(right.sum(), n, method="jeffreys"), abs=room
    )
    sentences = spans(rng, n, share)
    low, high = statistics.intervals(sentences, ["de"])["de"]
    counts = tuple(sentences[c].to_numpy(float) for c in ("tp", "predicted", "gold"))
    theirs = bootstrap(
        counts, f1, method="percentile", paired=True, n_resamples=4000, batch=500, rng=seed
    ).confidence_interval
    assert (low, high) == pytest.approx(
        (theirs.low, theirs.high), abs=0.1 * (theirs.high - theirs.low) + 1 / n
    )


@examples(15)
@example((17163, 200, 0.9453125))
@given(CASES)
def test_intervals_are_those_of_scipy(case: tuple[int, int, float]) -> None:
    check_intervals(*case)


@pytest.mark.slow
@examples(1000)
@given(CASES)
def test_intervals_are_those_of_scipy_in_a_thousand_cases(case: tuple[int, int, float]) -> None:
    check_intervals(*case)


def test_the_standard_error_is_that_of_a_paired_difference() -> None:
    rng = np.random.default_rng(1)
    a = rng.random(700) < 0.8
    b = np.where(rng.random(700) < 0.1, rng.random(700) < 0.5, a)
    estimated = statistics.resample([[table(a)], [table(b)]], ["de"]).estimate(
        np.ones(1), lambda x, y: y - x
    )
    delta = b.astype(float) - a
    assert estimated.value == pytest.approx(delta.mean())
    assert estimated.error == pytest.approx(delta.std() / np.sqrt(700), rel=0.05)
    assert estimated.low < estimated.value < estimated.high


@pytest.mark.parametrize("seed", range(3))
def test_randomisation_is_that_of_scipy(seed: int) -> None:
    rng = np.random.default_rng(seed)
    a, b = spans(rng, 300, 0.7), spans(rng, 300, 0.74)
    b["gold"] = a["gold"]
    b["tp"] = np.minimum(b["tp"], b["gold"])
    null = statistics.swapped(a, b, ["de"])[0]
    observed = f1(*(b[c].to_numpy() for c in ("tp", "predicted", "gold"))) - f1(
        *(a[c].to_numpy() for c in ("tp", "predicted", "gold"))
    )
    rows = np.arange(300.0)

    def difference(first: np.ndarray, second: np.ndarray, axis: int = -1) -> np.ndarray:
        """Which rows of which table: the row number plus 1000 for those of b."""
        sums = [
            [
                np.take(np.concatenate([a[c].to_numpy(), b[c].to_numpy()]), _at(side)).sum(axis)
                for c in ("tp", "predicted", "gold")
            ]
            for side in (first, second)
        ]
        scores = [2 * tp / (predicted + gold) for tp, predicted, gold in sums]
        return scores[1] - scores[0]

    def _at(side: np.ndarray) -> np.ndarray:
        return (side % 1000 + 300 * (side >= 1000)).astype(int)

    theirs = permutation_test(
        (rows, rows + 1000),
        difference,
        permutation_type="samples",
        n_resamples=4000,
        vectorized=True,
        rng=seed,
    )
    assert theirs.statistic == pytest.approx(observed)
    ours = (np.abs(null) >= abs(observed) - 1e-9).mean()
    assert ours == pytest.approx(theirs.pvalue, abs=0.03)


def test_a_sentence_in_several_languages_is_drawn_once() -> None:
    right = np.random.default_rng(2).random(400) < 0.7
    one, codes = table(right), ["de", "fr", "es", "it"]
    alike = pd.concat([one.assign(language=code) for code in codes])
    apart = pd.concat([one.assign(language=code, id=code + one["id"]) for code in codes])
    alone, together, own = (
        np.ptp(statistics.mean_interval([t], c)[1:])
        for t, c in ((one, ["de"]), (alike, codes), (apart, codes))
    )
    assert together == pytest.approx(alone, rel=0.05)
    assert own == pytest.approx(alone / 2, rel=0.1)


def test_fillings_of_a_frame_are_drawn_together() -> None:
    rng = np.random.default_rng(3)
    frames = rng.random(120) < 0.7
    filled = table(np.repeat(frames, 5)).assign(
        id=[f"alarm_set.test.{i:02d}.{k:02d}" for i in range(120) for k in range(5)]
    )
    assert statistics.clusters(filled["id"]).nunique() == 120
    wide, narrow = (
        np.ptp(statistics.intervals(t, ["de"])["de"])
        for t in (filled, filled.assign(id=[f"s{i}" for i in range(600)]))
    )
    assert wide == pytest.approx(np.sqrt(5) * narrow, rel=0.1)
    untouched = pd.Series(["n01001011", "weblog-a.com_b-0001", "de.dev.12", "s.test.3", 7])
    assert statistics.clusters(untouched).tolist() == [
        "n01001011",
        "weblog-a.com_b-0001",
        "de.dev.12",
        "s.test.3",
        "7",
    ]


def test_mean_interval_over_seeds_is_wider_with_unlike_seeds() -> None:
    rng = np.random.default_rng(5)
    alike = [table(rng.random(500) < 0.7) for _ in range(3)]
    unlike = [table(rng.random(500) < p) for p in (0.6, 0.7, 0.8)]
    width = [np.ptp(statistics.mean_interval(runs, ["de"])[1:]) for runs in (alike, unlike)]
    assert width[1] > 3 * width[0]


def test_unlike_seeds_move_the_mean_by_a_student_t() -> None:
    """Where the seeds differ far more than the sentences, the interval is the t interval of their
    mean."""
    shares = np.array([0.2, 0.5, 0.9])
    runs = [table(np.arange(2000) < share * 2000) for share in shares]
    mean, low, high = statistics.mean_interval(runs, ["de"])
    from scipy.stats import t as student

    half = student.ppf(0.975, 2) * shares.std(ddof=1) / np.sqrt(3)
    assert mean == pytest.approx(shares.mean())
    assert (low, high) == pytest.approx((mean - half, mean + half), abs=0.12 * half)


def test_the_order_of_rows_does_not_matter() -> None:
    rng = np.random.default_rng(4)
    a = pd.concat([table(rng.random(100) < 0.5), table(rng.random(100) < 0.5, "fr")])
    b = pd.concat([table(rng.random(100) < 0.6), table(rng.random(100) < 0.6, "fr")])
    mixed = [t.sample(frac=1, random_state=i) for i, t in enumerate((a, b))]
    weights = np.full(2, 0.5)
    one, two = (
        statistics.resample([[x], [y]], ["de", "fr"]).estimate(weights, lambda x, y: y - x)
        for x, y in ((a, b), mixed)
    )
    assert one == two
    assert (
        statistics.swapped(a, b, ["de", "fr"], draws=50)
        == statistics.swapped(*mixed, ["de", "fr"], draws=50)
    ).all()


def test_other_sentences_are_refused() -> None:
    one = table(np.ones(5))
    for other, said in (
        (one.iloc[1:], "5, 4"),
        (one.assign(id=[f"t{i}" for i in range(5)]), "5, 5"),
        (one.assign(language="fr"), "5, 0"),
    ):
        with pytest.raises(UserError, match=f"same sentences in 'de', got {said} of them"):
            statistics.gathered([one, other], ["de"])
    with pytest.raises(UserError, match="same sentences in 'fr', got 0"):
        statistics.gathered([one], ["de", "fr"])


def test_flips_are_counted_by_language() -> None:
    a, b = table(np.array([1, 1, 1, 0, 0])), table(np.array([1, 0, 0, 1, 0]))
    both = [pd.concat([t, t.assign(language="fr", tp=1)]) for t in (a, b)]
    flipped = statistics.flips(both[0], both[1].sample(frac=1, random_state=0))
    assert flipped.loc["de"].tolist() == [2, 1]
    assert flipped.loc["fr"].tolist() == [0, 0]


@pytest.mark.parametrize(
    ("p", "cell", "text"),
    [
        (0.0004, "< 0.001", "p < 0.001"),
        (0.04, "0.040", "p = 0.040"),
        (0.0951, "0.10", "p = 0.10"),
        (0.347, "0.35", "p = 0.35"),
    ],
)
def test_p_values_are_written_by_one_rule(p: float, cell: str, text: str) -> None:
    assert (statistics.p_cell(p), statistics.p_text(p)) == (cell, text)
    assert statistics.p_cell(float("nan")) == ""
