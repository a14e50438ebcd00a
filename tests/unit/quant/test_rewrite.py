"""rewrite and calibrate_ on every model family: exact where two paths are the same arithmetic."""

from __future__ import annotations

import copy
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from sdq.models.families import ROLES
from sdq.models.hooks import capture
from sdq.models.structure import blocks, heads, modules
from sdq.quant.layers import ActivationQuantizer, QuantEmbedding, QuantLinear
from sdq.quant.observers import OBSERVERS
from sdq.quant.rewrite import calibrate_, only, quantized_modules, quantizers, rewrite, set_noise_
from sdq.quant.spec import Rule, WeightSpec
from sdq.settings import UserError
from tests.helpers.encoders import logits
from tests.helpers.rewriting import INT8, STATIC

W4_STATIC = (Rule(weight=WeightSpec(bits=4), activation=STATIC),)


def test_roles(family: str, kind: str, tiny: Any) -> None:
    """Six per block, the word embedding, and every Linear outside the blocks is the head; in
    forward order."""
    model = tiny(family, kind)
    candidates = modules(model)
    outside = sum(isinstance(m, nn.Linear) and ".layer." not in n for n, m in model.named_modules())
    assert Counter(m.role for m in candidates) == {role: 2 for role in ROLES if role != "qkv"} | {
        "embedding": 1,
        "head": outside,
    }
    assert outside == (2 if kind == "sequence" else 1)
    assert len(blocks(model)) == 2
    assert heads(model) == (12 if family == "minilm" else 3)
    for block, name in enumerate(blocks(model)):
        inside = [m for m in candidates if m.name.startswith(name + ".")]
        assert [(m.role, m.block) for m in inside] == [
            (role, block) for role in ROLES[1:-1] if role != "qkv"
        ]
    assert [m.block for m in candidates if m.role in ("embedding", "head")] == [-1] * (1 + outside)


def test_order_is_that_of_the_forward_pass(family: str, kind: str, tiny: Any, padded: Any) -> None:
    model = tiny(family, kind)
    student = rewrite(model, INT8)
    called: list[str] = []
    wanted = {m.name for m in modules(model)}
    for name, module in model.named_modules():
        if name in wanted:
            module.register_forward_hook(lambda m, a, o, name=name: called.append(name))
    logits(model, padded(model))
    assert [m.name for m in modules(model)] == called
    assert list(quantized_modules(student)) == called


def test_not_an_encoder() -> None:
    with pytest.raises(UserError, match="must be an encoder"):
        modules(nn.Sequential(nn.Linear(2, 2)))


def test_off_is_fp32_bit_for_bit(family: str, kind: str, tiny: Any, padded: Any) -> None:
    model = tiny(family, kind)
    student, batch = rewrite(model, INT8), padded(model)
    with only(student, ()):
        assert torch.equal(logits(student, batch), logits(model, batch))
    assert not torch.equal(logits(student, batch), logits(model, batch))


def test_the_fp32_model_is_untouched(family: str, kind: str, tiny: Any, padded: Any) -> None:
    model = tiny(family, kind)
    state, batch = copy.deepcopy(model.state_dict()), padded(model)
    out = logits(model, batch)
    student = rewrite(model, W4_STATIC)
    calibrate_(student, [batch])
    set_noise_(student, 0.5)
    student.train()
    student(**batch).logits.sum().backward()
    torch.optim.SGD(student.parameters(), lr=1.0).step()
    assert torch.equal(logits(model, batch), out)
    assert model.state_dict().keys() == state.keys()
    assert all(torch.equal(v, state[k]) for k, v in model.state_dict().items())
    assert not any(
        isinstance(m, (QuantLinear, QuantEmbedding)) or m.training or m._forward_pre_hooks
        for m in model.modules()
    )
    assert all(p.grad is None for p in model.parameters())


def test_a_rule_that_matches_nothing(tiny: Any) -> None:
    model = tiny()
    for rule, words in (
        (Rule(name="nowhere.*"), "'nowhere.*'"),
        (Rule(roles=("head",), name="*.layer.*"), "head"),
    ):
        with pytest.raises(ValueError, match="must match at least one module") as caught:
            rewrite(model, [*INT8, rule])
        assert words in str(caught.value)


