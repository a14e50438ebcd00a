"""smoothquant(model, batches) -> a copy whose activations are easier to quantize: outlier channels
move from activations into weights.

SmoothQuant (Xiao et al. 2023, arXiv 2211.10438, equations 3 and 4): y = x W^T = (x / s) (W s)^T
with one s_j > 0 per input channel j.

The paper folds the division into the LayerNorm before, whose output only those Linear layers read
(pre-LN). Here most families are post-LN: the LayerNorm's output is also the residual that the next
LayerNorm adds, and dividing its gain and bias would divide the residual too. A factor on the
residual to undo that would cost as much as the division itself, so the LayerNorm stays as it is (in
pre-LN families too, so that all are treated alike) and the division stands in front of the Linear,
as a buffer `input_scale` of the layer: names, roles and the number of modules do not change,
`rewrite` keeps the buffer (its twins take over all a layer has), and a QuantLinear divides before
it quantizes. Only q, k, v (or the layer that gives all three) and ffn_in read a LayerNorm, so only
they are migrated; the inputs of attention_output and ffn_out come from elsewhere, the heads read
few tokens. Of a block whose weights are shared over the depth (ALBERT) the maximum is over all the
layers it runs as.

What it costs at run time: one division per element of the input of each migrated Linear, 1 for
every `out_features` multiplications of that layer, but a pass through memory of its own; and q, k,
v no longer share one quantized input, each divides and quantizes its own. An integer kernel would
do both in the same pass, once for the three. Nothing else grows but D floats per migrated layer.

Migrate first, then `rewrite`, then `calibrate_`. A migrated model is no checkpoint: transformers
would load its weights without the division.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdq.models.structure import modules
from sdq.quant.layers import ForwardPass

_READERS = (("q", "k", "v", "qkv"), ("ffn_in",))  # roles in one block that read the same LayerNorm


class ScaledLinear(nn.Linear):
    """y = (x / s) W^T + b, with s > 0 of shape [in_features]; W has been multiplied by s before."""

    input_scale: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return F.linear(x / self.input_scale, self.weight, self.bias)


@torch.no_grad()
def smoothquant(
    model: nn.Module, batches: Iterable[dict[str, Tensor]], strength: float = 0.5
) -> nn.Module:
    """A deep copy that computes the same up to float rounding, in which the inputs of q, k, v and
    ffn_in are divided by channel.

    model: plain, not rewritten
    batches: model inputs with [B, T] tensors, read once; padding has no influence
    strength: alpha of the paper, 0..1: 0 evens out the weights' channels, 1 the activations',
        between them both give way

    Raises ValueError for a strength outside 0..1, batches without a real token, activations
    that are not finite, or a model that is rewritten or migrated already.
    """
    if not 0 <= strength <= 1:
        raise ValueError(f"the migration strength must be from 0 to 1, got {strength}")
    student = copy.deepcopy(model)
    groups = layernorm_readers(student)
    peaks = _peaks(student, [names[0] for names in groups], batches)
    for names in groups:
        layers: list[Any] = [student.get_submodule(name) for name in names]
        # k x [O, D] -> [D]
        weight = torch.stack([layer.weight.abs().amax(0) for layer in layers]).amax(0)
        scale = smoothing_factors(peaks[names[0]], weight, strength)
        for name, layer in zip(names, layers, strict=True):
            parent, _, child = name.rpartition(".")
            setattr(student.get_submodule(parent), child, _scaled(layer, scale))
    return student


def smoothing_factors(activation: Tensor, weight: Tensor, strength: float) -> Tensor:
    """s [D] = max|x_j|^strength / max|w_j|^(1 - strength) (Xiao et al. 2023, equation 4) from the
    two maxima, each [D] and >= 0.

    activation, weight: largest |x| and |w| of each channel [D], >= 0
    strength: alpha of the paper, 0..1

    Finite and positive in every channel. A channel in which no activation was seen (less than
    float32's epsilon of the largest) gets 1: what may come there later is unknown. A column of
    zeros counts as that epsilon of the largest weight: no answer depends on its channel, which then
    cannot set the range of the others.
    """
    epsilon = torch.finfo(torch.float32).eps
    x, w = activation.double(), weight.double()
    w = w.clamp(min=float(w.max()) * epsilon)
    usable = (x > x.max() * epsilon) & (w > 0)
    scale = x**strength / w ** (1 - strength)
    return torch.where(usable, scale, 1.0).float()


def layernorm_readers(model: nn.Module) -> list[tuple[str, ...]]:
    """Names of the Linear layers that read one LayerNorm each, in forward order. ValueError if one
    is no plain Linear."""
    candidates = modules(model)
    for m in candidates:
        if (
            any(m.role in roles for roles in _READERS)
            and type(layer := model.get_submodule(m.name)) is not nn.Linear
        ):
            raise ValueError(
                f"the model must have plain Linear layers, {m.name} is a {type(layer).__name__}; "
                "migrate once, and before rewrite"
            )
    last = max(m.block for m in candidates)
    return [
        tuple(m.name for m in candidates if m.block == block and m.role in roles)
        for block in range(last + 1)
        for roles in _READERS
    ]


def _scaled(layer: nn.Linear, scale: Tensor) -> ScaledLinear:
    """The layer, its columns multiplied and its input divided by scale [D]. It is taken apart: give
    it a layer of one's own."""
    twin = ScaledLinear.__new__(ScaledLinear)
    twin.__dict__.update(layer.__dict__)
    twin.weight.mul_(scale.to(layer.weight))
    # its own: safetensors refuses shared ones
    twin.register_buffer("input_scale", scale.to(layer.weight, copy=True))
    return twin


def _peaks(
    model: nn.Module, names: list[str], batches: Iterable[dict[str, Tensor]]
) -> dict[str, Tensor]:
    """max|x_j| [D] of the named modules' inputs over all real tokens."""
    peaks: dict[str, Tensor] = {}

    def see(name: str, x: Tensor) -> None:
        """x [N, D]"""
        if len(x):
            peak = x.abs().amax(0)
            peaks[name] = torch.maximum(peaks[name], peak) if name in peaks else peak

    mode: Any = model.training
    model.eval()
    with _watched(model, names, see):
        for batch in batches:
            model(**batch)
    model.train(mode)
    for name in names:
        if name not in peaks:
            raise ValueError(
                "the calibration batches must hold at least one real token, they hold none; give "
                "sentences"
            )
        if not torch.isfinite(peaks[name]).all():
            raise ValueError(
                f"activations must be finite, the input of {name} holds NaN or infinity; the "
                "checkpoint is damaged or its training diverged"
            )
    return peaks


@contextmanager
def _watched(
    model: nn.Module, names: list[str], see: Callable[[str, Tensor], None]
) -> Iterator[None]:
    """Inside, `see` is told the real tokens [N, D] of each named module's input; nothing is kept.
    The model must be one's own copy."""
    forward_pass = ForwardPass()

    def on_input(name: str) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
        return lambda module, args: see(name, forward_pass.real(args[0]).flatten(0, -2))

    handles = [
        model.register_forward_pre_hook(forward_pass.begin, with_kwargs=True),
        model.register_forward_hook(forward_pass.end, always_call=True),
    ]
    try:
        handles += [
            model.get_submodule(name).register_forward_pre_hook(on_input(name)) for name in names
        ]
        yield
    finally:
        for handle in handles:
            handle.remove()
