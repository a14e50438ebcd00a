"""The diagnosis says what the tables say: in order, with a number in every sentence, and nothing
about what was not measured."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pandas as pd
import pytest

from sdq.figures import why as figures
from sdq.inspection.diagnosis import Diagnosis, diagnose
from sdq.inspection.reasons import ALIKE, CALIBRATION, CAUSES, EXPLAINS, described, reason
from sdq.labels import nats, share
from sdq.recipe import PRESETS
from sdq.results import Report
from sdq.store import Store
from tests import made_up, made_up_inspection
from tests.made_up_inspection import KL, MADE, QUIET

WORST = sorted(KL, key=lambda name: -KL[name])


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, dict[str, pd.DataFrame]]:
    """(report, all tables) of a made-up run."""
    store = Store(tmp_path_factory.mktemp("data") / "runs", None)
    plain, report = (made_up.add(store, PRESETS[name]) for name in ("fp32", "ptq-w3a8"))
    tables = {name: make() for name, make in MADE.items()}
    return report, tables | {
        "sentences": store.sentences(report.run),
        "reference": store.sentences(plain.run),
    }


def said(run: Any, **changed: pd.DataFrame | None) -> Diagnosis:
    """The diagnosis with some tables changed, or without them (None)."""
    report, tables = run
    return diagnose(
        report, {name: table for name, table in (tables | changed).items() if table is not None}
    )


def edited(
    table: pd.DataFrame, where: Callable[[pd.DataFrame], Any], **values: Any
) -> pd.DataFrame:
    table = table.copy()
    for name, value in values.items():
        table.loc[where(table), name] = value
    return table


# --- the rules that hold for every sentence


def test_every_sentence_has_a_number_and_a_source_that_is_there(run: Any) -> None:
    report, tables = run
    diagnosis = said(run)
    assert len(diagnosis.sentences) >= 10
    assert diagnosis.paragraph == " ".join(s.text for s in diagnosis.sentences)
    for sentence in diagnosis.sentences:
        assert re.search(r"\d", sentence.text), sentence.text
        assert sentence.text.endswith("."), sentence.text
        assert not re.search(r"\bnan\b|\binf\b|\{|\}|e-\d", sentence.text), sentence.text
        if sentence.table == "report":
            assert all(
                hasattr(getattr(report, column.split(".")[0]), column.split(".")[1])
                for column in sentence.columns
            )
        else:
            assert set(sentence.columns) <= set(tables[sentence.table].columns), sentence.text
            assert sentence.columns


def test_nothing_is_said_of_what_was_not_measured(run: Any) -> None:
    bare = {name: None for name in (*MADE, "sentences", "reference") if name != "sensitivity"}
    diagnosis = said(run, **bare)
    assert {s.table for s in diagnosis.sentences} == {"report", "sensitivity"}
    assert not diagnosis.remedy
    assert [f.cause for f in diagnosis.findings] == ["", "", ""]
    assert "noise floor" not in diagnosis.paragraph
    assert "95 % interval" not in diagnosis.languages[0].text


def test_json_is_the_identity(run: Any) -> None:
    diagnosis = said(run)
    assert Diagnosis.model_validate_json(diagnosis.model_dump_json()) == diagnosis


# --- modules, in their order


def test_the_three_worst_modules_come_in_order_and_the_calibration_competes(run: Any) -> None:
    findings = said(run).findings
    assert [f.module for f in findings if f.module] == WORST[:3]
    assert [f.cost for f in findings] == sorted((f.cost for f in findings), reverse=True)
    (calibration,) = (f for f in findings if not f.module)
    assert (calibration.cause, calibration.cost) == (CALIBRATION, pytest.approx(0.26))
    dearer = edited(
        made_up_inspection.mismatch(),
        lambda t: t["language"] == "all",
        cost=0.9,
        cost_low=0.8,
        cost_high=1.0,
    )
    first = said(run, mismatch=dearer).findings[0]
    assert (first.module, first.cost, first.page) == ("", 0.9, "why")
    assert "calibrated on English" in first.sentences[0].text
    assert "0.90 nats (95 % interval 0.80 to 1.0)" in first.sentences[0].text


@pytest.mark.parametrize("low", [-0.01, 0.0])
def test_a_calibration_whose_cost_may_be_chance_is_not_named(low: float, run: Any) -> None:
    table = edited(
        made_up_inspection.mismatch(), lambda t: t["language"] == "all", cost=5.0, cost_low=low
    )
    assert all(f.module for f in said(run, mismatch=table).findings)
    assert all(f.module for f in said(run, mismatch=table[:0]).findings)


def test_a_module_below_its_floor_is_not_named(run: Any) -> None:
    loud = edited(
        made_up_inspection.sensitivity(),
        lambda t: (t["module"] == QUIET) & (t["measure"] == "one"),
        kl=0.39,
    )
    floor = edited(
        made_up_inspection.floor(),
        lambda t: (t["name"] == QUIET) & (t["kind"] == "module") & (t["measure"] == "kl"),
        high=0.4,
    )
    assert QUIET not in {f.module for f in said(run, sensitivity=loud, floor=floor).findings}
    assert QUIET in {f.module for f in said(run, sensitivity=loud, floor=None).findings}


def test_the_floor_is_said_beside_the_effect(run: Any) -> None:
    text = said(run).findings[0].sentences[0].text
    assert (
        "a KL of 0.40 nats (95 % interval 0.33 to 0.47), 76.9 times its noise floor of 0.0052."
        in text
    )


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
    found = reason(table)
    assert (found and found["cause"]) == expected


def test_of_two_units_the_one_that_won_is_named() -> None:
    table = why(("outlier_unit", 0.1, 50), ("outlier_unit", 0.9, 40))
    table["at"] = [3, 8]
    found = reason(table)
    assert found is not None
    assert found["at"] == 8


def test_the_reason_is_said_with_its_numbers(run: Any) -> None:
    first = said(run).findings[0]
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


def test_where_nothing_explains_it_that_is_said_with_the_best_try(run: Any) -> None:
    table = made_up_inspection.why()
    table["gain"] = 0.2 * table["kl"].where(table["gain"].notna())
    first = said(run, why=table).findings[0]
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


def test_the_languages_that_suffer_come_with_their_intervals(run: Any) -> None:
    (sentence,) = said(run).languages
    interval = r"\([\d.]+ to [\d.]+\)"
    first = (
        rf"^Chinese loses most, 30\.8 points of accuracy \(2\d\.\d to 39\.\d\); then Thai "
        rf"23\.3 {interval}, Urdu [\d.]+ {interval}\."
    )
    assert re.search(first, sentence.text)
    assert sentence.text.endswith(
        "Of 15 languages, 14 lose more than chance would give (p < 0.05 after Holm's correction)."
    )


def test_one_language_that_suffers_is_alone_in_its_sentence(run: Any) -> None:
    report, tables = run
    full, name = report.reference, next(iter(report.reference.by_language))
    less = full.model_copy(
        update={"by_language": full.by_language | {name: full.by_language[name] - 0.008}}
    )
    (sentence,) = diagnose(
        report.model_copy(update={"quantized": less}),
        {k: t for k, t in tables.items() if k != "sentences"},
    ).languages
    assert re.fullmatch(r"\w+ loses most, 0\.8 points of accuracy\.", sentence.text)


def test_no_language_is_named_where_chance_would_give_as_much(run: Any) -> None:
    report, tables = run
    same = report.model_copy(update={"quantized": report.reference})
    diagnosis = diagnose(same, tables | {"sentences": tables["reference"]})
    assert diagnosis.languages[0].text.startswith("No language loses more than chance would give")


def test_the_cheapest_remedy_that_surely_won_is_named(run: Any) -> None:
    table = made_up_inspection.remedies()[:3].copy()
    table["what"], table["change"], table["low"], table["bytes"] = (
        ["A", "B", "C"],
        [9.0, 3.0, 5.0],
        [8.0, 1.0, -1.0],
        [5_000_000, 4_000_000, 1_000_000],
    )
    table["high"], table["p"] = table["change"] + 1, 0.001
    (sentence,) = said(run, remedies=table).remedy
    assert "“B”: 4.00 MB simulated" in sentence.text
    assert "+3.0 points (95 % interval 1.0 to 4.0, p = 0.001)" in sentence.text
    table["low"] = -1.0
    (sentence,) = said(run, remedies=table).remedy
    assert sentence.text.startswith(
        "None of the 3 remedies that were run surely wins: the best, “A”"
    )
    table["change"] = float("nan")
    assert not said(run, remedies=table).remedy


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
    table = made_up_inspection.why()
    figure, rows, text = figures.units_picture(table, "dark")  # type: ignore[misc]
    assert not rows["layer"].str.contains("· key").any()
    assert rows["layer"].str.contains("query, key, value").sum() == 6
    assert set(rows["hidden unit"]) == {17, 40, 41, 42}
    drawn = {
        tuple(c) for trace in figure.data if trace.customdata is not None for c in trace.customdata
    }
    assert drawn == {(name,) for name in rows["module"]}
    assert "15.0 times" in text


def test_clipping_is_drawn_for_both_calibrations_and_costs_are_said_with_their_interval() -> None:
    table = made_up_inspection.mismatch()
    figure, _, text = figures.clipped_picture(table)  # type: ignore[misc]
    shown = {
        trace.name: dict(zip(trace.y, trace.x, strict=True))
        for trace in figure.data
        if trace.mode == "markers"
    }
    assert shown["as calibrated"]["English (calibrated)"] == 0
    assert shown["on all languages alike"]["Thai"] == pytest.approx(0.01)
    assert "costs a KL of 0.26 of 0.30 nats (95 % interval 0.23 to 0.29)" in text
    chance = edited(table, lambda t: t["language"] == "all", cost_low=-0.1)
    assert "nothing that can be told from chance" in figures.mismatch_reading(chance)
    assert figures.clipped_picture(table[:0]) is None


def test_damping_counts_the_norms_that_help() -> None:
    _, rows, text = figures.damping_picture(made_up_inspection.why())  # type: ignore[misc]
    assert list(rows["LayerNorm"][:3]) == ["embedding", "block 0 · 1", "block 0 · 2"]
    assert text.startswith(
        "13 of 13 LayerNorms make the relative error smaller, most of all embedding"
    )


def test_what_was_not_tried_is_not_given_a_reason() -> None:
    table = made_up_inspection.why()
    assert "is not among the 5 modules" in figures.reading(table, WORST[10])
    assert "90 % of it" in figures.reading(table, WORST[0])
    causes = figures.causes_table(table, WORST[0])
    tried = causes["wins, nats"].dropna()
    assert list(tried) == sorted(tried, reverse=True)
    assert list(tried.index) == list(range(len(tried))), "what was not tried comes last"
    assert 1 < len(tried) < len(causes)
    assert (causes["removed"] != "").sum() == causes["wins, nats"].notna().sum()
