"""The reason that a module has, the languages that suffer and the remedy that won, said with
their numbers."""

from __future__ import annotations

import re
from typing import Any

import pandas as pd
import pytest

from sdq.figures import mismatch, outliers
from sdq.figures import why as figures
from sdq.inspection.diagnosis import diagnose
from sdq.inspection.reasons import ALIKE, CALIBRATION, CAUSES, EXPLAINS, described, reason
from sdq.labels import nats, share
from tests.helpers import made_up_reasons, made_up_remedies
from tests.helpers.diagnoses import WORST, edited, said
from tests.helpers.made_up_sensitivity import KL

# --- the reason of a module


def why(*causes: tuple[str, float, float]) -> pd.DataFrame:
    """Rows of a module of KL 1: (cause, gain, value)."""
    row = {
        "module": "m",
        "role": "q",
        "block": 0,
        "usual": 1.0,
        "unit": "|x|",
        "at": 3,
        "source": "",
        "language": "th",
        "kl": 1.0,
        "token": "",
    }
    return pd.DataFrame(
        [
            row
            | {
                "cause": c,
                "gain": g,
                "gain_low": g,
                "gain_high": g,
                "value": v,
                "source_value": 1.0,
                "source_usual": 1.0,
            }
            for c, g, v in causes
        ]
    )


@pytest.mark.parametrize(
    ("causes", "expected"),
    [
        (
            [("outlier_unit", 0.9, 1), ("weight_column", 0.3, 1), ("inputs", 0.95, 1)],
            "outlier_unit",
        ),
        (
            [("weight_range", 1.0, 1), ("weight_row", ALIKE, 1)],
            "weight_row",
        ),  # as much, and cheaper to remove
        ([("weight_range", 1.0, 1), ("weight_row", ALIKE - 0.01, 1)], "weight_range"),
        ([("outlier_unit", 0.95, 1), ("calibration", 0.9, 1)], "calibration"),
        (
            [("outlier_unit", EXPLAINS - 0.01, 1), ("weights", 0.7, 1), ("inputs", 0.2, 1)],
            "weights",
        ),  # nothing special explains it
        ([("outlier_unit", EXPLAINS, 1), ("weights", 1.0, 1)], "outlier_unit"),
        ([("weights", 0.4, 1), ("inputs", 0.4, 1)], None),
        ([("heavy_tails", 0.9, 1)], None),  # a symptom is no reason
        ([("outlier_unit", float("nan"), 9)], None),  # what was not removed was not found
        ([], None),
    ],
)
def test_the_reason_is_what_won_most_or_as_much_for_less(
    causes: list[tuple[str, float, float]], expected: str | None
) -> None:
    table = why(*causes) if causes else why(("inputs", 1.0, 1))[:0]
    cause = reason(table)
    assert (cause and cause["cause"]) == expected


def test_of_two_units_the_one_that_won_is_named() -> None:
    table = why(("outlier_unit", 0.1, 50), ("outlier_unit", 0.9, 40))
    table["at"] = [3, 8]
    cause = reason(table)
    assert cause is not None
    assert cause["at"] == 8


def test_the_reason_is_said_with_its_numbers(inspected: Any) -> None:
    first = said(inspected).findings[0]
    assert (first.cause, first.at, first.gain) == (
        "outlier_unit",
        17,
        pytest.approx(0.9 * KL[WORST[0]]),
    )
    assert first.source.endswith("output.LayerNorm")
    assert (first.page, first.query["layer"]) == ("activations", WORST[0])
    text = first.sentences[1].text
    assert (
        "hidden unit 17 of its input reaches 45, the median unit 3; roberta.encoder.layer." in text
    )
    assert "with a gain of 29.5 against a median of 1.01" in text
    assert (
        "with that unit in FP32 its KL falls by 0.36 nats (95 % interval 0.29 to 0.43), 90 % of it."
        in text
    )


def test_where_nothing_explains_it_that_is_said_with_the_best_try(inspected: Any) -> None:
    table = made_up_reasons.why()
    table["gain"] = 0.2 * table["kl"].where(table["gain"].notna())
    first = said(inspected, why=table).findings[0]
    assert (first.cause, first.gain) == ("", None)
    assert re.search(
        r"None of the \d causes that were removed explains it: .* it keeps all but 20 % of its "
        r"KL\.",
        first.sentences[1].text,
    )


@pytest.mark.parametrize("cause", CAUSES)
def test_every_cause_has_words(cause: str) -> None:
    row = dict(why((cause, 0.9, 0.25)).iloc[0]) | {
        "token": "▁the",
        "unit": "share" if cause in ("clipped", CALIBRATION) else "|x|",
    }
    text = described(row)
    assert re.search(r"0\.25|25 %", text)
    assert not re.search(r"[{}]", text)


def test_a_row_of_the_embedding_is_called_by_its_subword() -> None:
    row = dict(why(("weight_row", 0.9, 2.0)).iloc[0]) | {"token": "<pad>"}
    assert "“<pad>”" in described(row)


# --- languages and remedies


def test_the_languages_that_suffer_come_with_their_intervals(inspected: Any) -> None:
    (sentence,) = said(inspected).languages
    interval = r"\([\d.]+ to [\d.]+\)"
    first = (
        rf"^Chinese loses most, 30\.8 points of accuracy \(2\d\.\d to 39\.\d\); then Thai "
        rf"23\.3 {interval}, Urdu [\d.]+ {interval}\."
    )
    assert re.search(first, sentence.text)
    assert sentence.text.endswith(
        "Of 15 languages, 14 lose more than chance would give (p < 0.05 after Holm's correction)."
    )


