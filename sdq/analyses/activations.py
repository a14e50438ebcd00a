"""Inputs of the Linear layers, per language: histograms, ranges, outlier dimensions. Streams; never
holds more than one batch."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from sdq.analyses.bins import BINS, binned
from sdq.analyses.error_measures import sqnr_db
from sdq.data.batches import Batch, Encoded
from sdq.models.hooks import in_pieces, listen
from sdq.models.structure import Module, modules, steps
from sdq.quant.integer import code_range
from sdq.quant.layers import ActivationQuantizer, smoothed
from sdq.quant.rewrite import only
from sdq.settings import UserError

POSITIONS = 48


class _Site:
    """Running sums for the input of one module."""

    def __init__(self, module: Module, layer: nn.Linear, languages: int) -> None:
        self.module, self.size = module, layer.in_features
        quantizer: Any = getattr(layer, "input_quantizer", None)
        self.quantizer: ActivationQuantizer | None = quantizer
        self.low, self.high = math.inf, -math.inf
        self.counts = torch.zeros(languages, BINS, dtype=torch.int64)
        self.language_low, self.language_high = (
            torch.full((languages,), math.inf),
            torch.full((languages,), -math.inf),
        )
        self.position_low, self.position_high = (
            torch.full((POSITIONS,), math.inf),
            torch.full((POSITIONS,), -math.inf),
        )
        self.dimension_peak, self.dimension_square, self.tokens = (
            torch.zeros(self.size),
            torch.zeros(self.size, dtype=torch.float64),
            0,
        )
        # per language: squared error, squared signal, clipped values, values
        self.sums = torch.zeros(languages, 4, dtype=torch.float64)
        self.ranges: list[Tensor] = []  # [n, 2] of each batch

    def extremes(self, x: Tensor) -> None:
        low, high = (float(end) for end in x.aminmax())  # of NaN both are NaN
        if not math.isfinite(low) or not math.isfinite(high):
            raise UserError(
                f"activations must be finite numbers, the inputs of {self.module.name} hold NaN or "
                "infinity on these sentences; the checkpoint is damaged or its training diverged"
            )
        self.low, self.high = min(self.low, low), max(self.high, high)

    def add(
        self,
        x: Tensor,
        back: Tensor | None,
        bounds: Tensor | None,
        language: Tensor,
        position: Tensor | None,
    ) -> None:
        """x, back [N, D] real tokens; bounds [N, 2]: smallest and largest representable value;
        language, position [N]."""
        at = binned(x, self.low, self.high) + language[:, None] * BINS
        self.counts += torch.bincount(at.flatten(), minlength=self.counts.numel()).reshape(
            self.counts.shape
        )
        low, high = x.amin(1), x.amax(1)
        self.language_low.scatter_reduce_(0, language, low, "amin")
        self.language_high.scatter_reduce_(0, language, high, "amax")
        if position is not None:
            near = position < POSITIONS
            self.position_low.scatter_reduce_(0, position[near], low[near], "amin")
            self.position_high.scatter_reduce_(0, position[near], high[near], "amax")
        self.dimension_peak = torch.maximum(self.dimension_peak, x.abs().amax(0))
        square = x.double().square_()
        self.dimension_square += square.sum(0)
        self.tokens += len(x)
        columns = [
            torch.zeros(len(x)),
            square.sum(1),
            torch.zeros(len(x)),
            torch.full((len(x),), float(self.size)),
        ]
        if self.quantizer is not None and back is not None and bounds is not None:
            columns[0] = (back - x).double().square_().sum(1)
            bottom, top = code_range(self.quantizer.spec.bits, self.quantizer.spec.symmetric)
            # of a step; beyond it a value is clipped
            half = (bounds[:, 1:] - bounds[:, :1]) / (2 * (top - bottom))
            coded = self.quantizer.narrowed(x)
            outside = (coded < bounds[:, :1] - half) | (coded > bounds[:, 1:] + half)
            columns[2] = outside.double().sum(1)
            self.ranges.append(bounds)
        self.sums.index_add_(0, language, torch.stack([p.double() for p in columns], 1))

    def rows(self, languages: list[str]) -> list[dict[str, Any]]:
        out = []
        common: dict[str, Any] = {
            "module": self.module.name,
            "role": self.module.role,
            "block": self.module.block,
            "low": self.low,
            "high": self.high,
        }
        if self.quantizer is not None and self.ranges:
            seen = torch.cat(self.ranges)
            common |= {
                "bits": self.quantizer.spec.bits,
                "dynamic": self.quantizer.spec.dynamic,
                "granularity": self.quantizer.spec.granularity.kind,
                "range_low": float(seen[:, 0].median()),
                "range_high": float(seen[:, 1].median()),
                "widest_low": float(seen[:, 0].min()),
                "widest_high": float(seen[:, 1].max()),
            }
            if self.quantizer.outliers is not None:
                common["apart"] = len(self.quantizer.outliers.columns)
        else:
            common["bits"] = 32
        for i, code in enumerate(languages):
            error, signal, clipped, count = self.sums[i].tolist()
            if not count:
                continue
            row = common | {"language": code, "counts": self.counts[i].numpy().astype(np.int32)}
            row |= {
                "language_low": float(self.language_low[i]),
                "language_high": float(self.language_high[i]),
            }
            if common["bits"] < 32:
                row |= {
                    "mse": error / count,
                    "sqnr_db": sqnr_db(error, signal),
                    "clipped": clipped / count,
                }
            out.append(row)
        return out

    def profile(self) -> dict[str, Any]:
        last = int(torch.isfinite(self.position_low).sum())
        return {
            "module": self.module.name,
            "role": self.module.role,
            "block": self.module.block,
            "position_low": self.position_low[:last].numpy(),
            "position_high": self.position_high[:last].numpy(),
            "dimension_peak": self.dimension_peak.numpy(),
            "dimension_rms": (self.dimension_square / max(1, self.tokens)).sqrt().float().numpy(),
        }


@torch.inference_mode()
def activations(
    model: nn.Module, data: Encoded, languages: list[str], batch_size: int = 64
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What the inputs of every Linear look like on `data`, as it rounds them: of a migrated layer
    divided by its factors.

    model: rewritten or not, in eval mode
    data, languages: sentences, and a code for each
    batch_size: sentences of a forward pass

    First table, one row per module and language:

    module, role, block
    low, high: extremes over all languages
    counts: of BINS equal bins from low to high
    language_low, language_high: extremes in this language
    bits, dynamic, granularity: where inputs are quantized, as all below
    range_low, range_high: median over tokens of the range the observer chose
    widest_low, widest_high, mse
    sqnr_db: 200: exact
    clipped: share of values outside their range
    apart: how many units are held apart and may lie outside; only of layers that have such

    Second table, one row per module:

    position_low, position_high: extremes per token position
    dimension_peak: largest |x| of each hidden unit
    dimension_rms

    Measured with quantizers off: what a quantizer would get if nothing before it erred. A module of
    shared weights (ALBERT) has one row for all the layers it runs as: they share its range.
    """
    codes = list(dict.fromkeys(languages))
    number = torch.tensor([codes.index(code) for code in languages])
    linear = [m for m in modules(model) if isinstance(model.get_submodule(m.name), nn.Linear)]
    sites = {m.name: _Site(m, model.get_submodule(m.name), len(codes)) for m in linear}  # type: ignore[arg-type]
    tapped = [s.tap(m.name) for s in steps(model) for m in linear if m.block == s.block]
    tapped += [m.name for m in linear if m.block < 0]
    for add in (False, True):
        for batch in in_pieces(model, data, batch_size):

            def see(
                tap: str,
                module: nn.Module,
                args: tuple[Tensor, ...],
                kwargs: Any,
                out: None,
                batch: Batch = batch,
                add: bool = add,
            ) -> None:
                site, x = sites[tap.partition("@")[0]], smoothed(module, args[0])
                if add:
                    _add(site, x, batch, number[torch.tensor(batch.at)])
                else:
                    site.extremes(_real(x, batch))

            with listen(model, dict.fromkeys(tapped, "input"), see), only(model, ()):
                model(**batch.inputs)
    rows = [row for site in sites.values() for row in site.rows(codes)]
    return pd.DataFrame(rows), pd.DataFrame([site.profile() for site in sites.values()])


