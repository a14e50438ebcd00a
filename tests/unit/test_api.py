"""The Python face: what README shows runs, and `import sdq` is light."""

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
from sdq.data import registry
from sdq.data.task import Task
from sdq.pipeline.student import build_student
from sdq.quant.rewrite import quantized_modules

ROOT = Path(__file__).parents[2]
BATCH = {
    "input_ids": torch.tensor([[2, 7, 9, 3], [2, 11, 3, 0]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]),
}


def snippet() -> str:
    """The Python that README shows."""
    text = (ROOT / "README.md").read_text("utf-8")
    inside = text.partition("<!-- snippet -->")[2].partition("<!-- /snippet -->")[0]
    return inside.partition("```python\n")[2].partition("```")[0]


def few(name: str, only: str | None = None) -> Task:
    """An embedded task with every 25th sentence of each language and split."""
    whole = registry._embedded(name, only)
    for split, examples in whole.splits.items():
        whole.splits[split] = [
            e for code in whole.languages for e in [x for x in examples if x.language == code][::25]
        ]
    return whole


def test_what_readme_shows_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    code = snippet()
    assert 10 <= len(code.strip().splitlines()) <= 25
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SDQ_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SDQ_SHIPPED", "no")
    monkeypatch.setitem(registry.TASKS, "intent", few)
    names: dict[str, Any] = {}
    exec(compile(code, "README.md", "exec"), names)
    shown = capsys.readouterr().out
    assert {code for code in ("en", "de", "sw") if f"'{code}'" in shown or f" {code}" in shown}
    assert [path.suffix for path in tmp_path.glob("*.html")] == [".html"]


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


def test_quantize_is_what_a_run_does(tiny: Callable[..., nn.Module]) -> None:
    model: Any = tiny("xlmr")
    recipe = sdq.presets["ptq-int8-dynamic"]
    one, other = sdq.quantize(model, recipe), build_student(recipe, model)
    with torch.inference_mode():
        assert torch.equal(one(**BATCH).logits, other(**BATCH).logits)


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
