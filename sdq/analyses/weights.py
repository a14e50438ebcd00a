"""Weights before and after quantization, one row per module: histograms, ranges, errors. Binned
here, drawn elsewhere."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from sdq.analyses.bins import BINS, binned
from sdq.analyses.error_measures import sqnr_db
from sdq.models.structure import modules
from sdq.quant.integer import code_range, dequantize, quantize
from sdq.quant.layers import QuantEmbedding, QuantLinear, WeightQuantizer

_PIECE = 1 << 20  # weights that are looked at at a time
CHANNELS = 768  # of a longer table (an embedding) the channels of largest reach are kept


@torch.no_grad()
def weights(model: nn.Module) -> pd.DataFrame:
    """One row per Linear and word embedding, in forward order.

    module, role, block: -1 outside the blocks
    rows, columns
    low, high: extremes
    fp32, quantized: counts of BINS equal bins from low to high
    channel, channel_low, channel_high: of each output channel, or embedding row
    channels: how many there are
    bits: 32 if the weight is not quantized; then what follows is missing, and `quantized`
    symmetric, granularity
    ranges: how many scales are stored
    scale_low, scale_high, mse
    sqnr_db: 200: exact
    clipped: share of weights outside the range
    codes_used, codes: mean over ranges of those that occur; how many there are
    grid: of a single range the representable values
    """
    return pd.DataFrame(
        [_row(model.get_submodule(m.name), m.name, m.role, m.block) for m in modules(model)]
    )


def _row(module: Any, name: str, role: str, block: int) -> dict[str, Any]:
    weight: Tensor = module.weight.detach().float()
    low, high = (float(end) for end in weight.aminmax())
    reach = torch.maximum(weight.amax(1), -weight.amin(1))
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
    quantizer = (
        module.weight_quantizer if isinstance(module, (QuantLinear, QuantEmbedding)) else None
    )
    return row if quantizer is None else row | _rounded(quantizer, module.weight, low, high)


def _rounded(quantizer: WeightQuantizer, weight: Tensor, low: float, high: float) -> dict[str, Any]:
    """What a row says of a weight that is quantized; `low` and `high` are the ends of the bins."""
    spec = quantizer.spec
    scale, zero = quantizer.ranges(weight)
    full = weight.detach().float()
    rows = quantizer.rows(full)
    bottom, top = code_range(spec.bits, spec.symmetric)
    counts, used = np.zeros(BINS, dtype=np.int64), 0
    sums = torch.zeros(3, dtype=torch.float64)  # noise, signal, clipped weights
    height = max(1, _PIECE // rows.shape[1])
    for at in range(0, len(rows), height):
        s, z = scale[at : at + height], zero[at : at + height]
        seen = torch.zeros(len(s), top - bottom + 1, dtype=torch.bool)
        for piece in rows[at : at + height].split(_PIECE, dim=1):
            codes = quantize(piece, s, z, spec.bits, spec.symmetric)
            back = (codes - z) * s
            exact = (piece / s).round() + z
            errors = (
                ((back - piece).double() ** 2).sum(),
                (piece.double() ** 2).sum(),
                ((exact < bottom) | (exact > top)).sum().double(),
            )
            sums += torch.stack(errors)
            counts += _counts(back, low, high)
            seen.scatter_(1, (codes - bottom).long(), True)
        used += int(seen.sum())
    noise, signal, clipped = (sums / rows.numel()).tolist()
    if quantizer.outliers is not None:  # not of what goes to codes, but of the whole weight
        codes = quantizer.rounding.codes(rows, scale, zero, spec.bits, spec.symmetric)
        back = quantizer.whole(dequantize(codes, scale, zero), full)
        counts = _counts(back, low, high).astype(np.int64)
        noise, signal = (float((t.double() ** 2).mean()) for t in (back - full, full))
    representable = ((torch.arange(bottom, top + 1) - zero[0]) * scale[0]).numpy()
    return {
        "quantized": counts.astype(np.int32),
        "bits": spec.bits,
        "symmetric": spec.symmetric,
        "granularity": spec.granularity.kind,
        "ranges": len(scale),
        "scale_low": float(scale.min()),
        "scale_high": float(scale.max()),
        "mse": noise,
        "sqnr_db": sqnr_db(noise, signal),
        "clipped": clipped,
        "codes_used": used / len(scale),
        "codes": top - bottom + 1,
        "grid": representable if len(scale) == 1 else None,
    }


def _counts(x: Tensor, low: float, high: float) -> np.ndarray[Any, Any]:
    """Counts of BINS equal bins from low to high; what lies outside goes to the outermost ones."""
    counts = torch.zeros(BINS, dtype=torch.int64)
    for piece in x.flatten().split(_PIECE):
        counts += torch.bincount(binned(piece, low, high), minlength=BINS)
    return counts.numpy().astype(np.int32)
