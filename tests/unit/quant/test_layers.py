"""Quantized layers by themselves: ranges, caches, noise, padding."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdq.quant.integer import fake_quantize, scale_and_zero
from sdq.quant.layers import (
    ActivationQuantizer,
    ForwardPass,
    QuantEmbedding,
    QuantLinear,
    WeightQuantizer,
    quantized,
)
from sdq.quant.observers import OBSERVERS
from sdq.quant.spec import ActivationSpec, PerChannel, PerGroup, PerTensor, PerToken, WeightSpec

GRAINS = pytest.mark.parametrize(
    "granularity", [PerTensor(), PerChannel(), PerGroup(size=8)], ids=lambda g: g.kind
)
W4 = WeightSpec(bits=4)


def linear(seed: int = 0, rows: int = 12, columns: int = 32) -> nn.Linear:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return nn.Linear(columns, rows)


def tokens(seed: int = 0, *shape: int) -> Tensor:
    return torch.randn(*(shape or (3, 5, 32)), generator=torch.Generator().manual_seed(seed))


def fresh(quantizer: WeightQuantizer, weight: Tensor) -> Tensor:
    """What a quantizer without any memory makes of the weight."""
    return WeightQuantizer(quantizer.spec).eval()(weight)


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


def test_dynamic_ranges_by_hand() -> None:
    x = tokens(5, 2, 3, 8)
    for symmetric in (True, False):
        for granularity, rows in ((PerToken(), x.reshape(6, 8)), (PerTensor(), x.reshape(1, 48))):
            quantizer = ActivationQuantizer(
                ActivationSpec(bits=4, symmetric=symmetric, granularity=granularity), ForwardPass()
            )
            scale, zero = (
                t[:, None] for t in scale_and_zero(rows.amin(1), rows.amax(1), 4, symmetric)
            )
            assert torch.equal(
                quantizer(x), fake_quantize(rows, scale, zero, 4, symmetric).reshape(x.shape)
            )


def test_padding_reads_the_mask_however_it_is_passed() -> None:
    class Model(nn.Module):
        def forward(self, input_ids: Tensor, attention_mask: Tensor | None = None) -> Tensor:
            return input_ids

    model, shared, ids, mask = (
        Model(),
        ForwardPass(),
        torch.zeros(2, 3),
        torch.tensor([[1, 1, 0], [1, 0, 0]]),
    )
    model.register_forward_pre_hook(shared.begin, with_kwargs=True)
    x = tokens(6, 2, 3, 4)
    for args, kwargs in (
        ((ids,), {"attention_mask": mask}),
        ((ids, mask), {}),
        ((), {"input_ids": ids, "attention_mask": mask}),
    ):
        shared.mask = None
        model(*args, **kwargs)
        assert torch.equal(shared.real(x), x[mask.bool()])
        assert torch.equal(shared.real(x[:, 0]), x[:, 0])
    model(ids)  # the mask of an earlier pass is forgotten
    assert torch.equal(shared.real(x), x)


@pytest.mark.parametrize("symmetric", [True, False])
def test_per_tensor_range_ignores_padding(symmetric: bool) -> None:
    shared = ForwardPass()
    quantizer = ActivationQuantizer(
        ActivationSpec(granularity=PerTensor(), symmetric=symmetric), shared
    )
    x = tokens(7, 2, 4, 8)
    x[1, 2:] = 1e6
    shared.mask = torch.tensor([[1, 1, 1, 1], [1, 1, 0, 0]]).bool()
    scale, zero = quantizer.ranges(x)
    real = torch.cat([x[0], x[1, :2]]).reshape(1, -1)
    wanted = scale_and_zero(real.amin(1), real.amax(1), 8, symmetric)
    assert (scale.item(), zero.item()) == (wanted[0].item(), wanted[1].item())
    shared.mask = torch.zeros(2, 4).bool()
    assert torch.isfinite(quantizer(x)).all()  # nothing but padding


def test_static_needs_calibration_and_scale_one_counts_as_calibrated() -> None:
    quantizer = ActivationQuantizer(
        ActivationSpec(granularity=PerTensor(), dynamic=False), ForwardPass()
    )
    x = torch.tensor([[-127.0, 3.4, 300.0]])
    with pytest.raises(RuntimeError, match="must be calibrated"):
        quantizer(x)
    with pytest.raises(RuntimeError, match="must see values"):
        quantizer.settle_()
    quantizer.observing = True
    assert torch.equal(quantizer(x[:, :2]), x[:, :2])  # while observing, nothing is quantized
    quantizer.observing = False
    quantizer.settle_()
    assert quantizer.scale.item() == 1
    assert quantizer(x).tolist() == [[-127, 3, 127]]


def test_layer_is_the_linear_of_what_its_quantizers_give() -> None:
    layer, x = linear(), tokens()
    twin = quantized(layer, W4, ActivationSpec(bits=5), ForwardPass()).eval()
    assert torch.equal(
        twin(x),
        F.linear(twin.input_quantizer(x), fresh(twin.weight_quantizer, layer.weight), layer.bias),
    )
    twin.input_quantizer.enabled = False
    assert torch.equal(twin(x), F.linear(x, fresh(twin.weight_quantizer, layer.weight), layer.bias))
    twin.weight_quantizer.enabled = False
    assert torch.equal(twin(x), layer(x))


def test_gradients_reach_weight_bias_and_input() -> None:
    twin, x = (
        quantized(linear(), W4, ActivationSpec(), ForwardPass()).train(),
        tokens().requires_grad_(),
    )
    y = twin(x)
    upstream = tokens(8, *y.shape)
    y.backward(upstream)
    plain = linear()
    assert torch.allclose(twin.bias.grad, upstream.sum((0, 1)))
    assert torch.allclose(x.grad, upstream @ fresh(twin.weight_quantizer, plain.weight), atol=1e-5)
    assert torch.allclose(
        twin.weight.grad,
        upstream.flatten(0, 1).T @ twin.input_quantizer(x).detach().flatten(0, 1),
        atol=1e-4,
    )


def test_a_copied_layer_measures_its_own_weight() -> None:
    twin = quantized(linear(), W4, None, ForwardPass()).eval()
    with torch.no_grad():
        twin(tokens())
        other = copy.deepcopy(twin)
        other.weight.mul_(5)
        assert torch.equal(
            other.weight_quantizer(other.weight), fresh(other.weight_quantizer, other.weight)
        )
        assert torch.equal(
            twin.weight_quantizer(twin.weight), fresh(twin.weight_quantizer, twin.weight)
        )


def test_one_tensor_is_quantized_once_for_q_k_and_v_and_forgotten_after_the_pass() -> None:
    shared, spec, _calls = ForwardPass(), ActivationSpec(), 0
    q, k, other = (
        ActivationQuantizer(s, shared).eval() for s in (spec, spec, ActivationSpec(bits=3))
    )

    class Model(nn.Module):
        def forward(self, x: Tensor, fail: bool = False) -> tuple[Tensor, Tensor, Tensor, Tensor]:
            out = q(x), k(x), other(x), k(x.clone())
            if fail:
                raise KeyError("in the middle")
            return out

    model, x = Model(), tokens()
    model.register_forward_pre_hook(shared.begin, with_kwargs=True)
    model.register_forward_hook(shared.end, always_call=True)
    first, second, coarse, again = model(x)
    assert second is first
    assert again is not first
    assert torch.equal(again, first)
    assert not torch.equal(coarse, first)
    with pytest.raises(KeyError):
        model(x, fail=True)
    x.mul_(2)  # outside a model's pass nothing is remembered
    assert torch.equal(q(x), 2 * first)
    assert torch.equal(k(x), q(x))
    assert k(x) is not q(x)


@pytest.mark.parametrize("noise", [0.5, 1.0])
def test_noise_is_drawn_apart_for_q_and_k(noise: float) -> None:
    shared, spec, x = ForwardPass(), ActivationSpec(bits=2), tokens()
    q, k = (ActivationQuantizer(spec, shared).train() for _ in range(2))
    q.noise = k.noise = noise
    shared.begin(q, (x,), {})
    assert torch.equal(q(x), k(x)) == (noise == 1)
