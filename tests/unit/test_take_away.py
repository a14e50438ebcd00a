"""What docs/own-models.md says about taking a trained student away is so."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import sdq
from sdq.data import registry
from sdq.models.checkpoint import folder_of
from sdq.models.loading import load
from sdq.pipeline.student import build_student
from sdq.quant.rewrite import quantized_modules
from sdq.results import Report
from sdq.settings import ROOT
from sdq.train.settings import Training
from tests.helpers.snippets import execute, snippets

PAGE = ROOT / "docs" / "own-models.md"


@pytest.fixture
def trained(data: Path, monkeypatch: pytest.MonkeyPatch) -> Report:
    """A student of two steps, on a few sentences in two languages."""
    whole = registry.TASKS["intent"]("intent")
    few = {
        split: [e for code in ("en", "ru") for e in [e for e in there if e.language == code][:8]]
        for split, there in whole.splits.items()
    }
    small = replace(whole, splits=few, languages=("en", "ru"))
    monkeypatch.setitem(registry.TASKS, "intent", lambda name: small)
    training = Training(steps=2, batch_size=4, check_every=1, learning_rate=1e-3)
    recipe = sdq.presets["qat-w3a8"].model_copy(update={"name": "short", "training": training})
    return sdq.run(recipe, "mini", "intent")


def test_the_lines_that_load_a_trained_student_give_that_student(
    trained: Report, data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    (snippet,) = snippets(PAGE)
    snippet = snippet.replace("data/runs", str(data / "runs")).replace("RUN", trained.run)
    names: dict[str, Any] = {}
    execute(snippet, PAGE, names)
    student = names["student"]
    assert not student.training
    assert quantized_modules(student)
    teacher, _ = load(folder_of("mini", "intent"), "sequence", sdq.load_task("intent").labels)
    weights = sdq.Store.default().weights(trained)
    assert weights == data / "runs" / trained.run / "model.safetensors"
    stored: Any = build_student(sdq.Recipe.model_validate(trained.recipe), teacher, weights=weights)
    batch = {"input_ids": torch.tensor([[0, 17, 905, 33, 2]])}
    with torch.inference_mode():
        assert torch.equal(student(**batch).logits, stored(**batch).logits)
        assert not torch.equal(student(**batch).logits, teacher(**batch).logits)