def test_one_language_that_suffers_is_alone_in_its_sentence(inspected: Any) -> None:
    report, tables = inspected
    full, name = report.reference, next(iter(report.reference.by_language))
    less = full.model_copy(
        update={"by_language": full.by_language | {name: full.by_language[name] - 0.008}}
    )
    (sentence,) = diagnose(
        report.model_copy(update={"quantized": less}),
        {k: t for k, t in tables.items() if k != "sentences"},
    ).languages
    assert re.fullmatch(r"\w+ loses most, 0\.8 points of accuracy\.", sentence.text)


def test_no_language_is_named_where_chance_would_give_as_much(inspected: Any) -> None:
    report, tables = inspected
    same = report.model_copy(update={"quantized": report.reference})
    diagnosis = diagnose(same, tables | {"sentences": tables["reference"]})
    assert diagnosis.languages[0].text.startswith("No language loses more than chance would give")


def test_the_cheapest_remedy_that_surely_won_is_named(inspected: Any) -> None:
    table = made_up_remedies.remedies()[:3].copy()
    table["what"], table["change"], table["low"], table["bytes"] = (
        ["A", "B", "C"],
        [9.0, 3.0, 5.0],
        [8.0, 1.0, -1.0],
        [5_000_000, 4_000_000, 1_000_000],
    )
    table["high"], table["p"] = table["change"] + 1, 0.001
    (sentence,) = said(inspected, remedies=table).remedy
    assert "“A”: 5.00 MB simulated" in sentence.text, "B wins a third of what A does"
    table["change"] = [9.0, 8.1, 9.0]
    (sentence,) = said(inspected, remedies=table).remedy
    assert "recovers at least 90 % of what the best does, beyond chance, is “B”" in sentence.text
    assert "+8.1 points (95 % interval 1.0 to 4.0, p = 0.001)" in sentence.text
    table["low"] = -1.0
    (sentence,) = said(inspected, remedies=table).remedy
    assert sentence.text.startswith(
        "None of the 3 remedies that were run wins beyond chance: the best, “A”"
    )
    table["change"] = float("nan")
    assert not said(inspected, remedies=table).remedy


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0027, "0.0027"),
        (0.000027, "0.000027"),
        (1.234, "1.2"),
        (12.4, "12"),
        (0, "0"),
        (1e-12, "0"),
        (-0.02, "−0.020"),
    ],
)
def test_nats_have_two_digits_and_no_exponent(value: float, text: str) -> None:
    assert nats(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "50 %"), (0.004, "0.40 %"), (0, "0 %"), (1, "100 %"), (0.00001, "0.0010 %")],
)
def test_shares_are_percentages(value: float, text: str) -> None:
    assert share(value) == text


# --- the pictures of the page Why


def test_units_are_drawn_once_per_input() -> None:
    table = made_up_reasons.why()
    figure, rows, text = outliers.units_picture(table, "dark")  # type: ignore[misc]
    assert not rows["layer"].str.contains("· key").any()
    assert rows["layer"].str.contains("query, key, value").sum() == 6
    assert set(rows["hidden unit"]) == {17, 40, 41, 42}
    drawn = {
        tuple(c) for trace in figure.data if trace.customdata is not None for c in trace.customdata
    }
    assert drawn == {(name,) for name in rows["module"]}
    assert "15.0 times" in text


def test_clipping_is_drawn_for_both_calibrations_and_costs_are_said_with_their_interval() -> None:
    table = made_up_reasons.mismatch()
    figure, _, text = mismatch.clipped_picture(table)  # type: ignore[misc]
    shown = {
        trace.name: dict(zip(trace.y, trace.x, strict=True))
        for trace in figure.data
        if trace.mode == "markers"
    }
    assert shown["as calibrated"]["English (calibrated)"] == 0
    assert shown["calibrated on all languages"]["Thai"] == pytest.approx(0.01)
    assert "costs 0.26 of the 0.30 nats of KL (95 % interval 0.23 to 0.29)" in text
    chance = edited(table, lambda t: t["language"] == "all", cost_low=-0.1)
    assert "cost cannot be distinguished from chance" in mismatch.mismatch_reading(chance)
    assert mismatch.clipped_picture(table[:0]) is None


def test_damping_counts_the_norms_that_help() -> None:
    _, rows, text = figures.damping_picture(made_up_reasons.why())  # type: ignore[misc]
    assert list(rows["LayerNorm"][:3]) == ["embedding", "block 0 · 1", "block 0 · 2"]
    assert text.startswith(
        "13 of 13 LayerNorms reduce the relative error. They multiply it by 0.83 (embedding) to"
    )


def test_what_was_not_tried_is_not_given_a_reason() -> None:
    table = made_up_reasons.why()
    assert "is not among the 5 modules" in figures.reading(table, WORST[10])
    assert "(90 % of the KL)" in figures.reading(table, WORST[0])
    causes = figures.causes_table(table, WORST[0])
    tried = causes["recovered, nats"].dropna()
    assert list(tried) == sorted(tried, reverse=True)
    assert list(tried.index) == list(range(len(tried))), "what was not tried comes last"
    assert 1 < len(tried) < len(causes)
    assert (causes["removed"] != "").sum() == causes["recovered, nats"].notna().sum()
