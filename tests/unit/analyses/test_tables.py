"""Tables of weights, activations and errors against direct computation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sdq.analyses.activations import activations
from sdq.analyses.bins import BINS, binned
from sdq.analyses.layerwise_error import layerwise_error, sites
from sdq.analyses.weights import weights
from sdq.data.batches import Encoded
from sdq.models.hooks import capture
from sdq.models.structure import blocks, modules
from sdq.quant.observers import Percentile
from sdq.quant.rewrite import calibrate_, only, quantized_modules, rewrite
from sdq.quant.smoothquant import smoothquant
from sdq.quant.spec import ActivationSpec, PerTensor, Rule, WeightSpec
from sdq.results import EVERY
from sdq.settings import UserError
from tests.helpers.layer_errors import layer_errors
from tests.helpers.training import text

PER_TENSOR = (
    Rule(weight=WeightSpec(bits=3, granularity=PerTensor()), activation=ActivationSpec(bits=4)),
)
LANGUAGES = ["en", "de"]


def spoken(data: Encoded) -> list[str]:
    return [LANGUAGES[i % 3 == 0] for i in range(len(data))]


LARGEST = float(torch.finfo(torch.float32).max)
ODD = {
    "a constant": [2.5] * 9,
    "zeros": [0.0] * 9,
    "a large constant": [3e38] * 9,
    "subnormal": [i * 1e-45 for i in range(-20, 300)],
    "the smallest two": [0.0, 1e-45],
    "tiny": [i * 1e-41 for i in range(300)],
    "up to the largest": [LARGEST * i / 150 for i in range(-150, 151)],
    "the largest alone": [LARGEST, -LARGEST, LARGEST],
    "close to each other": [1.0, 1.0 + 2**-23],
}


@pytest.mark.parametrize("case", ODD)
def test_histograms_hold_for_values_of_any_size(case: str) -> None:
    x = torch.tensor(ODD[case])
    low, high = float(x.min()), float(x.max())
    at = binned(x, low, high)
    exact = np.array(x.tolist())  # float64
    width = (high - low) / BINS
    wanted = np.minimum((exact - low) // width, BINS - 1) if width else np.zeros(len(x))
    assert at.dtype == torch.int64
    assert 0 <= int(at.min()) <= int(at.max()) < BINS
    assert (np.abs(at.numpy() - wanted) <= 1).all()  # a value on an edge may fall to either side
    assert (int(at[x.argmin()]), int(at[x.argmax()])) == (0, BINS - 1 if high > low else 0)


# --- weights


@pytest.mark.parametrize("case", ODD)
def test_weights_of_any_size_have_a_histogram(case: str, tiny: Any) -> None:
    model = tiny("bert")
    name = next(m.name for m in modules(model) if m.role == "q")
    weight = model.get_submodule(name).weight.data
    weight.copy_(
        torch.tensor(ODD[case]).repeat(weight.numel())[: weight.numel()].reshape(weight.shape)
    )
    row = weights(model).set_index("module").loc[name]
    assert row["fp32"].sum() == weight.numel()
    assert row["fp32"][0] > 0


def test_weights_against_direct_computation(tiny: Any) -> None:
    student = rewrite(tiny("xlmr"), PER_TENSOR)
    table = weights(student)
    assert list(table["module"]) == [m.name for m in modules(student)]
    for row in table.itertuples():
        weight = student.get_submodule(row.module).weight.detach()
        quantizer = student.get_submodule(row.module).weight_quantizer.eval()
        with torch.no_grad():
            back = quantizer(weight)
        assert row.mse == pytest.approx(float(((back - weight).double() ** 2).mean()))
        assert row.sqnr_db == pytest.approx(
            10 * math.log10(float((weight.double() ** 2).mean()) / row.mse)
        )
        assert row.fp32.sum() == row.quantized.sum() == weight.numel()
        assert (row.low, row.high) == (float(weight.min()), float(weight.max()))
        # a value on an edge may fall to either side
        assert abs(row.fp32 - np.histogram(weight.numpy(), BINS, (row.low, row.high))[0]).max() <= 2
        assert row.codes_used == len(back.unique())
        assert row.codes == len(row.grid) == 7
        assert set(back.unique().tolist()) <= set(row.grid.tolist())
        assert row.clipped == 0
        assert row.channels == len(weight)
        at = list(row.channel).index(1)
        assert (row.channel_low[at], row.channel_high[at]) == (
            float(weight[1].min()),
            float(weight[1].max()),
        )


def test_clipped_weights_are_counted(tiny: Any) -> None:
    spec = WeightSpec(bits=4, granularity=PerTensor(), observer=Percentile(percent=90))
    model = tiny("bert")
    table = weights(rewrite(model, (Rule(roles=("ffn_in",), weight=spec),)))
    hit = table[table["role"] == "ffn_in"]
    assert ((hit["clipped"] > 0.03) & (hit["clipped"] < 0.12)).all()
    rest = table[table["role"] != "ffn_in"]
    assert (rest["bits"] == 32).all()
    assert rest["mse"].isna().all()


def test_many_ranges_have_no_common_grid(tiny: Any) -> None:
    table = weights(rewrite(tiny("xlmr"), (Rule(weight=WeightSpec(bits=8)),)))
    assert table["grid"].isna().all()
    assert list(table["ranges"]) == list(table["rows"])


def test_an_unquantized_model_has_weights_too(tiny: Any) -> None:
    table = weights(tiny("distilbert"))
    assert (table["bits"] == 32).all()
    assert "quantized" not in table


# --- activations


@pytest.mark.parametrize(("static", "bits"), [(False, 4), (True, 4), (True, 2)])
def test_activations_against_direct_computation(tiny: Any, static: bool, bits: int) -> None:
    spec = (
        ActivationSpec(
            bits=bits,
            symmetric=False,
            granularity=PerTensor(),
            dynamic=False,
            observer=Percentile(percent=95 if bits > 2 else 80),
        )
        if static
        else ActivationSpec(bits=bits)
    )
    student, data = rewrite(tiny("xlmr"), (Rule(activation=spec),)), text(n=20)
    calibrate_(student, [b.inputs for b in data.in_order(8)])
    table, profile = activations(student, data, spoken(data), batch_size=7)
    name = next(m.name for m in modules(student) if m.role == "ffn_out")
    values, languages, positions = [], [], []
    with capture(student, {name: "input"}) as seen, only(student, ()), torch.no_grad():
        for i in range(len(data)):  # one at a time: no padding at all
            student(**data.batch([i]).inputs)
            values.append(seen[name][0])
            languages += [spoken(data)[i]] * len(data.ids[i])
            positions += range(len(data.ids[i]))
    x = torch.cat(values)
    quantizer = student.get_submodule(name).input_quantizer
    with torch.no_grad():
        back = quantizer(x[None])[0]
    for code in LANGUAGES:
        row = table[(table["module"] == name) & (table["language"] == code)].iloc[0]
        selected = torch.tensor([c == code for c in languages])
        assert row["counts"].sum() == x[selected].numel()
        assert row["low"] == pytest.approx(float(x.min()), abs=1e-5)
        assert row["language_high"] == pytest.approx(float(x[selected].max()), abs=1e-5)
        error = (back - x)[selected].double()
        assert row["mse"] == pytest.approx(float((error**2).mean()), rel=1e-3)
        scale, zero = (float(t.flatten()[0]) for t in quantizer.ranges(x[None]))
        if static:
            low, high = (0 - zero) * scale, (2**bits - 1 - zero) * scale
            assert row["range_low"] == pytest.approx(low, rel=1e-5)
            assert row["range_high"] == pytest.approx(high, rel=1e-5)
            clipped = ((x < low - scale / 2) | (x > high + scale / 2))[selected]
            assert row["clipped"] == pytest.approx(
                float(clipped.double().mean()), abs=2 / x.numel()
            )
            assert row["clipped"] > 0.01
        else:
            assert row["clipped"] == 0
    selected = profile[profile["module"] == name].iloc[0]
    assert np.allclose(selected["dimension_peak"], x.abs().amax(0), atol=1e-5)
    assert np.allclose(selected["dimension_rms"], (x**2).mean(0).sqrt(), atol=1e-5)
    first = torch.tensor([p == 0 for p in positions])
    assert selected["position_low"][0] == pytest.approx(float(x[first].min()), abs=1e-5)
    assert len(selected["position_high"]) == max(positions) + 1


def test_activations_of_a_migrated_layer_are_those_it_rounds(tiny: Any) -> None:
    """SmoothQuant divides inside the layer: the range is that of the quotients."""
    data = text(n=20)
    batches = [b.inputs for b in data.in_order(8)]
    spec = ActivationSpec(symmetric=False, granularity=PerTensor(), dynamic=False)
    student = rewrite(smoothquant(tiny("xlmr"), batches), (Rule(activation=spec),))
    calibrate_(student, batches)
    table, profile = activations(student, data, spoken(data))
    name = next(m.name for m in modules(student) if m.role == "ffn_in")
    layer = student.get_submodule(name)
    with capture(student, {name: "input"}) as seen, only(student, ()), torch.no_grad():
        values = []
        for i in range(len(data)):
            student(**data.batch([i]).inputs)
            values.append(seen[name][0] / layer.input_scale)
    x = torch.cat(values)
    rows = table[table["module"] == name]
    assert rows["low"].iloc[0] == pytest.approx(float(x.min()), abs=1e-5)
    assert rows["high"].iloc[0] == pytest.approx(float(x.max()), abs=1e-5)
    assert (rows["clipped"] == 0).all()
    assert (rows["sqnr_db"] > 30).all()
    peak = profile[profile["module"] == name].iloc[0]["dimension_peak"]
    assert np.allclose(peak, x.abs().amax(0), atol=1e-5)


@pytest.mark.parametrize("size", [0.0, 1e-44, 1e-30, 1e37])
def test_activations_of_any_size_have_a_histogram(size: float, tiny: Any) -> None:
    """A norm that gives a constant, numbers too small for float32 to divide, and such that overflow
    in a difference."""
    model, data = tiny("bert"), text(n=6)
    last = [m for name, m in model.named_modules() if name.endswith("output.LayerNorm")][-1]
    last.weight.data.fill_(size)
    last.bias.data.zero_()
    model.bert.pooler.dense.weight.data.mul_(0)
    table, _ = activations(model, data, ["en"] * 6)
    row = table[table["module"] == "bert.pooler.dense"].iloc[0]
    assert row["counts"].sum() == 6 * 24
    assert (row["counts"] > 0).sum() == 1 if size == 0 else (row["counts"] > 0).sum() > 1


@pytest.mark.parametrize("value", [math.nan, math.inf, 3e38])
def test_activations_that_are_no_numbers_are_refused(value: float, tiny: Any) -> None:
    model, data = tiny("bert"), text(n=6)
    name = next(m.name for m in modules(model) if m.role == "ffn_in")
    model.get_submodule(name).weight.data.fill_(value)
    with pytest.raises(
        UserError,
        match=r"activations must be finite numbers, the inputs of \S+ hold NaN or infinity",
    ) as error:
        activations(model, data, ["en"] * 6)
    assert "\n" not in str(error.value)


def test_activations_of_an_unquantized_model(tiny: Any) -> None:
    data = text(n=6)
    table, _ = activations(tiny("bert"), data, ["en"] * 6)
    assert (table["bits"] == 32).all()
    assert "mse" not in table


# --- depth


def test_depth_agrees_with_block_errors_measured_otherwise(tiny: Any) -> None:
    teacher = tiny("xlmr")
    student, data = rewrite(teacher, PER_TENSOR), text(n=20)
    with torch.no_grad():
        for p in student.parameters():
            p.add_(0.01 * torch.randn_like(p))
    before = [
        (
            b.local_relative_l2,
            b.accumulated_relative_l2,
            b.accumulated_sqnr_db,
            b.attention_accumulated_relative_l2,
            b.teacher_gap_relative_l2,
        )
        for b in layer_errors(student, teacher, data)
    ]
    table, _ = layerwise_error(student, teacher, data, spoken(data))
    every = table[table["language"] == EVERY]
    for block, (_, accumulated, db, attention, gap) in enumerate(before):
        here = every[every["block"] == block].set_index(["role", "measure"])
        assert here.loc[("block", "accumulated"), "relative_l2"] == pytest.approx(
            accumulated, rel=1e-4
        )
        assert here.loc[("block", "accumulated"), "sqnr_db"] == pytest.approx(db, rel=1e-4)
        assert here.loc[("attention", "accumulated"), "relative_l2"] == pytest.approx(
            attention, rel=1e-4
        )
        assert here.loc[("block", "gap"), "relative_l2"] == pytest.approx(gap, rel=1e-4)


def test_local_error_is_that_of_one_module_on_exact_inputs(tiny: Any) -> None:
    student, data = rewrite(tiny("bert"), PER_TENSOR), text(n=9, pad=0)
    table, _ = layerwise_error(student, None, data, ["en"] * 9)
    assert set(table["measure"]) == {"local", "accumulated"}
    batch = data.batch(list(range(9)))
    for name in list(quantized_modules(student))[1:4]:
        with capture(student, {name: "output"}) as seen, torch.no_grad():
            with only(student, ()):
                student(**batch.inputs)
            exact = seen[name]
            with only(student, [name]):
                student(**batch.inputs)
        difference = (seen[name] - exact)[batch.real].double()
        row = table[
            (table["site"] == name) & (table["measure"] == "local") & (table["language"] == EVERY)
        ].iloc[0]
        assert row["mean_abs"] == pytest.approx(float(difference.abs().mean()), rel=1e-4)
        assert row["relative_l2"] == pytest.approx(
            float(difference.norm() / exact[batch.real].double().norm()), rel=1e-4
        )
        assert row["frobenius"] == pytest.approx(
            math.sqrt(float((difference**2).sum()) / 9), rel=1e-4
        )


def test_depth_is_blind_to_padding_and_batching(tiny: Any) -> None:
    student, data = rewrite(tiny("xlmr"), PER_TENSOR), text(n=12)
    one, tokens = layerwise_error(student, None, data, spoken(data), batch_size=1)
    many, same = layerwise_error(student, None, data, spoken(data), batch_size=12)
    for column in ("relative_l2", "mean_abs", "frobenius"):
        # rounding is chaotic; padding would move it far more
        assert np.allclose(one[column], many[column], rtol=0.05)
    assert len(tokens) == len(same) == sum(map(len, data.ids)) * len(blocks(student))


def test_no_quantizers_no_error_and_hooks_are_gone(tiny: Any) -> None:
    student, data = rewrite(tiny("xlmr"), PER_TENSOR), text(n=5)
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in student.modules()]
    layerwise_error(student, None, data, ["en"] * 5)
    activations(student, data, ["en"] * 5)
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in student.modules()] == hooks
    exact = rewrite(tiny("xlmr"), ())
    table, _ = layerwise_error(exact, None, data, ["en"] * 5)
    assert (table["relative_l2"] == 0).all()
    assert (table["sqnr_db"] == 200).all()


def test_sites_stand_in_forward_order(tiny: Any) -> None:
    model: nn.Module = tiny("xlmr")
    roles = [(m.block, m.role) for m, _ in sites(model)]
    block = ["q", "k", "v", "attention", "attention_output", "ffn_in", "ffn_out", "block"]
    assert roles[:17] == [(-1, "embedding"), *((0, r) for r in block), *((1, r) for r in block)]
    assert [r for _, r in roles[17:]] == ["head", "head"]
