"""Columns that are held apart: exactly what integers would give, and nothing where quantizers are
off."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from sdq.analyses.sensitivity import scan
from sdq.models.hooks import capture
from sdq.quant.layers import ForwardPass, WeightQuantizer, quantized
from sdq.quant.rewrite import calibrate_, only, rewrite, set_noise_
from sdq.quant.smoothquant import smoothquant
from sdq.quant.spec import (
    ActivationSpec,
    PerTensor,
    PerToken,
    Rule,
    WeightSpec,
)
from tests.helpers.encoders import logits
from tests.helpers.layers import linear, tokens
from tests.helpers.outlier_columns import FEW, GRAINS, HOW, LAYER, apart, rule
from tests.helpers.rewriting import STATIC
from tests.helpers.training import text

# --- against integers


def parts_of(shape: tuple[int, int], kind: str) -> list[list[tuple[int, int]]]:
    """The places that share a range; in groups they are 8 neighbours in a row."""
    height, width = shape
    if kind == "tensor":
        return [[(r, c) for r in range(height) for c in range(width)]]
    step = 8 if kind == "group" else width
    return [
        [(r, c) for c in range(at, at + step)]
        for r in range(height)
        for at in range(0, width, step)
    ]


def with_even_scales(
    x: np.ndarray, kind: str, half: set[int], gone: set[int], symmetric: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(x, scale, zero): x with its largest (and smallest) value of each range moved outwards, so
    that scales are powers of two; scale and zero-point of each place. Columns in `half` are read
    as halves, those in `gone` are in no range."""
    x, scale, zero = x.copy(), np.zeros_like(x), np.zeros(x.shape, np.int64)
    for part in parts_of(x.shape, kind):
        inside = [(r, c) for r, c in part if c not in gone]
        seen = {place: x[place] / (2 if place[1] in half else 1) for place in inside}
        reach = max(map(abs, seen.values()))
        step = 2.0 ** np.ceil(np.log2(reach / 127))
        low, high = min(seen, key=seen.__getitem__), max(seen, key=seen.__getitem__)
        ends = {low: -128 * step, high: 127 * step}
        if symmetric:
            ends = {max(seen, key=lambda place: abs(seen[place])): 127 * step}
        for place, end in ends.items():
            x[place] = end * (2 if place[1] in half else 1)
        for place in part:
            scale[place], zero[place] = step, 0 if symmetric else 128
    return x, scale, zero


def in_integers(
    x: tuple[np.ndarray, ...], w: tuple[np.ndarray, ...], how: str, columns: list[int], zeros: bool
) -> np.ndarray:
    """What a kernel gives that really holds the columns twice, or in FP16. x, w: (values, scale,
    zero-point)."""

    def codes(values: np.ndarray, scale: np.ndarray, zero: np.ndarray) -> np.ndarray:
        bottom, top = (0, 255) if zeros else (-127, 127)
        return np.clip(np.rint(values / scale).astype(np.int64) + zero, bottom, top) - zero

    sides = []
    for (values, scale, zero), halved in ((x, how == "split_input"), (w, how == "split_weight")):
        if how == "keep":
            places = [c for c in range(values.shape[1]) if c not in columns]
            factor = np.ones(len(places))
        else:  # the second halves at the end
            places = [*range(values.shape[1]), *columns]
            factor = np.array([0.5 if halved and c in columns else 1.0 for c in places])
        ints = codes(values[:, places] * factor, scale[:, places], zero[:, places])
        sides.append((ints, scale[:, places]))
    (a, a_scale), (b, b_scale) = sides
    y = np.zeros((len(a), len(b)))
    for c in range(a.shape[1]):  # products of integers; scales of groups differ by column
        y += np.outer(a[:, c], b[:, c]) * np.outer(a_scale[:, c], b_scale[:, c])
    if how == "keep":
        for c in columns:
            left, right = (v[0][:, c].astype(np.float16).astype(np.float64) for v in (x, w))
            y += np.outer(left, right)
    return y