def _real(x: Tensor, batch: Batch) -> Tensor:
    if x.dim() != 3:
        return x
    if x.shape[:2] != batch.real.shape:
        raise UserError(
            f"every layer must have one row per token, one has {x.shape[0]} x {x.shape[1]} rows "
            f"for {len(batch.at)} sentences of {batch.real.shape[1]} tokens; take a model of "
            "another architecture, or shorter sentences (`longest`)"
        )
    return x[batch.real]


def _add(site: _Site, x: Tensor, batch: Batch, language: Tensor) -> None:
    """Count one batch; x [B, T, D], or [B, D] after pooling."""
    back, bounds = None, None
    if site.quantizer is not None:
        spec = site.quantizer.spec
        bottom, top = code_range(spec.bits, spec.symmetric)
        scale, zero = site.quantizer.ranges(x)
        back = site.quantizer._quantize(x)
        ends = torch.cat([(bottom - zero) * scale, (top - zero) * scale], 1)
        bounds = ends.expand(x.shape[:-1].numel(), 2).reshape(*x.shape[:-1], 2)
    if x.dim() == 2:
        site.add(x, back, bounds, language, None)
        return
    position = torch.arange(x.shape[1]).expand(x.shape[:2])
    chosen = [None if t is None else t[batch.real] for t in (back, bounds)]
    site.add(
        x[batch.real],
        chosen[0],
        chosen[1],
        language[:, None].expand(x.shape[:2])[batch.real],
        position[batch.real],
    )
