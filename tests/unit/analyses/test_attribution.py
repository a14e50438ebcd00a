"""Attributions against gains worked out here and a plain integral; words against their tokens;
drift against scipy; hooks that stay."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

from sdq.analyses import attribution
from sdq.analyses.attribution import attributions, word_attributions
from sdq.analyses.sensitivity import patch_forwards
from sdq.analyses.word_spans import spans
from sdq.data.batches import Encoded
from sdq.evaluate.predict import predict
from sdq.quant.layers import QuantEmbedding
from sdq.quant.rewrite import quantizers, rewrite
from sdq.quant.spec import ActivationSpec, Rule, WeightSpec
from tests.helpers.attribution import LABELS, WEIGHTS, Pieces, data_of, examples_of

STEPS = 24


def gains(model: nn.Module, data: Encoded, answers: list[list[int]]) -> list[float]:
    """Logits of the answers on the sentence minus those on the sentence of mask tokens; each
    sentence by itself."""
    attributed = []
    for i in range(len(data)):
        batch = data.batch([i])
        hidden = {
            "input_ids": torch.tensor(
                [[t if t == 2 else Pieces.mask_token_id for t in data.ids[i]]]
            ),
            "attention_mask": batch.inputs["attention_mask"],
        }
        values = []
        for inputs in (batch.inputs, hidden):
            logits = model(**inputs).logits[0]
            asked = logits[batch.scored[0]] if data.token else logits[None]
            values.append(float(sum(row[k] for row, k in zip(asked, answers[i], strict=True))))
        attributed.append(values[0] - values[1])
    return attributed


def hooks(model: nn.Module) -> int:
    return sum(
        len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks)
        for m in model.modules()
    )


ROUGH = (Rule(weight=WeightSpec(bits=4), activation=ActivationSpec(bits=3)),)


# --- one model


def test_the_attributions_of_a_sentence_add_up_to_the_gain(
    tiny: Callable[..., Any], family: str, kind: str
) -> None:
    """Completeness, within 0.2 % of the gain or 0.002 logits, in FP32 or with rounded weights;
    every sentence as if it were alone."""
    if (family, kind) == ("distilbert", "sequence"):
        pytest.skip("its head has the kinks of a ReLU, which need more steps")
    model = (
        rewrite(tiny(family, kind), WEIGHTS) if family in ("bert", "xlmr") else tiny(family, kind)
    )
    data = data_of(model, kind)
    answers = predict(model, data)[0]
    attributed, delta = attributions(model, data, answers, Pieces(), STEPS)
    with torch.no_grad():
        wanted = gains(model, data, answers)
    for values, gain, missing in zip(attributed, wanted, delta, strict=True):
        assert values.sum() == pytest.approx(gain, rel=2e-3, abs=2e-3)
        assert values.sum() - missing == pytest.approx(gain, rel=1e-4, abs=1e-4)
    assert max(abs(values).max() for values in attributed) > 0.01


def test_it_is_the_integral_of_the_slope_along_the_path(tiny: Callable[..., Any]) -> None:
    model = tiny("xlmr")
    data = data_of(model, "sequence")
    attributed = attributions(model, data, [[1]] * len(data), Pieces(), STEPS)[0][0]
    inputs = data.batch([0]).inputs
    table = model.get_submodule("roberta.embeddings.word_embeddings").weight
    x = table[inputs["input_ids"]].detach()  # [1, T, D]
    base = table[torch.tensor([[t if t == 2 else 4 for t in data.ids[0]]])].detach()
    total = torch.zeros_like(x)
    for k in range(100):  # midpoints
        at = (base + (k + 0.5) / 100 * (x - base)).requires_grad_()
        with patch_forwards(
            model, {"roberta.embeddings.word_embeddings": lambda forward, at=at: lambda ids: at}
        ):  # type: ignore[misc]
            total += torch.autograd.grad(model(**inputs).logits[0, 1], at)[0] / 100
    assert np.allclose(attributed, ((x - base) * total).sum(-1)[0], atol=2e-3)


def test_special_tokens_and_padding_get_exactly_nothing(
    tiny: Callable[..., Any], family: str, kind: str
) -> None:
    model = tiny(family, kind)
    data = data_of(model, kind)
    answers = predict(model, data)[0]
    attributed, _ = attributions(model, data, answers, Pieces(), 8)
    for ids, values in zip(data.ids, attributed, strict=True):
        assert len(values) == len(ids)  # none for padding
        assert [value == 0 for value in values] == [token == 2 for token in ids]
    assert data.ids[0][3] == Pieces.unk_token_id  # an unknown piece is none of the special ones
    alone = attributions(model, data.some([1]), [answers[1]], Pieces(), 8)[0][0]
    assert np.allclose(alone, attributed[1], atol=1e-5)  # it had padding beside the longer one


def test_with_rounded_activations_the_sum_misses_the_gain_however_many_steps(
    tiny: Callable[..., Any],
) -> None:
    teacher = tiny("xlmr")
    data = data_of(teacher, "sequence")
    answers = predict(teacher, data)[0]
    missed = {
        n: [
            np.abs(attributions(m, data, answers, Pieces(), n)[1]).max()
            for m in (teacher, rewrite(teacher, ROUGH))
        ]
        for n in (16, 64)
    }
    assert missed[64][0] < 1e-3
    assert missed[64][1] > 20 * missed[64][0]
    assert missed[64][1] > 0.3 * missed[16][1]


# --- two models


def test_quantizers_off_is_the_teacher_bit_for_bit(tiny: Callable[..., Any], kind: str) -> None:
    teacher = tiny("xlmr", kind)
    student = rewrite(teacher, ROUGH)
    data = data_of(teacher, kind)
    one = word_attributions(student, None, data, examples_of(data), LABELS, Pieces(), 6)
    two = word_attributions(student, teacher, data, examples_of(data), LABELS, Pieces(), 6)
    pd.testing.assert_frame_equal(one, two, check_exact=True)
    assert not np.allclose(one["fp32"], one["quantized"], atol=1e-3)


def test_both_models_are_asked_for_the_answer_of_fp32(tiny: Callable[..., Any]) -> None:
    """The teacher is another model than the student without its quantizers; its answer is the
    target also where the student's differs."""
    teacher, student = tiny("xlmr", seed=1), rewrite(tiny("xlmr", seed=0), WEIGHTS)
    data = data_of(teacher, "sequence")
    table = word_attributions(student, teacher, data, examples_of(data), LABELS, Pieces(), 6)
    wanted = predict(teacher, data)[0]
    given = predict(student, data)[0]
    assert wanted != given
    for model, column, delta in (
        (teacher, "fp32", "delta_fp32"),
        (student, "quantized", "delta_quantized"),
    ):
        attributed, deltas = attributions(model, data, wanted, Pieces(), 6)
        for i in range(len(data)):
            rows = table[table["id"] == f"s{i}"]
            assert rows[column].sum() == pytest.approx(attributed[i].sum(), abs=1e-6)
            assert set(rows[delta]) == {deltas[i]}
            assert set(rows["target"]) == {LABELS[wanted[i][0]]}
            assert set(rows["answer"]) == {LABELS[given[i][0]]}


