"""Predictions of a model and how good they are, per language."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

import pandas as pd
import torch
from torch import Tensor, nn

from sdq.data.batches import Batch, Encoded
from sdq.data.tagging import NO_ANSWER
from sdq.data.task import Example, Task
from sdq.evaluate.metrics import secondary_outcomes, tally
from sdq.evaluate.statistics import by_language, means
from sdq.models.heads import answered
from sdq.models.hooks import listen, tensor_of
from sdq.models.retrieval import Retriever
from sdq.models.structure import modules, steps
from sdq.results import Scores
from sdq.settings import UserError

BATCH = 64
NONE = -1  # in the place of a label id: a word that no position answers for
_NAMED = 3  # sentences of a refusal


@torch.inference_mode()
def predict(
    model: nn.Module,
    data: Encoded,
    progress: Callable[[int], None] = lambda done: None,
    forward: Callable[[dict[str, Tensor]], Tensor] | None = None,
) -> tuple[list[list[int]], list[float]]:
    """(predicted label ids, margin) of each example; where words have tags one id per word, NONE
    for one that went into the model without a subword (cut off, empty, of letters without width).
    Margin: smallest top-1 minus top-2 logit.

    model: in eval mode
    data: tokenized examples
    progress: is told how many are done
    forward: what executes the model, see sdq.quant.runtimes; the model itself if there is none.

    UserError if logits are not finite numbers: on which sentences, and since which layer.
    """
    answers: list[list[int]] = [[] for _ in range(len(data))]
    margins = [0.0] * len(data)
    done, lost, spoilt = (
        0,
        list[int](),
        isinstance(model, Retriever) and not bool(model.index.isfinite().all()),
    )
    broken, scoring = None, _scoring(model)
    for batch in data.in_order(BATCH):
        with _hidden(model, batch, scoring) as hidden:
            logits = forward(batch.inputs) if forward else model(**batch.inputs).logits
        if new := hidden | set(_not_finite(logits, batch, data.token, spoilt)):
            lost += new
            broken = broken or batch
        if not data.token:
            logits = logits[:, None]
        best, top = answered(model, logits), logits.topk(2, dim=-1).values
        scored = batch.scored if data.token else batch.scored[:, None]
        # of a batch at once: one copy of what all its sentences are scored by
        ids = iter(best[scored].tolist())
        gaps = iter((top[..., 0] - top[..., 1])[scored].tolist())
        for i, n in zip(batch.at, scored.sum(1).tolist(), strict=True):
            answers[i] = _by_word(data, i, [*islice(ids, n)])
            margins[i] = min(islice(gaps, n), default=0.0)
        done += len(batch.at)
        progress(done)
    if broken is not None or spoilt:
        raise _refused(
            model,
            data,
            sorted(lost) or list(range(len(data))),
            broken or next(data.in_order(BATCH)),
        )
    return answers, margins


def _by_word(data: Encoded, i: int, given: list[int]) -> list[int]:
    """The answers of an example's scored positions, each at the place of its word."""
    if data.words is None or data.sizes is None:
        return given
    row = [NONE] * data.sizes[i]
    for word, answer in zip(data.words[i], given, strict=True):
        row[word] = answer
    return row


def outcomes(
    examples: list[Example], answers: list[list[int]], margins: list[float], task: Task
) -> pd.DataFrame:
    """One row per sentence (of a ranking: per query): id, language, tp, predicted, gold (counts,
    see sdq.evaluate.metrics), answer, margin.

    examples: of a split
    answers: label ids of each, as of `predict`
    margins: of each, logits
    task: theirs
    """
    named = [[NO_ANSWER if i == NONE else task.outputs[i] for i in answer] for answer in answers]
    return tally(examples, named, margins, task.metric, task.tagging)


def scores(table: pd.DataFrame, task: Task) -> Scores:
    """Scores per language in the task's order, and their means."""
    by_code = by_language(table)
    ordered = {code: by_code[code] for code in task.languages if code in by_code}
    mean, zero_shot = means(ordered, task.labelled)
    return Scores(mean=mean, zero_shot_mean=zero_shot, by_language=ordered)


def secondary_scores(table: pd.DataFrame, examples: list[Example], task: Task) -> dict[str, Scores]:
    """Scores by the metrics that are reported beside the one that counts, by name.

    table: of `outcomes`
    examples: that it was made of
    task: theirs
    """
    return {
        metric: scores(rows, task)
        for metric, rows in secondary_outcomes(table, examples, task).items()
    }


