"""A packed student answers as the student does, bit for bit."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sdq.quant.observers import Mse
from sdq.quant.packed import _spread, _squeeze, pack, unpack_
from sdq.quant.rewrite import calibrate_, rewrite
from sdq.quant.spec import ActivationSpec, PerChannel, PerGroup, PerTensor, Rule, WeightSpec

STATIC = ActivationSpec(granularity=PerTensor(), dynamic=False, symmetric=False)
SPECS = [
    *(Rule(weight=WeightSpec(bits=bits), activation=ActivationSpec()) for bits in range(2, 9)),
    Rule(weight=WeightSpec(bits=4, symmetric=False, granularity=PerTensor()), activation=STATIC),
    Rule(
        weight=WeightSpec(bits=3, granularity=PerGroup(size=8), observer=Mse()),
        activation=ActivationSpec(),
    ),
    Rule(weight=WeightSpec(bits=2, symmetric=False, granularity=PerChannel())),
]


@pytest.mark.parametrize(
    "rule",
    SPECS,
    ids=lambda r: (
        f"{r.weight.bits}-{r.weight.granularity.kind}-"
        f"{'symmetric' if r.weight.symmetric else 'affine'}"
    ),
)
@pytest.mark.parametrize("family", ["xlmr", "distilbert"])
def test_it_answers_as_the_student(rule: Rule, family: str, tiny: Any) -> None:
    teacher = tiny(family)
    student = rewrite(teacher, (rule,))
    g = torch.Generator().manual_seed(1)
    ids = torch.randint(5, 60, (3, 7), generator=g)
    mask = torch.ones_like(ids)
    mask[1, 4:] = 0
    batch = {"input_ids": ids, "attention_mask": mask}
    with torch.no_grad():
        for name, parameter in student.named_parameters():
            if "embeddings" not in name:
                parameter.add_(0.05 * torch.randn(parameter.shape, generator=g))
    calibrate_(student, [batch])
    packed = pack(student.eval(), teacher)
    assert not any("embeddings" in name for name in packed)
    other = rewrite(teacher, (rule,))
    before = copy.deepcopy(teacher.state_dict())
    unpack_(other, packed)
    with torch.inference_mode():
        assert torch.equal(other.eval()(**batch).logits, student(**batch).logits)
        assert not torch.equal(teacher(**batch).logits, student(**batch).logits)
    assert all(torch.equal(v, before[k]) for k, v in teacher.state_dict().items())
    weights = {k: v for k, v in packed.items() if k.endswith(".codes")}
    assert weights
    for name, codes in weights.items():
        assert codes.numel() == -(
            -student.get_submodule(name.removesuffix(".codes")).weight.numel()
            // (8 // rule.weight.bits)
        )  # type: ignore[union-attr, operator]


def test_what_does_not_fit_is_refused(tiny: Any) -> None:
    student = rewrite(tiny("xlmr"), SPECS[:1])
    with pytest.raises(ValueError, match="must fit the model, got other"):
        unpack_(student, {"other": torch.zeros(1)})


@given(
    st.integers(2, 8).flatmap(
        lambda bits: st.tuples(
            st.just(bits), st.lists(st.integers(0, 2**bits - 1), min_size=1, max_size=50)
        )
    )
)
def test_codes_come_back(case: tuple[int, list[int]]) -> None:
    bits, codes = case
    assert _spread(_squeeze(torch.tensor(codes), bits), bits, len(codes)).tolist() == codes
