"""Every runtime executes a quantized model: it answers near to what the simulation answers, and the
scores of a run are what the runtime says."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from sdq.data.registry import load_task
from sdq.pipeline.run import Request, _Computation
from sdq.pipeline.student import build_student
from sdq.quant.runtimes import RUNTIMES
from sdq.recipe import PRESETS
from sdq.store import Store

EVERY = pytest.mark.parametrize("name", RUNTIMES)
IDS = torch.tensor([[2, 7, 9, 3], [2, 11, 3, 0]])
BATCH = {"input_ids": IDS, "attention_mask": (IDS != 0).long()}


@EVERY
@pytest.mark.parametrize("preset", ["fp32", "ptq-int8-dynamic", "ptq-w4a8"])
def test_it_gives_the_logits_of_the_simulation(
    name: str, preset: str, tiny: Callable[..., Any]
) -> None:
    student: Any = build_student(PRESETS[preset], tiny("xlmr").eval())
    with torch.inference_mode():
        expected = student(**BATCH).logits
        forward = RUNTIMES[name](student)
        logits, again = forward(BATCH), forward(BATCH)
    assert logits.shape == expected.shape
    # integer runtimes differ from it by a code now and then; the simulation itself must not
    far = 0.0 if name == "simulated" else 0.1 * float(expected.norm())
    assert float((logits - expected).norm()) <= far
    assert torch.equal(logits, again)


@EVERY
def test_it_leaves_the_model_as_it_was(name: str, tiny: Callable[..., Any]) -> None:
    student = build_student(PRESETS["ptq-w4a8"], tiny("bert").eval())
    before = {key: tensor.clone() for key, tensor in student.state_dict().items()}
    with torch.inference_mode():
        RUNTIMES[name](student)(BATCH)
    after = student.state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(tensor, before[key]) for key, tensor in after.items())


def test_a_run_is_scored_by_the_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With one that gives the first label to everything, every answer is that label."""

    def first(model: nn.Module) -> Callable[[dict[str, Tensor]], Tensor]:
        width = int(model.config.num_labels)
        return lambda inputs: torch.eye(width)[torch.zeros(len(inputs["input_ids"])).long()]

    monkeypatch.setitem(RUNTIMES, "simulated", first)
    request = Request.of(PRESETS["ptq-w4a8"], "mini", "intent")
    store = Store(tmp_path / "runs", shipped=None)
    computation = _Computation(request, load_task("intent"), store, lambda event: None)
    assert computation.outcomes(computation.teacher)["answer"].nunique() == 1
