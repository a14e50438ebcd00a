"""What each width of each module costs the answers, measured: the prices that `sdq.mixed` chooses by. Needs no labels."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from contextlib import contextmanager

import pandas as pd
from torch import nn

from sdq.data.batches import Encoded
from sdq.inspect.depth import EVERY
from sdq.inspect.sensitivity import Measure, scan
from sdq.mixed import FP, weight_bytes
from sdq.models import modules
from sdq.quant.layers import QuantEmbedding, QuantLinear, WeightQuantizer
from sdq.quant.rewrite import quantized_modules

WIDTHS = (2, 3, 4, 6, 8)
_ALONE: tuple[Measure, ...] = ("one",)
_COLUMNS = ["module", "role", "block", "bits", "cost", "low", "high", "bytes"]


def costs(student: nn.Module, data: Encoded, languages: list[str], widths: Collection[int] = WIDTHS, batch_size: int = 64) -> pd.DataFrame:
    """The mean KL (nats, >= 0) of the FP32 answers on `data` from those with one module alone at one width; `languages`: a code per sentence.

    One row per module whose weight is quantized and width, in forward order: module, role, block, bits (each of `widths`, the module's
    present width, and FP = 32), cost with its 95 % interval low, high (see `sdq.inspect.sensitivity.scan`), bytes (of the weight at that
    width with its scales, simulated). Everything but the width is as the student has it, also how the module's input is quantized; FP
    quantizes neither, and costs exactly 0. Each width is one scan, whose FP32 pass serves all modules. Raises as `scan` does.
    """
    known = {m.name: m for m in modules(student)}
    layers = _layers(student)
    present = {name: layer.weight_quantizer.spec for name, layer in layers.items() if layer.weight_quantizer is not None}
    rows = [(name, FP, 0.0, 0.0, 0.0) for name in layers]
    for bits in sorted({*widths, *(spec.bits for spec in present.values())}):
        with at_width(student, bits):
            found = scan(student, data, languages, _ALONE, batch_size)
        found = found[(found["language"] == EVERY) & found["module"].isin(list(layers))]
        mine = [bits in widths or bits == present[name].bits for name in found["module"]]
        rows += [(name, bits, *kl) for name, *kl in found.loc[mine, ["module", "kl", "kl_low", "kl_high"]].itertuples(index=False)]
    order = {name: i for i, name in enumerate(known)}
    table = []
    for name, bits, cost, low, high in sorted(rows, key=lambda row: (order[row[0]], row[1])):
        spec = None if bits == FP else present[name].model_copy(update={"bits": bits})
        rows_columns = tuple(layers[name].weight.shape)
        table.append((name, known[name].role, known[name].block, bits, cost, low, high, weight_bytes(rows_columns, spec)))
    return pd.DataFrame(table, columns=_COLUMNS)


def total(student: nn.Module, data: Encoded, languages: list[str], batch_size: int = 64) -> float:
    """What the table of `costs` says of the student as it is: the summed cost (nats) of its modules, each quantizing alone."""
    found = scan(student, data, languages, _ALONE, batch_size)
    return math.fsum(found.loc[found["language"] == EVERY, "kl"])


@contextmanager
def at_width(student: nn.Module, bits: int) -> Iterator[None]:
    """Inside, every quantized weight is rounded to `bits`; afterwards, also when something raises, to what it was before."""
    layers = _layers(student).values()
    before = [layer.weight_quantizer for layer in layers]
    try:
        for layer in layers:
            assert layer.weight_quantizer is not None
            spec = layer.weight_quantizer.spec.model_copy(update={"bits": bits})
            layer.weight_quantizer = WeightQuantizer(spec).train(layer.training)
        yield
    finally:
        for layer, quantizer in zip(layers, before, strict=True):
            layer.weight_quantizer = quantizer


def _layers(student: nn.Module) -> dict[str, QuantLinear | QuantEmbedding]:
    """The modules whose weight is quantized, by name, in forward order."""
    return {name: layer for name, layer in quantized_modules(student).items() if layer.weight_quantizer is not None}
