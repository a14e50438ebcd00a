"""Training with activations rounded everywhere: every parameter moves, and an interruption does not
show."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from sdq.quant.packed import pack, unpack_
from sdq.quant.rewrite import calibrate_, rewrite
from sdq.train.loop import train_
from sdq.train.losses import KLD, Attention
from sdq.train.settings import Training
from tests.helpers.encoders import logits
from tests.helpers.sites import FULL
from tests.helpers.training import equal, text, weights

STEPS = {"steps": 2, "batch_size": 8, "learning_rate": 1e-3, "check_every": 1, "weight_decay": 0.0}
SDQ = (KLD(), Attention())
SETTINGS = {
    "qat": Training(**STEPS),
    "qnat": Training(**STEPS, noise=0.5),
    "sdq": Training(**STEPS, distillation=SDQ),
    "sdq-noise": Training(**STEPS, noise=0.5, distillation=SDQ),
}


class Killed(Exception):
    pass


def trained(
    teacher: nn.Module,
    settings: Training,
    rules: Any = FULL,
    file: Path | None = None,
    die: int = 0,
) -> nn.Module:
    student, data = rewrite(teacher, rules), text()
    batches = [b.inputs for b in data.in_order(8)]
    calibrate_(student, batches)

    def progress(event: dict[str, Any]) -> None:
        if event["event"] == "check" and event["step"] == die + 1 and die:
            raise Killed

    train_(
        student,
        data,
        settings,
        lambda model: float(sum(p.detach().double().abs().sum() for p in model.parameters())),
        teacher=teacher,
        before_check=lambda model: calibrate_(model, batches),
        progress=progress,
        checkpoint=file,
    )
    return student


@pytest.mark.parametrize("name", SETTINGS)
@pytest.mark.parametrize("family", ["bert", "albert", "modernbert", "deberta-v3"])
def test_what_moves_in_fp32_moves_here(eager: Any, name: str, family: str) -> None:
    teacher, settings = eager(family), SETTINGS[name].model_copy(update={"frozen_embedding": False})
    student = trained(teacher, settings)
    before = dict(teacher.named_parameters())
    still = {n for n, p in student.named_parameters() if torch.equal(p, before[n])}
    plain = settings.model_copy(update={"distillation": ()})
    still_plain = {
        n for n, p in trained(teacher, plain, ()).named_parameters() if torch.equal(p, before[n])
    }
    assert still <= still_plain
    assert len(still) < len(before) / 4


def test_interrupted_it_ends_the_same(eager: Any, tmp_path: Path) -> None:
    teacher, file = eager("xlmr"), tmp_path / "checkpoint.safetensors"
    settings = SETTINGS["sdq-noise"].model_copy(update={"steps": 4})
    end = weights(trained(teacher, settings))
    with pytest.raises(Killed):
        trained(teacher, settings, file=file, die=2)
    torch.manual_seed(99)
    assert equal(weights(trained(teacher, settings, file=file)), end)


def test_packed_it_answers_the_same(eager: Any, padded: Any) -> None:
    teacher = eager("xlmr")
    student = trained(teacher, SETTINGS["qat"]).eval()
    again = rewrite(teacher, FULL).eval()
    unpack_(again, pack(student, teacher))
    batch = padded(teacher)
    assert torch.equal(logits(again, batch), logits(student, batch))
