"""`reproduce xglue` gives the scores of the official scorer, computed here a second time."""

from __future__ import annotations

import shutil
import sys
import warnings
from collections.abc import Iterator
from itertools import groupby
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import ndcg_score
from transformers import XLMRobertaConfig, XLMRobertaModel

from sdq import __main__ as cli
from sdq.data import xglue
from sdq.recipe import PRESETS
from sdq.reproduce.grid import methods
from sdq.store import Store
from tests.helpers import made_xglue
from tests.helpers.tokenizers import word_tokenizer
from tests.helpers.xglue import LANGUAGES, gold_of

METHODS = ["FP32", "PTQ, dynamic INT8", "QNAT", "QNAT, KLD", "QNAT, Att", "QNAT, Att-KLD"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_xglue.build(tmp_path_factory.mktemp("xglue"), LANGUAGES)


def official(
    task: str, gold: list[list[str]], queries: list[str], answers: list[list[str]]
) -> float:
    """The score of one language, 0..1."""
    from seqeval.metrics import f1_score, precision_score

    if task in ("NER", "POS"):
        padded = [[*a, *["O"] * (len(g) - len(a))] for g, a in zip(gold, answers, strict=True)]
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return float((f1_score if task == "NER" else precision_score)(gold, padded))
    if task == "WPR":
        found, at = [], 0
        for _, block in groupby(queries):
            n = len(list(block))
            if n > 1:
                found.append(
                    ndcg_score(
                        [[float(g[0]) for g in gold[at : at + n]]],
                        [[float(a[0]) for a in answers[at : at + n]]],
                    )
                )
            at += n
        return float(np.mean(found))
    return float(np.mean([g == a for g, a in zip(gold, answers, strict=True)]))


def answers_of(table: pd.DataFrame, task: str, language: str) -> list[list[str]]:
    """The stored answers in the order of the file."""
    given = table[table["language"] == language].sort_values("id")["answer"]
    if task == "WPR":
        return [[label] for answer in given for label in answer.split()]
    return [answer.split() if task in ("NER", "POS") else [answer] for answer in given]


def test_the_rows_of_the_grid_are_the_papers() -> None:
    found = methods(steps=7, learning_rate=1e-5)
    assert list(found) == METHODS
    students = {name: recipe for name, recipe in found.items() if recipe.training}
    assert {
        name: [term.kind for term in recipe.training.distillation]
        for name, recipe in students.items()
    } == {  # type: ignore[union-attr]
        "QNAT": [],
        "QNAT, KLD": ["kld"],
        "QNAT, Att": ["attention"],
        "QNAT, Att-KLD": ["kld", "attention"],
    }
    for recipe in students.values():
        assert recipe.training is not None
        assert (recipe.training.noise, recipe.training.steps, recipe.training.learning_rate) == (
            0.5,
            7,
            1e-5,
        )
        assert recipe.rules == found["PTQ, dynamic INT8"].rules == PRESETS["ptq-int8-dynamic"].rules
    assert found["FP32"].rules == ()
    plain = methods()["QNAT"].training
    assert plain is not None
    assert plain == PRESETS["qnat-int8"].training


@pytest.fixture(scope="module")
def encoder(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random XLM-R encoder of one narrow block, without a head; its weights are wide enough for
    answers to differ."""
    folder = tmp_path_factory.mktemp("encoder")
    texts = (path.read_text("utf-8") for path in sorted(archive.rglob("*")) if path.is_file())
    tokenizer = word_tokenizer(texts)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=12,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=16,
        max_position_embeddings=130,
        type_vocab_size=1,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
        initializer_range=1.0,
    )
    XLMRobertaModel(config).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def reproduced(
    archive: Path, encoder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, list[str]]]:
    """(folder of the tables, the command) after all eight tasks were reproduced once, in a data
    folder of their own."""
    place = tmp_path_factory.mktemp("reproduced")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SDQ_DATA", str(place / "data"))
        patch.setenv("SDQ_SHIPPED", "no")
        words = [
            "reproduce",
            "xglue",
            "--model",
            str(encoder),
            "--xglue",
            str(archive),
            "--seeds",
            "1",
            "--steps",
            "2",
            "--teacher-steps",
            "2",
            "--out",
            str(place / "out"),
        ]
        patch.setattr(sys, "argv", ["sdq", *words])
        with pytest.raises(SystemExit) as stop:
            cli.app()
        assert not stop.value.code
        yield place / "out", words


def test_reproduced_scores_are_the_official_ones(
    archive: Path, reproduced: tuple[Path, list[str]]
) -> None:
    rows = pd.read_csv(reproduced[0] / "results.csv")
    reports = {(r.task, r.recipe["name"]): r for r in Store.default().finished()}
    assert len(reports) == 8 * len(METHODS)
    names = [
        "fp32",
        "ptq-int8-dynamic",
        "qnat-int8",
        "qnat-kld-int8",
        "qnat-att-int8",
        "qnat-att-kld-int8",
    ]
    different = set()
    for task in xglue.TASKS:
        for method, name in zip(METHODS, names, strict=True):
            report = reports[f"xglue:{archive / task}", name]
            table, scores = Store.default().sentences(report.run), []
            mine = rows[
                (rows["task"] == f"XGLUE {task}") & (rows["method"] == method) & rows["counts"]
            ].set_index("language")
            for code in LANGUAGES:
                gold, queries = gold_of(archive, task, code)
                answers = answers_of(table, task, code)
                scores.append(official(task, gold, queries, answers))
                assert mine.loc[code, "score"] == pytest.approx(scores[-1]), (task, method, code)
                different |= {(task, label) for answer in answers for label in answer}
            assert mine.loc["mean", "score"] == pytest.approx(np.mean(scores))
            assert (mine["low"] <= mine["score"] + 1e-9).all()
    assert all(sum(t == task for t, _ in different) > 1 for task in ("NER", "POS", "WPR")), (
        "answers are all alike: the comparison says nothing"
    )


def test_the_sensible_figure_stands_beside_the_official_one(
    archive: Path, reproduced: tuple[Path, list[str]]
) -> None:
    rows = pd.read_csv(reproduced[0] / "results.csv")
    beside = rows[~rows["counts"]]
    assert set(zip(beside["task"], beside["metric"], strict=True)) == {
        ("XGLUE POS", "token_accuracy"),
        ("XGLUE WPR", "accuracy"),
    }
    for task, metric in (("POS", "token_accuracy"), ("WPR", "accuracy")):
        report = next(
            r for r in Store.default().finished() if r.task.endswith(task) and r.method == "FP32"
        )
        table = Store.default().sentences(report.run)
        for code in LANGUAGES:
            gold, _ = gold_of(archive, task, code)
            pairs = [
                (g, a)
                for wanted, given in zip(gold, answers_of(table, task, code), strict=True)
                for g, a in zip(wanted, given, strict=True)
            ]
            mine = beside[
                (beside["metric"] == metric)
                & (beside["method"] == "FP32")
                & (beside["language"] == code)
            ]
            assert mine["score"].item() == pytest.approx(np.mean([g == a for g, a in pairs]))


def test_tables_for_readers_say_the_same(reproduced: tuple[Path, list[str]]) -> None:
    rows = pd.read_csv(reproduced[0] / "results.csv")
    score = rows[
        (rows["task"] == "XGLUE WPR") & (rows["method"] == "QNAT, Att-KLD") & rows["counts"]
    ].set_index("language")["score"]
    markdown, html, latex = (
        (reproduced[0] / f"results.{ending}").read_text("utf-8") for ending in ("md", "html", "tex")
    )
    cells = [f"{100 * score[code]:.1f}" for code in ("de", "en", "mean")]
    assert f"| QNAT, Att-KLD | {' | '.join(cells)} |" in markdown.split("XGLUE WPR: nDCG")[1]
    assert (
        f'<tr><th scope="row">QNAT, '
        f"Att-KLD</th>{''.join(f'<td>{cell}</td>' for cell in cells)}</tr>" in html
    )
    assert rf"QNAT, Att-KLD & {' & '.join(cells)} \\" in latex
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 11
    assert "<script" not in html


def test_what_is_stored_is_not_done_again(
    reproduced: tuple[Path, list[str]],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store, (out, words) = Store.default(), reproduced
    before = {path: path.stat().st_mtime_ns for path in store.folder.glob("*/done")}
    lost = next(
        r for r in store.finished() if r.task.endswith("QAM") and r.recipe["name"] == "qnat-int8"
    )
    table = (out / "results.csv").read_text()
    shutil.rmtree(store.folder / lost.run)
    monkeypatch.setattr(sys, "argv", ["sdq", *words])
    capsys.readouterr()
    with pytest.raises(SystemExit):
        cli.app()
    said = capsys.readouterr().err
    assert "48 runs on 8 tasks, 1 to do, 0 teachers to fine-tune first." in said
    assert "1 of 1: QNAT, XGLUE QAM, seed 0" in said
    after = {path: path.stat().st_mtime_ns for path in store.folder.glob("*/done")}
    assert {path for path in after if after[path] != before[path]} == {
        store.folder / lost.run / "done"
    }
    assert (out / "results.csv").read_text() == table
    with pytest.raises(SystemExit):
        cli.app()
    assert "all of them stored" in capsys.readouterr().err
