"""What each width of each module costs the answers, measured: the prices that
`sdq.quant.mixed_precision` chooses by. Needs no labels."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import pandas as pd
from torch import nn

from sdq.analyses.sensitivity import Measure, scan
from sdq.data.batches import Encoded
from sdq.models.structure import Module, modules
from sdq.quant.layers import QuantEmbedding, QuantLinear, WeightQuantizer
from sdq.quant.mixed_precision import FP, weight_bytes, with_ranges
from sdq.quant.rewrite import quantized_modules
from sdq.quant.spec import WeightSpec
from sdq.results import EVERY

WIDTHS = (2, 3, 4, 6, 8)
Interval = tuple[float, float, float]  # value, low, high
_ALONE: tuple[Measure, ...] = ("one",)
_COLUMNS = ["module", "role", "block", "bits", "ranges", "present", "cost", "low", "high", "bytes"]


def bitwidth_sensitivity(
    student: nn.Module,
    data: Encoded,
    languages: list[str],
    widths: Collection[int] = WIDTHS,
    batch_size: int = 64,
) -> pd.DataFrame:
    """The mean KL (nats, >= 0) of the FP32 answers on `data` from those with one module alone at
    one width.

    student: quantized, in eval mode
    data, languages: sentences, and a code for each
    widths: bits, each 2 to 8
    batch_size: sentences of a forward pass

    One row per module whose weight is quantized, width and ranges, in forward order:

    module, role, block
    bits: each of `widths`, the module's present width, and FP = 32
    ranges: how many weights share one: what it is now, and where that is "tensor" also "channel";
        of FP ""
    present: whether the student has it so
    cost, low, high: with its 95 % interval, see `sdq.analyses.sensitivity.scan`
    bytes: of the weight with its scales, simulated

    All else is as the student has it, also how the module's input is quantized; FP quantizes
    neither, and costs exactly 0. Each width is one scan, whose FP32 pass serves all modules. Raises
    as `scan` does.
    """
    layers = _layers(student)
    current = {
        name: layer.weight_quantizer.spec
        for name, layer in layers.items()
        if layer.weight_quantizer is not None
    }
    measured: dict[str, dict[WeightSpec, Interval]] = {name: {} for name in layers}
    for specs in _specs(current, widths):
        with weights_rounded_to(student, specs):
            table = scan(student, data, languages, _ALONE, batch_size)
        for name, *kl in table.loc[
            table["language"] == EVERY, ["module", "kl", "kl_low", "kl_high"]
        ].itertuples(index=False):
            if name in specs:
                measured[name][specs[name]] = (kl[0], kl[1], kl[2])
    rows: list[tuple[object, ...]] = []
    for m in (m for m in modules(student) if m.name in layers):
        rows += _rows(m, layers[m.name], current[m.name], measured[m.name])
    return pd.DataFrame(rows, columns=_COLUMNS)


def _specs(
    current: dict[str, WeightSpec], widths: Collection[int]
) -> Iterator[dict[str, WeightSpec]]:
    """What is measured in one scan: of each module one width and kind of ranges, all the same."""
    coarse = {name for name, spec in current.items() if spec.granularity.kind == "tensor"}
    for ranges in (None, "channel") if coarse else (None,):
        for bits in sorted({*widths, *(spec.bits for spec in current.values())}):
            yield {
                name: with_ranges(spec, ranges if name in coarse else None).model_copy(
                    update={"bits": bits}
                )
                for name, spec in current.items()
                if bits in widths or bits == spec.bits
            }


def _rows(
    m: Module,
    layer: QuantLinear | QuantEmbedding,
    current: WeightSpec,
    measured: dict[WeightSpec, Interval],
) -> Iterator[tuple[object, ...]]:
    """The rows of one module, narrow ones first, with its present ranges before others."""
    kind, shape = current.granularity.kind, tuple(layer.weight.shape)
    apart = layer.outliers if isinstance(layer, QuantLinear) else None
    for spec in sorted(measured, key=lambda spec: (spec.bits, spec.granularity.kind != kind)):
        here, kl, size = spec == current, measured[spec], weight_bytes(shape, spec, apart)
        yield m.name, m.role, m.block, spec.bits, spec.granularity.kind, here, *kl, size
    yield m.name, m.role, m.block, FP, "", False, 0.0, 0.0, 0.0, weight_bytes(shape, None)


def summed_sensitivity(
    student: nn.Module, data: Encoded, languages: list[str], batch_size: int = 64
) -> float:
    """The summed cost (nats) of the student as it is: of each of its modules, quantizing alone.

    student: quantized, in eval mode
    data, languages: sentences, and a code for each
    batch_size: sentences of a forward pass
    """
    table = scan(student, data, languages, _ALONE, batch_size)
    return math.fsum(table.loc[table["language"] == EVERY, "kl"])


@contextmanager
def weights_rounded_to(student: nn.Module, specs: dict[str, WeightSpec]) -> Iterator[None]:
    """Inside, the weights of the named modules are rounded so; afterwards, also when something
    raises, as they were before."""
    layers = {name: layer for name, layer in _layers(student).items() if name in specs}
    before = {name: layer.weight_quantizer for name, layer in layers.items()}
    try:
        for name, layer in layers.items():
            apart = None if layer.weight_quantizer is None else layer.weight_quantizer.outliers
            layer.weight_quantizer = WeightQuantizer(specs[name], apart).train(layer.training)
        yield
    finally:
        for name, layer in layers.items():
            layer.weight_quantizer = before[name]


def _layers(student: nn.Module) -> dict[str, QuantLinear | QuantEmbedding]:
    """The modules whose weight is quantized, by name, in forward order."""
    return {
        name: layer
        for name, layer in quantized_modules(student).items()
        if layer.weight_quantizer is not None
    }
