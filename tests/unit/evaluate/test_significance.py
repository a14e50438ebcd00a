"""The one function that says what changed between two runs, and the interaction, on data one can do
sums with."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binomtest
from statsmodels.stats.multitest import multipletests

from sdq.evaluate.power import of_error, smallest_change
from sdq.evaluate.significance import (
    MCNEMAR,
    SEEDS,
    SWAPS,
    interaction,
    named_test,
    paired_tests,
    power_text,
)
from sdq.settings import UserError
from tests.profiles import examples

LANGUAGES = ["en", "de", "sw"]


def answered(
    shares: dict[str, float], n: int = 200, seed: int = 0, keep: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Sentences s0, s1, ... in each language, the share of them right at random; with `keep`, those
    of it stay right with this share."""
    rng, parts = np.random.default_rng(seed), []
    for code, share in shares.items():
        right = rng.random(n) < share
        if keep is not None:
            right &= keep.loc[keep["language"] == code, "tp"].to_numpy(bool)
        parts.append(
            pd.DataFrame(
                {
                    "id": [f"s{i:03d}" for i in range(n)],
                    "language": code,
                    "tp": right.astype(int),
                    "predicted": 1,
                    "gold": 1,
                }
            )
        )
    return pd.concat(parts, ignore_index=True)


FULL = answered({"en": 0.95, "de": 0.9, "sw": 0.8})
LESS = answered({"en": 0.98, "de": 0.9, "sw": 0.7}, seed=1, keep=FULL)


def test_rows_are_sums_over_the_sentences() -> None:
    tested = paired_tests(FULL, LESS, LANGUAGES, ("en",)).set_index("language")
    assert tested.index.tolist() == [*LANGUAGES, "all", "zero-shot"]
    for code in LANGUAGES:
        before, after = (t.loc[t["language"] == code, "tp"].to_numpy() for t in (FULL, LESS))
        lost, gained = int((before > after).sum()), int((after > before).sum())
        row = tested.loc[code]
        assert (row["base"], row["other"], row["change"]) == pytest.approx(
            (100 * before.mean(), 100 * after.mean(), 100 * (after.mean() - before.mean()))
        )
        assert (row["lost"], row["gained"], row["n"], row["clusters"]) == (lost, gained, 200, 200)
        assert row["p"] == row["mcnemar"] == pytest.approx(binomtest(lost, lost + gained).pvalue)
        assert row["detectable"] == pytest.approx(100 * smallest_change(200, (lost + gained) / 200))
        assert row["low"] <= row["change"] <= row["high"]
    assert tested["test"].tolist() == [MCNEMAR] * 3 + [SWAPS] * 2
    assert tested["p_holm"].tolist()[:3] == pytest.approx(
        multipletests(tested["p"][:3], method="holm")[1]
    )
    assert tested.loc[["all", "zero-shot"], ["p_holm", "mcnemar"]].isna().all(None)
    assert tested.loc["all", "change"] == pytest.approx(tested["change"][:3].mean())
    assert tested.loc["zero-shot", "change"] == pytest.approx(tested["change"][1:3].mean())
    assert tested.loc["all", ["lost", "n"]].tolist() == [tested["lost"][:3].sum(), 600]
    assert (
        tested.loc["zero-shot", "low"]
        < tested.loc["zero-shot", "change"]
        < tested.loc["zero-shot", "high"]
        < 0
    )


@examples(12)
@given(st.integers(0, 2**30), st.floats(0.3, 0.98), st.floats(0.7, 1.0), st.integers(30, 300))
def test_what_must_always_hold(seed: int, share: float, kept: float, n: int) -> None:
    full = answered({"en": share, "de": share}, n, seed)
    less = answered({"en": kept, "de": kept}, n, seed + 1, full)
    tested = paired_tests(full, less, ["en", "de"], seed=seed)
    back = paired_tests(less, full, ["en", "de"], seed=seed)
    assert back["change"].tolist() == pytest.approx((-tested["change"]).tolist())
    assert back["p"].tolist() == pytest.approx(tested["p"].tolist(), abs=0.03)
    assert ((tested["low"] <= tested["change"]) & (tested["change"] <= tested["high"])).all()
    assert tested["p"].between(0, 1).all()
    assert (tested["p_holm"].dropna() >= tested["p"][:2]).all()


