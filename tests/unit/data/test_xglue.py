"""XGLUE: the official files are read as the official scorer reads them."""

from __future__ import annotations

import shutil
from itertools import groupby
from pathlib import Path

import pytest

from sdq.data import xglue
from sdq.data.registry import load_task, task_fingerprint
from sdq.io.limits import limits
from sdq.settings import UserError
from tests.helpers import made_xglue
from tests.helpers.xglue import LANGUAGES, gold_of


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return made_xglue.build(tmp_path_factory.mktemp("xglue"), LANGUAGES)


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
            examples = loaded.examples(split, (language,))
            assert [list(e.targets) for e in examples] == gold
            assert all(e.text.strip() for e in examples)
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
    assert (
        few.fingerprint == task_fingerprint(few.name) != task_fingerprint(f"xglue:{archive / 'NC'}")
    )


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
