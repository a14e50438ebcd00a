"""Activations beside the inputs of Linear layers: exact, chosen by roles, blind to padding, the
same without rules, and trainable, in every family."""

from __future__ import annotations

import copy
from collections import Counter
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn
from torch.nn import functional as F

from sdq.io.explain import explain
from sdq.models.families import PRODUCT_ROLES, SITE_ROLES
from sdq.models.structure import blocks, sites
from sdq.quant.layers import ForwardPass
from sdq.quant.mixed_precision import keep_worst
from sdq.quant.observers import OBSERVERS, Percentile
from sdq.quant.rewrite import calibrate_, only, quantized_sites, quantizers, rewrite
from sdq.quant.sites import ProbabilityQuantizer
from sdq.quant.size import size_bytes
from sdq.quant.spec import ActivationSpec, PerTensor, PerToken, Rule, WeightSpec
from sdq.settings import UserError
from tests.helpers.encoders import logits
from tests.helpers.sites import FULL, STATIC, at_sites, codes, of_real, passed

KINDS = {"symmetric": True, "affine": False}
SPECS = {
    f"{kind}-{name}": ActivationSpec(symmetric=symmetric, granularity=granularity, dynamic=dynamic)
    for name, symmetric in KINDS.items()
    for kind, granularity, dynamic in (
        ("static", PerTensor(), False),
        ("batch", PerTensor(), True),
        ("token", PerToken(), True),
    )
}
EACH_SPEC = pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS.keys())


def full(model: nn.Module, *batches: dict[str, Tensor]) -> nn.Module:
    student = rewrite(model, FULL).eval()
    calibrate_(student, batches)
    return student


def context_of(attention: nn.Module, student: nn.Module, batch: dict[str, Tensor]) -> Tensor:
    """What the second product gives in one pass [B, T, H * d]."""
    out: list[Tensor] = []
    handle = attention.register_forward_hook(lambda m, args, given: out.append(given[0]))
    logits(student, batch)
    handle.remove()
    return out[0]


# --- exact


@EACH_SPEC
def test_every_site_gives_what_its_integers_stand_for(
    eager: Any, padded: Any, spec: ActivationSpec
) -> None:
    """Bit for bit, with ranges that are found here, sentence by sentence, on what is no padding."""
    model = eager("bert")
    batch, student = padded(model), rewrite(model, at_sites(spec)).eval()
    calibrate_(student, [batch])
    with only(student, ()):  # the values that static ranges were measured on
        exact = passed(student, batch)
    rounded = passed(student, batch)
    assert rounded.keys() == quantized_sites(student).keys() == {s.quantizer for s in sites(model)}
    for name, calls in rounded.items():
        keys = name.endswith("attention_probs_quantizer")
        per_token = quantizers(student)[name].spec.granularity == PerToken()
        for (x, out), (before, _) in zip(calls, exact[name], strict=True):
            if per_token:
                low, high = x.amin(-1, keepdim=True), x.amax(-1, keepdim=True)
            else:
                seen = of_real(x if spec.dynamic else before, batch["attention_mask"], keys)
                low, high = (torch.stack([end(s) for s in seen]) for end in (torch.min, torch.max))
                low, high = low.min(), high.max()
            q, zero, scale = codes(x, low, high, spec.symmetric)
            assert torch.equal((q - zero).float() * scale, out), name
            assert not torch.equal(out, x)


def test_both_products_are_those_of_integers(eager: Any, padded: Any) -> None:
    """Scales are powers of two here, so float32 holds every sum of products exactly: below 2^24
    steps, as 8 * 255 * 255 and 9 * 255 * 255 are. Then the two must be equal bit for bit."""
    model = eager("bert")
    batch = padded(model)
    for symmetric in (True, False):
        spec = STATIC.model_copy(update={"symmetric": symmetric})
        student = rewrite(model, (Rule(roles=PRODUCT_ROLES, activation=spec),)).eval()
        calibrate_(student, [batch])
        for quantizer in quantized_sites(student).values():
            quantizer.scale = torch.exp2(torch.floor(torch.log2(quantizer.scale)))
        name = f"{blocks(model)[0]}.attention.self"
        attention: Any = student.get_submodule(name)
        seen, out = passed(student, batch), context_of(attention, student, batch)
        operands = []
        for role in PRODUCT_ROLES:
            q = quantized_sites(student)[f"{name}.{role}_quantizer"]
            x = seen[f"{name}.{role}_quantizer"][0][0]  # [B, T, H, n]
            bottom, top = (-127, 127) if symmetric else (0, 255)
            code = ((x / q.scale).round() + q.zero).clamp(bottom, top).long()
            operands.append((code.transpose(1, 2) - q.zero.long(), q.scale))
        (query, sq), (key, sk), (probs, sp), (value, sv) = operands
        scores = (query @ key.transpose(-1, -2)).float() * (sq * sk) * attention.scaling
        mask = torch.where(batch["attention_mask"].bool(), 0.0, torch.finfo(torch.float32).min)
        expected = F.softmax(scores + mask[:, None, None], dim=-1)
        assert torch.equal(
            expected, seen[f"{name}.attention_probs_quantizer"][0][0].transpose(1, 2)
        )
        context = ((probs @ value).float() * (sp * sv)).transpose(1, 2).flatten(2)
        assert torch.equal(context, out)


