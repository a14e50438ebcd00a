"""Why a module breaks: what stands out in its weight and its inputs, which language suffers, and
what produces it. Streams; holds one batch at a time.

What removing a cause wins is measured in `sdq.analyses.removal`; here it is only seen. A cause is a
short code:

outlier_unit   a hidden unit of the input whose peak stretches the range all units share (Dettmers
et al. 2022, arXiv 2208.07339) massive_token  a token whose largest input stretches a range that
tokens share (Sun et al. 2024, arXiv 2402.17762) weight_row     an output channel whose largest
weight stretches a range that rows share; of an embedding: a subword's row weight_column  likewise
an input channel, which stretches every row's own range single_weight  of a Linear: the largest
number of the weight, in row `at` and column `position`, against the next largest weight_range   one
range for all rows: the largest row's peak against the median row's clipped        inputs outside
the range, in the language that has most of them calibration    likewise for a static range, `usual`
is the share in the same language when the range is measured on all languages alike wide_language
the language whose inputs need the widest range heavy_tails    kurtosis of the inputs (3: normal
distribution) unused_inputs  share of the input codes that never occur; unused_weights: of the
weight codes, mean over ranges weights        relative L2 of rounding the weight; inputs: of
rounding the input damping        of a LayerNorm: relative L2 of the accumulated error after it,
`usual` is that before it
"""

from __future__ import annotations

import math
from collections.abc import Collection
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from sdq.data.batches import Batch, Encoded
from sdq.models.hooks import Side, capture, in_pieces, listen
from sdq.models.structure import Module, blocks, modules, steps
from sdq.quant.integer import code_range, dequantize, quantize
from sdq.quant.layers import ActivationQuantizer, QuantEmbedding, QuantLinear
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
_PRODUCERS = {
    "attention_output": "v",
    "ffn_out": "ffn_in",
}  # role -> role in the same block whose rows are its input's units


@torch.inference_mode()
def why(
    student: nn.Module,
    data: Encoded,
    languages: list[str],
    alike: nn.Module | None = None,
    batch_size: int = 32,
) -> pd.DataFrame:
    """What stands out on `data`, whose sentences are in `languages` (one code each): one row per
    quantized module and cause, and per LayerNorm.

    module, role, block, cause (see above), value and the `usual` one it is compared with, unit (of
    both), at (which hidden unit, row, column or token position; -1: no single one), source (the
    module that produces the hidden unit: the LayerNorm, or the Linear whose row it is) with its
    source_value and source_usual (|gain| of that unit, or the row's largest |weight|, and the
    median over units), language (where the value was seen; empty: in no particular one), sentence
    (position in `data`) and position (of the token) where a token is meant, else -1 (of
    single_weight: position is its column). Medians are over units, rows, columns, tokens or
    languages; of the shares, errors and kurtosis over the modules. A module has several outlier
    units: the largest, and up to MOST - 1 more beyond FAR times the median. Inputs are seen with
    quantizers off. `alike`: the model with static ranges measured on all languages, for the cause
    "calibration". Hook only a private copy.
    """
    codes = list(dict.fromkeys(languages))
    number = torch.tensor([codes.index(code) for code in languages])
    known = {m.name: m for m in modules(student)}
    quantized = quantized_modules(student)
    sites = {
        name: _Inputs(layer, codes, None if alike is None else _quantizer(alike, name))
        for name, layer in quantized.items()
        if isinstance(layer, QuantLinear) and layer.input_quantizer is not None
    }
    norms = {m.name: _Norm() for m in layer_norms(student)}
    sources = producers(student, next(data.in_order(1)))
    for batch in in_pieces(student, data, batch_size):

        def see(
            tap: str,
            module: nn.Module,
            args: tuple[Tensor, ...],
            kwargs: Any,
            out: None,
            batch: Batch = batch,
        ) -> None:
            sites[tap.partition("@")[0]].add(args[0], batch, number[torch.tensor(batch.at)])

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
    rows = [
        row
        for name, layer in quantized.items()
        for row in _rows(known[name], layer, sites.get(name), sources.get(name, ""), student)
    ]
    rows += [
        _row(m, "damping", norms[m.name].relative(1), norms[m.name].relative(0), "relative L2")
        for m in layer_norms(student)
    ]
    table = pd.DataFrame(rows, columns=COLUMNS)
    over_modules = table["usual"].isna()
    table.loc[over_modules, "usual"] = table.groupby("cause")["value"].transform("median")[
        over_modules
    ]
    return table


