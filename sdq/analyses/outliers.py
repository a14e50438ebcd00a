"""Why a module breaks: what stands out in its weight and its inputs, which language suffers, and
what produces it. Streams; holds one batch at a time.

What removing a cause wins is measured in `sdq.analyses.ablation`; here it is only seen. A cause is
a short code:

outlier_unit   a hidden unit of the input whose peak stretches the range all units share (Dettmers
               et al. 2022, arXiv 2208.07339)
massive_token  a token whose largest input stretches a range that tokens share (Sun et al. 2024,
               arXiv 2402.17762)
weight_row     an output channel whose largest weight stretches a range that rows share; of an
               embedding: a subword's row
weight_column  likewise an input channel, which stretches every row's own range
single_weight  of a Linear: the largest number of the weight, in row `at` and column `position`,
               against the next largest
weight_range   one range for all rows: the largest row's peak against the median row's
clipped        inputs outside the range, in the language that has most of them
calibration    likewise for a static range, `usual` is the share in the same language when the range
               is measured on all languages alike
wide_language  the language whose inputs need the widest range
heavy_tails    kurtosis of the inputs (3: normal distribution)
unused_inputs  share of the input codes that never occur
unused_weights likewise of the weight codes, mean over ranges
weights        relative L2 of rounding the weight
inputs         relative L2 of rounding the input
damping        of a LayerNorm: relative L2 of the accumulated error after it, `usual` is that before
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from sdq.analyses.error_measures import relative_l2
from sdq.analyses.input_statistics import Inputs, Norm
from sdq.analyses.wiring import input_taps, layer_norms, producers, strength
from sdq.data.batches import Batch, Encoded
from sdq.models.hooks import capture, in_pieces, listen
from sdq.models.structure import Module, modules
from sdq.quant.integer import code_range, dequantize, quantize
from sdq.quant.layers import ActivationQuantizer, QuantEmbedding, QuantLinear, WeightQuantizer
from sdq.quant.rewrite import only, quantized_modules

COLUMNS = [
    "module",
    "role",
    "block",
    "cause",
    "value",
    "usual",
    "unit",
    "at",
    "source",
    "source_value",
    "source_usual",
    "language",
    "sentence",
    "position",
]
FAR = 4.0  # times the median: further units are listed beside the largest
MOST = 4  # units listed per module


@torch.inference_mode()
def outlier_statistics(
    student: nn.Module,
    data: Encoded,
    languages: list[str],
    balanced: nn.Module | None = None,
    batch_size: int = 32,
) -> pd.DataFrame:
    """What stands out: one row per quantized module and cause, and per LayerNorm.

    student: quantized, in eval mode
    data: sentences
    batch_size: sentences of a forward pass
    languages: a code per sentence of `data`.
    balanced: the model with static ranges measured on all languages, for the cause "calibration".

    module, role, block
    cause: see above; a module has several outlier units: the largest, and up to MOST - 1 more
        beyond FAR times the median
    value, usual, unit: the number, what it is compared with (a median over units, rows, columns,
        tokens or languages; of the shares, errors and kurtosis over the modules), and of what unit
    at: which hidden unit, row, column or token position; -1: no single one
    source: what produces the hidden unit: the LayerNorm, or the Linear whose row it is
    source_value, source_usual: |gain| of that unit, or the row's largest |weight|; the median over
        units
    language: where the value was seen; empty: in no particular one
    sentence, position: in `data`, of the token, where one is meant, else -1; of single_weight
        position is its column

    Inputs are seen with quantizers off. Hook only a private copy.
    """
    codes = list(dict.fromkeys(languages))
    number = torch.tensor([codes.index(code) for code in languages])
    named = {m.name: m for m in modules(student)}
    quantized = quantized_modules(student)
    sites = {
        name: Inputs(layer, codes, None if balanced is None else _quantizer(balanced, name))
        for name, layer in quantized.items()
        if isinstance(layer, QuantLinear) and layer.input_quantizer is not None
    }
    norms = {m.name: Norm() for m in layer_norms(student)}
    sources = producers(student, next(data.in_order(1)))
    for batch in in_pieces(student, data, batch_size):
        _observe(student, batch, number[torch.tensor(batch.at)], sites, norms)
    rows = [
        row
        for name, layer in quantized.items()
        for row in _rows(named[name], layer, sites.get(name), sources.get(name, ""), student)
    ]
    rows += [
        _row(m, "damping", norms[m.name].relative(1), norms[m.name].relative(0), "relative L2")
        for m in layer_norms(student)
    ]
    table = pd.DataFrame(rows, columns=COLUMNS)
    medians = table.groupby("cause")["value"].transform("median")
    table["usual"] = table["usual"].where(table["usual"].notna(), medians)
    return table


def _observe(
    student: nn.Module,
    batch: Batch,
    spoken: Tensor,
    sites: dict[str, Inputs],
    norms: dict[str, Norm],
) -> None:
    """Add a batch to the sums: the inputs with quantizers off; at the LayerNorms the difference
    that quantizers make. `spoken` [B]: the number of each sentence's language."""

    def see(tap: str, module: nn.Module, args: tuple[Tensor, ...], kwargs: Any, out: None) -> None:
        sites[tap.partition("@")[0]].add(args[0], batch, spoken)

    with (
        capture(student, dict.fromkeys(norms, "input")) as before,
        capture(student, dict.fromkeys(norms, "output")) as after,
    ):
        with listen(student, input_taps(student, sites), see), only(student, ()):
            student(**batch.inputs)
        exact = {name: (before[name], after[name]) for name in norms}
        student(**batch.inputs)
        for name, norm in norms.items():
            norm.add(exact[name], (before[name], after[name]), batch.real)


