"""Activations of quantized layers: ranges, padding, gradients, caches."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdq.quant.integer import fake_quantize, scale_and_zero
from sdq.quant.layers import ActivationQuantizer, ForwardPass, quantized
from sdq.quant.spec import ActivationSpec, PerTensor, PerToken
from tests.helpers.layers import W4, fresh, linear, tokens


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
