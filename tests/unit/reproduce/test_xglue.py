"""XGLUE: the official files are read as the official scorer reads them, and `reproduce xglue` gives
its scores, computed here a second time."""

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
from transformers import AutoTokenizer, XLMRobertaConfig, XLMRobertaModel

from sdq import __main__ as cli
from sdq.data import xglue
from sdq.data.registry import fingerprint, load_task
from sdq.io.limits import limits
from sdq.recipe import PRESETS
from sdq.reproduce.grid import methods
from sdq.settings import ROOT, UserError
from sdq.store import Store
from tests import made_xglue

LANGUAGES = ("en", "de")
METHODS = ["FP32", "PTQ, dynamic INT8", "QNAT", "QNAT, KLD", "QNAT, Att", "QNAT, Att-KLD"]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_xglue.build(tmp_path_factory.mktemp("xglue"), LANGUAGES)


def gold_of(
    archive: Path, task: str, language: str, split: str = "test"
) -> tuple[list[list[str]], list[str]]:
    """(labels of each example, queries) as evaluation/xglue_evaluate.py takes them: the last field
    of a line, or of a word's line."""
    names = {
        "XNLI": f"{language}.{split}",
        "PAWSX": f"{language}/{split}_2k.tsv",
        "NER": f"{language}.{split}",
        "POS": f"{language}.{split}",
    }
    lines = (
        (archive / task / names.get(task, f"xglue.{task.lower()}.{language}.{split}"))
        .read_text("utf-8")
        .split("\n")
    )
    if task in ("NER", "POS"):
        kept = ["" if line.startswith("-DOCSTART-") else line for line in lines]
        return [
            [line.split()[-1] for line in block]
            for words, block in groupby(kept, key=lambda line: bool(line.strip()))
            if words
        ], []
    rows = [line.split("\t") for line in lines[1 if task == "PAWSX" else 0 :] if line.strip()]
    return [[row[-1].strip()] for row in rows], [row[0] for row in rows]


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


@pytest.mark.parametrize("task", xglue.TASKS)
def test_labels_are_those_the_official_scorer_takes(archive: Path, task: str) -> None:
    loaded = load_task(f"xglue:{archive / task}")
    assert (loaded.metric, loaded.labelled) == (
        {"NER": "f1", "POS": "precision", "WPR": "ndcg"}.get(task, "accuracy"),
        "en",
    )
    for split in ("dev", "test"):
        for language in LANGUAGES:
            gold, _ = gold_of(archive, task, language, split)
            mine = loaded.examples(split, (language,))
            assert [list(e.targets) for e in mine] == gold
            assert all(e.text.strip() for e in mine)
    assert {e.language for e in loaded.splits["train"]} == {"en"}


def test_what_the_two_texts_are(archive: Path) -> None:
    def fields(task: str, file: str, row: int = 0) -> tuple[list[str], str, str | None]:
        line = (archive / task / file).read_text("utf-8").split("\n")[row]
        example = load_task(f"xglue:{archive / task}").examples("test", ("de",))[0]
        return line.split("\t"), example.text, example.second

    for task in ("QADSM", "WPR"):
        (query, title, rest, _), text, second = fields(task, f"xglue.{task.lower()}.de.test")
        assert (text, second) == (query, f"{title} {rest}")
    for task, file, row, take in (
        ("NC", "xglue.nc.de.test", 0, 0),
        ("QAM", "xglue.qam.de.test", 0, 0),
        ("XNLI", "de.test", 0, 0),
        ("PAWSX", "de/test_2k.tsv", 1, 1),
    ):
        line, text, second = fields(task, file, row)
        assert [text, second] == line[take : take + 2]


def test_neighbours_with_one_query_are_ranked_together(archive: Path) -> None:
    examples = load_task(f"xglue:{archive / 'WPR'}").examples("test", ("de",))
    groups = [list(block) for _, block in groupby(examples, key=lambda e: e.group)]
    assert [len(block) for block in groups] == [3, 3, 3, 1]
    assert all(len({e.text for e in block}) == 1 for block in groups)