def input_taps(model: nn.Module, names: Collection[str]) -> dict[str, Side]:
    """What `listen` must tap for the inputs of the named modules, at every layer they run as."""
    wanted = [m for m in modules(model) if m.name in names]
    found: dict[str, Side] = {m.name: "input" for m in wanted if m.block < 0}
    return found | {
        step.tap(m.name): "input" for step in steps(model) for m in wanted if m.block == step.block
    }


def layer_norms(model: nn.Module) -> list[Module]:
    """The LayerNorms in forward order, of role "layernorm": name as `capture` taps it, block the
    layer of the depth (-1: outside the blocks)."""
    names = [name for name, module in model.named_modules() if isinstance(module, nn.LayerNorm)]
    inside = [
        (step.tap(name), i)
        for i, step in enumerate(steps(model))
        for name in names
        if name.startswith(f"{step.name}.")
    ]
    apart = [
        name for name in names if not any(name.startswith(f"{block}.") for block in blocks(model))
    ]
    return [
        Module(name, "layernorm", block)
        for name, block in [*((name, -1) for name in apart), *inside]
    ]


def producers(student: nn.Module, batch: Batch) -> dict[str, str]:
    """Per Linear whose input's units are another module's: that module. Readers of a LayerNorm are
    found by watching one pass over `batch`."""
    norms = [name for name, module in student.named_modules() if isinstance(module, nn.LayerNorm)]
    linear = [m for m in modules(student) if m.role != "embedding"]
    with (
        capture(student, dict.fromkeys(norms, "output")) as made,
        capture(student, {m.name: "input" for m in linear}) as read,
        only(student, ()),
    ):
        student(**batch.inputs)
        # a reader sees the LayerNorm's very numbers, or a view of them (the first token): both
        # begin at the same address
        at = {tensor.data_ptr(): name for name, tensor in made.items()}
        found = {
            m.name: at[read[m.name].data_ptr()] for m in linear if read[m.name].data_ptr() in at
        }
    by_role = {(m.role, m.block): m.name for m in linear}
    made_by = {
        m.name: by_role[_PRODUCERS[m.role], m.block]
        for m in linear
        if (_PRODUCERS.get(m.role), m.block) in by_role
    }
    heads = [m.name for m in linear if m.role == "head"]
    made_by |= {reader: maker for maker, reader in pairwise(heads) if reader not in found}
    size: dict[str, Any] = {m.name: student.get_submodule(m.name) for m in linear}
    # of a gated feed-forward or fused heads the rows are not one by one the units that are read
    return found | {
        reader: maker
        for reader, maker in made_by.items()
        if size[maker].out_features == size[reader].in_features
    }


def strength(module: nn.Module, unit: int) -> tuple[float, float]:
    """(how strongly a producer makes a hidden unit, the median over its units): |gain| of a
    LayerNorm, largest |weight| of a Linear's row."""
    weight: Any = module.weight
    sizes = weight.detach().abs() if weight.dim() == 1 else weight.detach().abs().amax(1)
    return float(sizes[unit]), float(sizes.median())


def _quantizer(model: nn.Module, name: str) -> ActivationQuantizer | None:
    layer: Any = model.get_submodule(name)
    quantizer: ActivationQuantizer | None = layer.input_quantizer
    return quantizer


