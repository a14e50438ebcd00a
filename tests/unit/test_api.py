"""The Python face: `import sdq` is light, and quantizes any encoder of transformers."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import sdq
from sdq.data.batches import Encoded
from sdq.pipeline.student import build_student
from sdq.quant.rewrite import quantized_modules

ROOT = Path(__file__).parents[2]
BATCH = {
    "input_ids": torch.tensor([[2, 7, 9, 3], [2, 11, 3, 0]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]),
}


def test_import_is_light() -> None:
    code = (
        "import sys, time; t = time.perf_counter(); import sdq; t = time.perf_counter() - t; "
        "print(t, len({'torch', 'pandas', 'numpy', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    seconds, heavy = done.stdout.split()
    assert float(seconds) < 0.3
    assert heavy == "0"


def test_every_name_is_there() -> None:
    assert all(getattr(sdq, name) is not None for name in sdq.__all__)
    assert set(sdq.__all__) <= set(dir(sdq))
    with pytest.raises(AttributeError, match="sdq has no 'quantise'; it has Recipe, Store"):
        sdq.quantise  # noqa: B018


@pytest.mark.parametrize("preset", ["ptq-int8-dynamic", "ptq-w4a8", "ptq-int8-migrated"])
def test_quantize_gives_a_copy_that_rounds(tiny: Callable[..., nn.Module], preset: str) -> None:
    model: Any = tiny("bert")
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    student: Any = sdq.quantize(model, preset, calibration=[BATCH])
    assert model.training
    assert not student.training
    assert quantized_modules(student)
    assert not quantized_modules(model)
    assert all(torch.equal(tensor, before[k]) for k, tensor in model.state_dict().items())
    with torch.inference_mode():
        rounded = student(**BATCH).logits
        exact = model.eval()(**BATCH).logits
    assert not torch.equal(rounded, exact)
    assert (rounded - exact).norm() < exact.norm()


@pytest.mark.parametrize(
    "preset", ["ptq-int8-dynamic", "ptq-int8-static", "ptq-int8-migrated", "ptq-w4a8"]
)
def test_quantize_is_what_a_run_does(tiny: Callable[..., nn.Module], preset: str) -> None:
    """A run gives the same sentences encoded; its student may share memory with the teacher."""
    model: Any = tiny("xlmr")
    recipe = sdq.presets[preset]
    ids = [[2, 7, 9, 3], [2, 11, 3]]
    sentences = Encoded(ids, [[0], [0]], False, 0, names=["one", "two"])
    one = sdq.quantize(model, recipe, calibration=[BATCH])
    other = build_student(recipe, model, sentences)
    with torch.inference_mode():
        assert torch.equal(one(**BATCH).logits, other(**BATCH).logits)
    theirs = {p.data_ptr() for p in model.parameters()}
    assert not theirs & {p.data_ptr() for p in one.parameters()}, "the copy can be written to"


def test_quantize_refuses_in_one_sentence(tiny: Callable[..., nn.Module]) -> None:
    with pytest.raises(sdq.UserError, match="a recipe without training, sdq-att-kld-w4a8 trains"):
        sdq.quantize(tiny("bert"), "sdq-att-kld-w4a8")
    static = sdq.presets["ptq-w4a8"].model_copy(update={"name": "static", "migration": 0.5})
    with pytest.raises(sdq.UserError, match="at least one batch of inputs for static"):
        sdq.quantize(tiny("bert"), static)
    with pytest.raises(sdq.UserError, match="encoder"):
        sdq.quantize(nn.Linear(3, 4), "ptq-w4a8")
    with pytest.raises(sdq.UserError, match="do you mean ptq-w4a8"):
        sdq.quantize(tiny("bert"), "ptq-w4a88")
