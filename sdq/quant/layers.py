"""Fake-quantized Linear and Embedding: float layers whose numbers are those of an integer layer.

With quantizers off they are the FP32 layer, bit for bit. Nothing here makes a model faster or
smaller.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdq.quant.integer import fake_quantize, scale_and_zero
from sdq.quant.rounding import ROUNDINGS
from sdq.quant.spec import ActivationSpec, OutlierColumns, WeightSpec


class ForwardPass:
    """What the layers of one running forward pass share: the attention mask, so that no range ever
    sees padding, and the input quantized last, so that q, k and v quantize theirs once."""

    def __init__(self) -> None:
        self.mask: Tensor | None = None
        self.running = False
        self._last: tuple[Tensor, object, object, Tensor] | None = None

    def begin(self, module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Forward pre-hook of the whole model."""
        mask = kwargs.get("attention_mask")
        if mask is None and len(args) > 1:  # passed by position
            names = list(inspect.signature(module.forward).parameters)
            mask = dict(zip(names, args, strict=False)).get("attention_mask")
        self.mask = None if mask is None else mask.bool()
        self.running, self._last = True, None

    def end(self, *_: object) -> None:
        """Forward hook of the whole model, called also when it raises."""
        self.running, self._last = False, None

    def real(self, x: Tensor) -> Tensor:
        """x [B, T, ...] -> its real tokens [N, ...]; other shapes are returned as they are."""
        if self.mask is not None and x.dim() > 2 and x.shape[:2] == self.mask.shape:
            return x[self.mask]
        return x

    def once(
        self,
        x: Tensor,
        spec: ActivationSpec,
        outliers: OutlierColumns | None,
        quantize: Callable[[Tensor], Tensor],
    ) -> Tensor:
        """quantize(x), or what it gave for the same tensor, spec and columns a moment ago in this
        forward pass."""
        last = self._last
        if last is not None and last[0] is x and last[1] is spec and last[2] is outliers:
            return last[3]
        result = quantize(x)
        if self.running:
            self._last = (x, spec, outliers, result)
        return result


class Quantizer(nn.Module):
    """What weight and activation quantizers share: on or off, and the share of elements quantized
    in training.

    `noise` is Quant-Noise's p (Fan et al. 2020): at each training step only a random share p of the
    elements is quantized, the others pass in full precision. p = 1 is plain QAT; evaluation always
    uses 1.

    spec: how it quantizes
    outliers: columns it holds apart
    """

    spec: Any

    def __init__(self, outliers: OutlierColumns | None = None) -> None:
        super().__init__()
        self.outliers = outliers
        self.enabled = True
        self.noise = 1.0

    def narrowed(self, x: Tensor) -> Tensor:
        """What of x goes to codes, of the same shape; x itself where no column is apart."""
        return x if self.outliers is None else self.outliers.narrowed(x)

    def rows(self, x: Tensor) -> Tensor:
        """What of x goes to codes, as the rows [R, n] that share a range each."""
        rows: Tensor = self.spec.granularity.rows(self.narrowed(x))
        return rows

    def whole(self, rounded: Tensor, x: Tensor) -> Tensor:
        """What the layer computes with, of the shape of x, from the rounded `rows(x)`."""
        rounded = rounded.reshape(x.shape)
        return rounded if self.outliers is None else self.outliers.whole(rounded, x)

    def mix(self, x: Tensor, quantized: Tensor) -> Tensor:
        if not self.training or self.noise >= 1:
            return quantized
        chosen = torch.rand_like(x) < self.noise
        return torch.where(chosen, quantized, x)