@EACH_SPEC
def test_products_with_any_scale_are_those_of_integers(
    eager: Any, padded: Any, spec: ActivationSpec
) -> None:
    """Within what float32 can differ by: the products have at most 9 terms, each rounded three
    times on its way, so a sum is off by no more than 16 units in the last place of its terms."""
    model = eager("bert")
    batch, student = padded(model), rewrite(model, at_sites(spec)).eval()
    calibrate_(student, [batch])
    name = f"{blocks(model)[0]}.attention.self"
    seen = passed(student, batch)
    out = context_of(student.get_submodule(name), student, batch)
    rounded = {}
    for role in ("attention_probs", "attention_value"):
        q, (x, _) = (
            quantized_sites(student)[f"{name}.{role}_quantizer"],
            seen[f"{name}.{role}_quantizer"][0],
        )
        scale, zero = (t.reshape(*x.shape[:-1], 1) if len(t) > 1 else t for t in q.ranges(x))
        bottom, top = (-127, 127) if spec.symmetric else (0, 255)
        code = ((x / scale).round() + zero).clamp(bottom, top).long() - zero.long()
        rounded[role] = code.transpose(1, 2), scale.double().expand_as(x).transpose(1, 2)
    (p, scale_p), (v, scale_v) = rounded.values()
    # one scale per row of probabilities, one for all values: both stand before the integer sum
    steps = scale_p[..., :1] * scale_v[:, :, :1, :1]
    expected = ((p @ v).double() * steps).transpose(1, 2).flatten(2)
    size = ((p.abs() @ v.abs()).double() * steps).transpose(1, 2).flatten(2)
    assert ((expected - out).abs() <= 16 * 2**-24 * size).all()


# --- in every family


def test_full_integer_in_every_family(architecture: str, eager: Any, padded: Any) -> None:
    """Every role has its sites; all are seen; off is FP32 bit for bit; what stands in padding
    changes no range and no answer; what is saved gives the same again."""
    model = eager(architecture)
    count = Counter(s.role for s in sites(model))
    n = len(blocks(model))
    assert [count[role] for role in (*PRODUCT_ROLES, "ffn_activation")] == [n] * 5
    assert count["residual"] >= 2 * n
    assert count["layernorm"] >= 2 * n
    batch, other = padded(model), padded(model, fill=7)
    student, again = full(model, batch), full(model, other)
    assert all(q.calibrated for q in quantized_sites(student).values())
    assert len(quantized_sites(student)) == len(sites(model)) == len(sites(student))
    state = student.state_dict()
    assert all(torch.equal(state[name], t) for name, t in again.state_dict().items())
    exact, rounded = logits(model, batch), logits(student, batch)
    assert torch.equal(rounded, logits(again, other))
    assert 0 < float((rounded - exact).norm() / exact.norm()) < 0.2
    with only(student, ()):
        assert torch.equal(logits(student, batch), exact)
    loaded = rewrite(model, FULL).eval()
    loaded.load_state_dict({name: t.clone() for name, t in state.items()})
    assert torch.equal(logits(loaded, batch), rounded)
    assert torch.equal(logits(copy.deepcopy(student), batch), rounded)
    with pytest.raises(UserError, match="must not be saved as a transformers checkpoint"):
        student.save_pretrained("never")  # type: ignore[operator]


def test_sentences_do_not_mind_their_batch(eager: Any, padded: Any) -> None:
    """Alone or beside a longer one; ranges are per token, or static: that of values always is."""
    model = eager("xlmr")
    batch = padded(model, (9, 4))
    alone = {name: t[1:, :4] for name, t in batch.items()}
    values = Rule(roles=("attention_value",), activation=STATIC)
    for rules in (FULL, *((*at_sites(SPECS[f"token-{kind}"]), values) for kind in KINDS)):
        student = rewrite(model, rules).eval()
        calibrate_(student, [batch])
        beside = {n: c[0][1][1, :4] for n, c in passed(student, batch).items()}
        for name, calls in passed(student, alone).items():
            got, other = calls[0][1][0], beside[name]
            other = other[..., :4] if "attention_probs" in name else other
            # sums of other lengths may round a value to the neighbouring code, seldom
            assert (got - other).abs().lt(1e-5).float().mean() > 0.97, name


