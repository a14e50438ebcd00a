"""Distillation terms: the contract of each in the registry, and their formulas against independent
ones."""

from __future__ import annotations

from itertools import chain
from typing import Any, get_args

import numpy as np
import pytest
import scipy.special
import torch
from pydantic import TypeAdapter, ValidationError
from torch import Tensor
from torch.nn import functional as F

from sdq.train.losses import KLD, TERMS, Attention, DistillLoss, Hidden, Seen, tap_of

EVERY = pytest.mark.parametrize(
    "term", [*(t() for t in TERMS), Attention(at="output"), KLD(temperature=1)], ids=str
)
TASK = pytest.mark.parametrize("token", [False, True], ids=["sequence", "token"])
B, T, H, D, C, L = 3, 6, 4, 5, 7, 2
TAPS = ("context", "output", "hidden")
REAL = torch.arange(T) < torch.tensor([6, 3, 1])[:, None]
SCORED = {
    False: torch.tensor([True, True, False]),
    True: REAL & torch.tensor([True, False, True, True, False, True]),
}


def made(seed: int, token: bool = False, grad: bool = False) -> Seen:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(B, *([T] if token else []), C, generator=generator) * 2
    taps = {tap: [torch.randn(B, T, H * D, generator=generator) for _ in range(L)] for tap in TAPS}
    for x in [logits, *chain(*taps.values())]:
        x.requires_grad_(grad)
    return Seen(logits, taps, H)


def mapped(seen: Seen, change: Any) -> Seen:
    return Seen(
        change(seen.logits), {k: [change(x) for x in v] for k, v in seen.taps.items()}, seen.heads
    )


def tensors(seen: Seen) -> list[Tensor]:
    return [seen.logits, *chain(*seen.taps.values())]


def test_registry_is_the_union() -> None:
    assert set(TERMS) == set(get_args(get_args(DistillLoss)[0]))
    assert {tap_of(t()) for t in TERMS} | {"output"} <= {None, *TAPS}
    assert tap_of(Attention(at="output")) == "output"


@EVERY
@TASK
def test_zero_at_agreement_and_positive_elsewhere(term: Any, token: bool) -> None:
    teacher, scored = made(0, token), SCORED[token]
    agreement = term.value(mapped(teacher, torch.clone), teacher, scored, REAL)
    assert agreement.shape == ()
    assert agreement.item() == 0
    noise = torch.Generator().manual_seed(1)
    # 3 * x is what cosine would not see
    for change in (
        lambda x: 3 * x,
        lambda x: -x,
        lambda x: x + 0.01 * torch.randn(x.shape, generator=noise),
    ):
        assert term.value(mapped(teacher, change), teacher, scored, REAL).item() > 1e-7
    near, far = (
        term.value(mapped(teacher, lambda x, s=s: x * s), teacher, scored, REAL).item()
        for s in (1.1, 1.5)
    )
    assert far > near


@EVERY
@TASK
def test_no_gradient_to_the_teacher(term: Any, token: bool) -> None:
    student, teacher = made(0, token, grad=True), made(1, token, grad=True)
    term.value(student, teacher, SCORED[token], REAL).backward()
    assert all(x.grad is None for x in tensors(teacher))
    tap = tap_of(term)
    for x in student.taps[tap] if tap else [student.logits]:
        assert x.grad is not None
        assert x.grad.abs().max() > 0


@EVERY
@TASK
@pytest.mark.parametrize("garbage", [1e3, 1e30, float("nan"), float("inf")])
def test_blind_to_what_stands_in_padding(term: Any, token: bool, garbage: float) -> None:
    student, teacher, scored = made(0, token, grad=True), made(1, token), SCORED[token]
    plain = term.value(student, teacher, scored, REAL)

    def spoil(x: Tensor) -> Tensor:
        return x if x.ndim == 2 else torch.where(REAL[..., None], x, garbage)

    for s, t in ((spoil, spoil), (spoil, torch.clone), (torch.clone, spoil)):
        value = term.value(mapped(student, s), mapped(teacher, t), scored, REAL)
        assert value.item() == plain.item()
        for x in tensors(student):
            x.grad = None
        value.backward()
        for x in tensors(student):
            assert x.grad is None or torch.isfinite(x.grad).all()
            assert x.grad is None or x.ndim == 2 or not x.grad[~REAL].any()


@EVERY
@TASK
def test_blind_to_how_much_padding_there_is(term: Any, token: bool) -> None:
    student, teacher, scored = made(0, token), made(1, token), SCORED[token]
    plain = term.value(student, teacher, scored, REAL)

    def longer(x: Tensor) -> Tensor:
        return x if x.ndim == 2 else F.pad(x, (0, 0, 0, 5), value=2.0)

    wide = term.value(
        mapped(student, longer),
        mapped(teacher, longer),
        F.pad(scored, (0, 5)) if token else scored,
        F.pad(REAL, (0, 5)),
    )
    assert wide.item() == pytest.approx(plain.item(), rel=1e-6)


