"""Columns that are held apart: exactly what integers would give, nothing where quantizers are off,
and counted wherever a model is."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

from sdq.analyses.ablation import _fresh, _Without
from sdq.analyses.activations import activations
from sdq.analyses.bitwidth_sensitivity import bitwidth_sensitivity, weights_rounded_to
from sdq.analyses.input_statistics import exact_codes
from sdq.analyses.outliers import _rounded
from sdq.analyses.sensitivity import scan
from sdq.analyses.weights import weights
from sdq.inspection.remedies import current_choice
from sdq.models.hooks import capture
from sdq.quant.layers import ActivationQuantizer, ForwardPass, WeightQuantizer, quantized
from sdq.quant.mixed_precision import choice_of, rules, weight_bytes
from sdq.quant.packed import pack, unpack_
from sdq.quant.rewrite import calibrate_, only, quantized_modules, rewrite, set_noise_
from sdq.quant.size import size_bytes
from sdq.quant.smoothquant import smoothquant
from sdq.quant.spec import (
    ActivationSpec,
    OutlierColumns,
    PerChannel,
    PerGroup,
    PerTensor,
    PerToken,
    Rule,
    WeightSpec,
)
from sdq.recipe import PRESETS, Recipe, parse
from sdq.settings import UserError
from sdq.store import run_id
from tests.helpers.encoders import logits
from tests.helpers.layers import linear, tokens
from tests.helpers.rewriting import STATIC
from tests.helpers.training import text

HOWS = ("keep", "split_weight", "split_input")
HOW = pytest.mark.parametrize("how", HOWS)
GRAINS = pytest.mark.parametrize(
    "granularity", [PerTensor(), PerChannel(), PerGroup(size=8)], ids=lambda g: g.kind
)
LAYER = "roberta.encoder.layer.0.output.dense"
FEW = OutlierColumns(columns=(3, 9))


def apart(how: Any, *columns: int) -> OutlierColumns:
    return OutlierColumns(columns=columns, how=how)


def rule(how: Any, *columns: int, **more: Any) -> Rule:
    """For LAYER: INT8 with one range per weight, dynamic ranges per token."""
    specs = {"weight": WeightSpec(granularity=PerTensor()), "activation": ActivationSpec()} | more
    return Rule(name=LAYER, outliers=apart(how, *columns), **specs)


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
def test_off_is_fp32_bit_for_bit(how: str, family: str, kind: str, tiny: Any, padded: Any) -> None:
    model = tiny(family, kind)
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


# --- counted and kept


@HOW
def test_sizes_by_hand(how: str, tiny: Any) -> None:
    model = tiny()
    rows, columns = model.get_submodule(LAYER).weight.shape
    plain = Rule(name=LAYER, weight=WeightSpec(bits=4), activation=ActivationSpec())
    more = {"keep": 2 * 2 * rows - 2 * rows // 2, "split_weight": rows, "split_input": rows}[how]
    before, after = (
        size_bytes(rewrite(model, [r]))
        for r in (plain, plain.model_copy(update={"outliers": apart(how, 3, 9)}))
    )
    assert after["fp32"] == before["fp32"]
    assert after["quantized_simulated"] - before["quantized_simulated"] == more + 2 * 4
    assert weight_bytes((rows, columns), None, FEW) == 4 * rows * columns + 8
    only_input = plain.model_copy(update={"weight": None, "outliers": apart("split_input", 3)})
    full = size_bytes(rewrite(model, [only_input]))
    assert full["quantized_simulated"] == full["fp32"] + 4 * rows + 4


@HOW
@GRAINS
def test_packed_it_answers_as_the_student(
    how: str, granularity: Any, tiny: Any, padded: Any
) -> None:
    teacher = tiny()
    batch = padded(teacher)
    made = rule(how, 3, 9, weight=WeightSpec(bits=4, granularity=granularity), activation=STATIC)
    student = rewrite(teacher, [made])
    with torch.no_grad():
        student.get_submodule(LAYER).weight.add_(0.3)
        student.get_submodule(LAYER).weight[:, 3] *= 20
    calibrate_(student, [batch])
    plain = rewrite(teacher, [made.model_copy(update={"outliers": None})])
    assert student.state_dict().keys() == plain.state_dict().keys(), "nothing more to save"
    packed = pack(student.eval(), teacher)
    assert (f"{LAYER}.kept" in packed) == (how == "keep")
    other = rewrite(teacher, [made])
    unpack_(other, packed)
    assert torch.equal(logits(other.eval(), batch), logits(student, batch))
    assert not torch.equal(logits(student, batch), logits(teacher, batch))


@HOW
def test_widths_of_such_layers_are_priced_and_chosen_with_their_columns(
    how: str, tiny: Any, padded: Any
) -> None:
    model, batch = tiny(), padded(tiny())
    base = (
        Rule(roles=("ffn_in",), weight=WeightSpec(granularity=PerTensor())),
        rule(how, 3, 9),
    )
    student = rewrite(model, base)
    costs = bitwidth_sensitivity(student, text(n=3), ["en"] * 3, widths=(4,))
    rest = size_bytes(student)["quantized_simulated"] - current_choice(costs).bytes
    narrow = choice_of(costs[(costs["bits"] == 4) & (costs["ranges"] == "channel")])
    other = rewrite(model, rules(narrow, base))
    layer: Any = other.get_submodule(LAYER)
    assert layer.outliers == apart(how, 3, 9)
    assert layer.weight_quantizer.spec == WeightSpec(bits=4)
    assert size_bytes(other)["quantized_simulated"] == rest + narrow.bytes
    specs = {n: m.weight_quantizer.spec for n, m in quantized_modules(student).items()}
    before = logits(student, batch)
    with weights_rounded_to(student, specs):  # type: ignore[arg-type]
        assert torch.equal(logits(student, batch), before)


# --- what analyses say of them


@HOW
def test_errors_are_those_of_the_whole_layer(how: str, tiny: Any) -> None:
    model = tiny()
    with torch.no_grad():
        model.get_submodule(LAYER).weight[:, 3] *= 20
    student = rewrite(model, [rule(how, 3, 9)])
    layer: Any = student.get_submodule(LAYER)
    full = layer.weight.detach()
    off = (layer.weight_quantizer(full) - full).detach().double()
    row = weights(student).set_index("module").loc[LAYER]
    assert row["mse"] == pytest.approx(float((off**2).mean()))
    assert row["quantized"].sum() == full.numel()
    relative = float(off.norm() / full.double().norm())
    assert _rounded(layer, layer.weight_quantizer)[1] == pytest.approx(relative)
    data = text(n=4)
    table, _ = activations(student, data, ["en"] * 4)
    seen = table.set_index("module").loc[LAYER]
    assert seen["clipped"] == 0, "its own range holds whatever goes to codes"
    if how == "split_weight":
        assert "apart" not in table, "its input has one range for all"
    else:
        assert seen["apart"] == 2
        assert table["apart"].notna().sum() == 1
    x = tokens(7, 4, layer.in_features)
    x[:, 3] *= 20
    inputs = layer.input_quantizer
    assert exact_codes(inputs, x).abs().max() <= 127
    assert torch.equal(_fresh(inputs)(x), inputs(x))
    without = _Without(layer, layer.weight_quantizer.spec, inputs)
    with torch.no_grad():
        assert torch.equal(without.forward(x), layer(x)), "nothing is taken away"


# --- recipes


def test_recipes_without_them_keep_their_ids() -> None:
    for recipe in PRESETS.values():
        assert "outliers" not in recipe.canonical()
        assert "outliers" not in recipe.model_dump_json()
    none = {"rules": [{"weight": {}, "outliers": None}]}
    assert (
        Recipe.model_validate(none).canonical()
        == Recipe(rules=(Rule(weight=WeightSpec()),)).canonical()
    )
    made = [Recipe(rules=(rule(how, *columns),)) for how in HOWS for columns in ((3,), (3, 9))]
    assert len({run_id(recipe, "m", "t") for recipe in made}) == len(made)
    for recipe in made:
        assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
        assert Recipe.model_validate(json.loads(recipe.canonical())).rules == recipe.rules
    assert apart("keep", 9, 3, 9) == apart("keep", 3, 9)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"outliers": {"columns": []}}, "must name at least one column, got none"),
        ({"outliers": {"columns": [-1]}}, "outliers.columns"),
        ({"outliers": {"columns": [1], "how": "halve"}}, "outliers.how"),
        ({"roles": ["layernorm"], "weight": None}, "for Linear layers, layernorm is none"),
        ({"roles": ["q", "residual"]}, "for Linear layers, residual is none"),
        ({"activation": None, "outliers": {"columns": [1], "how": "split_input"}}, "`activation`"),
        ({"weight": None, "outliers": {"columns": [1], "how": "split_weight"}}, "`weight`"),
        ({"weight": None, "activation": None}, "come with `weight` or `activation`"),
    ],
)
def test_what_no_recipe_can_have_is_refused_in_one_sentence(
    more: dict[str, Any], said: str
) -> None:
    plain = {"weight": {}, "activation": {}, "outliers": {"columns": [1]}}
    with pytest.raises(UserError, match=said) as caught:
        parse(json.dumps({"rules": [plain | more]}).encode(), "mine.json")
    assert "\n" not in str(caught.value)
    with pytest.raises(ValidationError):
        Rule.model_validate(plain | more)


def test_what_the_model_does_not_have_is_refused(tiny: Callable[..., nn.Module]) -> None:
    model = tiny()
    layer: Any = model.get_submodule(LAYER)
    width = layer.in_features
    assert rewrite(model, [rule("keep", width - 1)])
    with pytest.raises(UserError, match=f"has {width}, from 0 to {width - 1}, got {width}; "):
        rewrite(model, [rule("keep", 0, width)])
    for made in (
        Rule(weight=WeightSpec(), outliers=FEW),
        Rule(roles=("embedding",), weight=WeightSpec(), outliers=FEW),
    ):
        with pytest.raises(
            UserError, match=r"for Linear layers, .*word_embeddings is an embedding"
        ):
            rewrite(model, [made])


def test_quantizers_of_sites_hold_nothing_apart() -> None:
    x: Tensor = tokens()
    quantizer = ActivationQuantizer(ActivationSpec(), ForwardPass())
    assert quantizer.narrowed(x) is x
