"""Quantize: which model. What is not here or has no head is said with the command that helps, and
nothing can be started with it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from huggingface_hub import constants

from sdq.models.checkpoint import base_of, folder_of
from sdq.models.curated import CURATED
from sdq.recipe import PRESETS, Recipe
from sdq.store import Store
from tests.helpers.pages import opened

PAGE = "pages/lab/quantize.py"
XLMR = "FacebookAI/xlm-roberta-base"


@pytest.fixture(autouse=True)
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    return tmp_path / "hub"


def model(folder: Path, kind: str) -> Path:
    """A folder that looks like a model to who does not load it."""
    headed = kind.endswith("Classification")
    shutil.copytree(folder_of("mini", "intent") if headed else base_of("mini"), folder)
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"architectures": [kind]}))
    return folder


def test_models_to_choose_from(store: Store) -> None:
    app = opened(PAGE)
    box = app.selectbox(key="model")
    assert box.value == "mini"
    assert [option.partition(" (")[0] for option in box.options] == [
        "mini",
        "midi",
        *(known.title for known in CURATED),
        "A local folder",
    ]
    assert sum("not on this machine" in option for option in box.options) == len(CURATED)


def test_a_known_model_that_is_not_here(
    store: Store, asked: list[tuple[Recipe, str, str]], empty_cache: Path
) -> None:
    app = opened(PAGE)
    app = app.selectbox(key="model").set_value(XLMR).run()
    assert f"the model {XLMR} must be on this machine" in app.warning[0].value
    assert app.code[0].value == f"python -m sdq models fetch {XLMR}"
    assert app.button(key="quantize").disabled
    snapshot = empty_cache / "models--FacebookAI--xlm-roberta-base" / "snapshots" / ("0" * 40)
    model(snapshot, "XLMRobertaForMaskedLM")
    (snapshot.parent.parent / "refs").mkdir()
    (snapshot.parent.parent / "refs" / "main").write_text("0" * 40)
    app = app.run()
    assert "it is a base model (XLMRobertaForMaskedLM)" in app.warning[0].value
    assert app.code[0].value == f"python -m sdq finetune --model {XLMR} --task intent --out DIR"
    assert not any(
        "XLM-R base" in option and "not on this machine" in option
        for option in app.selectbox(key="model").options
    )
    assert app.button(key="quantize").disabled
    assert asked == []


def test_a_folder(store: Store, asked: list[tuple[Recipe, str, str]], tmp_path: Path) -> None:
    app = opened(PAGE)
    app = app.selectbox(key="model").set_value("a folder").run()
    assert "Enter the path of a folder" in app.info[0].value
    assert app.button(key="quantize").disabled
    for path, said in (
        ("/nowhere/model", "does not exist"),
        (str(tmp_path), "must hold config.json"),
        ("../../etc", "model"),
    ):
        app = app.text_input(key="model-folder").set_value(path).run()
        assert said in app.warning[0].value
        assert app.button(key="quantize").disabled
    folder = model(tmp_path / "mine", "XLMRobertaForSequenceClassification")
    app = app.text_input(key="model-folder").set_value(f" {folder} ").run()
    assert not app.warning
    app = app.button(key="quantize").click().run()
    assert asked == [(PRESETS["ptq-int8-dynamic"], str(folder), "intent")]


def test_mini_has_no_head_for_a_task_of_ones_own(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("pages.components.recipe.kept", lambda: ("topics",))
    monkeypatch.setattr(
        "pages.components.models.read", lambda path: SimpleNamespace(kind="sentence")
    )
    app = opened(PAGE)
    app = app.selectbox(key="on").set_value("topics").run()
    assert "for topics it has none" in app.warning[0].value
    assert app.code[0].value == "python -m sdq finetune --model mini --task topics --out DIR"


def test_what_was_fine_tuned_here_can_be_chosen(
    store: Store, asked: list[tuple[Recipe, str, str]]
) -> None:
    folder = model(
        store.folder.parent / "models" / "0123456789ab", "XLMRobertaForSequenceClassification"
    )
    (folder / "finetuning.json").write_text(json.dumps({"base": XLMR, "task": "intent"}))
    app = opened(PAGE)
    labels = app.selectbox(key="model").options
    assert any(label.startswith("xlm-roberta-base fine-tuned on") for label in labels)
    app = app.selectbox(key="model").set_value(str(folder)).run()
    app.button(key="quantize").click().run()
    assert asked == [(PRESETS["ptq-int8-dynamic"], str(folder), "intent")]
