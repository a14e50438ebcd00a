"""Causes against plain loops over what was captured."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from sdq.analyses import outliers as room
from sdq.analyses.outliers import outlier_statistics
from sdq.analyses.wiring import input_taps, layer_norms, producers
from sdq.inspection import reasons
from sdq.models.hooks import capture
from sdq.models.structure import modules
from sdq.quant.rewrite import only, quantized_modules
from sdq.quant.spec import ActivationSpec, WeightSpec
from tests.helpers.causes import CODES, STATIC, made, row, spoken, tokens
from tests.helpers.training import text


@pytest.mark.parametrize(
    "name",
    [
        "roberta.encoder.layer.0.output.dense",
        "roberta.encoder.layer.1.attention.self.key",
        "classifier.dense",
    ],
)
def test_inputs_are_counted_as_a_plain_loop_counts_them(name: str, tiny: Any) -> None:
    student, data = made(tiny)
    table = outlier_statistics(student, data, spoken(12), batch_size=5)
    x, codes = tokens(student, data, name)
    peak = x.abs().amax(0)
    unit = row(table, name, "outlier_unit")
    assert (unit["at"], unit["value"], unit["usual"]) == (
        int(peak.argmax()),
        pytest.approx(float(peak.max())),
        pytest.approx(float(peak.median())),
    )
    assert unit["language"] == codes[int(x[:, unit["at"]].abs().argmax())]
    token = row(table, name, "massive_token")
    assert token["value"] == pytest.approx(float(x.abs().max()))
    assert token["usual"] == pytest.approx(float(x.abs().amax(1).median()))
    batch = data.batch([token["sentence"]])
    with capture(student, {name: "input"}) as seen, torch.no_grad(), only(student, ()):
        student(**batch.inputs)
    there = seen[name][0] if seen[name].dim() == 2 else seen[name][0, token["position"]]
    assert float(there.abs().max()) == pytest.approx(token["value"])
    values = x.double().numpy().ravel()
    z = (values - values.mean()) / values.std()
    assert row(table, name, "heavy_tails")["value"] == pytest.approx((z**4).mean(), rel=1e-6)
    widths = {code: float(np.ptp(x[[c == code for c in codes]].numpy())) for code in CODES}
    wide = row(table, name, "wide_language")
    assert (wide["language"], wide["value"]) == (
        max(widths, key=widths.__getitem__),
        pytest.approx(max(widths.values())),
    )
    assert wide["usual"] == pytest.approx(float(np.median(list(widths.values()))))


def test_clipping_and_codes_are_counted_by_hand(tiny: Any) -> None:
    student, data = made(tiny)
    name = "roberta.encoder.layer.1.output.dense"
    x, codes = tokens(student, data, name)
    quantizer = quantized_modules(student)[name].input_quantizer
    exact = (x / quantizer.scale).round() + quantizer.zero
    outside = ((exact < 0) | (exact > 63)).float().mean(1)
    shares = {code: float(outside[[c == code for c in codes]].mean()) for code in CODES}
    table = outlier_statistics(student, data, spoken(12))
    clipped = row(table, name, "clipped")
    assert max(shares.values()) > 0
    assert (clipped["language"], clipped["value"]) == (
        max(shares, key=shares.__getitem__),
        pytest.approx(max(shares.values())),
    )
    assert clipped["usual"] == pytest.approx(float(np.median(list(shares.values()))))
    assert row(table, name, "unused_inputs")["value"] == pytest.approx(
        1 - len(exact.clamp(0, 63).unique()) / 64
    )
    error = (quantizer._quantize(x) - x).norm() / x.norm()
    assert row(table, name, "inputs")["value"] == pytest.approx(float(error), rel=1e-4)


def test_weights_are_counted_by_hand(tiny: Any) -> None:
    student, data = made(tiny)
    name = "roberta.encoder.layer.0.intermediate.dense"
    weight = quantized_modules(student)[name].weight.detach()
    table = outlier_statistics(student, data, spoken(12))
    rows, columns = weight.abs().amax(1), weight.abs().amax(0)
    for cause, peaks in (("weight_row", rows), ("weight_range", rows), ("weight_column", columns)):
        observed = row(table, name, cause)
        assert (observed["at"], observed["value"], observed["usual"]) == (
            int(peaks.argmax()),
            float(peaks.max()),
            float(peaks.median()),
        )
    codes = (weight / (weight.abs().max() / 31)).round()
    assert row(table, name, "unused_weights")["value"] == pytest.approx(
        1 - len(codes.unique()) / 63
    )
    assert row(table, name, "weights")["value"] == pytest.approx(
        float((codes * weight.abs().max() / 31 - weight).norm() / weight.norm()), rel=1e-4
    )
    medians = table[table["cause"] == "weights"]
    assert set(medians["usual"]) == {medians["value"].median()}


def test_a_range_per_row_is_no_shared_range(tiny: Any) -> None:
    student, data = made(tiny, weight=WeightSpec(bits=4))
    assert "weight_range" not in set(outlier_statistics(student, data, spoken(12))["cause"])


@pytest.mark.parametrize("activation", [STATIC, ActivationSpec(bits=6)], ids=["static", "token"])
def test_neither_batches_nor_padding_matter(activation: ActivationSpec, tiny: Any) -> None:
    student, data = made(tiny, activation)
    one, many = (outlier_statistics(student, data, spoken(12), batch_size=size) for size in (1, 12))
    assert list(one["cause"]) == list(many["cause"])
    damping = one["cause"] == "damping"
    pd.testing.assert_frame_equal(one[~damping], many[~damping], rtol=1e-4, atol=1e-6)
    # rounding is a staircase
    assert np.allclose(one[damping]["value"], many[damping]["value"], rtol=0.2)


def test_only_what_is_quantized_has_causes(tiny: Any) -> None:
    student, data = made(tiny, activation=None)
    assert set(outlier_statistics(student, data, spoken(12))["cause"]) == {
        "weight_row",
        "weight_column",
        "weight_range",
        "single_weight",
        "unused_weights",
        "weights",
        "damping",
    }
    student, data = made(tiny, weight=None)
    causes = set(outlier_statistics(student, data, spoken(12))["cause"])
    assert {"outlier_unit", "clipped", "inputs"} <= causes
    assert not {"weight_row", "weights"} & causes


@torch.no_grad()
def test_producers_make_the_units_that_are_read(architecture: str, tiny: Any) -> None:
    """With the gain or row of a unit (and its bias) at 0, that unit of the reader's input is 0
    everywhere."""
    model = tiny(architecture)
    data = text(n=3, pad=model.config.pad_token_id)
    observed = producers(model, next(data.in_order(1)))
    assert observed
    for reader, maker in list(observed.items())[:10]:
        module = model.get_submodule(maker)
        before = [p.detach().clone() for p in module.parameters()]
        for p in module.parameters():
            p[1] = 0
        with capture(model, {reader: "input"}) as seen:
            model(**next(data.in_order(3)).inputs)
        assert not seen[reader][..., 1].any(), (reader, maker)
        assert seen[reader][..., 2].any(), (reader, maker)
        for p, kept in zip(module.parameters(), before, strict=True):
            p.copy_(kept)


def test_in_bert_every_reader_has_its_producer(tiny: Any) -> None:
    model = tiny("xlmr")
    observed = producers(model, next(text(n=3).in_order(1)))
    layer = "roberta.encoder.layer"
    assert observed[f"{layer}.0.attention.self.key"] == "roberta.embeddings.LayerNorm"
    assert observed[f"{layer}.1.attention.self.key"] == f"{layer}.0.output.LayerNorm"
    assert observed[f"{layer}.1.attention.output.dense"] == f"{layer}.1.attention.self.value"
    assert observed[f"{layer}.1.intermediate.dense"] == f"{layer}.1.attention.output.LayerNorm"
    assert observed[f"{layer}.1.output.dense"] == f"{layer}.1.intermediate.dense"
    assert (observed["classifier.dense"], observed["classifier.out_proj"]) == (
        f"{layer}.1.output.LayerNorm",
        "classifier.dense",
    )
    assert len(observed) == len(modules(model)) - 1


def test_the_unit_carries_the_gain_that_made_it(tiny: Any) -> None:
    model = tiny("xlmr")
    norm = model.get_submodule("roberta.encoder.layer.0.output.LayerNorm")
    norm.weight.data[7] *= 30
    student, data = made(tiny, model=model)
    unit = row(
        outlier_statistics(student, data, spoken(12)),
        "roberta.encoder.layer.1.attention.self.value",
        "outlier_unit",
    )
    gain = norm.weight.detach().abs()
    assert (unit["at"], unit["source"]) == (7, "roberta.encoder.layer.0.output.LayerNorm")
    assert (unit["source_value"], unit["source_usual"]) == (float(gain[7]), float(gain.median()))


def test_damping_is_the_error_before_and_after(tiny: Any) -> None:
    student, data = made(tiny, ActivationSpec(bits=4))
    table = outlier_statistics(student, data, spoken(12), batch_size=12)
    name = "roberta.encoder.layer.1.output.LayerNorm"
    (batch,) = data.in_order(12)
    errors = []
    for side in ("input", "output"):
        with capture(student, {name: side}) as seen, torch.no_grad():
            student(**batch.inputs)
            quantized = seen[name][batch.real]
            with only(student, ()):
                student(**batch.inputs)
            exact = seen[name][batch.real]
        errors.append(float((quantized - exact).norm() / exact.norm()))
    observed = row(table, name, "damping")
    assert (observed["usual"], observed["value"]) == (
        pytest.approx(errors[0], rel=1e-5),
        pytest.approx(errors[1], rel=1e-5),
    )
    assert [m.block for m in layer_norms(student)] == [-1, 0, 0, 1, 1]


def test_shared_weights_are_seen_at_every_layer(tiny: Any) -> None:
    model = tiny("albert")
    names = [m.name for m in modules(model) if m.block >= 0]
    taps = input_taps(model, names)
    assert len(taps) > len(names)
    assert {tap.partition("@")[0] for tap in taps} == set(names)


def test_the_words_know_what_counts_as_far() -> None:
    assert reasons.FAR == room.FAR
