"""The estimate against Jacobians and against the scan."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from sdq.analyses import fisher
from sdq.analyses.fisher import agreement, estimate
from sdq.analyses.sensitivity import scan
from sdq.data.batches import IGNORE, Encoded
from sdq.evaluate.ranking import Agreement
from sdq.models.hooks import capture
from sdq.quant.layers import QuantEmbedding
from sdq.quant.rewrite import calibrate_, only, quantized_modules, quantizers, rewrite
from sdq.quant.spec import ActivationSpec, PerTensor, Rule, WeightSpec
from sdq.results import EVERY
from tests.helpers.scans import ACTIVATIONS, FINE, ROUGH, pad_of, spoken
from tests.helpers.training import text

# --- the estimate


def roundings(module: Any, x: Tensor) -> dict[str, Tensor]:
    """What rounding the weight alone and the input alone does to the module's output."""
    exact, estimated = (
        F.embedding(x, module.weight)
        if isinstance(module, QuantEmbedding)
        else F.linear(x, module.weight, module.bias),
        {},
    )
    for part, quantizer in (("weight", "weight_quantizer"), ("activation", "input_quantizer")):
        if hasattr(module, quantizer):
            others = [q for n, q in module.named_children() if n != quantizer]
            for q in others:
                q.enabled = False
            estimated[part] = module(x) - exact
            for q in others:
                q.enabled = True
    return estimated


def curvature(student: nn.Module, data: Encoded) -> pd.DataFrame:
    """1/2 of the variance, under the FP32 predictions, of the first-order change of the logits, per
    position: from whole Jacobians."""
    names = list(quantized_modules(student))
    total = pd.DataFrame(0.0, index=names, columns=["weight", "activation"])
    for i in range(len(data)):  # one at a time: no padding at all
        batch = data.batch([i])
        with (
            capture(student, dict.fromkeys(names, "output")) as y,
            capture(student, dict.fromkeys(names, "input")) as x,
            only(student, ()),
        ):
            z = student(**batch.inputs).logits[batch.scored]
        with torch.no_grad():
            d = {
                name: roundings(module, x[name])
                for name, module in quantized_modules(student).items()
            }
        for position in z:
            p = position.softmax(-1).detach()
            jacobian = [
                torch.autograd.grad(c, [y[name] for name in names], retain_graph=True)
                for c in position
            ]
            for at, name in enumerate(names):
                for part, change in d[name].items():
                    moved = torch.stack([(row[at] * change).sum() for row in jacobian])
                    total.loc[name, part] += float((p * (moved - (p * moved).sum()) ** 2).sum()) / 2
    return total / sum(label != IGNORE for row in data.labels for label in row)


