"""Which module breaks the model? Its answers when one module alone quantizes, and when all but one
do, against FP32: exact.

What ended in a forward pass before the changed module begins is the same with and without the
change. It is computed once per batch and given back afterwards, so that a pass costs only what
comes after the change, and its logits are bit for bit those of a whole pass. The fast estimate of
the same from gradients is in `sdq.analyses.fisher`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, get_args

import pandas as pd
import torch
from torch import Tensor, nn

from sdq.analyses.divergence import DivergenceSums, Reference, columns
from sdq.data.batches import Batch, Encoded
from sdq.quant.rewrite import only, parts, quantized_parts
from sdq.results import EVERY

Measure = Literal["one", "but_one", "all"]
Forward = Callable[..., Any]
TOP = 3  # modules named for every sentence, whether or not they flip its answer


def scan(
    student: nn.Module,
    data: Encoded,
    languages: list[str],
    measures: Collection[Measure] = ("one", "but_one"),
    batch_size: int = 64,
    reuse: bool = True,
) -> pd.DataFrame:
    """How much the answers change from FP32 (quantizers off, same weights).

    student: quantized, in eval mode
    batch_size: sentences of a forward pass
    data, languages: sentences, and a code for each.
    measures: "one": a module alone quantizes; "but_one": all the others do; "all": every module
        does, in rows of module "all". With "but_one" and "all" rows of the measure "added" say what
        the module adds: "all" less "but_one", sentence by sentence.
    reuse: False runs every pass whole: same result, slower.

    One row per quantized module (or activation site: its quantizer), measure and language; changes
    are means over scored positions:

    module, role, block, order, measure
    language: "all": over all of them
    sentences, positions: a position is a sentence, labelled or not, or a word's first subword
    kl: KL of the FP32 answers from the quantized ones, nats, >= 0
    flips: share of positions whose likeliest label changed, 0..1
    loss: change of cross-entropy to the labels, nats, positive: worse; NaN without labels
    accuracy: change of the share of right positions, -1..1, negative: worse; NaN without labels
    *_low, *_high: 95 % interval from the sentences' values, by the normal approximation of a mean
        (of a ratio, where sentences have several positions), which few sentences or rare flips make
        rough; NaN for one sentence

    Of one batch it keeps about nine hidden states per block, and the attention weights if they are
    eager; a smaller batch keeps less. Hook only a private copy: the model's modules run other
    forwards meanwhile. Raises ValueError for an unknown measure, other than one language per
    sentence, no sentence, or a model in training mode.
    """
    return scan_table(student, divergences(student, data, languages, measures, batch_size, reuse))


@torch.inference_mode()
def divergences(
    student: nn.Module,
    data: Encoded,
    languages: list[str],
    measures: Collection[Measure] = ("one", "but_one"),
    batch_size: int = 64,
    reuse: bool = True,
) -> DivergenceSums:
    """The changes of each sentence by (module, measure): what `scan_table` and `alone` are of.
    Arguments and errors as of `scan`."""
    if unknown := set(measures) - set(get_args(Measure)):
        raise ValueError(f"measures must be among {list(get_args(Measure))}, got {sorted(unknown)}")
    check(student, data, languages)
    passes, sums = Passes(student, data, reuse), DivergenceSums(languages)
    for batch in data.in_order(batch_size):
        ones = passes.of(batch, each="one" in measures)
        exact = Reference(next(ones)[1], batch, data.token)
        sums.count(batch.at, exact.counts)
        for name, logits in ones:
            sums.add((name, "one"), batch.at, exact.divergence(logits))
        if not {"but_one", "all"} & set(measures):
            continue
        for name, logits in passes.of(batch, but=True, each="but_one" in measures):
            if (measure := "all" if name == EVERY else "but_one") in measures:
                sums.add((name, measure), batch.at, exact.divergence(logits))
    for name in passes.names if {"but_one", "all"} <= set(measures) else ():
        sums.sums[name, "added"] = sums.sums[EVERY, "all"] - sums.sums[name, "but_one"]
    return sums


def scan_table(student: nn.Module, measured: DivergenceSums) -> pd.DataFrame:
    """The changes as the rows that `scan` describes.

    student: the model that was measured
    measured: by `divergences`
    """
    described = {
        m.name: {"module": m.name, "role": m.role, "block": m.block, "order": i}
        for i, m in enumerate(parts(student))
    }
    described[EVERY] = {"module": EVERY, "role": EVERY, "block": -1, "order": -1}
    order = (*get_args(Measure), "added")
    keys = sorted(measured.sums, key=lambda key: order.index(key[1]))
    rows = [
        described[name] | {"measure": measure} | row
        for name, measure in keys
        for row in measured.rows((name, measure))
    ]
    return pd.DataFrame(rows, columns=columns("module", "role", "block", "order", "measure"))


def alone(student: nn.Module, measured: DivergenceSums, ids: list[str]) -> pd.DataFrame:
    """Which module alone flips which sentence.

    student: the model that was measured
    measured: by `divergences`, with "one"
    ids: names of the sentences

    id, language, module, role, block
    kl: nats, mean over the sentence's scored positions
    flips: share (0..1) of its positions whose likeliest label changes

    Of a sentence only the modules that flip something and the TOP of largest kl have a row, the one
    of largest kl first. Sentences without a scored position have none. Raises ValueError if
    `measured` was not measured with "one".
    """
    by_name = {m.name: m for m in parts(student)}
    names = [name for name, measure in measured.sums if measure == "one"]
    if not names:
        raise ValueError(
            'the changes must hold the measure "one", they do not; measure them with '
            'measures=("one",)'
        )
    # [sentences, modules, 2]
    sums = torch.stack([measured.sums[name, "one"][:, :2] for name in names], 1)
    means = sums / measured.counts[:, :1, None]
    rows = []
    for i in torch.nonzero(measured.counts[:, 0])[:, 0].tolist():
        for place, at in enumerate(means[i, :, 0].argsort(descending=True, stable=True).tolist()):
            kl, flips = means[i, at].tolist()
            if flips > 0 or place < TOP:
                m = by_name[names[at]]
                rows.append((ids[i], measured.languages[i], m.name, m.role, m.block, kl, flips))
    return pd.DataFrame(rows, columns=["id", "language", "module", "role", "block", "kl", "flips"])


def check(student: nn.Module, data: Encoded, languages: list[str]) -> None:
    """ValueError for other than one language per sentence, no sentence, or a model in training
    mode.

    student: the model to measure
    data, languages: sentences, and a code for each
    """
    if len(languages) != len(data):
        raise ValueError(
            f"each of the {len(data)} sentences must have one language, got {len(languages)} "
            "languages"
        )
    if not len(data):
        raise ValueError("there must be at least one sentence, got none")
    if student.training:
        raise ValueError(
            "the model must be in eval mode, it is in training mode; call eval() first"
        )


# --- running a part of a forward pass


class Passes:
    """Forward passes of a model over batches of `data`, with one module after the other changed;
    what ended before it is reused."""

    def __init__(self, student: nn.Module, data: Encoded, reuse: bool = True) -> None:
        self.student, self.names = student, quantized_parts(student)
        nothing: dict[str, tuple[str, ...]] = dict.fromkeys(self.names, ())
        self.ended = (
            _ended_before(student, next(data.in_order(1)), self.names) if reuse else nothing
        )
        self.kept = {n for earlier in self.ended.values() for n in earlier}

    def of(
        self, batch: Batch, but: bool = False, each: bool = True
    ) -> Iterator[tuple[str, Tensor]]:
        """("all", logits of FP32) and then, with `each`, per module (its name, logits when it alone
        quantizes).

        batch: of the data
        but: whether all modules but one quantize, instead of one alone
        each: whether there are passes of single modules

        With `but`: ("all", logits when all quantize), then (name, logits when all but this one do).
        """
        logits, before = run(
            self.student, batch, self.names if but else (), keep=self.kept if each else ()
        )
        yield EVERY, logits
        for name in self.names if each else ():
            quantizing = [n for n in self.names if n != name] if but else (name,)
            yield (
                name,
                run(self.student, batch, quantizing, {n: before[n] for n in self.ended[name]})[0],
            )


@contextmanager
def patch_forwards(
    model: nn.Module, forwards: Mapping[str, Callable[[Forward], Forward]]
) -> Iterator[None]:
    """Inside, each named module's forward is what the function makes of it; afterwards, also when
    the model raises, it is as it was."""
    changed: list[tuple[nn.Module, Forward | None]] = []
    try:
        for name, make in forwards.items():
            module = model.get_submodule(name)
            own = make(module.forward)
            changed.append((module, module.__dict__.get("forward")))
            module.__dict__["forward"] = own
        yield
    finally:
        for module, before in reversed(changed):
            module.__dict__.pop("forward")
            if before is not None:
                module.__dict__["forward"] = before


def _ended_before(
    model: nn.Module, batch: Batch, names: Collection[str]
) -> dict[str, tuple[str, ...]]:
    """Per named module: the outermost modules that end before it begins, in one pass over `batch`,
    and are called only once.

    Give it the longest sentence: what is called once for that is called once for all. A module that
    is never called comes after all others.
    """
    clock = itertools.count()
    begun: dict[str, list[float]] = {}
    ended: dict[str, float] = {}

    def timed(name: str) -> Callable[[Forward], Forward]:
        def make(forward: Forward) -> Forward:
            def run(*args: Any, **kwargs: Any) -> Any:
                begun.setdefault(name, []).append(next(clock))
                out = forward(*args, **kwargs)
                ended[name] = next(clock)
                return out

            return run

        return make

    with (
        only(model, ()),
        patch_forwards(model, {name: timed(name) for name, _ in model.named_modules() if name}),
    ):
        model(**batch.inputs)
    # the modules that hold it
    around = {n: [n[:i] for i, letter in enumerate(n) if letter == "."] for n in begun}
    ended_before = {}
    for name in names:
        start = begun.get(name, [math.inf])[0]
        earlier = {n: None for n, times in begun.items() if len(times) == 1 and ended[n] < start}
        ended_before[name] = tuple(
            n for n in earlier if not any(outer in earlier for outer in around[n])
        )
    return ended_before


def run(
    student: nn.Module,
    batch: Batch,
    quantizing: Collection[str],
    cached: Mapping[str, Any] | None = None,
    keep: Collection[str] = (),
) -> tuple[Tensor, dict[str, Any]]:
    """(logits, outputs of the modules to `keep`) of a pass in which only `quantizing` quantizes and
    `cached` modules do not run.

    student: quantized, in eval mode
    batch: its inputs
    quantizing: names of the modules that quantize
    cached: module -> its output, given back without running it
    keep: names of the modules whose outputs are returned
    """
    outputs: dict[str, Any] = {}

    def given(value: Any) -> Callable[[Forward], Forward]:
        return lambda forward: lambda *args, **kwargs: value

    def noted(name: str) -> Callable[[Forward], Forward]:
        return lambda forward: (
            lambda *args, **kwargs: outputs.setdefault(name, forward(*args, **kwargs))
        )

    forwards = {name: given(value) for name, value in (cached or {}).items()} | {
        name: noted(name) for name in keep
    }
    with only(student, quantizing), patch_forwards(student, forwards):
        logits: Tensor = student(**batch.inputs).logits
    return logits, outputs