def test_multinli_says_contradictory_and_xnli_may_be_one_file(
    archive: Path, tmp_path: Path
) -> None:
    joint = made_xglue.build(tmp_path / "joint", LANGUAGES, joint_xnli=True)
    one, two = load_task(f"xglue:{archive / 'XNLI'}"), load_task(f"xglue:{joint / 'XNLI'}")
    assert "contradictory" in (archive / "XNLI" / "multinli.train.en.tsv").read_text()
    assert set(one.labels) == {"entailment", "neutral", "contradiction"}
    for split in ("dev", "test"):
        for code in LANGUAGES:
            assert [(e.text, e.second, e.targets) for e in one.examples(split, (code,))] == [
                (e.text, e.second, e.targets) for e in two.examples(split, (code,))
            ]


def test_files_may_be_larger_than_what_is_brought(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some have hundreds of megabytes."""
    folder = made_xglue.build(tmp_path, ("en",))
    (folder / "POS" / "en.test").write_text("Wort NOUN\n\n" * 100_000, "utf-8")
    monkeypatch.setenv("SDQ_DATA_FILE_MB", "1")
    monkeypatch.setenv("SDQ_ROWS", "5")
    limits.cache_clear()
    try:
        assert len(load_task(f"xglue:{folder / 'POS'}@400").examples("test")) == 400
    finally:
        limits.cache_clear()


def test_a_word_may_hold_a_space(tmp_path: Path) -> None:
    folder = made_xglue.build(tmp_path, ("en",))
    (folder / "POS" / "en.test").write_text("thế giới NOUN\nđẹp ADJ\n", "utf-8")
    example = load_task(f"xglue:{folder / 'POS'}").examples("test")[0]
    assert (example.words, example.targets) == (("thế giới", "đẹp"), ("NOUN", "ADJ"))


def test_the_first_rows_are_another_task(archive: Path) -> None:
    few = load_task(f"xglue:{archive / 'NC'}@3")
    assert {split: len(examples) for split, examples in few.splits.items()} == {
        "train": 3,
        "dev": 6,
        "test": 6,
    }
    assert few.fingerprint == fingerprint(few.name) != fingerprint(f"xglue:{archive / 'NC'}")


@pytest.mark.parametrize(
    ("change", "task", "said"),
    [
        (lambda f: shutil.rmtree(f / "NC"), "NC", "must be extracted with its folder NC"),
        (lambda f: (f / "NC" / "xglue.nc.en.train").unlink(), "NC", "must hold xglue.nc.en.train"),
        (
            lambda f: (f / "QAM" / "xglue.qam.en.test").unlink(),
            "QAM",
            "must hold xglue.qam.en.test",
        ),
        (
            lambda f: (f / "QAM" / "xglue.qam.de.test").write_text("a question\tan answer\n"),
            "QAM",
            "line 1 of xglue.qam.de.test has 2; test files have labels",
        ),
        (
            lambda f: (f / "QAM" / "xglue.qam.de.test").write_text("q\ta\tmaybe\n"),
            "QAM",
            "line 1, column label: a label must be one of 0, 1, got 'maybe'",
        ),
        (
            lambda f: (f / "POS" / "de.test").write_text("Wort\n"),
            "POS",
            "line 1 of de.test has not",
        ),
        (
            lambda f: (f / "POS" / "de.test").write_bytes(b"Wort NOUN\nsch\xf6n ADJ\n"),
            "POS",
            "line 2 of de.test is not",
        ),
        (
            lambda f: (f / "POS" / "de.test").write_bytes(b"Wort NOUN\n\0 ADJ\n"),
            "POS",
            r"de.test is binary \(line 2",
        ),
        (
            lambda f: (f / "POS" / "de.test").write_text("W" * 16_000_001 + " NOUN\n"),
            "POS",
            "at most 16 MB, line 1 of de.test is longer",
        ),
        (
            lambda f: (f / "QAM" / "xglue.qam.de.test").write_text("q" * 16_000_001 + "\ta\t1\n"),
            "QAM",
            "line 1 of xglue.qam.de.test is longer",
        ),
        (lambda f: None, "MLQA", "must be one of NER, POS"),
    ],
)
def test_an_archive_that_is_not_whole(tmp_path: Path, change: object, task: str, said: str) -> None:
    folder = made_xglue.build(tmp_path, LANGUAGES)
    change(folder)  # type: ignore[operator]
    with pytest.raises(UserError, match=said):
        load_task(f"xglue:{folder / task}")


# --- from end to end


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
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random XLM-R encoder of one narrow block, without a head; its weights are wide enough for
    answers to differ."""
    folder = tmp_path_factory.mktemp("encoder")
    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=16_000,
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
    AutoTokenizer.from_pretrained(ROOT / "assets" / "mini" / "encoder").save_pretrained(folder)
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
