"""Removals against models that were rewritten without the cause; mismatch by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from sdq.analyses.ablation import ablation
from sdq.analyses.calibration_mismatch import COLUMNS, calibration_mismatch, recalibrated, static
from sdq.analyses.outliers import outlier_statistics
from sdq.analyses.sensitivity import scan
from sdq.quant.observers import MinMax, Percentile
from sdq.quant.rewrite import quantized_modules, quantizers
from sdq.quant.spec import ActivationSpec, PerChannel, PerToken
from tests.helpers.causes import CODES, STATIC, WHOLE, made, row, spoken, tokens


def gains(
    student: nn.Module, data: Any, *names: str, alike: nn.Module | None = None
) -> pd.DataFrame:
    table = outlier_statistics(student, data, spoken(12), alike)
    return table.join(
        ablation(student, data, spoken(12), table, names, data.some(list(range(6))), alike)
    )


def alone(student: nn.Module, data: Any, name: str) -> float:
    rows = scan(student, data, spoken(12), ("one",), 32)
    return float(rows[(rows["module"] == name) & (rows["language"] == "all")]["kl"].iloc[0])


NAME = "roberta.encoder.layer.1.attention.self.value"


def test_kl_is_that_of_the_scan_and_other_modules_have_none(tiny: Any) -> None:
    student, data = made(tiny)
    table = gains(student, data, NAME)
    assert np.allclose(table[table["module"] == NAME]["kl"], alone(student, data, NAME), rtol=1e-9)
    assert (
        table[table["module"] != NAME][["kl", "gain", "gain_low", "gain_high"]]
        .isna()
        .all(axis=None)
    )
    symptoms = table[
        (table["module"] == NAME)
        & table["cause"].isin(["heavy_tails", "unused_inputs", "unused_weights", "wide_language"])
    ]
    assert symptoms["gain"].isna().all()


@pytest.mark.parametrize(
    ("cause", "weight", "activation"),
    [
        ("weights", None, STATIC),
        ("inputs", WHOLE, None),
        ("weight_range", WHOLE.model_copy(update={"granularity": PerChannel()}), STATIC),
        (
            "massive_token",
            WHOLE,
            STATIC.model_copy(update={"granularity": PerToken(), "dynamic": True}),
        ),
    ],
)
def test_a_removed_cause_is_a_model_rewritten_without_it(
    cause: str, weight: Any, activation: Any, tiny: Any
) -> None:
    student, data = made(tiny)
    other, _ = made(tiny, activation, weight)
    removed = row(gains(student, data, NAME), NAME, cause)
    assert removed["gain"] == pytest.approx(
        alone(student, data, NAME) - alone(other, data, NAME), abs=1e-9
    )
    assert removed["gain_low"] <= removed["gain"] <= removed["gain_high"]


def test_a_range_that_clips_is_widened_and_one_of_all_languages_taken(tiny: Any) -> None:
    cut = STATIC.model_copy(update={"observer": Percentile(percent=90)})
    student, data = made(tiny, cut)
    wide, _ = made(tiny, STATIC.model_copy(update={"observer": MinMax()}))
    alike = recalibrated(student, (b.inputs for b in data.in_order(4)))
    table = gains(student, data, NAME, alike=alike)
    assert row(table, NAME, "clipped")["gain"] == pytest.approx(
        alone(student, data, NAME) - alone(wide, data, NAME), abs=1e-9
    )
    assert row(table, NAME, "calibration")["gain"] == pytest.approx(
        alone(student, data, NAME) - alone(alike, data, NAME), abs=1e-9
    )
    # min-max clips nothing it has seen
    assert np.isnan(row(gains(wide, data, NAME), NAME, "clipped")["gain"])


def test_a_planted_unit_and_a_planted_row_win_nearly_all(tiny: Any) -> None:
    loud, model = tiny("xlmr"), tiny("xlmr")
    with torch.no_grad():
        loud.get_submodule("roberta.encoder.layer.0.output.LayerNorm").weight[7] *= 60
        loud.get_submodule(NAME).weight[:, 7] /= 60
        model.get_submodule(NAME).weight[5] *= 50
        model.get_submodule("roberta.encoder.layer.1.attention.output.dense").weight[:, 5] /= 50
    inputs, data = made(tiny, weight=None, model=loud)
    unit = row(gains(inputs, data, NAME), NAME, "outlier_unit")
    assert (unit["at"], unit["gain"] > 0.95 * unit["kl"]) == (7, True)
    weights, _ = made(tiny, activation=None, model=model)
    line = row(gains(weights, data, NAME), NAME, "weight_row")
    assert (line["at"], line["gain"] > 0.95 * line["kl"]) == (5, True)


@torch.no_grad()
def test_a_kept_unit_is_fp32_but_the_weight_that_reads_it_is_not(tiny: Any) -> None:
    from sdq.analyses.ablation import _calibrate_, _variant

    student, data = made(tiny)
    layer = quantized_modules(student)[NAME]
    variant = _variant(layer, "outlier_unit", (4, -1), None, NAME, True)
    sample = data.some(list(range(6)))
    _calibrate_(student, {NAME: [variant]}, sample, 4)
    x, _ = tokens(student, sample, NAME)
    rest = x.clone()
    rest[:, 4] = 0
    low, high = rest.min().clamp(max=0), rest.max().clamp(min=0)
    assert float(variant.inputs.scale) == pytest.approx(float((high - low) / 63))
    step = layer.weight.abs().max() / 31
    weight = (layer.weight / step).round() * step
    expected = (
        variant.inputs._quantize(rest) @ weight.T + torch.outer(x[:, 4], weight[:, 4]) + layer.bias
    )
    assert torch.allclose(variant.forward(x), expected, atol=1e-5)


@torch.no_grad()
@pytest.mark.parametrize(
    ("cause", "where", "kept"),
    [
        ("single_weight", (3, 4), (3, 4)),
        ("weight_column", (4, -1), (slice(None), 4)),
        ("weight_row", (3, -1), (3,)),
    ],
)
def test_a_kept_part_of_the_weight_is_fp32_and_the_rest_has_its_own_range(
    cause: str, where: tuple[int, int], kept: Any, tiny: Any
) -> None:
    from sdq.analyses.ablation import _variant

    model = tiny("xlmr")
    model.get_submodule(NAME).weight[3, 4] = 9.0
    student, _ = made(tiny, activation=None, model=model)
    layer = quantized_modules(student)[NAME]
    rest = layer.weight.clone()
    rest[kept] = 0
    step = rest.abs().max() / 31
    assert step < layer.weight.abs().max() / 60, "the large weight no longer stretches the range"
    expected = (rest / step).round() * step
    expected[kept] = layer.weight[kept]
    assert torch.allclose(
        _variant(layer, cause, where, None, NAME, True).weight, expected, atol=1e-6
    )


def test_the_model_is_as_it_was(tiny: Any) -> None:
    student, data = made(tiny)
    (batch,) = data.in_order(12)
    with torch.no_grad():
        before = student(**batch.inputs).logits
        on = {name: q.enabled for name, q in quantizers(student).items()}
        gains(student, data, NAME, "roberta.embeddings.word_embeddings", "classifier.out_proj")
        assert torch.equal(student(**batch.inputs).logits, before)
    assert {name: q.enabled for name, q in quantizers(student).items()} == on
    assert all("forward" not in m.__dict__ for m in student.modules())


def test_an_embedding_is_tried_too(tiny: Any) -> None:
    student, data = made(tiny)
    name = "roberta.embeddings.word_embeddings"
    table = gains(student, data, name)
    weights = row(table, name, "weights")
    assert weights["gain"] == pytest.approx(weights["kl"])
    own, _ = made(tiny, weight=WHOLE.model_copy(update={"granularity": PerChannel()}))
    assert row(table, name, "weight_range")["gain"] == pytest.approx(
        weights["kl"] - alone(own, data, name), abs=1e-9
    )


def test_mismatch_is_counted_by_hand(tiny: Any) -> None:
    student, data = made(tiny)
    alike = recalibrated(student, (b.inputs for b in data.in_order(4)))
    table = calibration_mismatch(student, alike, data, spoken(12), ("de",), batch_size=5).set_index(
        "language"
    )
    assert list(table.index) == ["all", *CODES]
    assert list(table["calibrated"]) == [False, False, True, False]
    whole = {
        name: float(scan(m, data, spoken(12), ("all",), 32)["kl"].iloc[0])
        for name, m in (("kl", student), ("kl_alike", alike))
    }
    assert {name: table.loc["all", name] for name in whole} == {
        name: pytest.approx(value, rel=1e-6) for name, value in whole.items()
    }
    assert np.allclose(table["cost"], table["kl"] - table["kl_alike"])
    assert (table["cost_low"] <= table["cost"]).all()
    outside = total = 0.0
    for name, quantizer in static(student).items():
        x, codes = tokens(student, data, name)
        x = x[[code == "th" for code in codes]]
        exact = (x / quantizer.scale).round() + quantizer.zero
        outside, total = outside + float(((exact < 0) | (exact > 63)).sum()), total + x.numel()
    assert table.loc["th", "clipped"] == pytest.approx(outside / total)
    assert table.loc["all", "clipped"] > table.loc["all", "clipped_alike"] == 0


def test_the_same_ranges_cost_nothing_and_dynamic_ones_have_no_rows(tiny: Any) -> None:
    student, data = made(tiny)
    table = calibration_mismatch(
        student,
        recalibrated(student, (b.inputs for b in data.some(list(range(6))).in_order(4))),
        data,
        spoken(12),
    )
    assert not table[["cost", "cost_low", "cost_high"]].any(axis=None)
    assert (table["clipped"] == table["clipped_alike"]).all()
    dynamic, data = made(tiny, ActivationSpec())
    empty = calibration_mismatch(dynamic, dynamic, data, spoken(12))
    assert (len(empty), list(empty.columns)) == (0, COLUMNS)
