"""Causes against plain loops over what was captured; removals against models that were rewritten
without the cause; mismatch by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from sdq.analyses import outliers as room
from sdq.analyses.calibration_mismatch import COLUMNS, mismatch, recalibrated, static
from sdq.analyses.outliers import input_taps, layer_norms, producers, why
from sdq.analyses.removal import removal
from sdq.analyses.sensitivity import scan
from sdq.inspection import reasons
from sdq.models.hooks import capture
from sdq.models.loading import modules
from sdq.quant.observers import MinMax, Percentile
from sdq.quant.rewrite import calibrate_, only, quantized_modules, quantizers, rewrite
from sdq.quant.spec import ActivationSpec, PerChannel, PerTensor, PerToken, Rule, WeightSpec
from tests.unit.train.test_loop import text

STATIC = ActivationSpec(bits=6, symmetric=False, granularity=PerTensor(), dynamic=False)
WHOLE = WeightSpec(bits=6, granularity=PerTensor())
CODES = ["en", "de", "th"]


def spoken(n: int) -> list[str]:
    return [CODES[i % 3] for i in range(n)]


def made(
    tiny: Any,
    activation: ActivationSpec | None = STATIC,
    weight: WeightSpec | None = WHOLE,
    family: str = "xlmr",
    model: nn.Module | None = None,
) -> Any:
    """(student, data): everything quantized, static ranges calibrated on the first half of the
    data."""
    model = tiny(family) if model is None else model
    student = rewrite(model, (Rule(weight=weight, activation=activation),))
    data = text(n=12, pad=model.config.pad_token_id)  # type: ignore[union-attr]
    calibrate_(student, (b.inputs for b in data.some(list(range(6))).in_order(4)))
    return student, data


def row(table: pd.DataFrame, module: str, cause: str) -> Any:
    (found,) = (
        table[(table["module"] == module) & (table["cause"] == cause)].head(1).to_dict("records")
    )
    return found


def tokens(student: nn.Module, data: Any, name: str) -> tuple[Tensor, list[str]]:
    """The real tokens [N, D] at the input of a module in FP32, and the language of each."""
    found, codes = [], []
    for i in range(len(data)):
        batch = data.batch([i])
        with capture(student, {name: "input"}) as seen, torch.no_grad(), only(student, ()):
            student(**batch.inputs)
        x = seen[name].reshape(-1, seen[name].shape[-1])
        found.append(x)
        codes += [CODES[i % 3]] * len(x)
    return torch.cat(found), codes


# --- what stands out


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
    table = why(student, data, spoken(12), batch_size=5)
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
    table = why(student, data, spoken(12))
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
    table = why(student, data, spoken(12))
    rows, columns = weight.abs().amax(1), weight.abs().amax(0)
    for cause, peaks in (("weight_row", rows), ("weight_range", rows), ("weight_column", columns)):
        found = row(table, name, cause)
        assert (found["at"], found["value"], found["usual"]) == (
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
    assert "weight_range" not in set(why(student, data, spoken(12))["cause"])


@pytest.mark.parametrize("activation", [STATIC, ActivationSpec(bits=6)], ids=["static", "token"])
def test_neither_batches_nor_padding_matter(activation: ActivationSpec, tiny: Any) -> None:
    student, data = made(tiny, activation)
    one, many = (why(student, data, spoken(12), batch_size=size) for size in (1, 12))
    assert list(one["cause"]) == list(many["cause"])
    damping = one["cause"] == "damping"
    pd.testing.assert_frame_equal(one[~damping], many[~damping], rtol=1e-4, atol=1e-6)
    assert np.allclose(
        one[damping]["value"], many[damping]["value"], rtol=0.2
    )  # rounding is a staircase


def test_only_what_is_quantized_has_causes(tiny: Any) -> None:
    student, data = made(tiny, activation=None)
    assert set(why(student, data, spoken(12))["cause"]) == {
        "weight_row",
        "weight_column",
        "weight_range",
        "single_weight",
        "unused_weights",
        "weights",
        "damping",
    }
    student, data = made(tiny, weight=None)
    causes = set(why(student, data, spoken(12))["cause"])
    assert {"outlier_unit", "clipped", "inputs"} <= causes
    assert not {"weight_row", "weights"} & causes


@torch.no_grad()
def test_producers_make_the_units_that_are_read(architecture: str, tiny: Any) -> None:
    """With the gain or row of a unit (and its bias) at 0, that unit of the reader's input is 0
    everywhere."""
    model = tiny(architecture)
    data = text(n=3, pad=model.config.pad_token_id)
    found = producers(model, next(data.in_order(1)))
    assert found
    for reader, maker in list(found.items())[:10]:
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
    found = producers(model, next(text(n=3).in_order(1)))
    layer = "roberta.encoder.layer"
    assert found[f"{layer}.0.attention.self.key"] == "roberta.embeddings.LayerNorm"
    assert found[f"{layer}.1.attention.self.key"] == f"{layer}.0.output.LayerNorm"
    assert found[f"{layer}.1.attention.output.dense"] == f"{layer}.1.attention.self.value"
    assert found[f"{layer}.1.intermediate.dense"] == f"{layer}.1.attention.output.LayerNorm"
    assert found[f"{layer}.1.output.dense"] == f"{layer}.1.intermediate.dense"
    assert (found["classifier.dense"], found["classifier.out_proj"]) == (
        f"{layer}.1.output.LayerNorm",
        "classifier.dense",
    )
    assert len(found) == len(modules(model)) - 1


def test_the_unit_carries_the_gain_that_made_it(tiny: Any) -> None:
    model = tiny("xlmr")
    norm = model.get_submodule("roberta.encoder.layer.0.output.LayerNorm")
    norm.weight.data[7] *= 30
    student, data = made(tiny, model=model)
    unit = row(
        why(student, data, spoken(12)),
        "roberta.encoder.layer.1.attention.self.value",
        "outlier_unit",
    )
    gain = norm.weight.detach().abs()
    assert (unit["at"], unit["source"]) == (7, "roberta.encoder.layer.0.output.LayerNorm")
    assert (unit["source_value"], unit["source_usual"]) == (float(gain[7]), float(gain.median()))


def test_damping_is_the_error_before_and_after(tiny: Any) -> None:
    student, data = made(tiny, ActivationSpec(bits=4))
    table = why(student, data, spoken(12), batch_size=12)
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
    found = row(table, name, "damping")
    assert (found["usual"], found["value"]) == (
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


# --- what removing a cause wins


def gains(
    student: nn.Module, data: Any, *names: str, alike: nn.Module | None = None
) -> pd.DataFrame:
    table = why(student, data, spoken(12), alike)
    return table.join(
        removal(student, data, spoken(12), table, names, data.some(list(range(6))), alike)
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
    found = row(gains(student, data, NAME), NAME, cause)
    assert found["gain"] == pytest.approx(
        alone(student, data, NAME) - alone(other, data, NAME), abs=1e-9
    )
    assert found["gain_low"] <= found["gain"] <= found["gain_high"]


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
    assert np.isnan(
        row(gains(wide, data, NAME), NAME, "clipped")["gain"]
    )  # min-max clips nothing it has seen


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
    from sdq.analyses.removal import _calibrate_, _variant

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
    from sdq.analyses.removal import _variant

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


# --- calibrated on something else


def test_mismatch_is_counted_by_hand(tiny: Any) -> None:
    student, data = made(tiny)
    alike = recalibrated(student, (b.inputs for b in data.in_order(4)))
    table = mismatch(student, alike, data, spoken(12), ("de",), batch_size=5).set_index("language")
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
    table = mismatch(
        student,
        recalibrated(student, (b.inputs for b in data.some(list(range(6))).in_order(4))),
        data,
        spoken(12),
    )
    assert not table[["cost", "cost_low", "cost_high"]].any(axis=None)
    assert (table["clipped"] == table["clipped_alike"]).all()
    dynamic, data = made(tiny, ActivationSpec())
    empty = mismatch(dynamic, dynamic, data, spoken(12))
    assert (len(empty), list(empty.columns)) == (0, COLUMNS)
