"""Ranges measured on other languages than the model is used in: what share of the values they clip,
what that costs, and what the remedy wins.

The remedy is to measure them on all languages alike, on as many sentences. Only static ranges can
be mismatched: a dynamic one is each batch's own.
"""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterable, Iterator
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from sdq.analyses.divergence import DivergenceSums, Reference
from sdq.analyses.input_statistics import exact_codes
from sdq.analyses.sensitivity import check, run
from sdq.analyses.wiring import input_taps
from sdq.data.batches import Batch, Encoded
from sdq.models.hooks import listen
from sdq.quant.integer import code_range
from sdq.quant.layers import ActivationQuantizer, QuantLinear, smoothed
from sdq.quant.rewrite import calibrate_, quantized_modules
from sdq.results import EVERY

_KEYS, _ENDS = ("kl", "kl_alike", "cost"), ("", "_low", "_high")
COLUMNS = ["language", "calibrated", "sentences", "positions", "clipped", "clipped_alike"]
COLUMNS += [f"{what}{end}" for what in _KEYS for end in _ENDS]


@torch.inference_mode()
def calibration_mismatch(
    student: nn.Module,
    balanced: nn.Module,
    data: Encoded,
    languages: list[str],
    calibrated: Collection[str] = (),
    batch_size: int = 32,
) -> pd.DataFrame:
    """What the ranges of `student` clip and cost, against those of `balanced`, the same model
    calibrated on all languages alike.

    student: quantized, in eval mode
    balanced: the same, calibrated on as many sentences of all languages
    batch_size: sentences of a forward pass
    data, languages: sentences, and a code for each.
    calibrated: the codes of the languages that the ranges of `student` were measured on.

    One row for all sentences (language "all"), then one per language; without static ranges none:

    language, calibrated (whether the ranges were measured on it, too), sentences, positions
    clipped, clipped_alike: share, 0..1, of the values at all statically quantized inputs that lie
        outside the range; quantizers off
    kl, kl_alike: mean KL of the FP32 answers from the quantized ones, nats
    cost: kl - kl_alike, nats, of paired sentences; what the remedy wins
    kl_low, kl_high, ...: their 95 % intervals, see `sdq.analyses.sensitivity.scan`

    Hook only private copies. Raises ValueError as `scan` does.
    """
    check(student, data, languages)
    sites = static(student)
    if not sites:
        return pd.DataFrame(columns=COLUMNS)
    others = static(balanced)
    divergence = DivergenceSums(languages)
    # of each sentence: values, clipped, clipped alike
    clipped = torch.zeros(len(languages), 3, dtype=torch.float64)
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
            exact = Reference(run(student, batch, ())[0], batch, data.token)
        divergence.count(batch.at, exact.counts)
        kl, alike = (exact.divergence(m(**batch.inputs).logits) for m in (student, balanced))
        for key, change in zip(_KEYS, (kl, alike, kl - alike), strict=True):
            divergence.add(key, batch.at, change)
    rows = _rows(divergence, clipped, languages)
    return pd.DataFrame(
        [row | {"calibrated": row["language"] in calibrated} for row in rows], columns=COLUMNS
    )


def _rows(
    divergence: DivergenceSums, clipped: Tensor, languages: list[str]
) -> Iterator[dict[str, Any]]:
    """A row for all sentences and one per language; `clipped` [N, 3] as `_clipped` counts."""
    for key_rows in zip(*(divergence.rows(key) for key in _KEYS), strict=True):
        row = {name: key_rows[0][name] for name in ("language", "sentences", "positions")}
        spoken = [row["language"] in (EVERY, code) for code in languages]
        values, outside, outside_balanced = clipped[spoken].sum(0).tolist()
        row |= {"clipped": outside / values, "clipped_alike": outside_balanced / values}
        for key, part in zip(_KEYS, key_rows, strict=True):
            row |= {f"{key}{end}": part[f"kl{end}"] for end in _ENDS}
        yield row


def static(model: nn.Module) -> dict[str, ActivationQuantizer]:
    """The quantizers of static ranges, by the name of the Linear they belong to."""
    quantizers = {
        name: layer.input_quantizer
        for name, layer in quantized_modules(model).items()
        if isinstance(layer, QuantLinear)
    }
    return {
        name: quantizer
        for name, quantizer in quantizers.items()
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
    x = smoothed(layer, x)
    real = batch.real if x.dim() == 3 else torch.ones(len(x), 1, dtype=torch.bool)
    counts = [real.sum(1) * x.shape[-1]]
    for quantizer in quantizers:
        bottom, top = code_range(quantizer.spec.bits, quantizer.spec.symmetric)
        exact = exact_codes(quantizer, x)
        outside = ((exact < bottom) | (exact > top)).sum(-1).reshape(real.shape)  # [B, T]
        counts.append((outside * real).sum(1))
    return torch.stack([c.double() for c in counts], 1)
