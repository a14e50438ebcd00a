"""Which weights a training keeps, freezes and calibrates, and what it does with unlabelled text."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sdq.data.batches import IGNORE, Encoded
from sdq.models.structure import blocks
from sdq.quant.layers import ActivationQuantizer, WeightQuantizer
from sdq.quant.rewrite import calibrate_, quantizers, rewrite
from sdq.settings import UserError
from sdq.train.loop import Watched, _stream, frozen_by, losses, train_
from sdq.train.losses import KLD, Attention
from sdq.train.settings import Training
from tests.helpers.training import INT8, SHORT, STATIC, equal, flat, text, weights

# --- unlabelled text


@pytest.mark.parametrize("token", [False, True])
def test_labels_of_unlabelled_text_are_never_used(token: bool, tiny: Any) -> None:
    teacher = tiny("xlmr", "token" if token else "sequence")
    settings = SHORT.model_copy(update={"distillation": (KLD(), Attention()), "unlabelled": True})
    ours, other = text(token), text(token, seed=1)
    wrong = Encoded(
        other.ids,
        [[v if v == IGNORE else v + 1000 for v in row] for row in other.labels],
        token,
        other.pad,
    )
    shuffled = Encoded(
        ours.ids,
        [[v if v == IGNORE else (v + 1) % 3 for v in row] for row in ours.labels],
        token,
        ours.pad,
    )
    made = []
    for train, unlabelled in (
        (ours, other),
        (ours, wrong),
        (shuffled, other),
        (ours, text(token, seed=2)),
    ):
        student = rewrite(teacher, INT8)
        train_(student, train, settings, flat, teacher=teacher, unlabelled=unlabelled)
        made.append(weights(student))
    assert equal(made[0], made[1])
    assert not equal(made[0], made[2])  # the labelled ones count
    assert not equal(made[0], made[3])  # and the unlabelled text does teach


def test_half_of_each_batch_is_unlabelled() -> None:
    ours, other = text(), text(seed=1)
    for on in (True, False):
        settings = SHORT.model_copy(update={"unlabelled": on})
        for batch, has_label in itertools.islice(_stream(ours, other, settings, 0), 20):
            assert [i < len(ours) for i in batch.at] == has_label.tolist()
            for row, i in enumerate(batch.at):
                ids = (ours.ids + other.ids)[i]
                assert batch.inputs["input_ids"][row, : len(ids)].tolist() == ids
            assert on is (not has_label.all().item())
            if on and len(batch.at) == 4:
                assert has_label.tolist() == [True, True, False, False]


def test_a_batch_without_labels_gives_no_cross_entropy(pair: Any) -> None:
    teacher, _ = pair
    out = losses(
        Watched(teacher, ()), None, text().batch([0, 1]), (), torch.zeros(2, dtype=torch.bool)
    )
    assert out["ce"].item() == 0
    out["ce"].backward()
    assert not any(p.grad is not None and p.grad.any() for p in teacher.parameters())


# --- which weights are kept


@pytest.mark.parametrize(
    ("scores", "kept"),
    [
        ((3, 2, 1), 0),
        ((1, 3, 2), 1),
        ((1, 2, 3), 2),
        ((2, 2, 2), 2),
        ((2, 2, 1), 1),
        ((-5, -7, -6), 0),
    ],
)
def test_best_weights_are_kept_and_the_later_at_a_tie(
    scores: tuple[int, ...], kept: int, pair: Any
) -> None:
    _, student = pair
    at_check: list[dict[str, Tensor]] = []

    def check(model: nn.Module) -> float:
        assert not model.training
        at_check.append(weights(model))
        return scores[len(at_check) - 1]

    history = train_(student, text(), SHORT, check)
    assert [c["dev"] for c in history.checks] == list(scores)
    assert [c["step"] for c in history.checks] == [2, 4, 6]
    assert history.kept == 2 * (kept + 1)
    assert equal(weights(student), at_check[kept])
    assert not equal(at_check[0], at_check[1])


@pytest.mark.parametrize(
    ("scores", "checks"),
    [
        ((9, 1, 2, 3, 4, 5, 6, 7), 3),
        ((1, 1, 1, 1, 1, 1, 1, 1), 3),
        ((1, 2, 1, 3, 1, 4, 1, 5), 8),
        ((1, 2, 3, 4, 5, 6, 7, 8), 8),
    ],
)
def test_early_stopping_looks_at_the_check_alone(
    scores: tuple[int, ...], checks: int, pair: Any
) -> None:
    _, student = pair
    left = iter(scores)
    history = train_(
        student,
        text(),
        SHORT.model_copy(update={"steps": 8, "check_every": 1, "patience": 2}),
        lambda m: next(left),
    )
    assert len(history.checks) == checks


def test_last_step_is_checked_and_reported(pair: Any) -> None:
    _, student = pair
    events: list[dict[str, Any]] = []
    history = train_(
        student,
        text(),
        SHORT.model_copy(update={"steps": 5, "check_every": 3}),
        flat,
        progress=events.append,
    )
    assert [c["step"] for c in history.checks] == [3, 5]
    assert [e["step"] for e in events if e["event"] == "check"] == [3, 5]
    assert [e["step"] for e in events if e["event"] == "step"] == [5]
    assert {e["of"] for e in events} == {5}


@pytest.mark.parametrize("refresh", [1, 50])
def test_each_check_sees_the_present_weights(refresh: int, pair: Any) -> None:
    """The optimizer changes weights behind the quantizers' cache: what is scored is the model that
    would be saved."""
    _, student = pair
    batch = text().batch([0, 1, 2]).inputs
    outs: list[Tensor] = []

    def check(model: nn.Module) -> float:
        fresh = rewrite(model, INT8).eval()
        with torch.no_grad():
            out = model(**batch).logits
            assert torch.equal(out, fresh(**batch).logits)
        outs.append(out)
        return float(len(outs))

    train_(
        student, text(), SHORT.model_copy(update={"learning_rate": 3e-3, "refresh": refresh}), check
    )
    assert not torch.equal(outs[0], outs[-1])
    with torch.no_grad():
        assert torch.equal(student(**batch).logits, outs[-1])


def test_training_measures_weight_ranges_as_often_as_it_says(
    pair: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With refresh 3, at steps 1, 4, 7 and 10 of 12."""
    _, student = pair
    counted: list[tuple[int, bool]] = []
    plain = WeightQuantizer.ranges
    watched = next(
        q for n, q in quantizers(student).items() if n.endswith("query.weight_quantizer")
    )

    def ranges(self: WeightQuantizer, weight: Tensor) -> Any:
        before = self._range
        out = plain(self, weight)
        if self is watched and self.training:
            counted.append((len(counted) + 1, self._range is not before))
        return out

    monkeypatch.setattr(WeightQuantizer, "ranges", ranges)
    train_(
        student,
        text(),
        SHORT.model_copy(update={"steps": 12, "check_every": 12, "refresh": 3}),
        flat,
    )
    assert [step for step, measured in counted if measured] == [1, 4, 7, 10]