@pytest.mark.parametrize(
    "observer",
    [*(observer() for observer in OBSERVERS), Percentile(percent=80)],
    ids=lambda o: f"{o.kind}-{getattr(o, 'percent', '')}",
)
@pytest.mark.parametrize("granularity", [PerTensor(), PerToken()], ids=lambda g: g.kind)
def test_padded_keys_are_no_values(observer: Any, granularity: Any) -> None:
    """Probabilities of padded keys are 0; an observer that counts zeros must not count those."""
    spec = ActivationSpec(granularity=granularity, symmetric=False, observer=observer)
    generator = torch.Generator().manual_seed(0)
    short = torch.randn(1, 5, 3, 5, generator=generator).softmax(-1)  # [B, T, H, T]
    padded = torch.zeros(1, 12, 3, 12)
    padded[:, :5, :, :5] = short
    padded[:, 5:, :, :5] = 0.2
    results = []
    for x in (short, padded):
        forward_pass = ForwardPass()
        forward_pass.mask = torch.arange(x.shape[1])[None] < 5
        results.append(ProbabilityQuantizer(spec, forward_pass).eval()(x)[:, :5, :, :5])
    assert torch.equal(*results)


# --- chosen by roles


def test_sites_are_rounded_only_if_a_rule_names_them(eager: Any) -> None:
    model = eager("bert")
    assert not quantized_sites(rewrite(model, FULL[:1]))
    some = rewrite(model, (Rule(roles=("residual",), name="*.layer.1.*", activation=STATIC),))
    assert len(quantized_sites(some)) == 2
    assert all(".layer.1." in name for name in quantized_sites(some))
    kept = rewrite(model, (*FULL, Rule(roles=("attention_probs",))))
    assert not any("attention_probs" in name for name in quantized_sites(kept))
    worst = next(iter(quantized_sites(kept)))
    without = rewrite(model, keep_worst({worst: 1.0}, 1, FULL))
    assert set(quantized_sites(rewrite(model, FULL))) - set(quantized_sites(without)) == {worst}


@pytest.mark.parametrize(
    ("rule", "said"),
    [
        ({"roles": ["residual"], "weight": {}}, "residual has none; take `weight` out"),
        ({"roles": ["attention_value"], "activation": {}}, "must have one range per tensor"),
    ],
)
def test_rules_that_no_integer_could_follow_are_refused(rule: Any, said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Rule.model_validate(rule)
    assert said in explain(caught.value)


def test_attention_that_is_computed_as_a_whole_is_refused(eager: Any, padded: Any) -> None:
    model = eager("bert")
    batch = padded(model)
    student = full(model, batch)
    student.set_attn_implementation("sdpa")  # type: ignore[operator]
    with pytest.raises(UserError, match="attention must be two matrix products with a softmax"):
        logits(student, batch)
    model.set_attn_implementation("sdpa")
    with pytest.raises(UserError, match="attention must be eager for attention_query to be"):
        rewrite(model, FULL)


def test_static_ranges_of_sites_take_bytes(eager: Any) -> None:
    model = eager("bert")
    plain = size_bytes(rewrite(model, FULL[:1]))["quantized_simulated"]
    symmetric = STATIC.model_copy(update={"symmetric": True})
    for spec, each in ((STATIC, 5), (symmetric, 4), (ActivationSpec(granularity=PerTensor()), 0)):
        rules = (FULL[0], Rule(roles=SITE_ROLES, activation=spec))
        assert size_bytes(rewrite(model, rules))["quantized_simulated"] - plain == each * 20


def test_observers_are_chosen_for_sites(eager: Any, padded: Any) -> None:
    """A range that leaves out the largest probabilities clips them, and how many those are does not
    hang on the padding of the calibration sentences."""
    model = eager("bert")
    batch = padded(model)
    cut = STATIC.model_copy(update={"observer": Percentile(percent=90)})
    student = rewrite(model, (Rule(roles=("attention_probs",), activation=cut),)).eval()
    calibrate_(student, [batch])
    for calls in passed(student, batch).values():
        assert calls[0][1].max() < calls[0][0].max()
    scales = [q.scale.clone() for q in quantized_sites(student).values()]
    calibrate_(student, [padded(model, width=20)])
    for quantizer, scale in zip(quantized_sites(student).values(), scales, strict=True):
        assert quantizer.scale.item() == pytest.approx(scale.item(), rel=1e-2)


def test_weights_with_sites_are_those_without(eager: Any) -> None:
    """The parameters keep their names; the rules of layers do to them what they did."""
    model = eager("albert")
    student = rewrite(model, (Rule(weight=WeightSpec()), FULL[1]))
    assert dict(student.named_parameters()).keys() == dict(model.named_parameters()).keys()
