"""The noise floor: how much what is measured on a quantized model moves by itself, when the same is
measured again.

Rounding is a staircase: what a tiny change carries over a step moves by a whole step, and deeper
layers make more of it. An error, or the effect of a module, that is no larger than such a movement
says nothing.

A repetition differs from the plain measurement by its cause:

perturbation   every output of the word embedding is moved by a normal number times `amount` times
               the root mean square of the token's embedding
batch          every batch is shuffled and run as two of half the size, so that each sentence has
               other company and other padding; a batch of one sentence cannot be

What is measured is of a kind:

site     the place `name` of `sdq.analyses.layerwise_error.sites`; relative_l2, sqnr_db, mean_abs,
         frobenius as in `layerwise_error`, where the difference is that between two passes in which
         everything quantizes and the signal is FP32's: to be held against the accumulated error
module   the module `name` alone quantizes; kl (of the plain answers from the repeated ones, nats)
         and flips (share of positions, 0..1), to be held against the same of FP32 from quantized
         answers, the measure "one" of `scan`; loss (nats) and accuracy (0..1): by how much the mean
         moved, unsigned
model    name "all", everything quantizes; the same four, on all sentences, and kl_shift and
         flips_shift: by how much the scan's own numbers of measure "all" moved, unsigned
fp32     nothing quantizes; the places as "site", and the four of the answers as "model"
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from sdq.analyses.divergence import METRICS, DivergenceSums, Reference
from sdq.analyses.layerwise_error import Sums, capture_outputs, sites
from sdq.analyses.sensitivity import Forward, Passes, check, patch_forwards
from sdq.data.batches import Batch, Encoded
from sdq.models.hooks import Side, in_pieces
from sdq.models.structure import Module, modules
from sdq.quant.rewrite import only, parts, quantized_parts
from sdq.results import EVERY

AMOUNT = 1e-7  # of the size of a token's embedding: about the last bit of its largest numbers
CAUSES = ("perturbation", "batch")
_COLUMNS = [
    "kind",
    "name",
    "role",
    "block",
    "order",
    "measure",
    "value",
    "high",
    "cause",
    "repeats",
]


@torch.inference_mode()
def noise_floor(
    student: nn.Module,
    data: Encoded,
    languages: list[str],
    repeats: int = 4,
    seed: int = 0,
    batch_size: int = 32,
    amount: float = AMOUNT,
    sentences: int = 30,
) -> pd.DataFrame:
    """How far repetitions of a measurement are from the plain one, quantizers as they are.

    student: quantized, in eval mode
    repeats: of each cause, at least 1
    seed: of perturbations and shuffles
    batch_size: sentences of a forward pass
    data, languages: sentences, and a code for each.
    amount: relative L2 by which a perturbation moves the word embedding.
    sentences: about how many, evenly picked, the kind "module" takes (all of them would take as
        long as 2 * repeats scans).

    One row per thing measured (its kind: see above), measure and cause:

    kind, name, role, block, order, measure
    value: median over the repetitions
    high: the repetition that moved most: largest value, of sqnr_db the lowest
    cause, repeats

    Of one batch it keeps the outputs of all sites three times. Raises ValueError for no repetition,
    and as `scan` does.
    """
    check(student, data, languages)
    if repeats < 1:
        raise ValueError(f"repeats must be at least 1, got {repeats}")
    repeated, numbers = _Repeated(student, repeats, seed, amount), range(repeats)
    places = sites(student)
    errors, answers = _whole(repeated, places, data, languages, batch_size)
    named = {m.name: _named(m, i) for i, (m, _) in enumerate(places)}
    rows = [
        row
        for (kind, name, cause), sums in errors.items()
        for row in _rows({"kind": kind} | named[name], cause, [each.row() for each in sums])
    ]
    whole = {"name": EVERY, "role": EVERY, "block": -1, "order": -1}
    for kind, cause in product(("fp32", "model"), CAUSES):
        shifts = [_absolute_means(answers, (kind, cause, i)) for i in numbers]
        rows += _rows({"kind": kind} | whole, cause, shifts)
    for cause in CAUSES:
        shifted = [_shifted(answers, cause, i) for i in numbers]
        rows += _rows({"kind": "model"} | whole, cause, shifted)
    some = list(range(0, len(data), max(1, len(data) // sentences)))
    alone = _alone(repeated, data.some(some), [languages[i] for i in some], batch_size)
    for order, m in enumerate(parts(student)):
        for cause in CAUSES if (m.name, CAUSES[0], 0) in alone.sums else ():
            shifts = [_absolute_means(alone, (m.name, cause, i)) for i in numbers]
            rows += _rows({"kind": "module"} | _named(m, order), cause, shifts)
    return pd.DataFrame(rows, columns=_COLUMNS)


# --- what is repeated


@dataclass(frozen=True)
class _Repetition:
    """Some sentences of a batch, once more: `rows` are their places in it, `changed` what the word
    embedding's forward becomes."""

    cause: str
    number: int
    batch: Batch
    rows: list[int]
    changed: Mapping[str, Callable[[Forward], Forward]]

    def of(self, plain: Tensor) -> Tensor:
        """The same sentences of the plain pass: [B, T, D] or [B, D] -> that of this repetition's
        batch."""
        selected = plain[self.rows]
        return selected[:, : self.batch.real.shape[1]] if selected.dim() == 3 else selected


