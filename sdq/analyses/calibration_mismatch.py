"""Ranges measured on other languages than the model is used in: what share of the values they clip,
what that costs, and what the remedy wins.

The remedy is to measure them on all languages alike, on as many sentences. Only static ranges can
be mismatched: a dynamic one is each batch's own.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from sdq.analyses.changes import Answers, Changes
from sdq.analyses.depth import EVERY
from sdq.analyses.outliers import exact_codes, input_taps
from sdq.analyses.sensitivity import check, run
from sdq.data.batches import Batch, Encoded
from sdq.models.hooks import listen
from sdq.quant.integer import code_range
from sdq.quant.layers import ActivationQuantizer, QuantLinear
from sdq.quant.rewrite import calibrate_, quantized_modules

_ENDS = ("", "_low", "_high")
COLUMNS = ["language", "calibrated", "sentences", "positions", "clipped", "clipped_alike"]
COLUMNS += [f"{what}{end}" for what in ("kl", "kl_alike", "cost") for end in _ENDS]


@torch.inference_mode()
def mismatch(
    student: nn.Module,
    alike: nn.Module,
    data: Encoded,
    languages: list[str],
    calibrated: Collection[str] = (),
    batch_size: int = 32,
) -> pd.DataFrame:
    """The model as calibrated against `alike`, the same calibrated on all languages alike, on
    `data` in `languages` (one code per sentence).

    One row for all sentences (language "all"), then one per language: language, calibrated (whether
    the ranges were measured on it, too: it is in `calibrated`), sentences, positions, clipped and
    clipped_alike (share, 0..1, of the values at all statically quantized inputs that lie outside
    the range; quantizers off), kl and kl_alike (mean KL of the FP32 answers from the quantized
    ones, nats) and cost = kl - kl_alike (nats, of paired sentences; what the remedy wins), each
    with `_low` and `_high` (95 % interval, see `sdq.analyses.sensitivity.scan`). Without static
    ranges the table is empty. Hook only private copies. Raises ValueError as `scan` does.
    """
    check(student, data, languages)
    sites = static(student)
    if not sites:
        return pd.DataFrame(columns=COLUMNS)
    others = static(alike)
    found, clipped = (
        Changes(languages),
        torch.zeros(len(languages), 3, dtype=torch.float64),
    )  # values, clipped, clipped alike
    for batch in data.in_order(batch_size):

        def see(
            tap: str,
            module: nn.Module,
            args: tuple[Tensor, ...],
            kwargs: Any,
            out: None,
            batch: Batch = batch,
        ) -> None:
            name = tap.partition("@")[0]
            clipped[batch.at] += _clipped(args[0], batch, module, [sites[name], others[name]])

        with listen(student, input_taps(student, sites), see):
            exact = Answers(run(student, batch, ())[0], batch, data.token)
        found.count(batch.at, exact.counts)
        kl, kl_alike = (exact.change(model(**batch.inputs).logits) for model in (student, alike))
        for key, change in (("kl", kl), ("kl_alike", kl_alike), ("cost", kl - kl_alike)):
            found.add(key, batch.at, change)
    rows = []
    for parts in zip(*(found.rows(key) for key in ("kl", "kl_alike", "cost")), strict=True):
        code = parts[0]["language"]
        values, outside, outside_alike = (
            clipped[[code in (EVERY, spoken) for spoken in languages]].sum(0).tolist()
        )
        row = {
            "language": code,
            "calibrated": code in calibrated,
            "sentences": parts[0]["sentences"],
            "positions": parts[0]["positions"],
        }
        row |= {"clipped": outside / values, "clipped_alike": outside_alike / values}
        rows.append(
            row
            | {
                f"{key}{end}": part[f"kl{end}"]
                for key, part in zip(("kl", "kl_alike", "cost"), parts, strict=True)
                for end in _ENDS
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def static(model: nn.Module) -> dict[str, ActivationQuantizer]:
    """The quantizers of static ranges, by the name of the Linear they belong to."""
    found = {
        name: layer.input_quantizer
        for name, layer in quantized_modules(model).items()
        if isinstance(layer, QuantLinear)
    }
    return {
        name: quantizer
        for name, quantizer in found.items()
        if quantizer is not None and not quantizer.spec.dynamic
    }


def recalibrated(student: nn.Module, batches: Iterable[dict[str, Tensor]]) -> nn.Module:
    """A copy of the model whose static ranges are measured anew, on `batches`. RuntimeError if
    there are some and no batch."""
    other = copy.deepcopy(student)
    calibrate_(other, batches)
    return other


def _clipped(
    x: Tensor, batch: Batch, layer: nn.Module, quantizers: list[ActivationQuantizer]
) -> Tensor:
    """x [B, T, D] or [B, D] -> per sentence: values, and how many of them each quantizer clips [B,
    3]"""
    if (scale := layer._buffers.get("input_scale")) is not None:
        x = x / scale
    real = batch.real if x.dim() == 3 else torch.ones(len(x), 1, dtype=torch.bool)
    counts = [real.sum(1) * x.shape[-1]]
    for quantizer in quantizers:
        bottom, top = code_range(quantizer.spec.bits, quantizer.spec.symmetric)
        exact = exact_codes(quantizer, x)
        outside = ((exact < bottom) | (exact > top)).sum(-1).reshape(real.shape)  # [B, T]
        counts.append((outside * real).sum(1))
    return torch.stack([c.double() for c in counts], 1)