@HOW
@GRAINS
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize(
    ("inputs", "dynamic"), [("token", True), ("tensor", True), ("tensor", False)]
)
def test_it_is_what_integers_give(
    how: str, granularity: Any, symmetric: bool, inputs: str, dynamic: bool
) -> None:
    """Exact: scales are powers of two, and sums are in float64."""
    columns = [3, 9]
    x, w = (tokens(seed, n, 32).numpy() for seed, n in ((1, 7), (2, 6)))
    x[:, columns] *= 20
    w[:, columns] *= 30
    x, w = x.astype(np.float64), w.astype(np.float64)
    gone = set(columns) if how == "keep" else set()
    kind = "tensor" if inputs == "tensor" else "channel"  # a range per row of x is one per token
    left = with_even_scales(
        x, kind, set(columns) if how == "split_input" else set(), gone, symmetric
    )
    right = with_even_scales(
        w, granularity.kind, set(columns) if how == "split_weight" else set(), gone, symmetric
    )
    layer = nn.Linear(32, 6, bias=False).double()
    layer.weight.data = torch.tensor(right[0])
    grain = PerTensor() if inputs == "tensor" else PerToken()
    twin: Any = quantized(
        layer,
        WeightSpec(granularity=granularity, symmetric=symmetric),
        ActivationSpec(granularity=grain, symmetric=symmetric, dynamic=dynamic),
        ForwardPass(),
        apart(how, *columns),
    ).eval()
    if not dynamic:
        twin.input_quantizer.observing = True
        assert torch.equal(twin.input_quantizer(torch.tensor(left[0])), torch.tensor(left[0]))
        twin.input_quantizer.observing = False
        twin.input_quantizer.settle_()
    with torch.no_grad():
        got = twin(torch.tensor(left[0])).numpy()
    assert np.array_equal(got, in_integers(left, right, how, columns, not symmetric))
    assert not np.array_equal(got, left[0] @ right[0].T)


@HOW
def test_both_halves_are_the_layer_again(how: str) -> None:
    """Without rounding, the columns held twice give what the layer gives; kept ones go to FP16."""
    layer, x = linear(), tokens()
    columns = apart(how, 3, 9)
    if how == "keep":
        assert torch.equal(columns.narrowed(x)[..., [3, 9]], torch.zeros(3, 5, 2))
        whole = columns.whole(columns.narrowed(x), x)
        assert torch.equal(whole[..., [3, 9]], x[..., [3, 9]].half().float())
        rest = [c for c in range(32) if c not in (3, 9)]
        assert torch.equal(whole[..., rest], x[..., rest])
        far = columns.whole(x, torch.full_like(x, 1e6))
        assert far[..., 3].unique().tolist() == [65504]
        return
    halved = columns.narrowed(layer.weight if how == "split_weight" else x)
    other = x if how == "split_weight" else layer.weight
    twice = [torch.cat([t, t[..., [3, 9]]], -1) for t in (halved, other)]
    left, right = twice[::-1] if how == "split_weight" else twice
    torch.testing.assert_close(F.linear(left, right, layer.bias), layer(x))
    assert torch.equal(columns.whole(halved, halved), layer.weight if other is x else x)


# --- off, padding, training, migration


@HOW
def test_off_is_fp32_bit_for_bit(how: str, family: str, tiny: Any, padded: Any) -> None:
    model = tiny(family, "token")
    batch = padded(model)
    most = ("q", "k", "v", "attention_output", "ffn_in", "ffn_out")
    made = Rule(roles=most, weight=WeightSpec(), activation=STATIC, outliers=apart(how, 3, 9))
    student = rewrite(model, [Rule(weight=WeightSpec()), made])
    calibrate_(student, [batch])
    with only(student, ()):
        assert torch.equal(logits(student, batch), logits(model, batch))
    assert not torch.equal(logits(student, batch), logits(model, batch))


@HOW
@pytest.mark.parametrize(
    "activation", [ActivationSpec(granularity=PerTensor()), STATIC], ids=["dynamic", "static"]
)
def test_padding_changes_nothing(how: str, activation: Any, tiny: Any, padded: Any) -> None:
    """In float64, where the sum order of a wider batch moves nothing over a tie."""
    model, out = tiny("xlmr", "token").double(), []
    for batch in (padded(model), padded(model, width=21, fill=17)):
        student = rewrite(model, [rule(how, 3, 9, activation=activation)])
        calibrate_(student, [batch])
        out.append(logits(student, batch)[batch["attention_mask"].bool()])
    torch.testing.assert_close(out[1], out[0], rtol=1e-9, atol=1e-9)


@HOW
def test_gradients_pass_straight_through(how: str) -> None:
    x = tokens().requires_grad_()
    twin: Any = quantized(
        linear(), WeightSpec(bits=4), ActivationSpec(), ForwardPass(), apart(how, 3, 9)
    ).train()
    y = twin(x)
    upstream = tokens(8, *y.shape)
    y.backward(upstream)
    rounded = WeightQuantizer(twin.weight_quantizer.spec, twin.weight_quantizer.outliers).eval()
    assert torch.allclose(x.grad, upstream @ rounded(linear().weight.detach()), atol=1e-5)
    assert torch.allclose(
        twin.weight.grad,
        upstream.flatten(0, 1).T @ twin.input_quantizer(x).detach().flatten(0, 1),
        atol=1e-4,
    )