def _quantizer(model: nn.Module, name: str) -> ActivationQuantizer | None:
    layer: Any = model.get_submodule(name)
    quantizer: ActivationQuantizer | None = layer.input_quantizer
    return quantizer


# --- rows


def _row(
    m: Module,
    cause: str,
    value: float,
    usual: float,
    unit: str,
    at: int = -1,
    language: str = "",
    **more: Any,
) -> dict[str, Any]:
    columns = {
        "module": m.name,
        "role": m.role,
        "block": m.block,
        "cause": cause,
        "value": value,
        "usual": usual,
        "unit": unit,
        "at": at,
        "language": language,
    }
    return (
        columns
        | {
            "source": "",
            "source_value": math.nan,
            "source_usual": math.nan,
            "sentence": -1,
            "position": -1,
        }
        | more
    )


def _rows(
    m: Module,
    layer: QuantLinear | QuantEmbedding,
    site: Inputs | None,
    source: str,
    student: nn.Module,
) -> list[dict[str, Any]]:
    """What stands out in one module; `usual` is NaN where it is the median over modules."""
    rows = _weight_rows(m, layer) if layer.weight_quantizer is not None else []
    if site is None or not site.tokens:
        return rows
    rows += _unit_rows(m, site, source, student)
    language, sentence, position = site.where
    token: dict[str, Any] = {"sentence": sentence, "position": position}
    usual = float(torch.cat(site.tokens).median())
    rows.append(
        _row(
            m, "massive_token", site.largest, usual, "|x|", position, site.codes[language], **token
        )
    )
    rows += _language_rows(m, site)
    *_, error, signal = site.sums[site.sums[:, 0] > 0].T
    lost = relative_l2(float(error.sum()), float(signal.sum()))
    unused = 1 - float(site.used.double().mean())
    rows.append(_row(m, "heavy_tails", site.kurtosis(), math.nan, "kurtosis"))
    rows.append(_row(m, "unused_inputs", unused, math.nan, "share of codes"))
    rows.append(_row(m, "inputs", lost, math.nan, "relative L2"))
    return rows


def _unit_rows(m: Module, site: Inputs, source: str, student: nn.Module) -> list[dict[str, Any]]:
    """The hidden units of largest peak: one, and those far from the median."""
    peaks = site.peak.amax(0)
    median = float(peaks.median())
    rows: list[dict[str, Any]] = []
    for unit in peaks.topk(min(MOST, len(peaks))).indices.tolist():
        if rows and float(peaks[unit]) <= FAR * median:
            break
        made: dict[str, Any] = {}
        if source:
            value, usual = strength(student.get_submodule(source), unit)
            made = {"source": source, "source_value": value, "source_usual": usual}
        code = site.codes[int(site.peak[:, unit].argmax())]
        rows.append(_row(m, "outlier_unit", float(peaks[unit]), median, "|x|", unit, code, **made))
    return rows


