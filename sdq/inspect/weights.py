"""Weights before and after quantization, one row per module: histograms, ranges, errors. Binned here, drawn elsewhere."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from sdq.models import modules
from sdq.quant.integer import code_range, quantize
from sdq.quant.layers import QuantEmbedding, QuantLinear

BINS = 128
CHANNELS = 768  # of a longer table (an embedding) the channels of largest reach are kept


@torch.no_grad()
def weights(model: nn.Module) -> pd.DataFrame:
    """One row per Linear and word embedding, in forward order.

    module, role, block (-1 outside the blocks), rows, columns; low, high (extremes); `fp32` and `quantized`: counts of BINS equal bins
    from low to high; channel, channel_low, channel_high (per output channel, or embedding row), channels (how many there are).
    Where the weight is quantized also: bits, symmetric, granularity, ranges (how many scales are stored), scale_low, scale_high, mse, sqnr_db (200: exact),
    clipped (share of weights outside the range), codes_used (mean over ranges) of codes (there are), and for a single range its
    `grid`: the representable values.
    """
    return pd.DataFrame([_row(model.get_submodule(m.name), m.name, m.role, m.block) for m in modules(model)])


def _row(module: Any, name: str, role: str, block: int) -> dict[str, Any]:
    weight: Tensor = module.weight.detach().float()
    low, high = float(weight.min()), float(weight.max())
    reach = weight.abs().amax(1)
    kept = reach.topk(min(CHANNELS, len(reach))).indices.sort().values
    row: dict[str, Any] = {
        "module": name,
        "role": role,
        "block": block,
        "rows": weight.shape[0],
        "columns": weight.shape[1],
        "low": low,
        "high": high,
        "fp32": _counts(weight, low, high),
        "channels": len(reach),
        "channel": kept.numpy().astype(np.int32),
        "channel_low": weight[kept].amin(1).numpy(),
        "channel_high": weight[kept].amax(1).numpy(),
        "bits": 32,
    }
    quantizer = module.weight_quantizer if isinstance(module, (QuantLinear, QuantEmbedding)) else None
    if quantizer is None:
        return row
    spec = quantizer.spec
    scale, zero = quantizer.ranges(module.weight)
    rows = spec.granularity.rows(weight)
    codes = quantize(rows, scale, zero, spec.bits, spec.symmetric)
    back = (codes - zero) * scale
    noise, signal = float(((back - rows).double() ** 2).mean()), float((rows.double() ** 2).mean())
    bottom, top = code_range(spec.bits, spec.symmetric)
    exact = (rows / scale).round() + zero
    single = len(scale) == 1
    return row | {
        "quantized": _counts(back, low, high),
        "bits": spec.bits,
        "symmetric": spec.symmetric,
        "granularity": spec.granularity.kind,
        "ranges": len(scale),
        "scale_low": float(scale.min()),
        "scale_high": float(scale.max()),
        "mse": noise,
        "sqnr_db": 10 * math.log10(signal / noise) if noise and signal else 200.0,
        "clipped": float(((exact < bottom) | (exact > top)).double().mean()),
        "codes_used": _codes_used(codes, bottom, top),
        "codes": top - bottom + 1,
        "grid": ((torch.arange(bottom, top + 1) - zero[0]) * scale[0]).numpy() if single else None,
    }


def _counts(x: Tensor, low: float, high: float) -> np.ndarray[Any, Any]:
    """Counts of BINS equal bins from low to high; what lies outside goes to the outermost ones."""
    width = (high - low) / BINS or 1.0
    at = ((x - low) / width).floor().clamp(0, BINS - 1).long()
    return torch.bincount(at.flatten(), minlength=BINS).numpy().astype(np.int32)


def _codes_used(codes: Tensor, bottom: int, top: int) -> float:
    """Different codes that occur, mean over ranges; codes [ranges, n]."""
    used = 0
    for piece in codes.split(max(1, (1 << 20) // (top - bottom + 1))):
        seen = torch.zeros(len(piece), top - bottom + 1, dtype=torch.bool)
        used += int(seen.scatter_(1, (piece - bottom).long(), True).sum())
    return used / len(codes)