def test_nothing_changed() -> None:
    same = paired_tests(FULL, FULL.sample(frac=1, random_state=0), LANGUAGES)
    assert (same["change"] == 0).all()
    assert (same["p"] == 1).all()
    assert ((same["low"] <= 0) & (same["high"] >= 0) & (same["high"] < 3)).all()
    # all flips would have to be losses
    assert same["detectable"].iloc[0] == pytest.approx(100 * smallest_change(200, 0))


def test_frames_and_f1_are_tested_by_randomisation() -> None:
    ids = {f"s{i:03d}": f"f.test.{i // 5:02d}.{i % 5}" for i in range(200)}
    framed = [t.assign(id=t["id"].map(ids)) for t in (FULL, LESS)]
    tested, plain = paired_tests(*framed, LANGUAGES), paired_tests(FULL, LESS, LANGUAGES)
    assert set(tested["test"]) == {SWAPS}
    assert tested["clusters"].tolist() == [40] * 4
    assert tested["mcnemar"].tolist()[:3] == plain["mcnemar"].tolist()[:3]
    assert tested["change"].tolist() == plain["change"].tolist()
    assert tested.loc[2, "p"] == pytest.approx(1 / 10_001)
    phrases = [t.assign(gold=2, predicted=2) for t in (FULL, LESS)]
    assert set(paired_tests(*phrases, LANGUAGES)["test"]) == {SWAPS}
    assert paired_tests(*phrases, LANGUAGES)["mcnemar"].isna().all()
    # a mean of values, as nDCG is
    half = paired_tests(
        FULL.assign(tp=FULL["tp"] * 0.5), LESS.assign(tp=LESS["tp"] * 0.5), LANGUAGES
    )
    assert set(half["test"]) == {SWAPS}
    assert half["change"].tolist() == pytest.approx((plain["change"] / 2).tolist())


def test_what_ties_is_as_likely_as_what_was_seen() -> None:
    """Six sentences lost and none gained, in frames of their own: swaps reach so much in 2 of 64
    cases, as McNemar's exact test has it."""
    full = pd.DataFrame(
        {
            "id": [f"f.test.{i // 2:02d}.{i % 2}" for i in range(40)],
            "language": "en",
            "tp": 1,
            "predicted": 1,
            "gold": 1,
        }
    )
    tested = paired_tests(
        full, full.assign(tp=[0 if i % 2 == 0 and i < 12 else 1 for i in range(40)]), ["en"]
    ).iloc[0]
    assert tested["p"] == pytest.approx(2 / 64, abs=0.006)
    assert tested["mcnemar"] == 2 / 64


def test_seeds_widen_the_interval_and_enter_p() -> None:
    seeds = [
        answered({"en": 0.98, "de": kept, "sw": kept}, seed=i, keep=FULL)
        for i, kept in enumerate((0.99, 0.9, 0.8))
    ]
    one, three = (
        paired_tests(FULL, seeds[1], LANGUAGES, ("en",)),
        paired_tests(FULL, seeds, LANGUAGES, ("en",)),
    )
    assert set(three["test"]) == {SEEDS}
    assert three["lost"].isna().all()
    width = [np.ptp(t.iloc[-1][["low", "high"]].to_numpy(float)) for t in (one, three)]
    assert width[1] > 3 * width[0]
    assert three["p"].iloc[-1] > 0.01 > one["p"].iloc[-1]
    each = [paired_tests(FULL, [s], LANGUAGES, ("en",))["change"].iloc[-1] for s in seeds]
    assert three["change"].iloc[-1] == pytest.approx(np.mean(each))


def test_other_sentences_are_refused() -> None:
    with pytest.raises(UserError, match="same sentences in 'en', got 200, 199"):
        paired_tests(FULL, LESS.iloc[1:], LANGUAGES)


def test_a_single_language_has_no_means() -> None:
    assert paired_tests(FULL, LESS, ["sw"], ("en",))["language"].tolist() == ["sw"]
    assert paired_tests(FULL, LESS, ["en"], ("en",))["language"].tolist() == ["en"]


