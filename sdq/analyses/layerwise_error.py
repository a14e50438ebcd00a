"""Error through depth, per module, language and token. Rounding error and teacher gap are kept
apart: they have other causes and other remedies.

Rounding error: same weights, quantizers off against on. Local: only this module quantizes, on exact
inputs. Accumulated: everything quantizes. Teacher gap: the trained, quantized student against the
FP32 teacher, whose weights are others.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from sdq.analyses.error_measures import relative_l2, sqnr_db
from sdq.data.batches import Batch, Encoded
from sdq.models.hooks import Side, capture, in_pieces, listen, tensor_of
from sdq.models.structure import Module, modules, steps
from sdq.quant.rewrite import only, parts, quantized_parts, quantized_sites, quantizers
from sdq.results import EVERY


def sites(model: nn.Module, activations: bool = False) -> list[tuple[Module, Side]]:
    """Where errors are measured, in forward order: outputs of quantizable modules, every block's
    self-attention context ("attention": the input of the attention output layer, what SDQ distils)
    and every block's output ("block").

    model: rewritten or not
    activations: also what the quantizers of activation sites give, after the layers of their block

    Blocks are counted along the depth: one of shared weights (ALBERT) has its places anew at every
    layer it runs as, under names that end in "@3" for its fourth run.
    """
    candidates = parts(model) if activations else modules(model)
    places: list[tuple[Module, Side]] = [
        (m, "output") for m in candidates if m.block < 0 and m.role != "head"
    ]
    for i, step in enumerate(steps(model)):
        for m in candidates:
            if m.block != step.block:
                continue
            name = step.tap(m.name)
            if m.role == "attention_output":
                places.append((Module(f"{name}:input", "attention", i), "input"))
            places.append((Module(name, m.role, i), "output"))
        places.append((Module(step.tap(step.name), "block", i), "output"))
    return places + [(m, "output") for m in candidates if m.role == "head"]


@contextmanager
def capture_outputs(
    model: nn.Module, places: Collection[tuple[Module, Side]]
) -> Iterator[Callable[[], dict[str, Tensor]]]:
    """Inside, forward passes are noted; the function that is given says what the newest one put out
    at each of the places, by name."""
    taps = {m.name: (m.name.removesuffix(":input"), side) for m, side in places}
    with (
        capture(model, {name: side for name, side in taps.values() if side == "input"}) as inputs,
        capture(model, {name: side for name, side in taps.values() if side == "output"}) as outputs,
    ):
        yield lambda: {
            place: (inputs if side == "input" else outputs)[name]
            for place, (name, side) in taps.items()
        }


@contextmanager
def observe_outputs(
    model: nn.Module, places: Collection[tuple[Module, Side]], see: Callable[[Module, Tensor], None]
) -> Iterator[None]:
    """Inside, `see` is told each place and what it puts out while a forward pass runs; nothing is
    kept.

    model: not a shared one: it gets hooks
    places: of `sites`
    see: is given each place and its output
    """
    inputs, outputs = (
        {m.name.removesuffix(":input"): m for m, s in places if s == side}
        for side in ("input", "output")
    )
    with (
        listen(
            model,
            dict.fromkeys(inputs, "input"),
            lambda tap, module, args, kwargs, out: see(inputs[tap], tensor_of(args)),
        ),
        listen(
            model,
            dict.fromkeys(outputs, "output"),
            lambda tap, module, args, kwargs, out: see(outputs[tap], tensor_of(out)),
        ),
    ):
        yield


def alone_in(model: nn.Module) -> Callable[[nn.Module, tuple[Any, ...], dict[str, Any]], Tensor]:
    """What a module (or block) of the model puts out for (args, kwargs) when it alone quantizes,
    with the quantizers that are on now; to be asked while all are off."""
    on = {q for q in quantizers(model).values() if q.enabled}

    def run(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Tensor:
        enabled = [q for q in module.modules() if q in on]
        try:
            for q in enabled:
                q.enabled = True
            return tensor_of(module.forward(*args, **kwargs))
        finally:
            for q in enabled:
                q.enabled = False

    return run


class Sums:
    """Per language: squared error, squared signal, absolute error, values, sentences."""

    def __init__(self, languages: int) -> None:
        self.sums = torch.zeros(languages, 5, dtype=torch.float64)

    def add(self, exact: Tensor, difference: Tensor, real: Tensor, language: Tensor) -> None:
        """Add one batch; padding never counts.

        exact, difference: [B, T, D] or [B, D]; at operands of attention products [B, T, H, D]
        real: which tokens are not padding [B, T]; of attention probabilities, also which keys
            are not [B, T, 1, T]
        language: number of each sentence's language [B]
        """
        difference, signal = difference.double(), exact.double()
        values = torch.full((len(exact),), exact[0].numel())
        if exact.dim() > 2:
            real = real.reshape(*real.shape, *[1] * (exact.dim() - real.dim()))
            values = real.flatten(1).sum(1) * (exact[0].numel() // real[0].numel())
            if not real.all():
                difference, signal = difference * real, signal * real
        within = tuple(range(1, exact.dim()))
        absolute = difference.abs().sum(within)
        columns = [
            difference.square().sum(within),
            signal.square().sum(within),
            absolute,
            values.double(),
            torch.ones(len(exact)),
        ]
        self.sums.index_add_(0, language, torch.stack([p.double() for p in columns], 1))

    def row(self, at: int | None = None) -> dict[str, float]:
        """The four measures of `layerwise_error`, of one language or of all."""
        error, signal, absolute, values, sentences = (
            self.sums.sum(0) if at is None else self.sums[at]
        ).tolist()
        return {
            "relative_l2": relative_l2(error, signal),
            "sqnr_db": sqnr_db(error, signal),
            "mean_abs": absolute / values if values else math.nan,
            "frobenius": math.sqrt(error / sentences),
        }


class _ErrorRecorder:
    """What one inspection found so far: it is told while forward passes run, and keeps every site's
    newest output until it is compared."""

    def __init__(self, student: nn.Module, languages: list[str]) -> None:
        self.codes = list(dict.fromkeys(languages))
        self.number = torch.tensor([self.codes.index(code) for code in languages])
        self.alone = alone_in(student)
        self.sums: dict[tuple[str, str], Sums] = {}
        self.tokens: list[dict[str, Any]] = []
        self.kept: dict[str, Tensor] = {}

    def begin(self, batch: Batch) -> None:
        self.real, self.at, self.language = (
            batch.real,
            batch.at,
            self.number[torch.tensor(batch.at)],
        )

    def add(self, site: str, measure: str, exact: Tensor, other: Tensor) -> None:
        real = self.real
        if site.partition("@")[0].endswith("attention_probs_quantizer"):  # rows and columns
            real = (real[:, :, None] & real[:, None])[:, :, None]
        self.sums.setdefault((site, measure), Sums(len(self.codes))).add(
            exact, other - exact, real, self.language
        )

    def local(
        self,
        tap: str,
        module: nn.Module,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        out: Tensor,
    ) -> None:
        self.add(tap, "local", out, self.alone(module, args, kwargs))

    def exact(self, m: Module, out: Tensor) -> None:
        self.kept[m.name] = out

    def accumulated(self, m: Module, out: Tensor) -> None:
        exact, self.kept[m.name] = self.kept[m.name], out
        self.add(m.name, "accumulated", exact, out)
        if m.role == "block":
            # of each token [B, T]
            error = (out - exact).double().norm(dim=-1) / exact.double().norm(dim=-1).clamp(
                min=1e-30
            )
            for b, t in torch.nonzero(self.real).tolist():
                self.tokens.append(
                    {
                        "sentence": self.at[b],
                        "position": t,
                        "block": m.block,
                        "relative_l2": float(error[b, t]),
                    }
                )

    def gap(self, m: Module, out: Tensor) -> None:
        self.add(m.name, "gap", out, self.kept.pop(m.name))

    def rows(self, places: list[tuple[Module, Side]]) -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = []
        for order, (m, _) in enumerate(places):
            site_columns = {"site": m.name, "role": m.role, "block": m.block, "order": order}
            for measure in ("local", "accumulated", "gap"):
                if sums := self.sums.get((m.name, measure)):
                    rows.append(
                        site_columns | {"measure": measure, "language": EVERY} | sums.row(None)
                    )
                    rows += [
                        site_columns | {"measure": measure, "language": code} | sums.row(i)
                        for i, code in enumerate(self.codes)
                    ]
        return rows


@torch.inference_mode()
def layerwise_error(
    student: nn.Module,
    teacher: nn.Module | None,
    data: Encoded,
    languages: list[str],
    batch_size: int = 64,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Errors of the quantized model along its depth.

    student: quantized, in eval mode
    batch_size: sentences of a forward pass
    teacher: given only when the student's weights have moved.
    data, languages: sentences, and a code for each.

    First table:

    site, role, block, order
    language: "all": over all of them
    measure: "local" (quantized modules and activation sites only), "accumulated" or "gap"
    relative_l2: ratio
    sqnr_db: dB, 200: no error
    mean_abs: units of the activation
    frobenius: root mean square over sentences of the norm of the difference

    Second table, of each real token at the block outputs, accumulated: sentence (position in
    `data`), position, block, relative_l2. Of one batch it keeps the outputs of all sites once.
    """
    places, recorder = sites(student, activations=True), _ErrorRecorder(student, languages)
    quantized = set(quantized_parts(student))
    local: dict[str, Side] = {
        m.name: "output"
        for m, side in places
        if m.name.partition("@")[0] in quantized and side == "output"
    }
    copies = 2 if quantized_sites(student) else 1  # activation sites give as much again
    for batch in in_pieces(student, data, batch_size, copies):
        recorder.begin(batch)
        with (
            observe_outputs(student, places, recorder.exact),
            listen(student, local, recorder.local),
            only(student, ()),
        ):
            student(**batch.inputs)
        with observe_outputs(student, places, recorder.accumulated):
            student(**batch.inputs)
        if teacher is not None:
            with observe_outputs(teacher, sites(student), recorder.gap):
                teacher(**batch.inputs)
        recorder.kept.clear()
    small = {"sentence": "int16", "position": "int16", "block": "int8", "relative_l2": "float32"}
    return pd.DataFrame(recorder.rows(places)), pd.DataFrame(
        recorder.tokens, columns=list(small)
    ).astype(small)
