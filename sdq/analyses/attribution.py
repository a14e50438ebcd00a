"""What the model looks at: how much each word of a sentence speaks for the answer, in FP32 and
quantized.

Integrated gradients (Sundararajan et al. 2017, Axiomatic Attribution for Deep Networks) over the
output of the word embedding, by captum's LayerIntegratedGradients: of a word, the slope of the
answer's logit along the straight path from a baseline to the sentence, times how far the path moves
the word. Baseline: the same sentence with the mask token in the place of every token that is not
special; special tokens and padding are the same at both ends, so that their attribution is exactly
0. The sum over the words is the logit's gain over the baseline (completeness), up to the
convergence delta.

A rounded network is a staircase, and its slope is 0 almost everywhere. Its gradients here are
straight-through (see `sdq.quant.integer.fake_quantize`): rounding counts as the identity inside its
range and as a constant where it clips. What is attributed is the slope of the smooth network
through the rounded weights and activations, so that the sum need not meet the logit's gain: the
delta of a model with rounded activations does not vanish with more steps, as that of FP32 does, and
tells how much of its answer is in the steps of the stairs.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from captum.attr import LayerIntegratedGradients
from scipy.stats import t as student_t
from torch import Tensor, nn

from sdq.analyses.sensitivity import Forward, patch_forwards
from sdq.analyses.word_spans import numbers, ordinary, spans
from sdq.data.batches import IGNORE, Batch, Encoded
from sdq.data.task import Example
from sdq.evaluate.predict import NONE, predict
from sdq.evaluate.ranking import rank_correlation
from sdq.evaluate.statistics import clusters
from sdq.models.structure import modules
from sdq.quant.rewrite import only
from sdq.results import EVERY

# looked at at most: with two models, and one of them twice, about 40 s on one thread (mini)
SENTENCES = 75
# of the path, at the nodes of Gauss and Legendre; FP32 is then complete to about 0.1 % (mini)
STEPS = 20
_TOGETHER = 8  # sentences per call
_TOKENS = 1024  # per forward pass, or one step of all sentences of a call
_TINY = 1e-7  # relative change of the embeddings that stands for "nothing changed"
_WORDS = [
    "id",
    "language",
    "position",
    "word",
    "fp32",
    "quantized",
    "nudged",
    "target",
    "answer",
    "delta_fp32",
    "delta_quantized",
]


def word_attributions(
    student: nn.Module,
    teacher: nn.Module | None,
    data: Encoded,
    examples: Sequence[Example],
    labels: Sequence[str],
    tokenizer: Any,
    steps: int = STEPS,
    seed: int = 0,
) -> pd.DataFrame:
    """Attribution of FP32's answer to each word of `examples`, one row per word in their order.

    labels: names of the outputs, by label id
    tokenizer: with a mask token
    steps: nodes of the quadrature along the path, at least 1
    seed: of the nudge
    student, teacher: FP32 is the teacher, or, if None, the student with its quantizers off, which
        is the same bit for bit if the student was not trained.
    data, examples: the same sentences, tokenized and as they are.

    id, language
    position, word: its place in the sentence, from 0, and the word
    target, answer: that of FP32, whose logit is attributed in both models, and the quantized one's
    fp32, quantized: attribution, logits; positive: speaks for the target
    nudged: quantized again, after a relative change of 1e-7 of the embeddings: what differs from
        `quantized` is noise
    delta_fp32, delta_quantized: of the sentence: sum of the attributions minus the logit's gain
        over the baseline, logits

    For tasks with a tag per word the sum over the words of the logits of FP32's tags is attributed;
    target and answer are the word's tags. Dynamic ranges per tensor are shared by the sentences and
    steps of one forward pass, as always in such a model. Raises ValueError for another number of
    examples than of tokenized ones, none, a model in training mode, or a tokenizer without mask
    token.
    """
    _check(student, data, examples, tokenizer)
    with only(student, ()):
        full = student if teacher is None else teacher
        wanted = predict(full, data)[0]
        fp32, delta = attributions(full, data, wanted, tokenizer, steps)
    given = predict(student, data)[0]
    quantized, delta_quantized = attributions(student, data, wanted, tokenizer, steps)
    with patch_forwards(student, {_embedding(student): _nudge(seed)}):
        nudged = attributions(student, data, wanted, tokenizer, steps)[0]
    rows = []
    for i, example in enumerate(examples):
        grouped = spans(data, i, tokenizer, example)
        for position, (word, at) in zip(numbers(data, i, len(grouped)), grouped, strict=True):
            k = position if data.token else 0
            sums = [float(values[i][at].sum()) for values in (fp32, quantized, nudged)]
            answers = labels[wanted[i][k]], labels[given[i][k]]
            deltas = delta[i], delta_quantized[i]
            rows.append((example.id, example.language, position, word, *sums, *answers, *deltas))
    return pd.DataFrame(rows, columns=_WORDS)


def attributions(
    model: nn.Module,
    data: Encoded,
    answers: Sequence[Sequence[int]],
    tokenizer: Any,
    steps: int = STEPS,
) -> tuple[list[np.ndarray[Any, Any]], list[float]]:
    """Attribution of the summed logits of `answers` to the tokens of each sentence, and its delta.

    model: in eval mode
    data: N tokenized sentences
    answers: label ids, one per sentence, or one per word (NONE: not answered)
    tokenizer: with a mask token
    steps: nodes of the quadrature along the path, at least 1

    [T] of each sentence, in logits, exactly 0 at special tokens; and the convergence delta, its sum
    minus the gain over the baseline. The result for one sentence does not depend on the others, up
    to rounding.
    """
    explain = LayerIntegratedGradients(_gain(model), model.get_submodule(_embedding(model)))
    shares: list[np.ndarray[Any, Any]] = [np.zeros(0)] * len(data)
    deltas = [0.0] * len(data)
    for batch in data.in_order(_TOGETHER):
        ids = batch.inputs["input_ids"]
        baseline = torch.where(ordinary(ids, tokenizer) & batch.real, tokenizer.mask_token_id, ids)
        rest = (
            _asked(batch, answers, data.token),
            batch.inputs["attention_mask"],
            batch.inputs.get("token_type_ids"),
        )
        at_once = max(len(ids), _TOKENS // ids.shape[1])
        each, delta = explain.attribute(
            ids,
            baseline,
            None,
            rest,
            steps,
            internal_batch_size=at_once,
            return_convergence_delta=True,
        )
        for row, i in enumerate(batch.at):
            tokens = each[row, : len(data.ids[i])]  # [T, D]
            shares[i] = tokens.sum(-1).double().detach().numpy()
            deltas[i] = float(delta[row])
    return shares, deltas


def drift(per_word: pd.DataFrame) -> pd.DataFrame:
    """How alike FP32 and the quantized model look at sentences.

    per_word: the table of `word_attributions`

    One row for all languages ("all") and one for each:

    language, sentences, words
    rank_correlation, rank_low, rank_high: Spearman's rho of fp32 and quantized over the words of a
        sentence, -1..1, mean over sentences of at least three words
    floor: the same of quantized and nudged: a rank_correlation not below it is noise
    sign_agreement, sign_low, sign_high: share of a sentence's words with the same sign, 0..1, mean
        over sentences
    completeness_fp32, completeness_quantized: sum of |delta| over the sum of |gain over the
        baseline|, 0: complete

    Intervals (95 %) are Student's of a mean, NaN for one draw; a sentence and its translations, and
    all fillings of a frame, are one draw (see `sdq.evaluate.statistics.clusters`).
    """
    sentences = pd.DataFrame(
        [_one(part) for _, part in per_word.groupby(["language", "id"], sort=False)]
    )
    rows = []
    for code in (EVERY, *sentences["language"].unique()):
        spoken = sentences if code == EVERY else sentences[sentences["language"] == code]
        draws = clusters(spoken["id"])
        row: dict[str, Any] = {
            "language": code,
            "sentences": len(spoken),
            "words": int(spoken["words"].sum()),
        }
        rank, sign = _mean(spoken["rank"], draws, -1.0), _mean(spoken["sign"], draws, 0.0)
        row |= zip(("rank_correlation", "rank_low", "rank_high"), rank, strict=True)
        row["floor"] = float(spoken["floor"].mean())
        row |= zip(("sign_agreement", "sign_low", "sign_high"), sign, strict=True)
        for model in ("fp32", "quantized"):
            gain, delta = (float(spoken[f"{what}_{model}"].sum()) for what in ("gain", "delta"))
            row[f"completeness_{model}"] = delta / gain if gain else math.nan
        rows.append(row)
    return pd.DataFrame(rows)


# --- one sentence, one batch


def _check(student: nn.Module, data: Encoded, examples: Sequence[Example], tokenizer: Any) -> None:
    if len(examples) != len(data) or not len(data):
        raise ValueError(
            "there must be as many examples as tokenized sentences, and one at least, got "
            f"{len(examples)} and {len(data)}"
        )
    if student.training:
        raise ValueError(
            "the model must be in eval mode, it is in training mode; call eval() first"
        )
    if tokenizer.mask_token_id is None:
        raise ValueError(
            "the tokenizer must have a mask token, which the baseline is made of, it has none; "
            "use a model that was pretrained with one"
        )


def _embedding(model: nn.Module) -> str:
    return next(
        m.name for m in modules(model) if isinstance(model.get_submodule(m.name), nn.Embedding)
    )


def _gain(model: nn.Module) -> Callable[[Tensor, Tensor, Tensor, Tensor | None], Tensor]:
    """(ids [B, T], label ids [B, 1] or [B, T], mask [B, T], types [B, T]) -> sum of the logits of
    these labels [B]; IGNORE asks for nothing."""

    def run(ids: Tensor, asked: Tensor, mask: Tensor, types: Tensor | None) -> Tensor:
        given = {} if types is None else {"token_type_ids": types}
        logits = model(input_ids=ids, attention_mask=mask, **given).logits
        logits = logits[:, None] if logits.dim() == 2 else logits  # [B, 1, C] or [B, T, C]
        picked = logits.gather(2, asked.clamp(min=0)[..., None])[..., 0]  # [B, 1] or [B, T]
        return torch.where(asked != IGNORE, picked, 0.0).sum(1)

    return run


def _asked(batch: Batch, answers: Sequence[Sequence[int]], token: bool) -> Tensor:
    """Label ids, [B, 1], or [B, T] with IGNORE where no word begins."""
    given = torch.tensor(
        [answer for i in batch.at for answer in answers[i] if answer != NONE], dtype=torch.long
    )
    if not token:
        return given[:, None]
    asked = torch.full_like(batch.labels, IGNORE)
    asked[batch.scored] = given
    return asked


def _nudge(seed: int) -> Callable[[Forward], Forward]:
    """An embedding whose output is changed by about _TINY of itself, in another way at each
    call."""
    generator = torch.Generator().manual_seed(seed)

    def make(forward: Forward) -> Forward:
        def run(ids: Tensor) -> Tensor:
            x: Tensor = forward(ids)
            return x * (1 + _TINY * torch.randn(x.shape, generator=generator))

        return run

    return make


# --- over sentences


def _one(part: pd.DataFrame) -> dict[str, Any]:
    """What `drift` takes means of, for the words of one sentence."""
    signs = np.sign(part["fp32"]) == np.sign(part["quantized"])
    row = {
        "language": part["language"].iloc[0],
        "id": part["id"].iloc[0],
        "words": len(part),
        "sign": float(signs.mean()),
    }
    row |= {
        "rank": rank_correlation(part["fp32"], part["quantized"]),
        "floor": rank_correlation(part["quantized"], part["nudged"]),
    }
    for model in ("fp32", "quantized"):
        delta = float(part[f"delta_{model}"].iloc[0])
        row |= {
            f"delta_{model}": abs(delta),
            f"gain_{model}": abs(float(part[model].sum()) - delta),
        }
    return row


def _mean(
    values: pd.Series[float], draws: Iterable[str], lowest: float
) -> tuple[float, float, float]:
    """(mean, low, high) of values by Student's t, in lowest..1; values of the same draw are
    averaged first. NaN are left out."""
    each = values.groupby(list(draws), sort=False).mean().dropna()
    n = len(each)
    if not n:
        return math.nan, math.nan, math.nan
    mean = float(each.mean())
    if n == 1:
        return mean, math.nan, math.nan
    half = float(student_t.ppf(0.975, n - 1)) * float(each.std()) / math.sqrt(n)
    return mean, max(lowest, mean - half), min(1.0, mean + half)