class _Inputs:
    """Running sums over the real tokens at the input of one module."""

    def __init__(
        self, layer: QuantLinear, codes: list[str], alike: ActivationQuantizer | None
    ) -> None:
        assert layer.input_quantizer is not None
        self.quantizer, self.codes = layer.input_quantizer, codes
        self.alike = None if self.quantizer.spec.dynamic else alike
        self.scale = layer._buffers.get("input_scale")
        self.peak = torch.zeros(len(codes), layer.in_features)
        self.low, self.high = (
            torch.full((len(codes),), math.inf),
            torch.full((len(codes),), -math.inf),
        )
        self.powers = torch.zeros(4, dtype=torch.float64)  # sums of x, x^2, x^3, x^4
        self.sums = torch.zeros(
            len(codes), 5, dtype=torch.float64
        )  # values, clipped values (here, alike), squared error, squared signal
        self.bottom, self.top = code_range(self.quantizer.spec.bits, self.quantizer.spec.symmetric)
        self.used = torch.zeros(self.top - self.bottom + 1, dtype=torch.bool)
        self.tokens: list[Tensor] = []  # largest |x| of every token
        self.largest, self.where = 0.0, (-1, -1, -1)  # language, sentence, position

    def add(self, x: Tensor, batch: Batch, spoken: Tensor) -> None:
        """x [B, T, D], or [B, D] after pooling; spoken [B]: the number of each sentence's
        language."""
        x = x if self.scale is None else x / self.scale
        real = batch.real if x.dim() == 3 else torch.ones(len(x), dtype=torch.bool)
        exact = exact_codes(self.quantizer, x)[real]  # [N, D]
        outside = [
            self._outside(exact),
            self._outside(exact if self.alike is None else exact_codes(self.alike, x)[real]),
        ]
        error = (self.quantizer._quantize(x) - x)[real].double()
        language = (spoken[:, None].expand(x.shape[:2]) if x.dim() == 3 else spoken)[real]
        place = torch.nonzero(real)
        x = x[real]
        self.used[(exact.clamp(self.bottom, self.top) - self.bottom).long().flatten()] = True
        size = x.abs()
        for code in language.unique().tolist():
            self.peak[code] = torch.maximum(self.peak[code], size[language == code].amax(0))
        self.low.scatter_reduce_(0, language, x.amin(1), "amin")
        self.high.scatter_reduce_(0, language, x.amax(1), "amax")
        wide = x.double()
        self.powers += torch.stack([(wide**k).sum() for k in (1, 2, 3, 4)])
        parts = [torch.full((len(x),), x.shape[1]), *outside, (error**2).sum(1), (wide**2).sum(1)]
        self.sums.index_add_(0, language, torch.stack([p.double() for p in parts], 1))
        peaks = size.amax(1)
        self.tokens.append(peaks)
        if float(peaks.max()) > self.largest:
            at = int(peaks.argmax())
            self.largest = float(peaks[at])
            self.where = (
                int(language[at]),
                batch.at[int(place[at, 0])],
                int(place[at, 1]) if place.shape[1] > 1 else 0,
            )

    def _outside(self, exact: Tensor) -> Tensor:
        """exact codes [N, D] -> clipped values of each token [N]"""
        return ((exact < self.bottom) | (exact > self.top)).sum(1)

    def kurtosis(self) -> float:
        """Fourth central moment over the squared variance; 3 for a normal distribution."""
        one, two, three, four = (self.powers / self.sums[:, 0].sum()).tolist()
        variance = two - one**2
        return (
            (four - 4 * one * three + 6 * one**2 * two - 3 * one**4) / variance**2
            if variance > 0
            else 3.0
        )


def exact_codes(quantizer: ActivationQuantizer, x: Tensor) -> Tensor:
    """x -> the integers it rounds to, of x's shape, before they are clipped."""
    scale, zero = quantizer.ranges(x)
    return ((quantizer.spec.granularity.rows(x) / scale).round() + zero).reshape(x.shape)


