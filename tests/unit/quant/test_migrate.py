"""Migration of outliers from activations into weights: the same function, factors against one
sentence at a time, less error."""

from __future__ import annotations

import copy
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from sdq.models.hooks import capture
from sdq.models.loading import modules
from sdq.quant.integer import fake_quantize, scale_and_zero
from sdq.quant.layers import QuantLinear
from sdq.quant.rewrite import calibrate_, only, quantized_modules, rewrite
from sdq.quant.smoothquant import ScaledLinear, factors, migrate
from sdq.quant.spec import ActivationSpec, PerTensor, Rule, WeightSpec

STATIC = ActivationSpec(granularity=PerTensor(), dynamic=False)
W8 = WeightSpec(granularity=PerTensor())
READERS = ("q", "k", "v", "ffn_in")
OUTLIER = 3


def logits(model: Any, batch: dict[str, Tensor]) -> Tensor:
    with torch.no_grad():
        out: Tensor = model(**batch).logits
        return out


def names(model: nn.Module, roles: Iterable[str] = READERS) -> list[str]:
    return [m.name for m in modules(model) if m.role in roles]


def together(model: nn.Module) -> list[list[str]]:
    """q, k and v of each block, and each ffn_in alone, by another way than the code's."""
    apart = [[n] for n in names(model, ("ffn_in",))]
    return apart + [list(t) for t in zip(*(names(model, (role,)) for role in "qkv"), strict=True)]


def peaks(model: nn.Module, batches: Iterable[dict[str, Tensor]], name: str) -> Tensor:
    """max|x_j| of a module's input, one sentence at a time, without any padding."""
    found = []
    for batch in batches:
        for row, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True):
            with capture(model, {name: "input"}) as seen:
                logits(model, {"input_ids": row[mask.bool()][None]})
            found += [float(x) for token in seen[name][0] for x in token.abs()]
    return torch.tensor(found).reshape(-1, model.get_submodule(name).in_features).max(0).values


def columns(model: nn.Module, group: list[str]) -> Tensor:
    return torch.cat([model.get_submodule(n).weight.detach() for n in group]).abs().max(0).values


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in model.state_dict().items()}


