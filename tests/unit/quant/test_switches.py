"""Padding, switches and noise of rewritten models in every family."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sdq.models.hooks import capture
from sdq.models.structure import modules
from sdq.quant.layers import QuantLinear, WeightQuantizer
from sdq.quant.observers import OBSERVERS, MinMax, Mse
from sdq.quant.rewrite import calibrate_, only, quantized_modules, quantizers, rewrite, set_noise_
from sdq.quant.spec import (
    ActivationSpec,
    PerChannel,
    PerGroup,
    PerTensor,
    PerToken,
    Rule,
    WeightSpec,
)
from tests.helpers.encoders import logits
from tests.helpers.rewriting import INT8, STATIC

ACTIVATIONS = [  # searching observers with few candidates: per token they are slow
    ActivationSpec(
        bits=bits,
        observer=observer(**({"candidates": 5} if "candidates" in observer.model_fields else {})),
        symmetric=symmetric,
        granularity=granularity,
        dynamic=dynamic,
    )
    for (bits, symmetric), observer, (granularity, dynamic) in itertools.product(
        ((8, True), (4, False)),
        OBSERVERS,
        ((PerToken(), True), (PerTensor(), True), (PerTensor(), False)),
    )
]


def _with_padding(
    model: nn.Module, spec: ActivationSpec, narrow: dict[str, Tensor], wide: dict[str, Tensor]
) -> None:
    """Runs in float64, where the sum order of a wider batch cannot move a value over a rounding
    tie."""
    results = []
    for batch in (narrow, wide):
        student = rewrite(model, [Rule(weight=WeightSpec(bits=4), activation=spec)])
        calibrate_(student, [batch])
        names = [n for n, m in quantized_modules(student).items() if isinstance(m, QuantLinear)]
        with capture(student, dict.fromkeys(names, "output")) as seen:
            out = logits(student, batch)
        real = batch["attention_mask"].bool()
        tensors = {name: x[real] if x.ndim == 3 else x for name, x in seen.items()} | {
            "logits": out[real] if out.ndim == 3 else out
        }
        if not spec.dynamic:
            tensors |= {k: v for k, v in student.state_dict().items() if "input_quantizer" in k}
        results.append(tensors)
    assert results[0].keys() == results[1].keys()
    for name, value in results[0].items():
        torch.testing.assert_close(
            results[1][name],
            value,
            rtol=1e-9,
            atol=1e-9,
            msg=lambda m, name=name: f"{name} depends on padding: {m}",
        )


@pytest.mark.parametrize(
    "spec",
    ACTIVATIONS,
    ids=lambda s: (
        f"{s.bits}-{s.observer.kind}-{s.granularity.kind}-{'dynamic' if s.dynamic else 'static'}"
    ),
)
def test_padding_changes_nothing(spec: ActivationSpec, tiny: Any, padded: Any) -> None:
    """More padding, and other tokens in it: every layer's output at real tokens, range and
    statistic stay."""
    model = tiny("xlmr", "token").double()
    _with_padding(model, spec, padded(model), padded(model, width=21, fill=17))


@pytest.mark.parametrize(
    "spec", [ActivationSpec(granularity=PerTensor()), STATIC], ids=["dynamic", "static"]
)
def test_padding_changes_nothing_in_any_family(
    spec: ActivationSpec, family: str, kind: str, tiny: Any, padded: Any
) -> None:
    model = tiny(family, kind).double()
    _with_padding(model, spec, padded(model), padded(model, width=21))


@pytest.mark.parametrize(
    "granularity", [PerTensor(), PerChannel(), PerGroup(size=8)], ids=lambda g: g.kind
)
def test_embedding_of_a_model_is_its_quantized_table(
    granularity: Any, tiny: Any, padded: Any
) -> None:
    model = tiny()
    spec = WeightSpec(bits=3, granularity=granularity, observer=Mse())
    student = rewrite(model, [Rule(roles=("embedding",), weight=spec)])
    batch = padded(model)
    name = modules(model)[0].name
    assert list(quantized_modules(student)) == [name]
    by_hand = copy.deepcopy(model)
    table = by_hand.get_submodule(name).weight
    with torch.no_grad():
        table.copy_(WeightQuantizer(spec).eval()(table))
    assert torch.equal(logits(student, batch), logits(by_hand, batch))
    assert not torch.equal(logits(student, batch), logits(model, batch))


def test_only_switches_exactly_the_named(tiny: Any, padded: Any) -> None:
    model = tiny()
    student, batch = rewrite(model, INT8), padded(model)
    names = list(quantized_modules(student))
    everything, outs = logits(student, batch), {}
    for name in names:
        with only(student, [name]):
            on = {n for n, q in quantizers(student).items() if q.enabled}
            assert on == {n for n in quantizers(student) if n.rpartition(".")[0] == name}
            outs[name] = logits(student, batch)
    assert all(
        not torch.equal(a, b)
        for a, b in itertools.combinations([*outs.values(), everything, logits(model, batch)], 2)
    )
    with only(student, iter(names)):  # an iterator is read once
        assert torch.equal(logits(student, batch), everything)
    assert torch.equal(logits(student, batch), everything)


def test_only_nests_and_restores(tiny: Any) -> None:
    student = rewrite(tiny(), INT8)
    a, b, *_ = quantized_modules(student)
    already_off = next(iter(quantized_modules(student)[b].children()))
    already_off.enabled = False

    def on() -> set[str]:
        return {n for n, q in quantizers(student).items() if q.enabled}

    start = on()
    with only(student, [a, b]):
        outer = on()
        assert not already_off.enabled  # `only` switches off, it never switches on
        with pytest.raises(ZeroDivisionError), only(student, [b]):  # noqa: PT012
            assert on() < outer
            raise ZeroDivisionError
        assert on() == outer
        with only(student, ()):
            assert on() == set()
            with only(student, [a]):
                assert on() == set()
            assert on() == set()
        assert on() == outer
    assert on() == start


def test_set_noise_reaches_every_quantizer(tiny: Any) -> None:
    student = rewrite(tiny(), INT8)
    set_noise_(student, 0.3, refresh=4)
    assert {q.noise for q in quantizers(student).values()} == {0.3}
    assert {q.refresh for q in quantizers(student).values() if isinstance(q, WeightQuantizer)} == {
        4
    }


def test_more_bits_are_closer(tiny: Any, padded: Any) -> None:
    """In relative L2 over all layers' weights, and every bit about halves it; never cosine."""
    model = tiny()
    errors = []
    for bits in range(2, 9):
        student = rewrite(model, [Rule(weight=WeightSpec(bits=bits, observer=MinMax()))])
        pairs = [
            (m.weight_quantizer(m.weight), m.weight) for m in quantized_modules(student).values()
        ]
        errors.append(
            (sum(((q - w) ** 2).sum() for q, w in pairs) / sum((w**2).sum() for _, w in pairs))
            .sqrt()
            .item()
        )
    assert all(0.3 < b / a < 0.6 for a, b in itertools.pairwise(errors))


def test_two_models_do_not_share_their_padding(tiny: Any, padded: Any) -> None:
    model = tiny()
    rules = [Rule(activation=ActivationSpec(granularity=PerTensor()))]
    one = rewrite(model, rules)
    two = copy.deepcopy(one)
    batch = padded(model)
    logits(one, batch)
    assert all(q.forward_pass.mask is None for q in quantizers(two).values())
    assert torch.equal(logits(two, batch), logits(one, batch))
