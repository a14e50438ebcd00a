"""Specs are values: they refuse what makes no sense, tell themselves apart, and survive JSON."""

from __future__ import annotations

import re
from typing import Any, get_args

import pytest
import torch
from pydantic import TypeAdapter, ValidationError

from sdq.io.explain import explain
from sdq.models.families import ROLES, SITE_ROLES
from sdq.quant.observers import OBSERVERS, MinMax
from sdq.quant.spec import (
    GRANULARITIES,
    ActivationSpec,
    Granularity,
    PerChannel,
    PerGroup,
    PerTensor,
    PerToken,
    Role,
    Rule,
    WeightSpec,
)

EVERY = pytest.mark.parametrize("granularity", GRANULARITIES, ids=lambda g: g().kind)


def kinds_of(spec: Any) -> set[type[Any]]:
    return set(get_args(spec.model_fields["granularity"].annotation))


def test_registry_is_the_union() -> None:
    assert set(GRANULARITIES) == set(get_args(get_args(Granularity)[0]))
    assert kinds_of(WeightSpec) | kinds_of(ActivationSpec) == set(GRANULARITIES)
    assert get_args(Role) == (*ROLES, *SITE_ROLES)


@EVERY
def test_the_shape_in_the_docstring_is_true(granularity: Any) -> None:
    shown = re.search(
        r"\[([\d, ]+)\](?:, size (\d+))? -> rows \[(\d+), (\d+)\]", granularity.__doc__
    )
    assert shown, "a granularity shows its shapes: weight [768, 3072] -> rows [768, 3072]"
    shape = [int(n) for n in shown[1].split(",")]
    made = granularity(**({"size": int(shown[2])} if shown[2] else {}))
    assert made.rows(torch.empty(shape)).shape == (int(shown[3]), int(shown[4]))


@EVERY
def test_rows_keep_every_value_in_its_place(granularity: Any) -> None:
    x = torch.arange(6 * 128.0).reshape(6, 128)
    rows = granularity().rows(x)
    assert rows.ndim == 2
    assert torch.equal(rows.reshape(x.shape), x)


def test_group_size_must_divide() -> None:
    with pytest.raises(ValueError, match="group size must divide the row length 10, got 4"):
        PerGroup(size=4).rows(torch.zeros(3, 10))
    with pytest.raises(ValidationError):
        PerGroup(size=1)


def test_per_token_is_dynamic() -> None:
    assert ActivationSpec().granularity == PerToken()
    assert ActivationSpec(granularity=PerToken()).dynamic
    assert not ActivationSpec(granularity=PerTensor(), dynamic=False).dynamic
    with pytest.raises(ValidationError, match="per-token ranges must be dynamic"):
        ActivationSpec(granularity=PerToken(), dynamic=False)


def test_equality_knows_the_class() -> None:
    """Fields alone do not decide: that is how caches confuse per-tensor and per-channel."""
    made = [g() for g in GRANULARITIES]
    assert len(set(made)) == len(made)
    assert PerTensor() != PerChannel()
    assert WeightSpec(granularity=PerTensor()) != WeightSpec(granularity=PerChannel())
    assert PerGroup(size=32) != PerGroup(size=64)
    assert PerGroup(size=64) == PerGroup()
    assert len({o() for o in OBSERVERS}) == len(OBSERVERS)
    assert WeightSpec(observer=MinMax()) == WeightSpec()


@pytest.mark.parametrize("spec", [WeightSpec, ActivationSpec])
@pytest.mark.parametrize("bits", [0, 1, 9, 2.5])
def test_bits_are_two_to_eight(spec: Any, bits: float) -> None:
    with pytest.raises(ValidationError, match="bits"):
        spec(bits=bits)
    assert [spec(bits=b).bits for b in range(2, 9)] == list(range(2, 9))


@pytest.mark.parametrize("spec", [WeightSpec, ActivationSpec])
@EVERY
def test_granularities_that_make_no_sense_are_refused(spec: Any, granularity: Any) -> None:
    if granularity in kinds_of(spec):
        assert spec(granularity=granularity()).granularity == granularity()
    else:
        with pytest.raises(ValidationError, match="granularity"):
            spec(granularity=granularity())


@pytest.mark.parametrize("observer", OBSERVERS, ids=lambda o: o().kind)
@pytest.mark.parametrize("spec", [WeightSpec, ActivationSpec])
@pytest.mark.parametrize("symmetric", [True, False])
def test_json_round_trip(observer: Any, spec: Any, symmetric: bool) -> None:
    for granularity in kinds_of(spec):
        made = spec(bits=5, symmetric=symmetric, observer=observer(), granularity=granularity())
        side = {"weight" if spec is WeightSpec else "activation": made}
        rule = Rule(roles=("q", "head"), name="*.layer.0.*", **side)
        assert Rule.model_validate_json(rule.model_dump_json()) == rule
        assert spec.model_validate(made.model_dump()) == made
        assert TypeAdapter(Granularity).validate_python(granularity().model_dump()) == granularity()


def test_unknown_fields_and_roles_are_refused_with_their_path() -> None:
    for data, words in (
        ({"weight": {"bit": 4}}, "weight.bit: unknown field"),
        ({"activation": {"observer": {"kind": "mse", "candidate": 3}}}, "candidate: unknown field"),
        (
            {"weight": {"granularity": {"kind": "group", "size": 64, "axis": 0}}},
            "axis: unknown field",
        ),
        ({"roles": ["query"]}, "roles.0: "),
        ({"weight": {"observer": {"kind": "magic"}}}, "weight.observer"),
    ):
        with pytest.raises(ValidationError) as caught:
            Rule.model_validate(data)
        assert words in explain(caught.value)


def test_specs_are_frozen() -> None:
    spec = WeightSpec()
    with pytest.raises(ValidationError, match="frozen"):
        spec.bits = 4
    assert hash(spec) == hash(WeightSpec())