def test_the_interaction_is_a_difference_of_drops() -> None:
    tested = interaction(
        FULL, LESS, {"zero-shot": ["de", "sw"], "Bantu": ["sw"]}, ["en"]
    ).set_index("group")
    each = paired_tests(FULL, LESS, LANGUAGES, ("en",)).set_index("language")
    assert tested.loc["trained on", ["drop", "low", "high"]].tolist() == pytest.approx(
        (-each.loc["en", ["change", "high", "low"]]).tolist(), abs=1e-9
    )
    assert tested.loc["zero-shot", "drop"] == pytest.approx(-each.loc["zero-shot", "change"])
    assert tested.loc["zero-shot", "extra"] == pytest.approx(
        each.loc["en", "change"] - each.loc["zero-shot", "change"]
    )
    assert tested.loc["Bantu", "share"] == pytest.approx(
        -100 * each.loc["sw", "change"] / each.loc["sw", "base"]
    )
    assert tested.loc["Bantu", "share_extra"] == pytest.approx(
        tested.loc["Bantu", "share"] - tested.loc["trained on", "share"]
    )
    assert tested.loc["Bantu", "extra_low"] > 0
    assert tested.loc["Bantu", "p"] < 0.01
    assert tested["p_holm"].tolist()[1:] == pytest.approx(
        multipletests(tested["p"][1:], method="holm")[1]
    )
    assert tested.loc["trained on", ["extra", "p", "p_holm"]].isna().all()
    assert interaction(FULL, LESS, {"all": LANGUAGES}, [])["extra"].isna().all()


def test_the_interaction_pairs_sentences_across_languages() -> None:
    """The same sentences break in both languages: what they lose is unsure, by how much they differ
    is not."""
    rng = np.random.default_rng(0)
    breaks = rng.random(300) < 0.2
    ids = [f"s{i}" for i in range(300)]
    full = pd.concat(
        [
            pd.DataFrame({"id": ids, "language": code, "tp": 1, "predicted": 1, "gold": 1})
            for code in ("en", "de")
        ],
        ignore_index=True,
    )
    tested = interaction(
        full, full.assign(tp=np.tile(~breaks, 2).astype(int)), {"de": ["de"]}, ["en"]
    ).iloc[1]
    apart = full.assign(id=full["language"] + full["id"])
    loose = interaction(
        apart, apart.assign(tp=np.tile(~breaks, 2).astype(int)), {"de": ["de"]}, ["en"]
    ).iloc[1]
    assert tested["extra"] == loose["extra"] == 0
    assert tested["extra_high"] < 0.4 * loose["extra_high"]


def test_in_words() -> None:
    tested = paired_tests(FULL, LESS, LANGUAGES)
    least, most = (
        f"{100 * smallest_change(200, float(x) / 200):.1f}" for x in sorted(tested["lost"][:3])[::2]
    )
    assert power_text(tested).startswith(
        f"With 200 sentences per language a drop under {least} to {most} (by language) points "
        "cannot be seen"
    )
    assert power_text(paired_tests(FULL, FULL, LANGUAGES)).startswith(
        "With 200 sentences per language a drop under 3.9 points cannot be seen"
    )
    assert named_test(tested.iloc[0]) == "exact McNemar test"
    assert named_test(tested.iloc[3]) == "randomisation test over 200 clusters of sentences"
    assert (
        named_test({"test": SWAPS, "clusters": 200, "n": 200})
        == "randomisation test over sentences"
    )
    assert named_test({"test": SEEDS}) == "bootstrap over sentences and seeds"
    assert of_error(1) == pytest.approx(2.8016, abs=1e-4)


def test_a_repeated_language_adds_no_evidence() -> None:
    """The same outcomes under another code are the same sentences: the mean is no surer than the
    language alone."""
    before, after = (
        t[t["language"] == "de"].assign(gold=2, predicted=2)
        for t in (FULL, answered({"de": 0.97}, seed=3, keep=FULL))
    )
    twice = [
        pd.concat([t, t.assign(language="fr"), t.assign(language="es")]) for t in (before, after)
    ]
    tested = paired_tests(*twice, ["de", "fr", "es"]).set_index("language")
    assert tested.loc["all", "p"] == pytest.approx(tested.loc["de", "p"], abs=0.01)
    assert tested.loc["de", "p"] > 0.01
    assert tested.loc["all", ["low", "high"]].tolist() == pytest.approx(
        tested.loc["de", ["low", "high"]].tolist(), abs=0.35
    )
