"""Migrated models, rounded: less error, rewritten as others; and what migration refuses."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional as F

from sdq.models.hooks import capture
from sdq.models.structure import modules
from sdq.quant.integer import fake_quantize, scale_and_zero
from sdq.quant.layers import QuantLinear
from sdq.quant.rewrite import calibrate_, only, quantized_modules, rewrite
from sdq.quant.smoothquant import smoothquant
from sdq.quant.spec import ActivationSpec, PerTensor, Rule, WeightSpec
from tests.helpers.encoders import logits
from tests.helpers.migration import READERS, columns, names, together

STATIC = ActivationSpec(granularity=PerTensor(), dynamic=False)
W8 = WeightSpec(granularity=PerTensor())
OUTLIER = 3


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
            _error(rewrite(m, rules), model, batches) for m in (model, smoothquant(model, batches))
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
    smooth = smoothquant(model, [batch])
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
    smooth = smoothquant(model, [batch])
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
    student = rewrite(smoothquant(model, [padded(model)]), [Rule(weight=W8)])
    save_file(student.state_dict(), tmp_path / "model.safetensors")
    twin = rewrite(smoothquant(model, [padded(model, seed=3)]), [Rule(weight=W8)])
    twin.load_state_dict(student.state_dict())
    assert torch.equal(logits(twin, padded(model)), logits(student, padded(model)))
    assert not any("input_scale" in n for n, _ in student.named_parameters())


# --- refused


@pytest.mark.parametrize("strength", [-0.1, 1.1, float("nan")])
def test_strength_is_from_0_to_1(strength: float, tiny: Any, padded: Any) -> None:
    model = tiny()
    with pytest.raises(ValueError, match="strength must be from 0 to 1, got"):
        smoothquant(model, [padded(model)], strength)


def test_there_must_be_tokens(tiny: Any, padded: Any) -> None:
    model = tiny()
    empty = padded(model)
    empty["attention_mask"][:] = 0
    for batches in ([], [empty]):
        with pytest.raises(ValueError, match="at least one real token"):
            smoothquant(model, batches)
    some = padded(model)  # one without tokens among others does no harm
    scales = [
        smoothquant(model, b).get_submodule(names(model)[0]).input_scale
        for b in ([some], [empty, some, empty])
    ]
    assert torch.equal(*scales)


def test_activations_must_be_finite(tiny: Any, padded: Any) -> None:
    model = tiny()
    with torch.no_grad():
        next(m for m in model.modules() if isinstance(m, nn.LayerNorm)).weight[0] = float("inf")
    with pytest.raises(ValueError, match="must be finite"):
        smoothquant(model, [padded(model)])


def test_once_and_before_rewrite(tiny: Any, padded: Any) -> None:
    model = tiny()
    batch = padded(model)
    with pytest.raises(ValueError, match="query is a ScaledLinear; migrate once"):
        smoothquant(smoothquant(model, [batch]), [batch])
    with pytest.raises(
        ValueError, match="query is a QuantLinear; migrate once, and before rewrite"
    ):
        smoothquant(rewrite(model, [Rule(weight=W8)]), [batch])