class WeightQuantizer(Quantizer):
    """Ranges follow the weight: recomputed whenever it changed (in training every `refresh` forward
    passes)."""

    spec: WeightSpec

    def __init__(self, spec: WeightSpec, outliers: OutlierColumns | None = None) -> None:
        super().__init__(outliers)
        self.spec = spec
        self.rounding = ROUNDINGS[spec.rounding]()
        self.refresh = 1
        self._age = 0
        self._key: tuple[int, int] | None = None
        self._range: tuple[Tensor, Tensor] | None = None
        self._ready: Tensor | None = None

    def ranges(self, weight: Tensor) -> tuple[Tensor, Tensor]:
        """weight -> (scale, zero_point), each [rows, 1], one row per group of the granularity."""
        key = (weight.data_ptr(), weight._version)
        stale = key != self._key and (not self.training or self._age >= self.refresh)
        if self._range is None or stale:
            with torch.no_grad():
                rows = self.rows(weight.detach())
                observer = self.spec.observer
                low, high = observer.of(rows, self.spec.bits, self.spec.symmetric)
                scale, zero = scale_and_zero(low, high, self.spec.bits, self.spec.symmetric)
            self._range = scale[:, None], zero[:, None]
            self._key, self._age, self._ready = key, 0, None
        self._age += 1
        return self._range

    def forward(self, weight: Tensor) -> Tensor:
        """Quantized weight of the same shape."""
        if not self.enabled:
            return weight
        scale, zero = self.ranges(weight)
        evaluating = not self.training and not torch.is_grad_enabled()
        if evaluating and self._ready is not None:
            return self._ready
        covered = self.spec.observer.covers and self._age == 1  # measured just now
        quantized = self.rounding.rounded(
            self.rows(weight), scale, zero, self.spec.bits, self.spec.symmetric, covered
        )
        quantized = self.whole(quantized, weight)
        if evaluating:
            self._ready = quantized
        return self.mix(weight, quantized)

    def forget_(self) -> None:
        """Drop cached ranges, so that the next forward pass measures the weight again."""
        self._key, self._range, self._ready = None, None, None


