"""The training loop: batches, the teacher, and that twice the same is the same."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import nn

from sdq.data.batches import IGNORE, Encoded
from sdq.models.structure import blocks
from sdq.quant.layers import WeightQuantizer
from sdq.quant.rewrite import quantizers, rewrite
from sdq.train.loop import Watched, losses, train_
from sdq.train.losses import KLD, TERMS, Attention, Hidden
from tests.helpers.training import INT8, SHORT, equal, flat, text, weights

EVERY = tuple(t() for t in TERMS)


# --- batches


@pytest.mark.parametrize("token", [False, True])
def test_a_batch_is_padded_and_padding_is_marked(token: bool) -> None:
    data = Encoded([[5, 6, 7], [8]], [[1, IGNORE, 2], [0]] if token else [[1], [0]], token, 1)
    batch = data.batch([1, 0])
    assert batch.inputs["input_ids"].tolist() == [[8, 1, 1], [5, 6, 7]]
    assert batch.inputs["attention_mask"].tolist() == [[1, 0, 0], [1, 1, 1]]
    assert batch.real.tolist() == [[True, False, False], [True, True, True]]
    assert batch.labels.tolist() == ([[0, IGNORE, IGNORE], [1, IGNORE, 2]] if token else [0, 1])
    assert batch.scored.tolist() == (
        [[True, False, False], [True, False, True]] if token else [True, True]
    )
    assert batch.at == [1, 0]


def test_order_of_batches() -> None:
    data = text(n=50)
    once = [i for batch in data.in_order(8) for i in batch.at]
    assert sorted(once) == list(range(50))
    lengths = [len(data.ids[i]) for i in once]
    assert lengths == sorted(lengths, reverse=True)

    def epochs(seed: int) -> list[int]:
        return [i for batch in itertools.islice(data.shuffled(8, seed), 14) for i in batch.at]

    assert sorted(epochs(1)) == sorted([*range(50), *range(50)])  # every sentence once per epoch
    assert epochs(1) == epochs(1) != epochs(2)
    assert epochs(1)[:50] != epochs(1)[50:]


# --- the teacher


@pytest.mark.parametrize("token", [False, True])
def test_the_teacher_is_an_argument_and_never_changes(
    token: bool, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher = tiny("xlmr", "token" if token else "sequence")
    student = rewrite(teacher, INT8)
    before, keys = weights(teacher), set(student.state_dict())
    modes: list[bool] = []
    plain = teacher.train
    monkeypatch.setattr(teacher, "train", lambda mode=True: (modes.append(mode), plain(mode))[1])

    def check(model: nn.Module) -> float:
        assert teacher not in set(model.modules())
        assert set(model.state_dict()) == keys
        assert not any(m.training for m in teacher.modules())
        return 0.0

    start = weights(student)
    train_(
        student,
        text(token),
        SHORT.model_copy(update={"distillation": EVERY}),
        check,
        teacher=teacher,
    )
    assert True not in modes
    assert equal(weights(teacher), before)
    assert all(p.grad is None and p.requires_grad for p in teacher.parameters())
    assert set(student.state_dict()) == keys
    assert not equal(weights(student), start)
    assert not any(m.training for m in [*student.modules(), *teacher.modules()])
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in teacher.modules())


def test_what_must_come_along(pair: Any) -> None:
    teacher, student = pair
    start = weights(student)
    for settings, words in (
        ({"distillation": (KLD(),)}, "need a teacher"),
        ({"unlabelled": True}, "unlabelled text needs"),
    ):
        with pytest.raises(ValueError, match=words):
            train_(student, text(), SHORT.model_copy(update=settings), flat)
    with pytest.raises(ValueError, match="unlabelled text needs"):
        train_(
            student,
            text(),
            SHORT.model_copy(update={"distillation": (KLD(),), "unlabelled": True}),
            flat,
            teacher=teacher,
        )
    assert equal(weights(student), start)


@pytest.mark.parametrize("term", EVERY, ids=lambda t: t.kind)
@pytest.mark.parametrize("token", [False, True])
def test_terms_are_zero_for_the_teacher_itself(term: Any, token: bool, tiny: Any) -> None:
    """The whole way, taps included: the same model agrees with itself, a quantized one does not."""
    teacher = tiny("distilbert", "token" if token else "sequence")
    batch = text(token, pad=0).batch([0, 1, 2, 3])
    labelled = torch.ones(4, dtype=torch.bool)
    agree = losses(
        Watched(copy.deepcopy(teacher), (term,)),
        Watched(teacher, (term,)),
        batch,
        (term,),
        labelled,
    )
    differ = losses(
        Watched(rewrite(teacher, INT8).eval(), (term,)),
        Watched(teacher, (term,)),
        batch,
        (term,),
        labelled,
    )
    assert agree[term.kind].item() == 0
    assert differ[term.kind].item() > 1e-6
    assert agree["ce"].item() == pytest.approx(
        teacher(**batch.inputs, labels=batch.labels).loss.item(), rel=1e-5
    )


def test_taps_hold_every_block(pair: Any) -> None:
    teacher, _ = pair
    batch = text().batch([0, 1, 2])
    seen = Watched(teacher, (Attention(), Attention(at="output"), Hidden()))(batch)
    out = teacher(**batch.inputs, output_hidden_states=True)
    assert {k: len(v) for k, v in seen.taps.items()} == {"context": 2, "output": 2, "hidden": 2}
    assert all(
        torch.equal(a, b) for a, b in zip(seen.taps["hidden"], out.hidden_states[1:], strict=True)
    )
    for block, context, output in zip(
        blocks(teacher), seen.taps["context"], seen.taps["output"], strict=True
    ):
        assert torch.allclose(
            teacher.get_submodule(block + ".attention.output.dense")(context), output, atol=1e-6
        )


def test_the_loss_is_the_weighted_sum(pair: Any) -> None:
    teacher, student = pair
    terms = (KLD(weight=0.5), Attention(weight=7.0), Hidden(weight=3.0))
    history = train_(
        student, text(), SHORT.model_copy(update={"distillation": terms}), flat, teacher=teacher
    )
    row = history.steps[-1]
    assert row["loss"] == pytest.approx(
        row["ce"] + sum(t.weight * row[t.kind] for t in terms), rel=1e-5
    )
    assert min(row[t.kind] for t in terms) > 0


# --- the same again


@pytest.mark.parametrize("noise", [1.0, 0.5])
def test_the_same_seed_gives_the_same_weights(noise: float, pair: Any) -> None:
    teacher, student = pair
    settings = SHORT.model_copy(update={"noise": noise, "distillation": EVERY})
    made = {}
    for run, seed in (("a", 3), ("b", 3), ("c", 4)):
        torch.randn(5)  # what others drew before does not matter
        one = copy.deepcopy(student)
        train_(one, text(), settings, flat, teacher=teacher, seed=seed)
        made[run] = weights(one)
    assert equal(made["a"], made["b"])
    assert not equal(made["a"], made["c"])


def test_noise_acts_in_training_and_is_gone_afterwards(pair: Any) -> None:
    _, student = pair
    made = []
    for noise in (1.0, 0.2):
        one = copy.deepcopy(student)
        seen: set[float] = set()
        train_(
            one,
            text(),
            SHORT.model_copy(update={"noise": noise, "refresh": 2}),
            lambda m, seen=seen: float(
                len(seen.update(q.noise for q in quantizers(m).values()) or ())
            ),
        )
        assert seen == {noise}
        assert {q.noise for q in quantizers(one).values()} == {1.0}
        assert {q.refresh for q in quantizers(one).values() if isinstance(q, WeightQuantizer)} == {
            1
        }
        made.append(weights(one))
    assert not equal(*made)
