"""Which module breaks the model? Its answers when one module alone quantizes, and when all but one do, against FP32: exact.

What ended in a forward pass before the changed module begins is the same with and without the change. It is computed once per batch
and given back afterwards, so that a pass costs only what comes after the change, and its logits are bit for bit those of a whole pass.
The fast estimate of the same from gradients is in `sdq.inspect.fisher`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal, get_args

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from sdq.data.batches import Batch, Encoded
from sdq.inspect.depth import EVERY
from sdq.models import modules
from sdq.quant.rewrite import only, quantized_modules

Measure = Literal["one", "but_one", "all"]
Forward = Callable[..., Any]
METRICS = ("kl", "flips", "loss", "accuracy")
_COLUMNS = ["module", "role", "block", "order", "measure", "language", "sentences", "positions"]
_NORMAL = 1.959964  # 97.5 % of a normal distribution lie below


@torch.inference_mode()
def scan(
    student: nn.Module,
    data: Encoded,
    languages: list[str],
    measures: Collection[Measure] = ("one", "but_one"),
    batch_size: int = 64,
    reuse: bool = True,
) -> pd.DataFrame:
    """How much the answers on `data`, whose sentences are in `languages` (one code each), change from FP32 (quantizers off, same weights).

    One row per quantized module, measure ("one": it alone quantizes; "but_one": all the others do) and language ("all": over all of
    them): module, role, block, order, measure, language, sentences, positions, and four changes, each a mean over scored positions:
    kl (KL of the FP32 answers from the quantized ones, nats, >= 0), flips (share of positions whose likeliest label changed, 0..1), loss
    (change of cross-entropy to the labels, nats, positive: worse), accuracy (change of the share of right positions, -1..1, negative:
    worse); NaN where nothing is labelled. `*_low` and `*_high`: 95 % interval from the sentences' values, by the normal approximation of a
    mean (of a ratio, where sentences have several positions), which few sentences or rare flips make rough; NaN for one sentence. With
    "all" in `measures` further rows, of module "all", say what the whole quantized model does.

    A position is a sentence, labelled or not, or a word's first subword. `reuse` = False runs every pass whole: same result, slower. Of one
    batch it keeps about nine hidden states per block, and the attention weights if they are eager; a smaller batch keeps less.
    Hook only a private copy: the model's modules run other forwards meanwhile.
    Raises ValueError for an unknown measure, other than one language per sentence, no sentence, or a model in training mode.
    """
    _check(student, data, languages, measures)
    names = list(quantized_modules(student))
    ended = _ended_before(student, next(data.in_order(1)), names) if reuse else dict.fromkeys(names, ())
    kept = {n for earlier in ended.values() for n in earlier}
    changes: dict[tuple[str, Measure], Tensor] = {}  # [sentences, 4 metrics], sums over positions
    counts = torch.zeros(len(data), 2, dtype=torch.float64)  # positions, labelled positions

    def add(name: str, measure: Measure, at: list[int], change: Tensor) -> None:
        changes.setdefault((name, measure), torch.zeros(len(data), len(METRICS), dtype=torch.float64))[at] = change

    for batch in data.in_order(batch_size):
        logits, before = _run(student, batch, (), keep=kept if "one" in measures else ())
        exact = _Answers(logits, batch, data.token)
        counts[batch.at] = exact.counts
        if "one" in measures:
            for name in names:
                add(name, "one", batch.at, exact.change(_run(student, batch, (name,), {n: before[n] for n in ended[name]})[0]))
        if not {"but_one", "all"} & set(measures):
            continue
        logits, before = _run(student, batch, names, keep=kept if "but_one" in measures else ())
        if "all" in measures:
            add(EVERY, "all", batch.at, exact.change(logits))
        if "but_one" in measures:
            for name in names:
                rest = [n for n in names if n != name]
                add(name, "but_one", batch.at, exact.change(_run(student, batch, rest, {n: before[n] for n in ended[name]})[0]))
    return _table(student, changes, counts.numpy(), languages)


def _check(student: nn.Module, data: Encoded, languages: list[str], measures: Collection[str]) -> None:
    if unknown := set(measures) - set(get_args(Measure)):
        raise ValueError(f"measures must be among {list(get_args(Measure))}, got {sorted(unknown)}")
    if len(languages) != len(data):
        raise ValueError(f"each of the {len(data)} sentences must have one language, got {len(languages)} languages")
    if not len(data):
        raise ValueError("there must be at least one sentence, got none")
    if student.training:
        raise ValueError("the model must be in eval mode, it is in training mode; call eval() first")


# --- running a part of a forward pass


@contextmanager
def instead(model: nn.Module, forwards: Mapping[str, Callable[[Forward], Forward]]) -> Iterator[None]:
    """Inside, each named module's forward is what the function makes of it; afterwards, also when the model raises, it is as it was."""
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


