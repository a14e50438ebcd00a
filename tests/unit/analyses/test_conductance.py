"""The damage shared out: it adds up, it is the slope that finite differences find, and it is given
to the module that was broken."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor, nn

from sdq.analyses.conductance import MEASURES, _flow, _switched, conductance
from sdq.analyses.divergence import METRICS, Reference
from sdq.analyses.sensitivity import patch_forwards, scan
from sdq.data.batches import IGNORE, Encoded
from sdq.models.structure import modules
from sdq.quant.rewrite import only, quantized_modules, quantizers, rewrite
from sdq.quant.spec import ActivationSpec, Rule, WeightSpec

LENGTHS = (9, 4, 6, 5, 7, 3)
LANGUAGES = ["en", "en", "de", "de", "sw", "sw"]
WEIGHTS = (Rule(weight=WeightSpec(bits=4)),)
ROUGH = (Rule(weight=WeightSpec(bits=4), activation=ActivationSpec(bits=5)),)


def data_of(model: Any, kind: str = "sequence") -> Encoded:
    draw = torch.Generator().manual_seed(1)
    ids = [[2, *torch.randint(5, 61, (n - 2,), generator=draw).tolist(), 2] for n in LENGTHS]
    token = kind == "token"
    labels = [
        [IGNORE, *[k % 3 if k % 2 else IGNORE for k in range(1, len(row) - 1)], IGNORE]
        if token
        else [i % 3]
        for i, row in enumerate(ids)
    ]
    return Encoded(ids, labels, token, model.config.pad_token_id)


def picked(
    table: pd.DataFrame, level: str = "module", measure: str = "kl", language: str = "all"
) -> pd.DataFrame:
    return table[
        (table["level"] == level) & (table["measure"] == measure) & (table["language"] == language)
    ].set_index("site")


def damage(student: nn.Module, data: Encoded, switches: dict[str, Tensor]) -> Tensor:
    """METRICS of each sentence with the modules at their switches: [N, 4]"""
    batch = data.batch(list(range(len(data))))
    with torch.no_grad():
        with only(student, ()):
            exact = Reference(student(**batch.inputs).logits, batch, data.token)
        with patch_forwards(
            student, {name: _switched(student, name, switch) for name, switch in switches.items()}
        ):
            return exact.divergence(student(**batch.inputs).logits)


def test_it_adds_up_to_the_damage_of_the_whole_model(
    tiny: Callable[..., Any], family: str, kind: str
) -> None:
    """Within 2 %, for both measures and in each language; the total is that of the exact scan."""
    if (family, kind) == ("distilbert", "sequence"):
        pytest.skip("its head has the kinks of a ReLU, which need more steps")
    student = rewrite(tiny(family, kind), WEIGHTS)
    data = data_of(student, kind)
    table = conductance(student, data, LANGUAGES, batch_size=4, steps=8)
    whole = scan(student, data, LANGUAGES, ("all",), 4)
    for level in ("module", "block"):
        for measure in MEASURES:
            for code in ("all", "en", "de", "sw"):
                rows = picked(table, level, measure, code)
                total = whole.set_index("language").loc[code, measure]
                size = rows["value"].abs().sum()
                assert list(rows["total"]) == pytest.approx([total] * len(rows))
                assert rows["value"].sum() == pytest.approx(total, abs=0.02 * size)
                assert rows["delta"].iloc[0] == pytest.approx(rows["value"].sum() - total)
                assert list(rows["share"]) == pytest.approx(list(rows["value"] / total))


def test_a_block_is_the_sum_of_its_modules(tiny: Callable[..., Any]) -> None:
    student = rewrite(tiny("xlmr"), ROUGH)
    table = conductance(student, data_of(student), LANGUAGES, steps=2)
    one, whole = picked(table), picked(table, "block")
    assert list(one.index) == [m.name for m in modules(student)]
    assert list(whole["role"]) == ["embedding", "block", "block", "head", "head"]
    for site, row in whole.iterrows():
        inside = one[one["block"] == row["block"]] if row["role"] == "block" else one.loc[[site]]
        assert row["value"] == pytest.approx(inside["value"].sum())
    assert not set(whole.index[1:3]) & set(one.index)


def test_it_is_the_slope_along_the_switch(tiny: Callable[..., Any], kind: str) -> None:
    """One node of the path, at its middle, against central differences; and a sentence's slope is
    not another one's."""
    student = rewrite(tiny("xlmr", kind), WEIGHTS).double()
    data = data_of(student, kind)
    batch = data.batch(list(range(len(data))))
    names = list(quantized_modules(student))
    with torch.no_grad(), only(student, ()):
        exact = Reference(student(**batch.inputs).logits, batch, data.token)
    flow = _flow(student, batch, exact, names, 1)  # [B, modules, 4]
    half = {name: torch.full((len(data),), 0.5) for name in names}
    for k in (0, 3, 9):
        up, down = ({**half, names[k]: half[names[k]] + step} for step in (1e-3, -1e-3))
        slope = (damage(student, data, up) - damage(student, data, down)) / 2e-3
        for measure in MEASURES:
            at = METRICS.index(measure)
            assert flow[:, k, at].tolist() == pytest.approx(
                slope[:, at].tolist(), rel=1e-3, abs=1e-6
            )
    assert not flow[..., METRICS.index("flips")].any()


