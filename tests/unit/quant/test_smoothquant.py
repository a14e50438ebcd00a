"""Migration of outliers from activations into weights: the same function, factors against one
sentence at a time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sdq.models.hooks import capture
from sdq.models.structure import modules
from sdq.quant.smoothquant import ScaledLinear, smoothing_factors, smoothquant
from tests.helpers.encoders import logits
from tests.helpers.migration import READERS, columns, names, together


def peaks(model: nn.Module, batches: Iterable[dict[str, Tensor]], name: str) -> Tensor:
    """max|x_j| of a module's input, one sentence at a time, without any padding."""
    inputs = []
    for batch in batches:
        for row, mask in zip(batch["input_ids"], batch["attention_mask"], strict=True):
            with capture(model, {name: "input"}) as seen:
                logits(model, {"input_ids": row[mask.bool()][None]})
            inputs += [float(x) for token in seen[name][0] for x in token.abs()]
    return torch.tensor(inputs).reshape(-1, model.get_submodule(name).in_features).max(0).values


def snapshot(model: nn.Module) -> dict[str, Tensor]:
    return {k: v.clone() for k, v in model.state_dict().items()}


# --- the same function


@pytest.mark.parametrize("strength", [0, 0.5, 1])
def test_the_function_is_the_same(
    family: str, kind: str, strength: float, tiny: Any, padded: Any
) -> None:
    model = tiny(family, kind)
    batch = padded(model)
    smooth = smoothquant(model, [batch], strength)
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
    smooth = smoothquant(model, [batch])
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
    smooth = smoothquant(model, iter(batches), strength)
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
        smooth = smoothquant(model, [batch], strength)
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
    plain = smoothquant(model, [padded(model, lengths)])
    for other in (padded(model, lengths, width=21), padded(model, lengths, width=21, fill=60)):
        wide = smoothquant(model, [other])
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
        smooth = smoothquant(model, [batch], strength)
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
        assert smoothing_factors(x, w, 0.5).tolist() == [1] * 4


def test_a_channel_nobody_reads_does_not_set_the_range() -> None:
    x, w = torch.tensor([2.0, 3.0, 90.0]), torch.tensor([0.5, 0.25, 0.0])
    divided = x / smoothing_factors(x, w, 0.5)
    assert divided[2] < divided[:2].min()