def test_a_later_rule_wins(tiny: Any, padded: Any) -> None:
    model = tiny()
    student = rewrite(
        model,
        [
            *INT8,
            Rule(roles=("q", "k"), weight=WeightSpec(bits=2)),
            Rule(name="*.layer.1.*"),
            Rule(name="*.layer.1.*query", weight=WeightSpec(bits=3)),
        ],
    )
    candidates = quantized_modules(student)
    for m in modules(model):
        if m.block == 1 and m.role != "q":
            assert m.name not in candidates  # a rule without specs leaves FP32
            assert type(student.get_submodule(m.name)) is nn.Linear
            continue
        bits = 3 if m.block == 1 else 2 if m.role in ("q", "k") else 8
        assert candidates[m.name].weight_quantizer.spec.bits == bits
        if m.role in ("q", "k"):
            assert candidates[m.name].input_quantizer is None
    assert torch.isfinite(logits(student, padded(model))).all()


def test_no_rules_is_a_plain_copy(tiny: Any, padded: Any) -> None:
    model = tiny()
    copied, batch = rewrite(model, ()), padded(model)
    assert copied is not model
    assert quantizers(copied) == {}
    assert torch.equal(logits(copied, batch), logits(model, batch))


def test_static_needs_calibration(tiny: Any, padded: Any) -> None:
    model = tiny()
    student, batch = rewrite(model, W4_STATIC), padded(model)
    with pytest.raises(RuntimeError, match="calibrate_"):
        logits(student, batch)
    with pytest.raises(RuntimeError, match="must see values"):
        calibrate_(student, [])
    with pytest.raises(RuntimeError, match="calibrate_"):
        logits(student, batch)
    calibrate_(student, [batch])
    assert torch.isfinite(logits(student, batch)).all()
    assert not any(
        q.observing for q in quantizers(student).values() if isinstance(q, ActivationQuantizer)
    )
    calibrate_(rewrite(model, INT8), [])  # nothing to do, nothing to complain about


@pytest.mark.parametrize("observer", OBSERVERS, ids=lambda o: o().kind)
def test_calibration_is_reproducible_and_survives_saving(
    observer: Any, tiny: Any, padded: Any, tmp_path: Path
) -> None:
    model = tiny()
    rules = [
        Rule(
            weight=WeightSpec(bits=4), activation=STATIC.model_copy(update={"observer": observer()})
        )
    ]
    batches = [padded(model, seed=s) for s in range(3)]
    student, again = rewrite(model, rules), rewrite(model, rules)
    for _ in range(2):  # a second calibration forgets the first
        calibrate_(student, batches)
    calibrate_(again, batches)
    before, after = student.state_dict(), again.state_dict()
    assert before.keys() == after.keys()
    assert all(torch.equal(before[k], after[k]) for k in before)
    assert any("input_quantizer.scale" in k for k in before)
    save_file(before, tmp_path / "model.safetensors")
    loaded = rewrite(tiny(seed=9), rules)
    loaded.load_state_dict(load_file(tmp_path / "model.safetensors"))
    assert torch.equal(logits(loaded, batches[0]), logits(student, batches[0]))
    for q in quantizers(loaded).values():
        assert not isinstance(q, ActivationQuantizer) or bool(q.calibrated)


def test_calibration_sees_fp32_activations_of_all_batches(tiny: Any, padded: Any) -> None:
    model = tiny()
    student = rewrite(model, W4_STATIC)
    batches = [padded(model, seed=s) for s in range(3)]
    calibrate_(student, batches)
    for name, module in quantized_modules(student).items():
        if isinstance(module, QuantEmbedding):
            continue
        low, high = 0.0, 0.0
        for batch in batches:
            with capture(model, {name: "input"}) as seen:
                logits(model, batch)
            x = seen[name]
            x = x[batch["attention_mask"].bool()] if x.ndim == 3 else x
            low, high = min(low, x.min().item()), max(high, x.max().item())
        assert module.input_quantizer.scale.item() == pytest.approx((high - low) / 255, rel=1e-6)


@pytest.mark.parametrize("trouble", [False, True])
def test_calibration_keeps_mode_and_switches(trouble: bool, tiny: Any, padded: Any) -> None:
    model = tiny()
    student = rewrite(model, W4_STATIC).train()
    first = next(iter(quantizers(student).values()))
    first.enabled = False
    if trouble:
        with pytest.raises(IndexError):
            calibrate_(student, [{"input_ids": torch.tensor([[10_000]])}])
    else:
        calibrate_(student, [padded(model)])
    assert student.training
    assert [q.enabled for q in quantizers(student).values()].count(False) == 1
    assert not first.enabled
    assert not any(getattr(q, "observing", False) for q in quantizers(student).values())
