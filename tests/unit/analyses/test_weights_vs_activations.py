"""Weights against activations: each part against models made by hand."""

from __future__ import annotations

import contextlib
from typing import Any

import pandas as pd
import pytest

from sdq.analyses.sensitivity import scan
from sdq.analyses.weights_vs_activations import PARTS, weights_vs_activations
from sdq.quant.layers import ActivationQuantizer, WeightQuantizer
from sdq.quant.rewrite import calibrate_, only, quantized_modules, quantizers, rewrite
from sdq.quant.spec import Rule, WeightSpec
from sdq.results import EVERY
from tests.helpers.scans import ACTIVATIONS, ROUGH, of, spoken
from tests.helpers.training import text


def test_both_is_what_the_scan_says_of_the_whole_model(kind: str, tiny: Any) -> None:
    student, data = rewrite(tiny("xlmr", kind), ROUGH), text(kind == "token", n=12)
    table = weights_vs_activations(student, data, spoken(data), batch_size=5)
    both = of(table, part="both").drop(columns="part").reset_index(drop=True)
    every = of(scan(student, data, spoken(data), ("all",), batch_size=5), measure="all")
    pd.testing.assert_frame_equal(
        both, every[both.columns].reset_index(drop=True), check_exact=True
    )
    assert list(table["part"].unique()) == list(PARTS)
    assert set(table["language"]) == {EVERY, "en", "de"}
    assert list(table.columns)[:4] == ["part", "language", "sentences", "positions"]


@pytest.mark.parametrize("part", ["weights", "activations"])
@pytest.mark.parametrize("activation", ["static", "tensor"])
def test_a_part_is_a_model_that_has_no_other(part: str, activation: str, tiny: Any) -> None:
    teacher, data, spec = tiny("bert"), text(n=12, pad=0), ACTIVATIONS[activation]
    student = rewrite(teacher, (Rule(weight=WeightSpec(bits=3), activation=spec),))
    by_hand = rewrite(
        teacher, (Rule(weight=WeightSpec(bits=3)) if part == "weights" else Rule(activation=spec),)
    )
    for model in (student, by_hand):
        calibrate_(model, [b.inputs for b in data.in_order(12)])
    one_part, expected = (
        of(weights_vs_activations(student, data, spoken(data)), part=part),
        of(weights_vs_activations(by_hand, data, spoken(data)), part="both"),
    )
    pd.testing.assert_frame_equal(
        one_part.drop(columns="part"),
        expected.drop(columns="part").set_axis(one_part.index),
        check_exact=True,
    )
    assert (one_part["kl"] > 0).all()
    other = of(
        weights_vs_activations(by_hand, data, spoken(data)),
        part="activations" if part == "weights" else "weights",
    )
    assert (other["kl"] == 0).all()


@pytest.mark.parametrize("kind_of", [WeightQuantizer, ActivationQuantizer])
def test_only_one_kind_of_quantizer_is_on(kind_of: Any, tiny: Any) -> None:
    student = rewrite(tiny("xlmr"), ROUGH)
    by_name = quantizers(student)
    off = next(name for name, q in by_name.items() if isinstance(q, kind_of))
    by_name[off].enabled = False  # by the caller
    before = {name: q.enabled for name, q in by_name.items()}
    with only(student, quantized_modules(student), kind_of):
        assert {name for name, q in by_name.items() if q.enabled} == {
            name for name, q in by_name.items() if isinstance(q, kind_of) and name != off
        }
    with contextlib.suppress(ArithmeticError), only(student, quantized_modules(student), kind_of):
        raise ArithmeticError
    assert {name: q.enabled for name, q in by_name.items()} == before
