"""Predictions of a model and how good they are, per language."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pandas as pd
import torch
from torch import Tensor, nn

from sdq.data.batches import Batch, Encoded
from sdq.data.tagging import NO_ANSWER
from sdq.data.tasks import Example, Task
from sdq.inspect.capture import Side, capture, listen
from sdq.metrics import beside, tally
from sdq.models import steps
from sdq.report import Scores
from sdq.retrieval import Retriever
from sdq.settings import UserError
from sdq.statistics import by_language, means

BATCH = 64
NONE = -1  # in the place of a label id: a word that no position answers for
_NAMED = 3  # sentences of a refusal
_TRIED = 16  # of them, to find the layer


@torch.inference_mode()
def predict(model: nn.Module, data: Encoded, progress: Callable[[int], None] = lambda done: None) -> tuple[list[list[int]], list[float]]:
    """(predicted label ids, margin) of each example; where words have tags one id per word, NONE for one that went into the model without a
    subword (cut off, empty, of letters without width). Margin: smallest top-1 minus top-2 logit.

    UserError if logits are not finite numbers: on which sentences, and since which layer.
    """
    answers: list[list[int]] = [[] for _ in range(len(data))]
    margins = [0.0] * len(data)
    done, lost, spoilt = 0, list[int](), isinstance(model, Retriever) and not bool(model.index.isfinite().all())
    for batch in data.in_order(BATCH):
        logits = model(**batch.inputs).logits
        lost += _not_finite(logits, batch, data.token, spoilt)
        if not data.token:
            logits = logits[:, None]
        best = logits.topk(2, dim=-1)
        scored = batch.scored if data.token else batch.scored[:, None]
        for row, i in enumerate(batch.at):
            at = scored[row]
            answers[i] = _by_word(data, i, best.indices[row, at, 0].tolist())
            gap = (best.values[row, at, 0] - best.values[row, at, 1]).tolist()
            margins[i] = min(gap, default=0.0)
        done += len(batch.at)
        progress(done)
    if lost or spoilt:
        raise _refused(model, data, sorted(lost) or list(range(len(data))))
    return answers, margins


def _by_word(data: Encoded, i: int, given: list[int]) -> list[int]:
    """The answers of an example's scored positions, each at the place of its word."""
    if data.words is None or data.sizes is None:
        return given
    row = [NONE] * data.sizes[i]
    for word, answer in zip(data.words[i], given, strict=True):
        row[word] = answer
    return row


def outcomes(examples: list[Example], answers: list[list[int]], margins: list[float], task: Task) -> pd.DataFrame:
    """One row per sentence (of a ranking: per query): id, language, tp, predicted, gold (counts, see sdq.metrics), answer, margin."""
    named = [[NO_ANSWER if i == NONE else task.outputs[i] for i in answer] for answer in answers]
    return tally(examples, named, margins, task.metric, task.tagging)


def scores(table: pd.DataFrame, task: Task) -> Scores:
    """Scores per language in the task's order, and their means."""
    found = by_language(table)
    ordered = {code: found[code] for code in task.languages if code in found}
    mean, zero_shot = means(ordered, task.labelled)
    return Scores(mean=mean, zero_shot_mean=zero_shot, by_language=ordered)


def scores_beside(table: pd.DataFrame, examples: list[Example], task: Task) -> dict[str, Scores]:
    """Scores by the metrics that are reported beside the one that counts, by name."""
    return {metric: scores(rows, task) for metric, rows in beside(table, examples, task).items()}


# --- numbers that are none


def watched(model: nn.Module, data: Encoded, batch_size: int) -> Iterator[dict[str, Tensor]]:
    """The inputs of all examples in batches, for passes through `model`. UserError after the first whose logits are not finite numbers."""
    seen: dict[str, Tensor] = {}
    with listen(model, {"": "output"}, lambda tap, module, args, kwargs, out: seen.update(logits=out.logits)):
        for batch in data.in_order(batch_size):
            yield batch.inputs
            logits = seen.pop("logits", None)
            if logits is not None and (lost := _not_finite(logits, batch, data.token)):
                raise _refused(model, data, sorted(lost))


def _not_finite(logits: Tensor, batch: Batch, token: bool, spoilt: bool = False) -> list[int]:
    """The examples of a batch on which logits [B, C] or [B, T, C] are not finite; what is padding does not count. `spoilt`: an index in which a
    sentence is not finite spoils a logit of every query, and a query is not finite itself where no logit is."""
    finite = logits.isfinite()
    if finite.all():
        return []
    good = finite.any(-1) if spoilt else finite.all(-1)  # [B] or [B, T]
    if token:
        good = (good | ~batch.real).all(-1)
    return [i for row, i in enumerate(batch.at) if not good[row]]


def _refused(model: nn.Module, data: Encoded, lost: list[int]) -> UserError:
    named = ", ".join(data.names[i] if data.names is not None else f"number {i + 1}" for i in lost[:_NAMED])
    rest = f" and {len(lost) - _NAMED} more" if len(lost) > _NAMED else ""
    since = next((where for i in lost[:_TRIED] if (where := _since(model, data, i))), "")
    return UserError(
        f"answers must be finite numbers, the model's logits are NaN or infinite on {len(lost):,} of {len(data):,} sentences ({named}{rest}){since}; "
        "its numbers grow too large there: train it again with a lower learning rate, or use another checkpoint"
    )


def _since(model: nn.Module, data: Encoded, i: int) -> str:
    """From where on what is computed of one example alone is not finite, in words; "" if it is finite alone."""
    order = steps(model)
    taps: dict[str, Side] = {step.tap(step.name): "output" for step in order}
    first: dict[str, Side] = {order[0].name: "input"}
    with torch.inference_mode(), capture(model, first) as given, capture(model, taps) as seen:
        logits = model(**data.batch([i]).inputs).logits
    if not all(x.isfinite().all() for x in given.values()):
        return ", in the embeddings already"
    for number, (step, tap) in enumerate(zip(order, taps, strict=True)):
        if not seen[tap].isfinite().all():
            return f", since layer {number} ({step.name})"
    return "" if logits.isfinite().all() else ", in the head alone"
