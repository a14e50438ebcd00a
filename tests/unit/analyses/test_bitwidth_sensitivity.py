"""The costs of widths against models made by hand; what was rounded otherwise for a moment is as it
was."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
from torch import nn

from sdq.analyses.bitwidth_sensitivity import (
    WIDTHS,
    bitwidth_sensitivity,
    summed_sensitivity,
    weights_rounded_to,
)
from sdq.analyses.divergence import METRICS
from sdq.analyses.sensitivity import scan
from sdq.data.batches import Encoded
from sdq.models.structure import modules
from sdq.quant.mixed_precision import FP
from sdq.quant.rewrite import calibrate_, quantized_modules, quantizers, rewrite
from sdq.quant.size import size_bytes
from sdq.quant.spec import ActivationSpec, PerChannel, PerGroup, PerTensor, Rule, WeightSpec
from tests.helpers.training import text

STATIC = ActivationSpec(bits=6, symmetric=False, granularity=PerTensor(), dynamic=False)
RULES = (
    Rule(weight=WeightSpec(bits=5, granularity=PerTensor(), symmetric=False), activation=STATIC),
    Rule(roles=("embedding",), weight=WeightSpec(bits=4)),
    Rule(
        roles=("ffn_in",),
        weight=WeightSpec(bits=3, granularity=PerGroup(size=8)),
        activation=ActivationSpec(bits=5),
    ),
    Rule(roles=("k",), activation=STATIC),
    Rule(roles=("v",)),
)
TOKEN = pytest.mark.parametrize("token", [False, pytest.param(True, marks=pytest.mark.slow)])


def student_of(model: nn.Module, data: Encoded, rules: tuple[Rule, ...] = RULES) -> nn.Module:
    student = rewrite(model, rules)
    calibrate_(student, [b.inputs for b in data.in_order(4)])
    return student.eval()


def languages(data: Encoded) -> list[str]:
    return (["en", "de", "de"] * len(data))[: len(data)]


def divergence(model: Any, other: Any, data: Encoded) -> float:
    """Mean KL over positions, one sentence at a time."""
    specs = []
    for i in range(len(data)):
        batch = data.batch([i])
        with torch.no_grad():
            p, q = (m(**batch.inputs).logits.double().log_softmax(-1) for m in (model, other))
        kl = (p.exp() * (p - q)).sum(-1)
        specs += kl[batch.scored].tolist() if data.token else kl.tolist()
    return sum(specs) / len(specs)


@TOKEN
def test_costs_are_those_of_models_made_by_hand(token: bool, tiny: Any) -> None:
    """Each row of the table as a model of its own, in which one rule quantizes one module."""
    model, data = tiny("xlmr", "token" if token else "sequence"), text(token, n=3)
    student = student_of(model, data)
    table = bitwidth_sensitivity(student, data, languages(data), (2,), batch_size=2)
    by_role = {m.name: m.role for m in modules(model)}
    assert set(table["module"]) == {
        name for name, role in by_role.items() if role not in ("k", "v")
    }
    for row in table[table["block"] < 1].itertuples():
        if row.bits == FP:
            assert (row.cost, row.low, row.high, row.ranges, row.present) == (0, 0, 0, "", False)
            continue
        base = {"embedding": RULES[1], "ffn_in": RULES[2]}.get(row.role, RULES[0])
        assert base.weight is not None
        granularity = {"tensor": PerTensor(), "channel": PerChannel(), "group": PerGroup(size=8)}[
            row.ranges
        ]
        spec = base.weight.model_copy(update={"bits": row.bits, "granularity": granularity})
        alone = rewrite(model, (Rule(name=row.module, weight=spec, activation=base.activation),))
        ours, theirs = quantizers(alone), quantizers(student)
        for name in (
            n for n in ours if n.endswith("input_quantizer") and base.activation == STATIC
        ):
            ours[name].load_state_dict(theirs[name].state_dict())
        assert row.cost == pytest.approx(
            divergence(model, alone.eval(), data), rel=1e-3, abs=1e-9
        ), row
        assert row.present == (spec == base.weight)
        assert (
            size_bytes(model)["fp32"] - size_bytes(alone)["quantized_simulated"]
            == model.get_submodule(row.module).weight.numel() * 4 - row.bytes
        )


def test_rows_are_the_widths_and_ranges_there_are_to_choose_from(tiny: Any) -> None:
    model, data = tiny("bert"), text(n=4)
    table = bitwidth_sensitivity(student_of(model, data), data, languages(data), (2, 3, 4))
    per = table.groupby("role", sort=False)[["bits", "ranges"]].agg(list)
    twice = {"bits": [2, 2, 3, 3, 4, 4, 5, 5, FP], "ranges": ["tensor", "channel"] * 4 + [""]}
    for role in ("q", "attention_output", "ffn_out"):
        rows = table[(table["role"] == role) & (table["block"] == 0)]
        assert {c: rows[c].tolist() for c in twice} == twice
    assert (per.loc["embedding", "bits"], per.loc["embedding", "ranges"]) == (
        [2, 3, 4, FP],
        ["channel"] * 3 + [""],
    )
    assert per.loc["ffn_in", "ranges"][:4] == ["group"] * 3 + [""]
    assert table.groupby("module")["present"].sum().eq(1).all()
    assert (table["low"] <= table["cost"]).all()
    assert (table["high"] >= table["cost"]).all()
    assert WIDTHS == (2, 3, 4, 6, 8)


def test_total_is_what_the_student_has_now(tiny: Any) -> None:
    model, data = tiny("distilbert"), text(n=3)
    student = student_of(model, data, RULES[:3])
    table = bitwidth_sensitivity(student, data, languages(data), (3,))
    assert summed_sensitivity(student, data, languages(data)) == math.fsum(
        table.loc[table["present"], "cost"]
    )
    assert math.fsum(table.loc[table["present"], "cost"]) > 0


def test_the_student_is_as_it_was(tiny: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = tiny(), text(n=4)
    student = student_of(model, data)
    before = dict(quantizers(student))
    table = scan(student, data, languages(data), ("all",))
    bitwidth_sensitivity(student, data, languages(data), (2,))

    def unchanged() -> bool:
        now = quantizers(student)
        return list(now) == list(before) and all(
            now[name] is before[name] and now[name].enabled for name in before
        )

    assert unchanged()
    assert scan(student, data, languages(data), ("all",))[list(METRICS)].equals(
        table[list(METRICS)]
    )
    name = next(iter(quantized_modules(student)))
    with pytest.raises(StopIteration), weights_rounded_to(student, {name: WeightSpec(bits=2)}):
        next(iter(()))
    assert unchanged()
    with weights_rounded_to(student, {name: WeightSpec(bits=2)}):
        assert not unchanged()
    assert unchanged()
