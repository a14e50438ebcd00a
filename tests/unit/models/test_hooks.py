"""Hooks are gone afterwards, whatever happened."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sdq.models.hooks import capture
from sdq.quant.rewrite import rewrite
from sdq.quant.spec import ActivationSpec, Rule, WeightSpec


class Raises(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        raise ArithmeticError("this layer raises")


class Pair(nn.Module):
    def forward(self, x: Tensor) -> tuple[Tensor, None]:
        return 2 * x, None


@pytest.fixture
def model() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Linear(5, 3))


def hooks(model: nn.Module) -> int:
    return sum(
        len(m._forward_hooks) + len(m._forward_pre_hooks) + len(m._backward_hooks)
        for m in model.modules()
    )


def test_what_is_captured(model: nn.Sequential) -> None:
    x = torch.randn(2, 4)
    with capture(model, {"0": "output", "2": "input"}) as seen:
        y = model(x)
        assert torch.equal(seen["0"], model[0](x))
        assert torch.equal(seen["2"], torch.tanh(seen["0"]))
        assert torch.equal(y, model[2](seen["2"]))
        assert set(seen) == {"0", "2"}
        seen["2"].sum().backward()  # with its gradient
        assert model[0].weight.grad is not None
        model(x + 1)
        assert torch.equal(seen["0"], model[0](x + 1))  # the newest only
    model(x)
    assert torch.equal(seen["0"], model[0](x + 1))  # nothing is recorded afterwards


def test_first_of_a_tuple() -> None:
    model = nn.Sequential(Pair())
    with capture(model, {"0": "output"}) as seen:
        model(torch.ones(2))
    assert seen["0"].tolist() == [2, 2]


@pytest.mark.parametrize("trouble", ["none", "bad input", "raising layer", "in the block"])
def test_hooks_are_removed(model: nn.Sequential, trouble: str) -> None:
    if trouble == "raising layer":
        model.insert(1, Raises())
    error: dict[str, Any] = {
        "bad input": RuntimeError,
        "raising layer": ArithmeticError,
        "in the block": KeyError,
    }
    x = torch.randn(2, 9 if trouble == "bad input" else 4)

    def use() -> None:
        with capture(model, {"0": "output", "1": "input", "2": "output"}):
            assert hooks(model) == 4  # one marks the beginning of a pass
            model(x)
            if trouble == "in the block":
                raise KeyError

    if trouble == "none":
        use()
    else:
        with pytest.raises(error[trouble]):
            use()
    assert hooks(model) == 0


def test_unknown_module_leaves_no_hook_behind(model: nn.Sequential) -> None:
    with pytest.raises(AttributeError), capture(model, {"0": "output", "nowhere": "input"}):
        pass
    assert hooks(model) == 0


def test_nested(model: nn.Sequential) -> None:
    x = torch.randn(2, 4)
    with capture(model, {"0": "output"}) as outer:
        with pytest.raises(RuntimeError), capture(model, {"0": "output", "2": "input"}) as inner:  # noqa: PT012
            model(x)
            assert torch.equal(inner["0"], outer["0"])
            model(torch.randn(2, 9))
        assert hooks(model) == 2
        model(x + 1)
        assert torch.equal(outer["0"], model[0](x + 1))
        assert torch.equal(inner["0"], model[0](x))
    assert hooks(model) == 0


def test_on_a_transformer_and_its_quantized_copy(tiny: Any, padded: Any, family: str) -> None:
    """Captured per name; capturing changes no number; the copy keeps the two hooks of its own
    ForwardPass and no other."""
    plain = tiny(family)
    student = rewrite(plain, [Rule(weight=WeightSpec(), activation=ActivationSpec())])
    for model, own in ((plain, 0), (student, 2)):
        batch = padded(model)
        name = next(
            n for n, m in model.named_modules() if isinstance(m, nn.Linear) and ".layer.0." in n
        )
        with torch.no_grad():
            before = model(**batch).logits
            with capture(model, {name: "output"}) as seen:
                during = model(**batch).logits
        assert torch.equal(before, during)
        assert seen[name].shape[:2] == batch["input_ids"].shape
        assert hooks(model) == own