def _ended_before(model: nn.Module, batch: Batch, names: Collection[str]) -> dict[str, tuple[str, ...]]:
    """Per named module: the outermost modules that end before it begins, in one pass over `batch`, and are called only once.

    Give it the longest sentence: what is called once for that is called once for all. A module that is never called comes after all others.
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

    with only(model, ()), instead(model, {name: timed(name) for name, _ in model.named_modules() if name}):
        model(**batch.inputs)
    around = {n: [n[:i] for i, letter in enumerate(n) if letter == "."] for n in begun}  # the modules that hold it
    found = {}
    for name in names:
        start = begun.get(name, [math.inf])[0]
        earlier = {n: None for n, times in begun.items() if len(times) == 1 and ended[n] < start}
        found[name] = tuple(n for n in earlier if not any(outer in earlier for outer in around[n]))
    return found


def _run(
    student: nn.Module, batch: Batch, quantizing: Collection[str], known: Mapping[str, Any] | None = None, keep: Collection[str] = ()
) -> tuple[Tensor, dict[str, Any]]:
    """(logits, outputs of the modules to `keep`) of a pass in which only `quantizing` quantizes and modules of `known` outputs do not run."""
    outputs: dict[str, Any] = {}

    def given(value: Any) -> Callable[[Forward], Forward]:
        return lambda forward: lambda *args, **kwargs: value

    def noted(name: str) -> Callable[[Forward], Forward]:
        return lambda forward: lambda *args, **kwargs: outputs.setdefault(name, forward(*args, **kwargs))

    forwards = {name: given(value) for name, value in (known or {}).items()} | {name: noted(name) for name in keep}
    with only(student, quantizing), instead(student, forwards):
        logits: Tensor = student(**batch.inputs).logits
    return logits, outputs


# --- what a change is


class _Answers:
    """FP32 answers of one batch at the positions that count, and how far others are from them."""

    def __init__(self, logits: Tensor, batch: Batch, token: bool) -> None:
        self.asked = batch.scored if token else torch.ones_like(batch.labels, dtype=torch.bool)  # a sentence has an answer also without a label
        self.sentence = torch.nonzero(self.asked)[:, 0]  # of each position [n]
        self.size = len(batch.at)
        self.labelled = batch.scored[self.asked]
        self.gold = batch.labels[self.asked].clamp(min=0)
        self.log_p = self._log_softmax(logits)
        self.counts = self._per_sentence(torch.stack([torch.ones_like(self.labelled), self.labelled], 1))

    def _log_softmax(self, logits: Tensor) -> Tensor:
        """[B, C] or [B, T, C] -> [n, C], in double precision: small divergences are differences of nearly equal numbers."""
        return logits[self.asked].double().log_softmax(-1)

    def _per_sentence(self, values: Tensor) -> Tensor:
        """[n, k] -> sums [B, k]"""
        return torch.zeros(self.size, values.shape[1], dtype=torch.float64).index_add_(0, self.sentence, values.double())

    def change(self, logits: Tensor) -> Tensor:
        """Sums over each sentence's positions of METRICS: [B, 4]"""
        log_p, log_q = self.log_p, self._log_softmax(logits)
        kl = (log_p.exp() * (log_p - log_q)).sum(-1).clamp(min=0)
        before, after = log_p.argmax(-1), log_q.argmax(-1)
        loss = (log_p - log_q).gather(1, self.gold[:, None])[:, 0]
        right = (after == self.gold).double() - (before == self.gold).double()
        labelled = [torch.where(self.labelled, x, 0.0) for x in (loss, right)]
        return self._per_sentence(torch.stack([kl, (before != after).double(), *labelled], 1))


# --- what came out


def _table(student: nn.Module, changes: Mapping[tuple[str, Measure], Tensor], counts: np.ndarray[Any, Any], languages: list[str]) -> pd.DataFrame:
    known = {m.name: {"module": m.name, "role": m.role, "block": m.block, "order": i} for i, m in enumerate(modules(student))}
    known[EVERY] = {"module": EVERY, "role": EVERY, "block": -1, "order": -1}
    groups = {EVERY: np.ones(len(languages), dtype=bool)} | {code: np.array([c == code for c in languages]) for code in dict.fromkeys(languages)}
    rows = []
    for (name, measure), change in sorted(changes.items(), key=lambda item: get_args(Measure).index(item[0][1])):
        sums = change.numpy()
        for code, mine in groups.items():
            row = known[name] | {"measure": measure, "language": code, "sentences": int(mine.sum()), "positions": int(counts[mine, 0].sum())}
            for k, metric in enumerate(METRICS):
                value, half = _mean(sums[mine, k], counts[mine, int(metric in ("loss", "accuracy"))])
                row |= {metric: value, f"{metric}_low": value - half, f"{metric}_high": value + half}
            rows.append(row)
    return pd.DataFrame(rows, columns=[*_COLUMNS, *(f"{metric}{end}" for metric in METRICS for end in ("", "_low", "_high"))])


def _mean(sums: np.ndarray[Any, Any], counts: np.ndarray[Any, Any]) -> tuple[float, float]:
    """(mean per position, half of its 95 % interval) of sums and counts per sentence [n], sentences without positions left out.

    The mean is a ratio of two means over sentences; its variance is linearized (Cochran 1977, Sampling Techniques, chapter 6),
    which is that of a plain mean if every sentence has one position.
    """
    total, n = float(counts.sum()), int((counts > 0).sum())
    if not n:
        return math.nan, math.nan
    mean = float(sums.sum()) / total
    residual = sums - mean * counts
    return mean, _NORMAL * math.sqrt(n / (n - 1) * float((residual**2).sum())) / total if n > 1 else math.nan
