"""What each width of each module costs the answers, measured: the prices that
`sdq.quant.mixed_precision` chooses by. Needs no labels."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import pandas as pd
from torch import nn

from sdq.analyses.depth import EVERY
from sdq.analyses.sensitivity import Measure, scan
from sdq.data.batches import Encoded
from sdq.models.structure import modules
from sdq.quant.layers import QuantEmbedding, QuantLinear, WeightQuantizer
from sdq.quant.mixed_precision import FP, weight_bytes, with_ranges
from sdq.quant.rewrite import quantized_modules
from sdq.quant.spec import WeightSpec

WIDTHS = (2, 3, 4, 6, 8)
_ALONE: tuple[Measure, ...] = ("one",)
_COLUMNS = ["module", "role", "block", "bits", "ranges", "present", "cost", "low", "high", "bytes"]


def costs(
    student: nn.Module,
    data: Encoded,
    languages: list[str],
    widths: Collection[int] = WIDTHS,
    batch_size: int = 64,
) -> pd.DataFrame:
    """The mean KL (nats, >= 0) of the FP32 answers on `data` from those with one module alone at
    one width; `languages`: a code per sentence.

    One row per module whose weight is quantized, width and ranges, in forward order: module, role,
    block, bits (each of `widths`, the module's present width, and FP = 32), ranges (how many
    weights share one: what it is now, and where that is "tensor" also "channel"; of FP ""), present
    (whether the student has it so), cost with its 95 % interval low, high (see
    `sdq.analyses.sensitivity.scan`), bytes (of the weight with its scales, simulated). All else is
    as the student has it, also how the module's input is quantized; FP quantizes neither, and costs
    exactly 0. Each width is one scan, whose FP32 pass serves all modules. Raises as `scan` does.
    """
    layers = _layers(student)
    now = {
        name: layer.weight_quantizer.spec
        for name, layer in layers.items()
        if layer.weight_quantizer is not None
    }
    found: dict[str, dict[WeightSpec, tuple[float, float, float]]] = {name: {} for name in layers}
    for ranges in (
        (None, "channel")
        if any(spec.granularity.kind == "tensor" for spec in now.values())
        else (None,)
    ):
        for bits in sorted({*widths, *(spec.bits for spec in now.values())}):
            specs = {
                name: with_ranges(spec, ranges if spec.granularity.kind == "tensor" else None)
                for name, spec in now.items()
            }
            specs = {
                name: spec.model_copy(update={"bits": bits})
                for name, spec in specs.items()
                if bits in widths or bits == spec.bits
            }
            with rounded(student, specs):
                table = scan(student, data, languages, _ALONE, batch_size)
            for name, *kl in table.loc[
                table["language"] == EVERY, ["module", "kl", "kl_low", "kl_high"]
            ].itertuples(index=False):
                if name in specs:
                    found[name][specs[name]] = (kl[0], kl[1], kl[2])
    rows: list[tuple[object, ...]] = []
    for m in (m for m in modules(student) if m.name in layers):
        shape = tuple(layers[m.name].weight.shape)
        for spec, kl in sorted(
            found[m.name].items(),
            key=lambda item: (
                item[0].bits,
                item[0].granularity.kind != now[m.name].granularity.kind,
            ),
        ):
            rows.append(
                (
                    m.name,
                    m.role,
                    m.block,
                    spec.bits,
                    spec.granularity.kind,
                    spec == now[m.name],
                    *kl,
                    weight_bytes(shape, spec),
                )
            )
        rows.append(
            (m.name, m.role, m.block, FP, "", False, 0.0, 0.0, 0.0, weight_bytes(shape, None))
        )
    return pd.DataFrame(rows, columns=_COLUMNS)


def total(student: nn.Module, data: Encoded, languages: list[str], batch_size: int = 64) -> float:
    """The summed cost (nats) of the student as it is: of each of its modules, quantizing alone."""
    table = scan(student, data, languages, _ALONE, batch_size)
    return math.fsum(table.loc[table["language"] == EVERY, "kl"])


@contextmanager
def rounded(student: nn.Module, specs: dict[str, WeightSpec]) -> Iterator[None]:
    """Inside, the weights of the named modules are rounded so; afterwards, also when something
    raises, as they were before."""
    layers = {name: layer for name, layer in _layers(student).items() if name in specs}
    before = {name: layer.weight_quantizer for name, layer in layers.items()}
    try:
        for name, layer in layers.items():
            layer.weight_quantizer = WeightQuantizer(specs[name]).train(layer.training)
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