@dataclass(frozen=True)
class _Repeated:
    """A model and how what it does is repeated."""

    student: nn.Module
    repeats: int
    seed: int
    amount: float

    def times(self, data: Encoded, batch: Batch) -> Iterator[_Repetition]:
        """All repetitions of one batch of the data, of both causes."""
        n = len(batch.at)
        for number in range(self.repeats):
            # torch's generator heeds only 32 bits of a seed
            draw = torch.Generator().manual_seed(
                int(np.random.SeedSequence([self.seed, number, batch.at[0]]).generate_state(1)[0])
            )
            yield _Repetition(
                "perturbation", number, batch, list(range(n)), self._perturbed(batch, draw)
            )
            order = torch.randperm(n, generator=draw).tolist()
            for rows in (order[: n - n // 2], order[n - n // 2 :]):
                if rows:
                    yield _Repetition(
                        "batch", number, data.batch([batch.at[i] for i in rows]), rows, {}
                    )

    def _perturbed(
        self, batch: Batch, draw: torch.Generator
    ) -> dict[str, Callable[[Forward], Forward]]:
        named = ((m.name, self.student.get_submodule(m.name)) for m in modules(self.student))
        name, width = next(
            (name, module.embedding_dim)
            for name, module in named
            if isinstance(module, nn.Embedding)
        )
        # [B, T, D], the same in every pass of the repetition
        noise = self.amount * torch.randn(*batch.real.shape, width, generator=draw)

        def make(forward: Forward) -> Forward:
            def run(*args: Any, **kwargs: Any) -> Tensor:
                x: Tensor = forward(*args, **kwargs)
                return x + noise * x.square().mean(-1, keepdim=True).sqrt()

            return run

        return {name: make}


def _whole(
    repeated: _Repeated,
    places: list[tuple[Module, Side]],
    data: Encoded,
    languages: list[str],
    batch_size: int,
) -> tuple[dict[tuple[str, str, str], list[Sums]], DivergenceSums]:
    """(differences by kind, place and cause, one per repetition; changes of the answers by kind,
    cause and repetition) of whole passes.

    The kind "scan" are changes from FP32 to the quantized answers; its cause "" is the plain
    measurement.
    """
    student = repeated.student
    errors: dict[tuple[str, str, str], list[Sums]] = {}
    everything, answers = tuple(quantized_parts(student)), DivergenceSums(languages)
    for m, _ in places:
        errors |= {
            (kind, m.name, cause): [Sums(1) for _ in range(repeated.repeats)]
            for kind in ("site", "fp32")
            for cause in CAUSES
        }
    for batch in in_pieces(student, data, batch_size, copies=3):
        exact, sharp = _look(student, places, batch, (), {})
        plain, rounded = _look(student, places, batch, everything, {})
        first = Reference(sharp, batch, data.token)
        answers.count(batch.at, first.counts)
        answers.add(("scan", "", 0), batch.at, first.divergence(rounded))
        for again in repeated.times(data, batch):
            real, one = again.batch.real, torch.zeros(len(again.rows), dtype=torch.long)
            logits = {}
            for kind, quantizing, before, said in (
                ("fp32", (), exact, sharp),
                ("site", everything, plain, rounded),
            ):
                outputs, logits[kind] = _look(
                    student, places, again.batch, quantizing, again.changed
                )
                for m, _ in places:
                    signal = again.of(exact[m.name])
                    difference = outputs[m.name] - again.of(before[m.name])
                    errors[kind, m.name, again.cause][again.number].add(
                        signal, difference, real, one
                    )
                change = Reference(again.of(said), again.batch, data.token).divergence(logits[kind])
                answers.add(
                    ("fp32" if kind == "fp32" else "model", again.cause, again.number),
                    again.batch.at,
                    change,
                )
            change = Reference(logits["fp32"], again.batch, data.token).divergence(logits["site"])
            answers.add(("scan", again.cause, again.number), again.batch.at, change)
    return errors, answers


def _look(
    student: nn.Module,
    places: list[tuple[Module, Side]],
    batch: Batch,
    quantizing: tuple[str, ...],
    changed: Mapping[str, Callable[[Forward], Forward]],
) -> tuple[dict[str, Tensor], Tensor]:
    """(what comes out of each place, logits) of a pass in which these modules quantize."""
    with (
        capture_outputs(student, places) as seen,
        only(student, quantizing),
        patch_forwards(student, changed),
    ):
        logits = student(**batch.inputs).logits
        return seen(), logits


def _alone(
    repeated: _Repeated, data: Encoded, languages: list[str], batch_size: int
) -> DivergenceSums:
    """Changes of the answers with one module quantizing, by module, cause and repetition."""
    passes, divergence = Passes(repeated.student, data), DivergenceSums(languages)
    for batch in data.in_order(batch_size):
        plain = dict(passes.of(batch))
        divergence.count(batch.at, Reference(plain[EVERY], batch, data.token).counts)
        for again in repeated.times(data, batch):
            with patch_forwards(repeated.student, again.changed):
                for name, logits in passes.of(again.batch):
                    change = Reference(again.of(plain[name]), again.batch, data.token).divergence(
                        logits
                    )
                    divergence.add((name, again.cause, again.number), again.batch.at, change)
    return divergence


# --- what came out


def _named(m: Module, order: int) -> dict[str, Any]:
    return {"name": m.name, "role": m.role, "block": m.block, "order": order}


def _absolute_means(divergence: DivergenceSums, key: tuple[str, str, int]) -> dict[str, float]:
    return {metric: abs(value) for metric, value in divergence.means(key).items()}


def _shifted(answers: DivergenceSums, cause: str, number: int) -> dict[str, float]:
    plain, again = answers.means(("scan", "", 0)), answers.means(("scan", cause, number))
    return {f"{metric}_shift": abs(again[metric] - plain[metric]) for metric in METRICS[:2]}


def _rows(
    named: dict[str, Any], cause: str, repetitions: list[dict[str, float]]
) -> list[dict[str, Any]]:
    """One row per measure of the repetitions."""
    rows = []
    for measure in repetitions[0]:
        values = [each[measure] for each in repetitions]
        row = {
            "measure": measure,
            "value": statistics.median(values),
            "high": min(values) if measure == "sqnr_db" else max(values),
            "cause": cause,
            "repeats": len(values),
        }
        rows.append(named | row)
    return rows
