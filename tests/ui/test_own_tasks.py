"""Pages on runs of tasks that are unlike the embedded ones: one language only, and a ranking whose
unit is the query."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest
import torch
from transformers import AutoTokenizer, XLMRobertaConfig, XLMRobertaForSequenceClassification

from pages.components.sentences import sentences
from sdq.pipeline.run import run
from sdq.recipe import PRESETS
from sdq.results import Report
from sdq.settings import ROOT
from sdq.store import Store
from tests.helpers.pages import opened, text_of

SPLITS = ("train", "dev", "test")
PAGES = (
    "lab/quantize",
    "compare/languages",
    "compare/methods",
    "compare/report",
    "inspect/examples",
    "inspect/flips",
    "start/runs",
)


def made(
    store: Store, folder: Path, languages: tuple[str, ...], ranking: bool
) -> tuple[Report, Report]:
    """FP32 and PTQ runs of a tiny random model on a task of its own, a file outside the data
    folder."""
    for split in SPLITS:
        for code in languages:
            (folder / split).mkdir(parents=True, exist_ok=True)
            rows = [
                (f"query {i // 3} {code} {split}", f"document {i}", str(i % 2)) for i in range(12)
            ]
            pd.DataFrame(rows, columns=["query", "page", "label"]).to_csv(
                folder / split / f"{code}.csv", index=False
            )
    columns = {"text": "query", "second": "page", "label": "label"}
    fields = {
        "name": "reviews",
        "kind": "ranking" if ranking else "pair",
        "columns": columns,
        "training_language": "en",
    }
    (folder / "task.json").write_text(
        json.dumps(
            fields
            | {
                "splits": {s: f"{s}/{{language}}.csv" for s in SPLITS},
                "beside": ["accuracy"] if ranking else [],
            }
        )
    )
    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=16_000,
        hidden_size=12,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=130,
        type_vocab_size=1,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        id2label={0: "0", 1: "1"},
        label2id={"0": 0, "1": 1},
        initializer_range=0.5,
    )
    XLMRobertaForSequenceClassification(config).save_pretrained(folder / "model")
    AutoTokenizer.from_pretrained(ROOT / "assets" / "mini" / "encoder").save_pretrained(
        folder / "model"
    )
    fp32, ptq = (
        run(PRESETS[name], str(folder / "model"), str(folder / "task.json"), store)
        for name in ("fp32", "ptq-w2a8")
    )
    return fp32, ptq


@pytest.mark.parametrize(
    ("languages", "ranking"),
    [(("en",), False), (("en", "de"), True)],
    ids=["one language", "ranking"],
)
def test_no_page_stumbles_over_a_task_of_ones_own(
    store: Store, tmp_path: Path, languages: tuple[str, ...], ranking: bool
) -> None:
    fp32, ptq = made(store, tmp_path / "topics", languages, ranking)
    shown = {}
    for page in PAGES:
        query = {"run": ptq.run} if page == "lab/quantize" else {"runs": f"{fp32.run},{ptq.run}"}
        app = opened(f"pages/{page}.py", **query)
        assert not app.error, [error.value for error in app.error]
        shown[page] = text_of(app)
        if page == "compare/methods":
            assert any("reviews" in option for option in app.selectbox(key="pick-task").options)
        assert "nan " not in shown[page].replace("&nbsp;", " ").lower()
        assert page == "compare/report" or str(tmp_path / "topics") not in shown[page], (
            "a path instead of a name"
        )  # commands there need it
    assert "reviews" in shown["lab/quantize"], "the name in the task file"
    if ranking:
        rows = sentences(ptq, store)
        assert (
            rows[rows["language"] == "en"]["text"].tolist()[0]
            == "query 0 en test → 1. document 0 → 2. document 1 → 3. document 2"
        )
        assert rows["gold"].tolist()[:2] == ["0 1 0", "1 0 1"]
        assert set(store.sentences(ptq.run)["id"]) == {f"q{i:06d}" for i in range(1, 5)}
    else:
        assert "in its only language" in shown["lab/quantize"]