def test_no_gradient_where_sixteen_bits_saturate() -> None:
    x = torch.tensor([[1.0, 7e4, -7e4, 3.0]], requires_grad=True)
    apart("keep", 0, 1, 2).whole(torch.zeros(1, 4), x).sum().backward()
    assert x.grad.tolist() == [[1, 0, 0, 0]]


@HOW
def test_noise_leaves_some_of_it_in_fp32(how: str, tiny: Any) -> None:
    torch.manual_seed(0)
    weight = tokens(3, 100, 128)
    quantizer = WeightQuantizer(WeightSpec(bits=4), apart(how, 3, 9))
    everything = quantizer.eval()(weight)
    quantizer.train().noise = 0.5
    mixed = quantizer(weight)
    assert ((mixed == everything) | (mixed == weight)).all()
    changed = (everything != weight).float().mean()
    assert ((mixed != weight).float().mean() / changed).item() == pytest.approx(0.5, abs=0.03)
    student = rewrite(tiny(), [rule(how, 3)])
    set_noise_(student, 0.5)
    assert {q.noise for q in student.modules() if hasattr(q, "noise")} == {0.5}


@HOW
def test_a_migrated_layer_divides_first(how: str, tiny: Any, padded: Any) -> None:
    model = tiny()
    batch = padded(model)
    name = "roberta.encoder.layer.0.intermediate.dense"
    base = smoothquant(model, [batch], 0.5)
    student = rewrite(base, [rule(how, 3, 9).model_copy(update={"name": name})])
    layer: Any = student.get_submodule(name)
    x = tokens(4, 2, 5, layer.in_features)
    inputs, weight = layer.input_quantizer, layer.weight_quantizer
    apart_now = (
        inputs(x / layer.input_scale),
        WeightQuantizer(weight.spec, weight.outliers).eval()(layer.weight.detach()),
    )
    with torch.no_grad():
        assert torch.equal(layer(x), F.linear(*apart_now, layer.bias))
    with only(student, ()):
        assert torch.equal(logits(student, batch), logits(base, batch))


def test_layers_that_read_one_tensor_share_it_only_if_their_columns_are_the_same(
    tiny: Any, padded: Any
) -> None:
    model = tiny()
    batch = padded(model)
    first = Rule(roles=("q", "k", "v"), activation=ActivationSpec(granularity=PerTensor()))
    names = [f"roberta.encoder.layer.0.attention.self.{end}" for end in ("query", "key", "value")]
    one = first.model_copy(update={"roles": (), "name": names[0], "outliers": FEW})
    outs = []
    for made in ([first], [first, one], [first, one.model_copy(update={"name": names[2]})]):
        student = rewrite(model, made)
        with capture(student, dict.fromkeys(names, "output")) as seen:
            logits(student, batch)
        outs.append([seen[name] for name in names])
    plain, of_query, of_value = outs
    assert [torch.equal(a, b) for a, b in zip(plain, of_query, strict=True)] == [False, True, True]
    assert [torch.equal(a, b) for a, b in zip(plain, of_value, strict=True)] == [True, True, False]


# --- what it wins


@pytest.mark.parametrize(("how", "least"), [("keep", 0.9), ("split_weight", 0.5)])
@pytest.mark.parametrize("seed", [0, 1])
def test_a_single_large_weight_is_forgiven(how: str, least: float, seed: int, tiny: Any) -> None:
    """Thirty times the largest: half the range is a quarter of the squared error."""
    model = tiny(seed=seed)
    with torch.no_grad():
        weight = model.get_submodule(LAYER).weight
        weight[5, 3] = 30 * weight.abs().max()
    data = text(n=12)

    def lost(made: Rule) -> float:
        table = scan(rewrite(model, [made]), data, ["en"] * len(data), ("one",))
        return float(table.loc[table["language"] == "all", "kl"].iloc[0])

    plain = Rule(name=LAYER, weight=WeightSpec(granularity=PerTensor()), activation=None)
    before = lost(plain)
    after = lost(plain.model_copy(update={"outliers": apart(how, 3)}))
    assert least < 1 - after / before <= 1
    assert lost(plain.model_copy(update={"outliers": apart(how, 4)})) > after, "another column"