def _language_rows(m: Module, site: Inputs) -> list[dict[str, Any]]:
    """The languages whose inputs are clipped most and need the widest range."""
    here = site.sums[:, 0] > 0
    spoken = [code for code, some in zip(site.codes, here.tolist(), strict=True) if some]
    values, clipped, clipped_balanced = site.sums[here][:, :3].T
    share, most = (clipped / values).numpy(), int(clipped.div(values).argmax())
    worst = float(share[most])
    rows = [_row(m, "clipped", worst, float(np.median(share)), "share", language=spoken[most])]
    if site.balanced is not None:
        balanced = float(clipped_balanced[most] / values[most])
        rows.append(_row(m, "calibration", worst, balanced, "share", language=spoken[most]))
    width = (site.high - site.low)[here].numpy()
    widest, usual = int(width.argmax()), float(np.median(width))
    rows.append(
        _row(m, "wide_language", float(width.max()), usual, "range", language=spoken[widest])
    )
    return rows


def _weight_rows(m: Module, layer: QuantLinear | QuantEmbedding) -> list[dict[str, Any]]:
    quantizer, weight = layer.weight_quantizer, layer.weight.detach()
    assert quantizer is not None
    rows = []
    for cause, peaks in (
        ("weight_row", weight.abs().amax(1)),
        ("weight_column", weight.abs().amax(0)),
    ):
        rows.append(
            _row(m, cause, float(peaks.max()), float(peaks.median()), "|w|", int(peaks.argmax()))
        )
    if quantizer.spec.granularity.kind == "tensor":
        rows.append(rows[0] | {"cause": "weight_range"})
    if isinstance(layer, QuantLinear) and weight.numel() > 1:
        (largest, following), places = weight.abs().flatten().topk(2)
        row, column = divmod(int(places[0]), weight.shape[1])
        rows.append(
            _row(m, "single_weight", float(largest), float(following), "|w|", row, position=column)
        )
    unused, error = _rounded(layer, quantizer)
    rows.append(_row(m, "unused_weights", unused, math.nan, "share of codes"))
    rows.append(_row(m, "weights", error, math.nan, "relative L2"))
    return rows


def _rounded(
    layer: QuantLinear | QuantEmbedding, quantizer: WeightQuantizer
) -> tuple[float, float]:
    """(share of the weight codes that never occur, relative L2 of rounding the weight)"""
    spec = quantizer.spec
    scale, zero = quantizer.ranges(layer.weight)
    bottom, top = code_range(spec.bits, spec.symmetric)
    used, ranges, error, signal = 0, 0, 0.0, 0.0
    rows = quantizer.rows(layer.weight.detach())
    size = max(1, (1 << 22) // rows.shape[1])  # a table of embeddings a piece at a time
    for part, s, z in zip(rows.split(size), scale.split(size), zero.split(size), strict=True):
        codes = quantize(part, s, z, spec.bits, spec.symmetric)
        seen = torch.zeros(len(codes), top - bottom + 1, dtype=torch.bool).scatter_(
            1, (codes - bottom).long(), True
        )
        used, ranges = used + int(seen.sum()), ranges + len(codes)
        error += float(((dequantize(codes, s, z) - part).double() ** 2).sum())
        signal += float((part.double() ** 2).sum())
    if quantizer.outliers is not None:  # not of what goes to codes, but of the whole weight
        full = layer.weight.detach()
        codes = quantizer.rounding.codes(rows, scale, zero, spec.bits, spec.symmetric)
        off = quantizer.whole(dequantize(codes, scale, zero), full) - full
        error, signal = (float((t.double() ** 2).sum()) for t in (off, full))
    unused = 1 - used / (ranges * (top - bottom + 1))
    return unused, relative_l2(error, signal)