@EVERY
@TASK
def test_nothing_scored_is_zero_not_nan(term: Any, token: bool) -> None:
    student, teacher = made(0, token, grad=True), made(1, token)
    value = term.value(student, teacher, torch.zeros_like(SCORED[token]), torch.zeros_like(REAL))
    assert value.item() == 0
    value.backward()
    assert all(x.grad is None or not x.grad.any() for x in tensors(student))


@TASK
@pytest.mark.parametrize("t", [1.0, 2.0, 4.0])
def test_kld_formula(token: bool, t: float) -> None:
    """T^2 KL(teacher || student), mean over what is scored: torch's kl_div and scipy's, in this
    direction."""
    student, teacher, scored = made(0, token), made(1, token), SCORED[token]
    got = KLD(temperature=t).value(student, teacher, scored, REAL).item()
    s, u = student.logits[scored], teacher.logits[scored]
    assert got == pytest.approx(
        t
        * t
        * F.kl_div((s / t).log_softmax(-1), (u / t).softmax(-1), reduction="batchmean").item(),
        rel=1e-5,
    )
    p, q = (scipy.special.softmax(x.double().numpy() / t, axis=-1) for x in (u, s))
    assert got == pytest.approx(t * t * scipy.special.rel_entr(p, q).sum(-1).mean(), rel=1e-5)
    assert got != pytest.approx(t * t * scipy.special.rel_entr(q, p).sum(-1).mean(), rel=1e-2)


def test_kld_does_not_see_a_constant() -> None:
    """softmax(x + c) = softmax(x): such a change is no disagreement, and no test may perturb so."""
    teacher = made(1)
    assert KLD().value(mapped(teacher, lambda x: x + 5), teacher, SCORED[False], REAL).item() < 1e-6


def test_kld_counts_scored_positions_only() -> None:
    student, teacher, scored = made(0, True), made(1, True), SCORED[True]
    plain = KLD().value(student, teacher, scored, REAL)
    student.logits[~scored] += torch.randn(int((~scored).sum()), C)  # second subwords and padding
    assert torch.equal(KLD().value(student, teacher, scored, REAL), plain)


def test_attention_is_the_double_sum() -> None:
    """1 / (L H) sum over l and h of MSE(A_S[l, h], A_T[l, h]), in numpy, token by token."""
    student, teacher = made(0), made(1)
    real = REAL.numpy()
    total = 0.0
    for layer in range(L):
        for h in range(H):
            s, t = (
                x.taps["context"][layer].double().numpy()[..., h * D : (h + 1) * D]
                for x in (student, teacher)
            )
            differences = [
                s[b, i, d] - t[b, i, d]
                for b in range(B)
                for i in range(T)
                for d in range(D)
                if real[b, i]
            ]
            total += np.square(differences).mean()
    got = Attention().value(student, teacher, SCORED[False], REAL).item()
    assert got == pytest.approx(total / (L * H), rel=1e-5)


@pytest.mark.parametrize(
    ("term", "tap"), [(Hidden(), "hidden"), (Attention(at="output"), "output")]
)
def test_hidden_and_attention_output_are_means_over_blocks(term: Any, tap: str) -> None:
    student, teacher = made(0), made(1)
    real = REAL.numpy()
    parts = [
        np.square(s.double().numpy()[real] - t.double().numpy()[real]).mean()
        for s, t in zip(student.taps[tap], teacher.taps[tap], strict=True)
    ]
    assert term.value(student, teacher, SCORED[False], REAL).item() == pytest.approx(
        np.mean(parts), rel=1e-5
    )


@pytest.mark.parametrize("term", [Attention(), Attention(at="output"), Hidden()], ids=str)
def test_unequal_depth_is_an_error(term: Any) -> None:
    student, teacher = made(0), made(1)
    teacher.taps = {k: v[:1] for k, v in teacher.taps.items()}
    with pytest.raises(ValueError, match="zip"):
        term.value(student, teacher, SCORED[False], REAL)


@EVERY
def test_settings(term: Any) -> None:
    assert TypeAdapter(DistillLoss).validate_json(term.model_dump_json()) == term
    assert all(f.description for n, f in type(term).model_fields.items() if n != "kind")
    for bad in ({"weight": 0}, {"weight": -1}, {"wieght": 1}):
        with pytest.raises(ValidationError):
            type(term).model_validate(bad)