class ActivationQuantizer(Quantizer):
    """Quantizes a layer's input or another activation, with the batch's own range (dynamic) or a
    calibrated one (static)."""

    spec: ActivationSpec
    scale: Tensor
    zero: Tensor
    calibrated: Tensor

    def __init__(
        self,
        spec: ActivationSpec,
        forward_pass: ForwardPass,
        outliers: OutlierColumns | None = None,
    ) -> None:
        super().__init__(outliers)
        self.spec = spec
        self.forward_pass = forward_pass
        self.observing = False
        self._state: dict[str, Tensor] = {}
        self.register_buffer("scale", torch.ones(1))
        self.register_buffer("zero", torch.zeros(1))
        self.register_buffer("calibrated", torch.tensor(False))

    def ranges(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x -> (scale, zero_point), each [rows, 1]. Raises RuntimeError if static and not
        calibrated."""
        spec = self.spec
        if not spec.dynamic:
            if not self.calibrated:
                raise RuntimeError(
                    "static activation ranges must be calibrated before use, they are not; call "
                    "calibrate_(model, batches)"
                )
            return self.scale[:, None], self.zero[:, None]
        with torch.no_grad():
            low, high = self._ends(x)
            scale, zero = scale_and_zero(low, high, spec.bits, spec.symmetric)
        return scale[:, None], zero[:, None]

    def _ends(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """(low, high) of each row of x itself; 0 for rows of nothing, so that their scale is 1."""
        spec = self.spec
        rows = self.rows(self.real(x) if spec.granularity.kind == "tensor" else x)
        if rows.shape[1] == 0:
            return torch.zeros(len(rows)), torch.zeros(len(rows))
        return spec.observer.of(rows, spec.bits, spec.symmetric)

    def real(self, x: Tensor) -> Tensor:
        """What of x is no padding."""
        return self.forward_pass.real(x)

    def forward(self, x: Tensor) -> Tensor:
        """Quantized activation of the same shape; while observing, x itself."""
        if self.observing:
            with torch.no_grad():
                self._state = self.spec.observer.see(self._state, self.rows(self.real(x)))
            return x
        if not self.enabled:
            return x
        if self.spec.dynamic and not (self.training and self.noise < 1):
            return self.forward_pass.once(x, self.spec, self.outliers, self._quantize)
        return self.mix(x, self._quantize(x))

    def _quantize(self, x: Tensor) -> Tensor:
        spec = self.spec
        scale, zero = self.ranges(x)
        # a tensor's range leaves padding out
        covered = spec.dynamic and spec.observer.covers and spec.granularity.kind == "token"
        rounded = fake_quantize(self.rows(x), scale, zero, spec.bits, spec.symmetric, covered)
        return self.whole(rounded, x)

    def settle_(self) -> None:
        """End of calibration: turn what was seen into the range. Raises RuntimeError if nothing was
        seen."""
        low, high = self.spec.observer.range(self._state, self.spec.bits, self.spec.symmetric)
        scale, zero = scale_and_zero(low, high, self.spec.bits, self.spec.symmetric)
        self.scale, self.zero, self.calibrated = scale, zero, torch.tensor(True)
        self._state = {}


def smoothed(layer: nn.Module, x: Tensor) -> Tensor:
    """Inputs x [..., I] of a layer as it rounds them: of a migrated one (see smoothquant.py)
    divided by its factors."""
    scale = layer._buffers.get("input_scale")
    return x if scale is None else x / scale


class QuantLinear(nn.Linear):
    """y = q(x) q(W)^T + b; of a migrated layer (see smoothquant.py) q(x / s) q(W)^T + b, with s in
    the buffer `input_scale`. `outliers` are held apart by its quantizers."""

    weight_quantizer: WeightQuantizer | None
    input_quantizer: ActivationQuantizer | None
    outliers: OutlierColumns | None

    def forward(self, x: Tensor) -> Tensor:
        x = smoothed(self, x)
        if self.input_quantizer is not None:
            x = self.input_quantizer(x)
        weight = (
            self.weight if self.weight_quantizer is None else self.weight_quantizer(self.weight)
        )
        return F.linear(x, weight, self.bias)


class QuantEmbedding(nn.Embedding):
    """Looks rows up and quantizes only those, with the ranges of the whole table."""

    weight_quantizer: WeightQuantizer | None

    def forward(self, ids: Tensor) -> Tensor:
        embedded = super().forward(ids)
        quantizer = self.weight_quantizer
        if quantizer is None or not quantizer.enabled:
            return embedded
        spec = quantizer.spec
        scale, zero = quantizer.ranges(self.weight)
        if spec.granularity.kind != "tensor":  # [V * groups, 1] -> the ranges of the rows looked up
            scale, zero = (
                t.reshape(len(self.weight), -1)[ids].reshape(-1, 1) for t in (scale, zero)
            )
        rows = spec.granularity.rows(embedded.reshape(-1, embedded.shape[-1]))
        quantized = quantizer.rounding.rounded(rows, scale, zero, spec.bits, spec.symmetric)
        return quantizer.mix(embedded, quantized.reshape(embedded.shape))


def quantized(
    module: nn.Module,
    weight: WeightSpec | None,
    activation: ActivationSpec | None,
    forward_pass: ForwardPass,
    outliers: OutlierColumns | None = None,
) -> nn.Module:
    """A quantized twin of a Linear or Embedding that shares its parameters; `outliers` of a Linear
    are held apart. TypeError for any other module."""
    if isinstance(module, nn.Linear):
        twin: Any = QuantLinear.__new__(QuantLinear)
    elif isinstance(module, nn.Embedding):
        twin = QuantEmbedding.__new__(QuantEmbedding)
    else:
        raise TypeError(
            f"only Linear and Embedding layers can be quantized, got {type(module).__name__}"
        )
    twin.__dict__.update(
        {k: v.copy() if isinstance(v, dict) else v for k, v in module.__dict__.items()}
    )
    sides = () if outliers is None else outliers.sides
    twin.weight_quantizer = (
        None if weight is None else WeightQuantizer(weight, outliers if "weight" in sides else None)
    )
    if isinstance(module, nn.Linear):
        apart = outliers if "activation" in sides else None
        twin.outliers = outliers
        twin.input_quantizer = (
            None if activation is None else ActivationQuantizer(activation, forward_pass, apart)
        )
    return twin  # type: ignore[no-any-return]
