"""Error through depth, per module, language and token. Rounding error and teacher gap are kept apart (see METHOD.md).

Rounding error: same weights, quantizers off against on. Local: only this module quantizes, on exact inputs. Accumulated: everything
quantizes. Teacher gap: the trained, quantized student against the FP32 teacher, whose weights are others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from sdq.data.batches import Encoded
from sdq.inspect.capture import Side, capture
from sdq.models import Module, blocks, modules
from sdq.quant.rewrite import only, quantized_modules

EVERY = "all"


def sites(model: nn.Module) -> list[tuple[Module, Side]]:
    """Where errors are measured, in forward order: outputs of quantizable modules, every block's self-attention context ("attention": the
    input of the attention output layer, what SDQ distils) and every block's output ("block")."""
    found: list[tuple[Module, Side]] = []
    for m in modules(model):
        if m.role == "attention_output":
            found.append((Module(f"{m.name}:input", "attention", m.block), "input"))
        found.append((m, "output"))
    for i, name in enumerate(blocks(model)):
        last = max(k for k, (m, _) in enumerate(found) if m.block <= i and m.role != "head")
        found.insert(last + 1, (Module(name, "block", i), "output"))
    return found


@contextmanager
def watch(model: nn.Module, places: Collection[tuple[Module, Side]]) -> Iterator[Callable[[], dict[str, Tensor]]]:
    """Inside, forward passes are noted; the function that is given says what the newest one put out at each of the places, by name."""
    taps = {m.name: (m.name.removesuffix(":input"), side) for m, side in places}
    with (
        capture(model, {name: side for name, side in taps.values() if side == "input"}) as inputs,
        capture(model, {name: side for name, side in taps.values() if side == "output"}) as outputs,
    ):
        yield lambda: {place: (inputs if side == "input" else outputs)[name] for place, (name, side) in taps.items()}


class Sums:
    """Per language: squared error, squared signal, absolute error, values, sentences."""

    def __init__(self, languages: int) -> None:
        self.sums = torch.zeros(languages, 5, dtype=torch.float64)

    def add(self, exact: Tensor, difference: Tensor, real: Tensor, language: Tensor) -> None:
        """exact, difference [B, T, D] or [B, D]; padding never counts."""
        difference = difference.double()
        if exact.dim() == 3:
            difference = difference * real[..., None]
            exact = exact * real[..., None]
        within = tuple(range(1, exact.dim()))
        values = (real.sum(1) if exact.dim() == 3 else torch.ones(len(exact))) * exact.shape[-1]
        parts = [(difference**2).sum(within), (exact.double() ** 2).sum(within), difference.abs().sum(within), values.double(), torch.ones(len(exact))]
        self.sums.index_add_(0, language, torch.stack([p.double() for p in parts], 1))

    def row(self, at: int | None = None) -> dict[str, float]:
        """The four measures of `depth`, of one language or of all."""
        error, signal, absolute, values, sentences = (self.sums.sum(0) if at is None else self.sums[at]).tolist()
        return {
            "relative_l2": math.sqrt(error / signal) if signal else 0.0,
            "sqnr_db": 10 * math.log10(signal / error) if error and signal else 200.0,
            "mean_abs": absolute / values,
            "frobenius": math.sqrt(error / sentences),
        }


@torch.inference_mode()
def depth(student: nn.Module, teacher: nn.Module | None, data: Encoded, languages: list[str], batch_size: int = 64) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Errors on `data`, whose sentences are in `languages` (one code each). `teacher` is given only when the student's weights have moved.

    First table: site, role, block, order, language ("all": over all of them), measure ("local", "accumulated" or "gap"), relative_l2
    (ratio), sqnr_db (dB, 200: no error), mean_abs (units of the activation), frobenius (root mean square over sentences of the norm of
    the difference). Local exists for quantized modules. Second table: sentence (position in `data`), position, block, relative_l2 of
    each real token at the block outputs, accumulated.
    """
    codes = list(dict.fromkeys(languages))
    number = torch.tensor([codes.index(code) for code in languages])
    places = sites(student)
    quantized = quantized_modules(student)
    sums: dict[tuple[str, str], Sums] = {}
    tokens: list[dict[str, Any]] = []

    def add(site: str, measure: str, exact: Tensor, other: Tensor, real: Tensor, at: list[int]) -> None:
        sums.setdefault((site, measure), Sums(len(codes))).add(exact, other - exact, real, number[torch.tensor(at)])

    for batch in data.in_order(batch_size):
        real = batch.real
        with capture(student, dict.fromkeys(quantized, "input")) as inputs, watch(student, places) as seen:
            with only(student, ()):
                student(**batch.inputs)
            exact, given = seen(), dict(inputs)
            student(**batch.inputs)
            final = seen()
        for name, module in quantized.items():
            add(name, "local", exact[name], module(given[name]), real, batch.at)
        for m, _ in places:
            add(m.name, "accumulated", exact[m.name], final[m.name], real, batch.at)
        tokens += _tokens([(m, exact[m.name], final[m.name]) for m, _ in places if m.role == "block"], real, batch.at)
        if teacher is not None:
            with watch(teacher, places) as seen:
                teacher(**batch.inputs)
                theirs = seen()
            for m, _ in places:
                add(m.name, "gap", theirs[m.name], final[m.name], real, batch.at)
    rows: list[dict[str, Any]] = []
    for order, (m, _) in enumerate(places):
        known = {"site": m.name, "role": m.role, "block": m.block, "order": order}
        for measure in ("local", "accumulated", "gap"):
            if found := sums.get((m.name, measure)):
                rows.append(known | {"measure": measure, "language": EVERY} | found.row(None))
                rows += [known | {"measure": measure, "language": code} | found.row(i) for i, code in enumerate(codes)]
    small = {"sentence": "int16", "position": "int16", "block": "int8", "relative_l2": "float32"}
    return pd.DataFrame(rows), pd.DataFrame(tokens, columns=list(small)).astype(small)


def _tokens(found: list[tuple[Module, Tensor, Tensor]], real: Tensor, at: list[int]) -> list[dict[str, Any]]:
    rows = []
    for m, exact, final in found:
        error = (final - exact).double().norm(dim=-1) / exact.double().norm(dim=-1).clamp(min=1e-30)  # [B, T]
        for b, t in torch.nonzero(real).tolist():
            rows.append({"sentence": at[b], "position": t, "block": m.block, "relative_l2": float(error[b, t])})
    return rows