@pytest.mark.parametrize("kind", ["sequence", "token"])
def test_words_add_up_their_tokens(tiny: Callable[..., Any], kind: str) -> None:
    model = tiny("xlmr", kind)
    data = data_of(model, kind)
    examples = examples_of(data)
    table = word_attributions(rewrite(model, WEIGHTS), None, data, examples, LABELS, Pieces(), 4)
    wanted = predict(model, data)[0]
    attributed = attributions(model, data, wanted, Pieces(), 4)[0]
    for i, example in enumerate(examples):
        rows = table[table["id"] == example.id]
        grouped = spans(data, i, Pieces(), example)
        # every token but the special ones, once
        assert sorted(at for _, group in grouped for at in group) == list(
            range(1, len(data.ids[i]) - 1)
        )
        assert list(rows["word"]) == [word for word, _ in grouped]
        assert list(rows["position"]) == list(range(len(grouped)))
        assert list(rows["fp32"]) == pytest.approx(
            [attributed[i][group].sum() for _, group in grouped]
        )
        if kind == "token":
            assert list(rows["word"]) == list(example.words)
            assert list(rows["target"]) == [LABELS[k] for k in wanted[i]]


def test_the_nudge_moves_the_embeddings_by_their_last_digits(tiny: Callable[..., Any]) -> None:
    student = rewrite(tiny("xlmr"), WEIGHTS)
    data = data_of(student, "sequence")
    table = word_attributions(student, None, data, examples_of(data), LABELS, Pieces(), 4)
    moved = (table["nudged"] - table["quantized"]).abs()
    assert 0 < moved.max() < 1e-4


@pytest.mark.parametrize("when", [1, 3, 5, 60])
def test_nothing_stays_behind_when_a_layer_raises(
    tiny: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, when: int
) -> None:
    student = rewrite(tiny("xlmr"), ROUGH)
    data, own = data_of(student, "sequence"), hooks(student)
    layer, calls = student.get_submodule("roberta.encoder.layer.1.output.dense"), 0
    forward = layer.forward

    def raises(x: torch.Tensor) -> torch.Tensor:
        nonlocal calls
        calls += 1
        if calls == when:
            raise ArithmeticError("this layer raises")
        return forward(x)

    monkeypatch.setattr(layer, "forward", raises)
    monkeypatch.setattr(attribution, "_TOKENS", 1)  # a forward pass per step
    if when == 60:  # all goes well
        monkeypatch.undo()
        word_attributions(student, None, data, examples_of(data), LABELS, Pieces(), 4)
    else:
        with pytest.raises(ArithmeticError):
            word_attributions(student, None, data, examples_of(data), LABELS, Pieces(), 4)
    assert hooks(student) == own
    assert all(q.enabled for q in quantizers(student).values())
    embedding = student.get_submodule("roberta.embeddings.word_embeddings")
    assert isinstance(embedding, QuantEmbedding)
    assert "forward" not in embedding.__dict__


def test_what_it_cannot_do_it_refuses(tiny: Callable[..., Any]) -> None:
    student = rewrite(tiny("xlmr"), ROUGH)
    data = data_of(student, "sequence")
    with pytest.raises(
        ValueError, match="as many examples as tokenized sentences, and one at least, got 3 and 4"
    ):
        word_attributions(student, None, data, examples_of(data)[1:], LABELS, Pieces())
    unmasked = Pieces()
    unmasked.mask_token_id = None
    with pytest.raises(ValueError, match="must have a mask token"):
        word_attributions(student, None, data, examples_of(data), LABELS, unmasked)
    with pytest.raises(ValueError, match="eval mode"):
        word_attributions(student.train(), None, data, examples_of(data), LABELS, Pieces())


def test_it_runs_after_a_scan_in_inference_mode(tiny: Callable[..., Any]) -> None:
    """Ranges that a pass in inference mode measured and kept must not stop the gradient."""
    teacher = tiny("xlmr")
    fresh, used = rewrite(teacher, ROUGH), rewrite(teacher, ROUGH)
    data = data_of(teacher, "sequence")
    with torch.inference_mode():
        used(**data.batch([0, 1]).inputs)
    tables = [
        word_attributions(student, None, data, examples_of(data), LABELS, Pieces(), 4)
        for student in (fresh, used)
    ]
    pd.testing.assert_frame_equal(*tables, check_exact=True)