def test_the_path_goes_from_fp32_to_quantized(tiny: Callable[..., Any], family: str) -> None:
    student = rewrite(tiny(family), ROUGH)
    data = data_of(student)
    batch = data.batch([0, 1, 2])
    with torch.no_grad():
        quantized = student(**batch.inputs).logits
        with only(student, ()):
            exact = student(**batch.inputs).logits
        for switch, wanted in ((0.0, exact), (1.0, quantized)):
            forwards = {
                name: _switched(student, name, torch.full((3,), switch))
                for name in quantized_modules(student)
            }
            with patch_forwards(student, forwards):
                assert torch.allclose(
                    student(**batch.inputs).logits, wanted, atol=0 if switch == 0 else 2e-2
                )
    assert all(q.enabled for q in quantizers(student).values())


@pytest.mark.parametrize("place", [0, 4, 11])
def test_a_module_that_alone_is_broken_gets_the_damage(
    tiny: Callable[..., Any], place: int
) -> None:
    """All modules have 8 bits, one has 2."""
    teacher = tiny("xlmr")
    broken = modules(teacher)[place].name
    student = rewrite(
        teacher, (Rule(weight=WeightSpec(bits=8)), Rule(name=broken, weight=WeightSpec(bits=2)))
    )
    one = picked(conductance(student, data_of(student), LANGUAGES))
    assert one["value"].idxmax() == broken
    assert one.loc[broken, "share"] == pytest.approx(1, abs=0.25)


def test_it_stands_beside_the_scan(tiny: Callable[..., Any]) -> None:
    student = rewrite(tiny("xlmr"), ROUGH)
    data = data_of(student)
    exact = scan(student, data, LANGUAGES, ("one",))
    table = conductance(student, data, LANGUAGES, exact, steps=4)
    for measure in MEASURES:
        for code in ("all", "de"):
            alone = exact[exact["language"] == code].set_index("module")[measure]
            one, whole = (
                picked(table, "module", measure, code),
                picked(table, "block", measure, code),
            )
            assert list(one["scan"]) == pytest.approx(list(alone.loc[one.index]))
            blocks = one.groupby("block")["scan"].sum()
            assert list(whole[whole["role"] == "block"]["scan"]) == pytest.approx(
                [blocks[0], blocks[1]]
            )
            for level in (one, whole):
                assert list(level["rho"]) == pytest.approx(
                    [spearmanr(level["value"], level["scan"]).statistic] * len(level)
                )
    without = conductance(student, data, LANGUAGES, steps=1)
    assert without[["scan", "rho"]].isna().all(axis=None)


def test_it_does_not_depend_on_how_batches_are_composed(
    tiny: Callable[..., Any], kind: str
) -> None:
    student = rewrite(tiny("xlmr", kind), WEIGHTS)
    data = data_of(student, kind)
    one, other = (
        conductance(student, data, LANGUAGES, batch_size=size, steps=3) for size in (1, 6)
    )
    assert np.allclose(one["value"], other["value"], atol=1e-6)
    assert np.allclose(one["low"], other["low"], atol=1e-6)
    values = picked(one, "module", "kl", "en")
    assert (values["low"] <= values["value"]).all()
    assert (values["value"] <= values["high"]).all()


def test_frozen_parameters_change_nothing_and_get_no_gradient(tiny: Callable[..., Any]) -> None:
    student = rewrite(tiny("xlmr"), ROUGH)
    data = data_of(student)
    free = conductance(student, data, LANGUAGES, steps=2)
    student.requires_grad_(False)
    pd.testing.assert_frame_equal(free, conductance(student, data, LANGUAGES, steps=2))
    assert all(p.grad is None for p in student.parameters())


def test_nothing_stays_behind_when_a_layer_raises(
    tiny: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    student = rewrite(tiny("xlmr"), ROUGH)
    data, calls = data_of(student), 0
    layer = student.get_submodule("roberta.encoder.layer.1.output.LayerNorm")
    forward = layer.forward

    def raises(x: Tensor) -> Tensor:
        nonlocal calls
        calls += 1
        if calls == 4:  # in the second step of the path
            raise ArithmeticError("this layer raises")
        return forward(x)

    monkeypatch.setattr(layer, "forward", raises)
    with pytest.raises(ArithmeticError):
        conductance(student, data, LANGUAGES)
    assert all("forward" not in m.__dict__ for m in quantized_modules(student).values())
    assert all(q.enabled for q in quantizers(student).values())


def test_what_it_cannot_do_it_refuses(tiny: Callable[..., Any]) -> None:
    teacher = tiny("xlmr")
    with pytest.raises(ValueError, match="must have quantized modules"):
        conductance(teacher, data_of(teacher), LANGUAGES)
    student = rewrite(teacher, WEIGHTS)
    with pytest.raises(ValueError, match="must have one language"):
        conductance(student, data_of(student), LANGUAGES[1:])
    with pytest.raises(ValueError, match="eval mode"):
        conductance(student.train(), data_of(student), LANGUAGES)
