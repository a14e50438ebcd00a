"""The diagnosis says what the tables say: in order, with a number in every sentence, and nothing
about what was not measured."""

from __future__ import annotations

import re
from typing import Any

import pytest

from sdq.inspection.diagnosis import Diagnosis
from sdq.inspection.reasons import CALIBRATION
from tests.helpers import made_up_reasons, made_up_sensitivity
from tests.helpers.diagnoses import WORST, edited, said
from tests.helpers.made_up_inspection import MADE
from tests.helpers.made_up_sensitivity import QUIET

# --- the rules that hold for every sentence


def test_every_sentence_has_a_number_and_a_source_that_is_there(inspected: Any) -> None:
    report, tables = inspected
    diagnosis = said(inspected)
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


def test_nothing_is_said_of_what_was_not_measured(inspected: Any) -> None:
    bare = {name: None for name in (*MADE, "sentences", "reference") if name != "sensitivity"}
    diagnosis = said(inspected, **bare)
    assert {s.table for s in diagnosis.sentences} == {"report", "sensitivity"}
    assert not diagnosis.remedy
    assert [f.cause for f in diagnosis.findings] == ["", "", ""]
    assert "noise floor" not in diagnosis.paragraph
    assert "95 % interval" not in diagnosis.languages[0].text


def test_json_is_the_identity(inspected: Any) -> None:
    diagnosis = said(inspected)
    assert Diagnosis.model_validate_json(diagnosis.model_dump_json()) == diagnosis


# --- modules, in their order


def test_the_three_worst_modules_come_in_order_and_the_calibration_competes(inspected: Any) -> None:
    findings = said(inspected).findings
    assert [f.module for f in findings if f.module] == WORST[:3]
    assert [f.cost for f in findings] == sorted((f.cost for f in findings), reverse=True)
    (calibration,) = (f for f in findings if not f.module)
    assert (calibration.cause, calibration.cost) == (CALIBRATION, pytest.approx(0.26))
    dearer = edited(
        made_up_reasons.mismatch(),
        lambda t: t["language"] == "all",
        cost=0.9,
        cost_low=0.8,
        cost_high=1.0,
    )
    first = said(inspected, mismatch=dearer).findings[0]
    assert (first.module, first.cost, first.page) == ("", 0.9, "why")
    assert "calibrated on English" in first.sentences[0].text
    assert "0.90 nats (95 % interval 0.80 to 1.0)" in first.sentences[0].text


@pytest.mark.parametrize("low", [-0.01, 0.0])
def test_a_calibration_whose_cost_may_be_chance_is_not_named(low: float, inspected: Any) -> None:
    table = edited(
        made_up_reasons.mismatch(), lambda t: t["language"] == "all", cost=5.0, cost_low=low
    )
    assert all(f.module for f in said(inspected, mismatch=table).findings)
    assert all(f.module for f in said(inspected, mismatch=table[:0]).findings)


def test_a_module_below_its_floor_is_not_named(inspected: Any) -> None:
    loud = edited(
        made_up_sensitivity.sensitivity(),
        lambda t: (t["module"] == QUIET) & (t["measure"] == "one"),
        kl=0.39,
    )
    floor = edited(
        made_up_sensitivity.floor(),
        lambda t: (t["name"] == QUIET) & (t["kind"] == "module") & (t["measure"] == "kl"),
        high=0.4,
    )
    assert QUIET not in {f.module for f in said(inspected, sensitivity=loud, floor=floor).findings}
    assert QUIET in {f.module for f in said(inspected, sensitivity=loud, floor=None).findings}


def test_the_floor_is_said_beside_the_effect(inspected: Any) -> None:
    text = said(inspected).findings[0].sentences[0].text
    assert (
        "a KL of 0.40 nats (95 % interval 0.33 to 0.47), 76.9 times its noise floor of 0.0052."
        in text
    )
