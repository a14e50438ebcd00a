"""Quantized layers by themselves: weights, their ranges and noise."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from sdq.quant.layers import (
    ActivationQuantizer,
    ForwardPass,
    QuantEmbedding,
    QuantLinear,
    WeightQuantizer,
    quantized,
)
from sdq.quant.observers import OBSERVERS
from sdq.quant.spec import ActivationSpec, PerChannel, PerGroup, PerTensor, WeightSpec
from tests.helpers.layers import W4, fresh, linear, tokens

GRAINS = pytest.mark.parametrize(
    "granularity", [PerTensor(), PerChannel(), PerGroup(size=8)], ids=lambda g: g.kind
)


def test_only_linear_and_embedding() -> None:
    with pytest.raises(TypeError, match="got LayerNorm"):
        quantized(nn.LayerNorm(4), W4, None, ForwardPass())


def test_the_twin_shares_parameters_and_leaves_the_original() -> None:
    old = linear()
    twin = quantized(old, W4, ActivationSpec(), ForwardPass())
    assert isinstance(twin, QuantLinear)
    assert twin.weight is old.weight
    assert twin.bias is old.bias
    assert type(old) is nn.Linear
    assert list(old.children()) == []
    assert not hasattr(old, "weight_quantizer")


@GRAINS
@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("symmetric", [True, False])
def test_weight_against_numpy(granularity: Any, bits: int, symmetric: bool) -> None:
    """Exact, with codes in int64 by numpy and one loop over whatever shares a range."""
    weight = tokens(1, 6, 32)
    got = (
        WeightQuantizer(WeightSpec(bits=bits, symmetric=symmetric, granularity=granularity))
        .eval()(weight)
        .numpy()
    )
    n = weight.numpy()
    parts = {
        "tensor": [n.reshape(-1)],
        "channel": list(n),
        "group": [r[i : i + 8] for r in n for i in range(0, 32, 8)],
    }[granularity.kind]
    out = []
    for part in parts:
        if symmetric:
            top = np.float32(2 ** (bits - 1) - 1)
            scale, zero, bottom = np.abs(part).max() / top, np.int64(0), -top
        else:
            bottom, top = np.float32(0), np.float32(2**bits - 1)
            low, high = min(part.min(), np.float32(0)), max(part.max(), np.float32(0))
            scale = (high - low) / top
            zero = np.int64(np.rint(-low / scale))
        codes = np.clip(np.rint(part / scale).astype(np.int64) + zero, int(bottom), int(top))
        out.append((codes - zero).astype(np.float32) * scale)
    assert np.array_equal(got, np.concatenate(out).reshape(6, 32))


@GRAINS
@pytest.mark.parametrize("observer", OBSERVERS, ids=lambda o: o().kind)
def test_embedding_rows_are_those_of_the_quantized_table(granularity: Any, observer: Any) -> None:
    table = nn.Embedding(20, 16, padding_idx=1)
    with torch.no_grad():
        table.weight.copy_(tokens(2, 20, 16))
        table.weight[7] *= 30
    for symmetric in (True, False):
        spec = WeightSpec(bits=3, symmetric=symmetric, observer=observer(), granularity=granularity)
        twin = quantized(table, spec, None, ForwardPass()).eval()
        assert isinstance(twin, QuantEmbedding)
        whole = fresh(twin.weight_quantizer, table.weight)
        for ids in (torch.tensor([[0, 7, 19], [7, 7, 1]]), torch.arange(20), torch.tensor([3])):
            assert torch.equal(twin(ids), whole[ids])
        assert not torch.equal(whole, table.weight)
        twin.weight_quantizer.enabled = False
        assert torch.equal(twin(torch.arange(20)), table.weight)


def test_embedding_gradient_is_straight_through() -> None:
    table = nn.Embedding(9, 16)
    twin = quantized(table, W4, None, ForwardPass())
    twin(torch.tensor([2, 5, 5])).sum().backward()
    assert table.weight.grad.sum(1).tolist() == [0, 0, 16, 0, 0, 32, 0, 0, 0]


def test_bias_is_never_quantized() -> None:
    layer = linear()
    twin = quantized(layer, WeightSpec(bits=2), ActivationSpec(bits=2), ForwardPass()).eval()
    assert torch.equal(twin(torch.zeros(1, 1, 32))[0, 0], layer.bias)


@pytest.mark.parametrize("change", ["in place", "load_state_dict", "new data", "fused optimizer"])
@pytest.mark.parametrize("grad", [True, False])
def test_weight_ranges_follow_the_weight_in_eval_mode(change: str, grad: bool) -> None:
    twin = quantized(linear(), W4, None, ForwardPass()).eval()
    quantizer = twin.weight_quantizer
    with torch.set_grad_enabled(grad):
        before = quantizer(twin.weight).detach()
        assert torch.equal(quantizer(twin.weight), before)  # from the cache
        if change == "in place":
            with torch.no_grad():
                twin.weight[0] *= 9
        elif change == "load_state_dict":
            twin.load_state_dict(linear(seed=5).state_dict())
        elif change == "new data":
            twin.weight.data = 9 * twin.weight.data
        else:
            twin.weight.grad = torch.ones_like(twin.weight)
            torch.optim.AdamW([twin.weight], lr=0.5, fused=True).step()
            # a fused optimizer changes weights without telling torch: whoever uses one says so
            quantizer.forget_()
        after = quantizer(twin.weight)
        assert not torch.equal(after, before)
        assert torch.equal(after, fresh(quantizer, twin.weight))


@pytest.mark.parametrize("refresh", [1, 3])
def test_weight_ranges_in_training_are_refreshed_every_so_many_steps(refresh: int) -> None:
    twin = quantized(linear(), W4, None, ForwardPass()).train()
    quantizer = twin.weight_quantizer
    quantizer.refresh = refresh
    current = 0
    for step in range(8):
        scale, _ = quantizer.ranges(twin.weight)
        if step % refresh == 0:
            current = step
        assert torch.allclose(scale[:, 0], twin.weight.abs().amax(1) / 2.0 ** (step - current) / 7)
        with torch.no_grad():
            twin.weight.mul_(2)


def test_evaluation_measures_the_weight_even_between_refreshes() -> None:
    twin = quantized(linear(), W4, None, ForwardPass()).train()
    twin.weight_quantizer.refresh = 100
    twin(tokens())
    with torch.no_grad():
        twin.weight.mul_(3)
    twin.eval()
    assert torch.equal(
        twin.weight_quantizer(twin.weight), fresh(twin.weight_quantizer, twin.weight)
    )


@pytest.mark.parametrize("p", [0.25, 0.5, 0.9])
@pytest.mark.parametrize("grad", [True, False])
def test_quant_noise(p: float, grad: bool) -> None:
    """In training a random share p of the elements is quantized, the rest passes; in evaluation all
    are."""
    torch.manual_seed(0)
    weight, x = tokens(3, 100, 128), tokens(4, 4, 25, 128)
    linear_noise = WeightQuantizer(W4)
    input_noise = ActivationQuantizer(ActivationSpec(bits=4), ForwardPass())
    table = quantized(nn.Embedding.from_pretrained(weight.clone()), W4, None, ForwardPass())
    ids = torch.arange(100)
    for module, call, plain in (
        (linear_noise, lambda: linear_noise(weight), weight),
        (input_noise, lambda: input_noise(x), x),
        (table.weight_quantizer, lambda: table(ids), weight),
    ):
        module.noise = p
        with torch.set_grad_enabled(grad):
            module.eval()
            everything = call()
            assert torch.equal(call(), everything)
            module.train()
            first, second = call(), call()
        same_as_quantized = (first == everything) & (first != plain)
        assert ((first == everything) | (first == plain)).all()
        assert same_as_quantized.float().mean().item() == pytest.approx(
            p * (everything != plain).float().mean().item(), abs=0.02
        )
        assert not torch.equal(first, second)
        module.noise = 1.0
        with torch.set_grad_enabled(grad):
            assert torch.equal(call(), everything)


def test_noise_passes_the_gradient_where_it_does_not_quantize() -> None:
    torch.manual_seed(0)
    quantizer = ActivationQuantizer(
        ActivationSpec(bits=2, granularity=PerTensor(), dynamic=False), ForwardPass()
    ).train()
    quantizer.calibrated.fill_(True)
    quantizer.noise = 0.5
    x = torch.full((1, 1000), 5.0, requires_grad=True)  # far outside the range [-1, 1]
    quantizer(x).sum().backward()
    assert set(x.grad.unique().tolist()) == {0.0, 1.0}
    assert x.grad.mean().item() == pytest.approx(0.5, abs=0.06)