@pytest.mark.parametrize("dropout", [False, True])
def test_dropout_is_on_only_if_asked_for_and_comes_back(dropout: bool, pair: Any) -> None:
    """Without it a copy of the teacher imitates it exactly; afterwards, and after an error, every
    share is what it was."""
    teacher, _ = pair
    student = copy.deepcopy(teacher)
    for model in (teacher, student):
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.25
    settings = SHORT.model_copy(update={"steps": 1, "dropout": dropout, "distillation": (KLD(),)})
    history = train_(student, text(), settings, flat, teacher=teacher)
    assert (history.steps[0]["kld"] == 0) is not dropout
    assert {m.p for m in student.modules() if isinstance(m, torch.nn.Dropout)} == {0.25}

    def fail(model: object) -> float:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space"):
        train_(student, text(), settings, fail, teacher=teacher)
    assert {m.p for m in student.modules() if isinstance(m, torch.nn.Dropout)} == {0.25}


# --- what is frozen, what is calibrated, what goes wrong


def test_more_blocks_than_there_are_cannot_be_frozen(tiny: Any) -> None:
    model = tiny("bert")
    there = len(blocks(model))
    assert frozen_by(SHORT.model_copy(update={"frozen_blocks": there}), model)
    with pytest.raises(UserError, match=f"at most {there}, as many as the model has, got 99; "):
        frozen_by(SHORT.model_copy(update={"frozen_blocks": 99}), model)