class _Norm:
    """Squared error and squared signal before and after a LayerNorm."""

    def __init__(self) -> None:
        self.sums = torch.zeros(2, 2, dtype=torch.float64)

    def add(self, exact: tuple[Tensor, Tensor], other: tuple[Tensor, Tensor], real: Tensor) -> None:
        """(before, after), each [B, T, D]; padding never counts."""
        for side, (x, y) in enumerate(zip(exact, other, strict=True)):
            x, y = (t[real].double() if t.shape[:2] == real.shape else t.double() for t in (x, y))
            self.sums[side] += torch.stack([((y - x) ** 2).sum(), (x**2).sum()])

    def relative(self, side: int) -> float:
        error, signal = self.sums[side].tolist()
        return math.sqrt(error / signal) if signal else 0.0


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
    known = {
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
        known
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
    site: _Inputs | None,
    source: str,
    student: nn.Module,
) -> list[dict[str, Any]]:
    """What stands out in one module; `usual` is NaN where it is the median over modules."""
    found = _weight_rows(m, layer) if layer.weight_quantizer is not None else []
    if site is None or not site.tokens:
        return found
    every = site.peak.amax(0)
    median = float(every.median())
    for unit in every.topk(min(MOST, len(every))).indices.tolist():
        if (
            len(found)
            and found[-1]["cause"] == "outlier_unit"
            and float(every[unit]) <= FAR * median
        ):
            break
        made: dict[str, Any] = {}
        if source:
            value, usual = strength(student.get_submodule(source), unit)
            made = {"source": source, "source_value": value, "source_usual": usual}
        code = site.codes[int(site.peak[:, unit].argmax())]
        found.append(_row(m, "outlier_unit", float(every[unit]), median, "|x|", unit, code, **made))
    language, sentence, position = site.where
    token = {"sentence": sentence, "position": position}
    found.append(
        _row(
            m,
            "massive_token",
            site.largest,
            float(torch.cat(site.tokens).median()),
            "|x|",
            position,
            site.codes[language],
            **token,
        )
    )
    here = site.sums[:, 0] > 0
    spoken = [code for code, some in zip(site.codes, here.tolist(), strict=True) if some]
    values, clipped, clipped_alike, error, signal = site.sums[here].T
    share, most = (clipped / values).numpy(), int(clipped.div(values).argmax())
    found.append(
        _row(
            m,
            "clipped",
            float(share[most]),
            float(np.median(share)),
            "share",
            language=spoken[most],
        )
    )
    if site.alike is not None:
        found.append(
            _row(
                m,
                "calibration",
                float(share[most]),
                float(clipped_alike[most] / values[most]),
                "share",
                language=spoken[most],
            )
        )
    width = (site.high - site.low)[here].numpy()
    found.append(
        _row(
            m,
            "wide_language",
            float(width.max()),
            float(np.median(width)),
            "range",
            language=spoken[int(width.argmax())],
        )
    )
    found.append(_row(m, "heavy_tails", site.kurtosis(), math.nan, "kurtosis"))
    found.append(
        _row(m, "unused_inputs", 1 - float(site.used.double().mean()), math.nan, "share of codes")
    )
    found.append(
        _row(
            m,
            "inputs",
            math.sqrt(float(error.sum() / signal.sum())) if signal.sum() else 0.0,
            math.nan,
            "relative L2",
        )
    )
    return found


def _weight_rows(m: Module, layer: QuantLinear | QuantEmbedding) -> list[dict[str, Any]]:
    quantizer, weight = layer.weight_quantizer, layer.weight.detach()
    assert quantizer is not None
    spec = quantizer.spec
    found = []
    for cause, peaks in (
        ("weight_row", weight.abs().amax(1)),
        ("weight_column", weight.abs().amax(0)),
    ):
        found.append(
            _row(m, cause, float(peaks.max()), float(peaks.median()), "|w|", int(peaks.argmax()))
        )
    if spec.granularity.kind == "tensor":
        found.append(found[0] | {"cause": "weight_range"})
    if isinstance(layer, QuantLinear) and weight.numel() > 1:
        (largest, following), places = weight.abs().flatten().topk(2)
        place = divmod(int(places[0]), weight.shape[1])
        found.append(
            _row(
                m,
                "single_weight",
                float(largest),
                float(following),
                "|w|",
                place[0],
                position=place[1],
            )
        )
    scale, zero = quantizer.ranges(layer.weight)
    bottom, top = code_range(spec.bits, spec.symmetric)
    used, ranges, error, signal = 0, 0, 0.0, 0.0
    rows = spec.granularity.rows(weight)
    size = max(1, (1 << 22) // rows.shape[1])
    for part, s, z in zip(
        rows.split(size), scale.split(size), zero.split(size), strict=True
    ):  # a table of embeddings a piece at a time
        codes = quantize(part, s, z, spec.bits, spec.symmetric)
        seen = torch.zeros(len(codes), top - bottom + 1, dtype=torch.bool).scatter_(
            1, (codes - bottom).long(), True
        )
        used, ranges = used + int(seen.sum()), ranges + len(codes)
        error += float(((dequantize(codes, s, z) - part).double() ** 2).sum())
        signal += float((part.double() ** 2).sum())
    found.append(
        _row(
            m,
            "unused_weights",
            1 - used / (ranges * (top - bottom + 1)),
            math.nan,
            "share of codes",
        )
    )
    found.append(
        _row(m, "weights", math.sqrt(error / signal) if signal else 0.0, math.nan, "relative L2")
    )
    return found