@pytest.mark.parametrize(
    ("kind", "static"), [("sequence", False), ("token", False), ("token", True)]
)
def test_the_estimate_is_the_curvature_from_whole_jacobians(
    family: str, kind: str, static: bool, tiny: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With directions whose mean square is the Fisher information exactly: sqrt(p of c) (one-hot of
    c - p), of each position and class."""

    def every(logits: Tensor, asked: Tensor, at: list[int], draws: int) -> Tensor:
        p = logits[asked].softmax(-1)  # [n, C]
        u = p.sqrt()[..., None] * (torch.eye(p.shape[-1]) - p[:, None])  # [n, C, C]
        directions = torch.zeros(len(p), p.shape[-1], *logits.shape)
        for i, position in enumerate(torch.nonzero(asked).tolist()):
            directions[i][(slice(None), *position)] = u[i] * math.sqrt(draws)
        return directions.flatten(0, 1)

    monkeypatch.setattr(fisher, "_directions", every)
    activation = ACTIVATIONS["static"] if static else ACTIVATIONS["token"]
    student = rewrite(
        tiny(family, kind),
        (Rule(weight=WeightSpec(bits=3, granularity=PerTensor()), activation=activation),),
    )
    data = text(kind == "token", n=4, pad=pad_of(student))
    calibrate_(student, [b.inputs for b in data.in_order(4)])
    positions = sum(label != IGNORE for row in data.labels for label in row)
    table = estimate(student, data, batch_size=4, draws=3 * positions).set_index("module")
    expected = curvature(student, data)
    assert list(table.index) == list(expected.index)
    assert np.allclose(table["weight"], expected["weight"], rtol=1e-3, atol=1e-12)
    # another batch may round another way
    assert np.allclose(table["activation"], expected["activation"], rtol=0.02, atol=1e-12)
    assert np.allclose(table["estimate"], table["weight"] + table["activation"])
    assert (expected.loc[table["role"] != "embedding"] > 0).all(axis=None)


@pytest.mark.parametrize("token", [False, True])
def test_random_directions_have_the_fisher_information(token: bool) -> None:
    batch = text(token, n=3).batch([2, 0, 1])
    logits = torch.randn(*batch.labels.shape, 3, generator=torch.Generator().manual_seed(0))
    u = fisher._directions(logits, batch.scored, batch.at, 20_000)
    assert (u[:, ~batch.scored] == 0).all()
    u = u[:, batch.scored].flatten(1)  # [draws, n C]
    p = logits[batch.scored].softmax(-1)
    assert torch.allclose(
        u.T @ u / len(u),
        torch.block_diag(*(torch.diag(q) - torch.outer(q, q) for q in p)),
        atol=0.015,
    )
    other = fisher._directions(logits[[1]], batch.scored[[1]], [batch.at[1]], 20_000)
    assert torch.equal(
        other[:, batch.scored[[1]]].flatten(1),
        u[:, 3 * int(batch.scored[0].sum()) :][:, : 3 * int(batch.scored[1].sum())],
    )


@pytest.mark.parametrize("kind", ["sequence", "token"])
def test_small_roundings_have_the_exact_divergence(kind: str, tiny: Any) -> None:
    student, data = (
        rewrite(tiny("xlmr", kind), (Rule(weight=WeightSpec(bits=8)),)),
        text(kind == "token", n=24),
    )
    exact = scan(student, data, spoken(data), ("one",))
    table = estimate(student, data, draws=400)
    kl = exact[exact["language"] == EVERY].set_index("module")["kl"]
    ratio = table.set_index("module")["estimate"] / kl
    assert ratio.between(0.9, 1.1).all(), ratio.describe()
    assert agreement(table, exact).rho > 0.98
    assert agreement(table, exact).n == len(table)


def test_the_estimate_does_not_depend_on_batches_or_chance(tiny: Any) -> None:
    student, data = rewrite(tiny("xlmr", "token"), FINE), text(True, n=9)
    torch.manual_seed(5)
    one, state = estimate(student, data, batch_size=1), torch.random.get_rng_state()
    torch.manual_seed(6)
    many, again = estimate(student, data, batch_size=9), estimate(student, data, batch_size=9)
    assert many.equals(again)
    assert np.allclose(one["weight"], many["weight"], rtol=1e-3)
    assert np.allclose(one["activation"], many["activation"], rtol=0.05)
    torch.manual_seed(5)
    # nothing is drawn from the generator others use
    assert torch.equal(torch.random.get_rng_state(), state)
    assert not estimate(student, data, draws=1)["estimate"].equals(many["estimate"])


@pytest.mark.parametrize("raises", [False, True])
def test_the_estimate_leaves_no_trace(raises: bool, tiny: Any) -> None:
    student, data = rewrite(tiny("xlmr"), ROUGH), text(n=6)
    expected = estimate(student, data)
    scan(student, data, ["en"] * 6)  # what it caches does not matter
    for i, p in enumerate(student.parameters()):
        p.requires_grad_(i % 2 == 0)
    flags = [p.requires_grad for p in student.parameters()]
    hooks = [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in student.modules()]
    module: Any = student.get_submodule("classifier.out_proj")
    if raises:
        module.forward = lambda x: 1 / 0
        with pytest.raises(ZeroDivisionError):
            estimate(student, data)
    else:
        assert estimate(student, data).equals(expected)  # frozen parameters count as well
    assert [p.requires_grad for p in student.parameters()] == flags
    assert all(p.grad is None for p in student.parameters())
    assert [len(m._forward_hooks) + len(m._forward_pre_hooks) for m in student.modules()] == hooks
    assert all(q.enabled for q in quantizers(student).values())


def test_what_is_not_quantized_has_no_part(tiny: Any) -> None:
    teacher, data = tiny("xlmr"), text(n=6)
    weight = estimate(rewrite(teacher, (Rule(weight=WeightSpec(bits=3)),)), data)
    activation = estimate(
        rewrite(teacher, (Rule(roles=("q", "head"), activation=ActivationSpec(bits=3)),)), data
    )
    assert (weight["activation"] == 0).all()
    assert (weight["weight"] > 0).all()
    assert list(activation["role"]) == ["q", "q", "head", "head"]
    assert (activation["weight"] == 0).all()
    assert (activation["activation"] > 0).all()
    assert estimate(rewrite(teacher, ()), data).empty


# --- agreement


def exact_table(kl: list[float]) -> pd.DataFrame:
    rows = [(f"m{i}", "one", EVERY, v) for i, v in enumerate(kl)]
    rows += [(f"m{i}", "one", "de", 7.0) for i in range(len(kl))] + [
        (f"m{i}", "but_one", EVERY, -v) for i, v in enumerate(kl)
    ]
    return pd.DataFrame(rows, columns=["module", "measure", "language", "kl"]).sample(
        frac=1, random_state=0
    )


def test_agreement() -> None:
    guess = pd.DataFrame(
        {"module": [f"m{i}" for i in range(5)], "estimate": [1.0, 2.0, 3.0, 4.0, 50.0]}
    )
    assert agreement(guess, exact_table([1, 4, 9, 16, 25])) == pytest.approx((1.0, 5))
    assert agreement(guess, exact_table([5, 4, 3, 2, 1])) == pytest.approx((-1.0, 5))
    # 1 - 6 sum d^2 / (n (n^2 - 1))
    assert agreement(guess, exact_table([1, 3, 2, 5, 4])).rho == pytest.approx(1 - 6 * 4 / (5 * 24))
    assert agreement(guess, exact_table([1, 1, 2, 2, 3])).rho == pytest.approx(
        np.corrcoef([1, 2, 3, 4, 5], [1.5, 1.5, 3.5, 3.5, 5])[0, 1]
    )
    assert agreement(guess.iloc[1:], exact_table([9, 1, 2, 3, 4])) == pytest.approx((1.0, 4))
    assert isinstance(agreement(guess, exact_table([1, 2, 3, 4, 5])), Agreement)
    assert math.isnan(agreement(guess, exact_table([2, 2, 2, 2, 2])).rho)
    assert math.isnan(agreement(guess.iloc[:1], exact_table([2, 1])).rho)
    with pytest.raises(ValueError, match='measure "one"'):
        agreement(guess, exact_table([1, 2, 3, 4, 5]).query("measure != 'one'"))
