"""An interrupted training goes on to the same end, bit for bit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sdq.quant.rewrite import calibrate_, rewrite
from sdq.quant.spec import ActivationSpec, PerTensor, Rule, WeightSpec
from sdq.train.loop import train_
from sdq.train.losses import KLD, Attention
from sdq.train.settings import Training
from tests.helpers.training import STATIC, equal, text, weights

NOISY = Training(
    steps=12,
    batch_size=4,
    learning_rate=3e-3,
    check_every=3,
    noise=0.5,
    refresh=2,
    distillation=(KLD(), Attention()),
)
# the weights move, so the second look is no better, and the rate falls from step 6 to step 12
FALLING = NOISY.model_copy(update={"steps": 40, "patience": 1, "cooldown": 1.0})
RULES = {
    "dynamic": (
        Rule(weight=WeightSpec(bits=3, granularity=PerTensor()), activation=ActivationSpec()),
    ),
    "static": STATIC,
}


class Killed(Exception):
    """What a killed process does to its training."""


def trained(
    teacher: nn.Module,
    rules: Any,
    settings: Training,
    checkpoint: Path | None,
    die_at: int | None = None,
) -> tuple[Any, Any, list[dict[str, Any]]]:
    student, data, told = rewrite(teacher, rules), text(), []
    batches = [b.inputs for b in data.in_order(8)]
    calibrate_(student, batches)

    def progress(event: dict[str, Any]) -> None:
        told.append(event)
        if die_at is not None and event["event"] == "check" and event["step"] > die_at:
            raise Killed

    began = weights(student)

    def check(model: nn.Module) -> float:  # a score that depends on the weights, and falls
        now = model.named_parameters()
        return -float(sum((p.detach() - began[n]).double().abs().sum() for n, p in now))

    history = train_(
        student,
        data,
        settings,
        check,
        teacher=teacher,
        before_check=lambda m: calibrate_(m, batches),
        seed=4,
        progress=progress,
        checkpoint=checkpoint,
    )
    return history, weights(student), told


@pytest.mark.parametrize("rules", RULES.values(), ids=RULES.keys())
@pytest.mark.parametrize("settings", [NOISY, FALLING], ids=["linear", "falling"])
@pytest.mark.parametrize("die_at", [3, 6, 9])
def test_resumed_is_undisturbed(
    tiny: Any, tmp_path: Path, rules: Any, settings: Training, die_at: int
) -> None:
    teacher, file = tiny("xlmr"), tmp_path / "checkpoint.safetensors"
    history, end, _ = trained(teacher, rules, settings, None)
    assert history.checks[-1]["step"] == 12
    with pytest.raises(Killed):
        trained(teacher, rules, settings, file, die_at)
    torch.manual_seed(99)  # another process has another random state
    again, resumed, told = trained(teacher, rules, settings, file)
    assert told[0] == {"event": "resumed", "step": die_at, "of": settings.steps}
    assert again == history
    assert equal(resumed, end)


def test_a_checkpoint_is_written_at_once_or_not_at_all(
    tiny: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    teacher, file = tiny("xlmr"), tmp_path / "checkpoint.safetensors"
    with pytest.raises(Killed):
        trained(teacher, RULES["dynamic"], NOISY, file, 3)
    good = file.read_bytes()

    def full(tensors: Any, path: Path, metadata: Any) -> None:
        Path(path).write_bytes(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sdq.train.resume.save_file", full)
    with pytest.raises(OSError, match="No space"):
        trained(teacher, RULES["dynamic"], NOISY, file)
    assert file.read_bytes() == good


def test_after_the_last_check_nothing_is_trained_again(tiny: Any, tmp_path: Path) -> None:
    teacher, file = tiny("xlmr"), tmp_path / "checkpoint.safetensors"
    history, end, _ = trained(teacher, RULES["dynamic"], NOISY, file)
    again, same, told = trained(teacher, RULES["dynamic"], NOISY, file)
    assert [e["event"] for e in told] == ["resumed"]
    assert again == history
    assert equal(same, end)