def plant_(model: nn.Module, by: float = 50) -> None:
    """One channel of every LayerNorm becomes an outlier, and the columns that read it so much
    smaller."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.LayerNorm):
                module.weight[OUTLIER] *= by
                module.bias[OUTLIER] *= by
        for name in names(model):
            model.get_submodule(name).weight[:, OUTLIER] /= by


# --- the same function


@pytest.mark.parametrize("strength", [0, 0.5, 1])
def test_the_function_is_the_same(
    family: str, kind: str, strength: float, tiny: Any, padded: Any
) -> None:
    model = tiny(family, kind)
    batch = padded(model)
    smooth = migrate(model, [batch], strength)
    other = padded(model, seed=5)  # also on what was not seen
    exact, got = logits(model, other), logits(smooth, other)
    real = other["attention_mask"].bool() if kind == "token" else ...
    assert (got - exact)[real].abs().max() <= 1e-5 * exact[real].abs().max()
    assert [m.name for m in modules(smooth)] == [m.name for m in modules(model)]
    for m in modules(model):
        before, after = model.get_submodule(m.name), smooth.get_submodule(m.name)
        assert type(after) is (ScaledLinear if m.role in READERS else type(before))
        assert torch.equal(after.weight, before.weight) is (m.role not in READERS)


def test_the_argument_is_untouched(family: str, tiny: Any, padded: Any) -> None:
    model = tiny(family)
    batch = padded(model)
    before, exact, inputs = (
        snapshot(model),
        logits(model, batch),
        {k: v.clone() for k, v in batch.items()},
    )
    model.train()
    smooth = migrate(model, [batch])
    assert smooth.training
    assert all(m.training for m in [*model.modules(), *smooth.modules()])
    model.eval()
    after = model.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(after[k], before[k]) for k in before)
    assert all(torch.equal(batch[k], inputs[k]) for k in inputs)
    assert torch.equal(logits(model, batch), exact)
    with torch.no_grad():  # nor shared
        for tensor in smooth.state_dict().values():
            tensor.zero_()
    assert torch.equal(logits(model, batch), exact)
    assert not any(
        len(m._forward_hooks) + len(m._forward_pre_hooks)
        for x in (model, smooth)
        for m in x.modules()
    )
    assert [p.requires_grad for p in smooth.parameters()] == [True] * len(list(model.parameters()))


# --- the factors


@pytest.mark.parametrize("strength", [0, 0.3, 0.5, 1])
def test_factors_are_those_of_single_sentences(
    family: str, strength: float, tiny: Any, padded: Any
) -> None:
    model = tiny(family)
    batches = [padded(model), padded(model, (3, 7), seed=1)]
    smooth = migrate(model, iter(batches), strength)
    for group in together(model):
        x, w = peaks(model, batches, group[0]), columns(model, group)
        expected = [
            float(a) ** strength / float(b) ** (1 - strength) for a, b in zip(x, w, strict=True)
        ]
        for name in group:
            layer = smooth.get_submodule(name)
            assert layer.input_scale.tolist() == pytest.approx(expected, rel=1e-4)
            assert torch.allclose(
                layer.weight,
                model.get_submodule(name).weight * layer.input_scale,
                rtol=1e-6,
                atol=0,
            )


def test_where_the_range_goes(tiny: Any, padded: Any) -> None:
    """After the full migration all activations reach equally far, after none all columns, and
    half-way both of a channel."""
    model = tiny("xlmr")
    batch = padded(model)
    for strength in (0, 0.5, 1):
        smooth = migrate(model, [batch], strength)
        for group in together(model):
            x = peaks(smooth, [batch], group[0]) / smooth.get_submodule(group[0]).input_scale
            w = columns(smooth, group)
            expected = {0: (x, torch.ones_like(w)), 0.5: (w, w), 1: (torch.ones_like(x), w)}[
                strength
            ]
            assert torch.allclose(x, expected[0], rtol=1e-4)
            assert torch.allclose(w, expected[1], rtol=1e-4)


def test_padding_does_not_change_the_factors(family: str, tiny: Any, padded: Any) -> None:
    model = tiny(family)
    table = model.get_submodule(names(model, ("embedding",))[0]).weight
    with torch.no_grad():
        table[60] *= 40  # what stands in the padding would be seen
    lengths = (9, 4, 6, 1)
    plain = migrate(model, [padded(model, lengths)])
    for other in (padded(model, lengths, width=21), padded(model, lengths, width=21, fill=60)):
        wide = migrate(model, [other])
        for name in names(model):
            assert torch.allclose(
                wide.get_submodule(name).input_scale,
                plain.get_submodule(name).input_scale,
                rtol=1e-5,
            )


def test_zero_channels_have_finite_factors(tiny: Any, padded: Any) -> None:
    model = tiny("bert")
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.LayerNorm):
                module.weight[0] = module.bias[0] = 0
        for name in names(model):
            model.get_submodule(name).weight[:, 1] = 0
    batch = padded(model)
    exact = logits(model, batch)
    for strength in (0, 0.5, 1):
        smooth = migrate(model, [batch], strength)
        for name in names(model):
            scale = smooth.get_submodule(name).input_scale
            assert torch.isfinite(scale).all()
            assert (scale > 0).all()
            assert scale[0] == 1
        assert (logits(smooth, batch) - exact).abs().max() <= 1e-5 * exact.abs().max()
    for x, w in (
        (torch.zeros(4), torch.ones(4)),
        (torch.ones(4), torch.zeros(4)),
        (torch.zeros(4), torch.zeros(4)),
    ):
        assert factors(x, w, 0.5).tolist() == [1] * 4


def test_a_channel_nobody_reads_does_not_set_the_range() -> None:
    x, w = torch.tensor([2.0, 3.0, 90.0]), torch.tensor([0.5, 0.25, 0.0])
    divided = x / factors(x, w, 0.5)
    assert divided[2] < divided[:2].min()


# --- quantized


def test_a_planted_outlier_costs_less_after_migration(family: str, tiny: Any, padded: Any) -> None:
    """Per-tensor INT8 of weights and activations, static and dynamic, against the model's own FP32
    answers."""
    model = tiny(family)
    plant_(model)
    batches = [padded(model, (9, 8, 7, 9), seed=s) for s in range(4)]
    for activation in (STATIC, ActivationSpec(granularity=PerTensor())):
        rules = [Rule(roles=READERS, weight=W8, activation=activation)]
        before, after = (
            _error(rewrite(m, rules), model, batches) for m in (model, migrate(model, batches))
        )
        assert after < 0.5 * before


def _error(student: nn.Module, model: nn.Module, batches: list[dict[str, Tensor]]) -> float:
    """Relative L2 error of the outputs of q, k, v and ffn_in, quantized by themselves on exact
    inputs: worst of the modules' roles."""
    calibrate_(student, batches)
    total: dict[str, list[float]] = {}
    for m in modules(model):
        if m.role in READERS:
            for batch in batches:
                with (
                    capture(model, {m.name: "output"}) as exact,
                    capture(student, {m.name: "output"}) as seen,
                    only(student, [m.name]),
                ):
                    logits(model, batch)
                    logits(student, batch)
                real = batch["attention_mask"].bool()
                error = (seen[m.name] - exact[m.name])[real].norm() / exact[m.name][real].norm()
                total.setdefault(m.role, []).append(float(error))
    return max(sum(errors) / len(errors) for errors in total.values())