# --- numbers that are none


def watched(model: nn.Module, data: Encoded, batch_size: int) -> Iterator[dict[str, Tensor]]:
    """The inputs of all examples in batches, for passes through `model`. UserError after the first
    whose logits are not finite numbers.

    model: in eval mode
    data: tokenized examples
    batch_size: of them in a batch
    """
    seen: dict[str, Tensor] = {}
    with listen(
        model, {"": "output"}, lambda tap, module, args, kwargs, out: seen.update(logits=out.logits)
    ):
        for batch in data.in_order(batch_size):
            yield batch.inputs
            logits = seen.pop("logits", None)
            if logits is not None and (lost := _not_finite(logits, batch, data.token)):
                raise _refused(model, data, sorted(lost), batch)


@contextmanager
def _hidden(model: nn.Module, batch: Batch, scoring: Iterable[str]) -> Iterator[set[int]]:
    """Inside, the examples of a batch of which a query or key is not finite are collected.

    Their logits may be finite all the same: torch's attention kernel for batches without padding
    makes numbers of NaN.
    """
    hidden: set[int] = set()

    def see(tap: str, module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
        scored = tensor_of(out)
        if scored.sum().isfinite():  # one pass: a sum over anything that is not finite is none
            return
        good = scored.isfinite().all(-1)  # [B, T]
        if good.shape != batch.real.shape:  # whose they are cannot be told
            hidden.update(batch.at)
            return
        good = (good | ~batch.real).all(-1)
        hidden.update(i for i, fine in zip(batch.at, good.tolist(), strict=True) if not fine)

    with listen(model, dict.fromkeys(scoring, "output"), see):
        yield hidden


def _scoring(model: nn.Module) -> dict[str, int]:
    """The taps of what attention scores are made of, and the numbers of their steps."""
    made = [m for m in modules(model) if m.role in ("q", "k")]
    return {
        step.tap(m.name): number
        for number, step in enumerate(steps(model))
        for m in made
        if m.block == step.block
    }


def _not_finite(logits: Tensor, batch: Batch, token: bool, spoilt: bool = False) -> list[int]:
    """The examples of a batch on which logits [B, C] or [B, T, C] are not finite; what is padding
    does not count. `spoilt`: an index in which a sentence is not finite spoils a logit of every
    query, and a query is not finite itself where no logit is."""
    finite = logits.isfinite()
    if finite.all():
        return []
    good = finite.any(-1) if spoilt else finite.all(-1)  # [B] or [B, T]
    if token:
        good = (good | ~batch.real).all(-1)
    return [i for row, i in enumerate(batch.at) if not good[row]]


def _refused(model: nn.Module, data: Encoded, lost: list[int], batch: Batch) -> UserError:
    """Of these examples answers are no numbers; some of them in this batch."""
    named = ", ".join(
        data.names[i] if data.names is not None else f"number {i + 1}" for i in lost[:_NAMED]
    )
    rest = f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
    return UserError(
        f"answers must be finite numbers, the model's logits are NaN or infinite on {len(lost):,} "
        f"of {len(data):,} sentences ({named}{rest}){_since(model, batch)}; its numbers grow too "
        "large there: train it again with a lower learning rate, or use another checkpoint"
    )


def _since(model: nn.Module, batch: Batch) -> str:
    """From where on what is computed of a batch is not finite, in words.

    The whole batch, as it was: for a sentence alone, without padding, torch takes another kernel
    for attention, which may make numbers of NaN.
    """
    order = steps(model)
    at = {step.tap(step.name): number for number, step in enumerate(order)} | _scoring(model)
    bad: set[str] = set()

    def see(tap: str, module: nn.Module, args: Any, kwargs: Any, out: Any) -> None:
        if not tensor_of(args if out is None else out).isfinite().all():
            bad.add(tap)

    with torch.inference_mode(), listen(model, {order[0].name: "input"}, see):
        model(**batch.inputs)
    if bad:
        return ", in the embeddings already"
    with torch.inference_mode(), listen(model, dict.fromkeys(at, "output"), see):
        model(**batch.inputs)
    since = sorted(at[tap] for tap in bad)
    return f", since layer {since[0]} ({order[since[0]].name})" if since else ", in the head alone"