@pytest.mark.parametrize(
    ("frozen_embedding", "frozen_blocks"), [(True, 0), (False, 0), (True, 1), (False, 2)]
)
def test_what_is_frozen_stays(frozen_embedding: bool, frozen_blocks: int, pair: Any) -> None:
    _, student = pair
    ours = next(
        n for n, _ in student.named_parameters() if "classifier" in n and n.endswith("bias")
    )
    student.get_parameter(ours).requires_grad_(False)  # frozen by the caller
    by_caller = next(n for n, _ in student.named_parameters() if "word_embeddings" in n)
    student.get_parameter(by_caller).requires_grad_(False)
    before = weights(student)
    train_(
        student,
        text(),
        SHORT.model_copy(
            update={"frozen_embedding": frozen_embedding, "frozen_blocks": frozen_blocks}
        ),
        lambda m: 0.0,
    )
    changed = {n for n, p in student.named_parameters() if not torch.equal(p, before[n])}
    for name, _ in student.named_parameters():
        still = (
            name in (ours, by_caller)
            or (frozen_embedding and ".embeddings." in name)
            or any(name.startswith(b + ".") for b in blocks(student)[:frozen_blocks])
        )
        if still:
            assert name not in changed
        elif "key.bias" not in name and "position" not in name and "token_type" not in name:
            assert name in changed, name
    assert {n for n, p in student.named_parameters() if not p.requires_grad} == {ours, by_caller}


def test_static_ranges_are_measured_anew(tiny: Any) -> None:
    """Before every check and once at the end, so that ranges belong to the weights that are
    kept."""
    student = rewrite(tiny("xlmr"), STATIC)
    batches = [text().batch([0, 1, 2, 3]).inputs]
    calibrate_(student, batches)
    first, order, ranges = weights(student), [], []

    def before_check(model: nn.Module) -> None:
        assert not model.training
        order.append("calibrate")
        calibrate_(model, batches)

    def check(model: nn.Module) -> float:
        order.append("check")
        ranges.append({k: v for k, v in weights(model).items() if k.endswith("quantizer.scale")})
        return -float(len(ranges))

    train_(
        student,
        text(),
        SHORT.model_copy(update={"learning_rate": 3e-3}),
        check,
        before_check=before_check,
    )
    assert order == ["calibrate", "check"] * 3 + ["calibrate"]
    last = {k: v for k, v in weights(student).items() if k in ranges[0]}
    assert equal(last, ranges[0])  # of the first check, whose weights were kept
    assert not equal(ranges[0], ranges[2])
    assert not equal(ranges[0], {k: first[k] for k in last})
    assert all(
        bool(q.calibrated)
        for q in quantizers(student).values()
        if isinstance(q, ActivationQuantizer)
    )


def test_a_loss_that_is_not_finite_stops_training(pair: Any) -> None:
    teacher, student = pair
    with torch.no_grad():
        next(p for n, p in teacher.named_parameters() if n.endswith("out_proj.bias")).fill_(
            float("nan")
        )
    start = weights(student)
    settings = SHORT.model_copy(update={"distillation": (KLD(),), "noise": 0.5})
    with pytest.raises(UserError, match="diverged at step 1"):
        train_(student, text(), settings, flat, teacher=teacher)
    assert equal(weights(student), start)  # stopped before the step
    assert all(p.requires_grad for p in student.parameters())
    assert {q.noise for q in quantizers(student).values()} == {1.0}
    assert not student.training


def test_training_teaches(tiny: Any) -> None:
    """What can be learnt is learnt: words of three kinds, one label each."""
    student = rewrite(tiny("xlmr"), INT8)
    g = torch.Generator().manual_seed(0)
    labels = [i % 3 for i in range(24)]
    ids = [(torch.randint(5, 23, (6,), generator=g) + 18 * label).tolist() for label in labels]
    data = Encoded(ids, [[label] for label in labels], False, 1)
    settings = Training(
        steps=80, batch_size=8, learning_rate=3e-3, check_every=40, frozen_embedding=False
    )
    rows = train_(student, data, settings, lambda m: 0.0).steps
    assert rows[-1]["ce"] < 0.5 * rows[0]["ce"]