@pytest.mark.parametrize("activation", [None, ActivationSpec(bits=4), STATIC])
def test_a_migrated_model_is_rewritten_like_any_other(
    family: str, activation: Any, tiny: Any, padded: Any
) -> None:
    model = tiny(family)
    batch = padded(model)
    smooth = migrate(model, [batch])
    assert quantized_modules(smooth) == {}
    student = rewrite(
        smooth, [Rule(weight=WeightSpec(bits=4), activation=activation), Rule(roles=("v",))]
    )
    calibrate_(student, [batch])
    with only(student, ()):
        assert torch.equal(logits(student, batch), logits(smooth, batch))
    assert not torch.equal(logits(student, batch), logits(smooth, batch))
    for m in modules(model):
        layer = student.get_submodule(m.name)
        assert isinstance(layer, QuantLinear) is (m.role not in ("v", "embedding"))
        assert ("input_scale" in dict(layer.named_buffers())) is (m.role in READERS)
    assert torch.equal(logits(copy.deepcopy(student), batch), logits(student, batch))


@pytest.mark.parametrize("activation", [None, ActivationSpec(), STATIC])
def test_a_migrated_layer_divides_first_and_quantizes_then(
    activation: Any, tiny: Any, padded: Any
) -> None:
    model = tiny("xlmr")
    batch = padded(model, (6, 6))
    smooth = migrate(model, [batch])
    student = rewrite(smooth, [Rule(weight=W8, activation=activation)])
    calibrate_(student, [batch])
    name = names(model)[0]
    old, layer = model.get_submodule(name), student.get_submodule(name)
    with capture(model, {name: "input"}) as seen:
        logits(model, batch)
    x = seen[name].double()
    s = x.abs().amax((0, 1)).sqrt() / columns(model, together(model)[-2]).double().sqrt()
    assert names(model)[0] in together(model)[-2]
    divided, weight = (x / s).float(), (old.weight.detach().double() * s).float()
    if activation is not None:
        peak = divided.abs().amax(-1, keepdim=True) if activation.dynamic else divided.abs().max()
        divided = fake_quantize(divided, *scale_and_zero(-peak, peak, 8, True), 8, True)
    weight = fake_quantize(
        weight, *scale_and_zero(-weight.abs().max(), weight.abs().max(), 8, True), 8, True
    )
    with torch.no_grad():
        exact = F.linear(divided, weight, old.bias)
        assert (layer(seen[name]) - exact).norm() < 1e-4 * exact.norm()


def test_a_trained_student_of_a_migrated_model_can_be_kept(
    tiny: Any, padded: Any, tmp_path: Path
) -> None:
    """safetensors refuses tensors that share memory; and the factors are not trained."""
    model = tiny("xlmr")
    student = rewrite(migrate(model, [padded(model)]), [Rule(weight=W8)])
    save_file(student.state_dict(), tmp_path / "model.safetensors")
    twin = rewrite(migrate(model, [padded(model, seed=3)]), [Rule(weight=W8)])
    twin.load_state_dict(student.state_dict())
    assert torch.equal(logits(twin, padded(model)), logits(student, padded(model)))
    assert not any("input_scale" in n for n, _ in student.named_parameters())


# --- refused


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_strength_is_from_0_to_1(strength: float, tiny: Any, padded: Any) -> None:
    model = tiny()
    with pytest.raises(ValueError, match="strength must be from 0 to 1, got"):
        migrate(model, [padded(model)], strength)


def test_there_must_be_tokens(tiny: Any, padded: Any) -> None:
    model = tiny()
    empty = padded(model)
    empty["attention_mask"][:] = 0
    for batches in ([], [empty]):
        with pytest.raises(ValueError, match="at least one real token"):
            migrate(model, batches)
    some = padded(model)  # one without tokens among others does no harm
    scales = [
        migrate(model, b).get_submodule(names(model)[0]).input_scale
        for b in ([some], [empty, some, empty])
    ]
    assert torch.equal(*scales)


def test_activations_must_be_finite(tiny: Any, padded: Any) -> None:
    model = tiny()
    with torch.no_grad():
        next(m for m in model.modules() if isinstance(m, nn.LayerNorm)).weight[0] = float("inf")
    with pytest.raises(ValueError, match="must be finite"):
        migrate(model, [padded(model)])


def test_once_and_before_rewrite(tiny: Any, padded: Any) -> None:
    model = tiny()
    batch = padded(model)
    with pytest.raises(ValueError, match="query is a ScaledLinear; migrate once"):
        migrate(migrate(model, [batch]), [batch])
    with pytest.raises(
        ValueError, match="query is a QuantLinear; migrate once, and before rewrite"
    ):
        migrate(rewrite(model, [Rule(weight=W8)]), [batch])
