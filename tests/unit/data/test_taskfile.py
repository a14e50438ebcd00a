"""Task files: splits, languages, groups, names and fingerprints."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from sdq.data import taskfile
from sdq.data.kept import kept
from sdq.data.registry import canonical_name, load_task, task_fingerprint
from sdq.results import title
from sdq.settings import UserError
from tests.helpers.moods import LABELS, SAID, SPLITS, mood, write

# --- splits, languages, groups


def test_one_file_with_columns_for_split_and_language(tmp_path: Path) -> None:
    rows = [
        (split, code, f"{text} {split}", LABELS[i % 2])
        for split in ("train", "validation", "TEST")
        for code, texts in SAID.items()
        for i, text in enumerate(texts)
    ]
    pd.DataFrame(rows, columns=["part", "lang", "words", "mood"]).to_csv(
        tmp_path / "all.csv", index=False
    )
    columns = {"text": "words", "label": "mood", "split": "part", "language": "lang"}
    task = load_task(
        str(
            write(
                tmp_path,
                splits={"all": "all.csv"},
                columns=columns,
                languages={"en": "en", "de": "deu"},
            )
        )
    )
    assert task.languages == ("en", "deu")
    assert {s: len(e) for s, e in task.splits.items()} == {"train": 8, "dev": 8, "test": 8}
    assert task.examples("dev", ("deu",))[0].text == "ein schöner Tag validation"


@pytest.mark.parametrize(
    "code", ['de" onmouseover="alert(1)', "de\n\n# x", "de\n", "", "<b>", "d" * 25, "中文"]
)
def test_a_language_is_called_by_a_code(tmp_path: Path, code: str) -> None:
    path = write(tmp_path, languages={"en": "en", "de": code})
    with pytest.raises(UserError, match="languages must be called by codes such as en or zh-hans"):
        load_task(str(path))


def test_shares_keep_translations_and_groups_together(tmp_path: Path) -> None:
    for code in ("en", "de"):
        pd.DataFrame(
            {
                "n": range(300),
                "text": [f"{code} {i}" for i in range(300)],
                "label": [LABELS[i % 2] for i in range(300)],
                "g": [i // 3 for i in range(300)],
            }
        ).to_csv(tmp_path / f"{code}.csv", index=False)

    def split_of(group: str | None) -> dict[str, dict[str, set[int]]]:
        columns = {"text": "text", "label": "label", "id": "n"} | (
            {"group": group} if group else {}
        )
        task = load_task(
            str(
                write(
                    tmp_path,
                    splits={"all": "{language}.csv"},
                    shares=[0.5, 0.2, 0.3],
                    columns=columns,
                )
            )
        )
        return {
            s: {c: {int(e.id) for e in task.splits[s] if e.language == c} for c in ("en", "de")}
            for s in SPLITS
        }

    alone, together = split_of(None), split_of("g")
    assert all(part["en"] == part["de"] for part in (*alone.values(), *together.values()))
    assert all(
        len(part["en"]) == pytest.approx(300 * share, abs=30)
        for part, share in zip(alone.values(), (0.5, 0.2, 0.3), strict=True)
    )
    assert all(
        len({i // 3 for i in part["en"]}) * 3 == len(part["en"]) for part in together.values()
    )
    assert any(len({i // 3 for i in part["en"]}) * 3 != len(part["en"]) for part in alone.values())


def test_training_files_without_a_language_hold_the_training_language(tmp_path: Path) -> None:
    mood(tmp_path)
    task = load_task(
        str(write(tmp_path, splits=SPLITS | {"train": "train/en.csv", "dev": "dev/en.csv"}))
    )
    assert {e.language for e in task.splits["train"]} == {"en"}
    assert task.languages == ("de", "en")
    assert task.zero_shot == ("de",)


def test_unlabelled_text_is_for_training_in_other_languages_only(tmp_path: Path) -> None:
    path = mood(tmp_path)
    (tmp_path / "train" / "de.csv").write_text("id,text,label\n1,ohne Antwort,\n", "utf-8")
    assert load_task(str(path)).examples("train", ("de",))[0].targets == ()
    (tmp_path / "test" / "de.csv").write_text("id,text,label\n1,ohne Antwort,\n", "utf-8")
    with pytest.raises(UserError, match=r"de.csv, line 2, column label: a label must not be empty"):
        load_task(str(path))


def test_a_file_replaced_by_one_of_the_same_size_and_time_is_another(tmp_path: Path) -> None:
    path = mood(tmp_path)
    changed, before = tmp_path / "test" / "de.csv", taskfile.content_hash(path)
    state = changed.stat()
    (tmp_path / "new").write_bytes(changed.read_bytes()[:-1] + b" ")
    os.utime(tmp_path / "new", ns=(state.st_atime_ns, state.st_mtime_ns))
    (tmp_path / "new").replace(changed)
    assert taskfile.content_hash(path) != before


def test_a_task_file_is_read_as_every_file_of_settings() -> None:
    with pytest.raises(UserError, match="a task file must be UTF-8 text, x cannot be read as text"):
        taskfile.parse(b'{"name": "\xff"}', "x")
    with pytest.raises(UserError, match="a task file must have at most 1000 kB"):
        taskfile.parse(b" " * 1_000_001, "x")


def test_queries_of_two_files_are_not_one(tmp_path: Path) -> None:
    """Nor are those of two languages in one file, whose rows may alternate."""
    rows = [("q", "d1", 3), ("q", "d2", 0), ("r", "d3", 1)]
    for part in ("train/a", "dev/a", "test/a", "test/b"):
        (tmp_path / part).parent.mkdir(exist_ok=True)
        pd.DataFrame(rows, columns=["query", "page", "label"]).to_csv(
            tmp_path / f"{part}.csv", index=False
        )
    columns = {"text": "query", "second": "page", "label": "label"}
    splits = {split: f"{split}/*.csv" for split in SPLITS}
    kept = {"kind": "ranking", "labels": ["0", "1", "2", "3"], "columns": columns, "splits": splits}
    assert [e.group for e in load_task(str(write(tmp_path, **kept))).examples("test")] == [
        f"q{i:06d}" for i in (1, 1, 2, 3, 3, 4)
    ]
    mixed = [(*row, code) for row in rows for code in ("en", "de")]
    for split in SPLITS:
        pd.DataFrame(mixed, columns=["query", "page", "label", "language"]).to_csv(
            tmp_path / split / "a.csv", index=False
        )
    (tmp_path / "test" / "b.csv").unlink()
    task = load_task(str(write(tmp_path, **kept | {"columns": columns | {"language": "language"}})))
    for code in ("en", "de"):
        assert [e.group for e in task.examples("test", (code,))] == [
            "q000001",
            "q000001",
            "q000002",
        ]


def test_queries_are_neighbours_with_the_same_text_unless_a_column_says(tmp_path: Path) -> None:
    for split in SPLITS:
        (tmp_path / split).mkdir()
        rows = [("q", "d1", 3, "x"), ("q", "d2", 0, "y"), ("r", "d3", 1, "x"), ("q", "d4", 2, "z")]
        pd.DataFrame(rows, columns=["query", "page", "label", "g"]).to_csv(
            tmp_path / split / "en.csv", index=False
        )
    columns = {"text": "query", "second": "page", "label": "label"}
    task = load_task(str(write(tmp_path, kind="ranking", columns=columns)))
    assert [e.group for e in task.examples("test")] == ["q000001", "q000001", "q000002", "q000003"]
    assert (task.metric, task.labels) == ("ndcg", ("0", "1", "2", "3"))
    assert [
        e.group
        for e in load_task(
            str(write(tmp_path, kind="ranking", columns=columns | {"group": "g"}))
        ).examples("test")
    ] == ["x", "y", "x", "z"]


# --- names and fingerprints


def test_fingerprint_follows_the_data_and_the_task_file(tmp_path: Path) -> None:
    path = mood(tmp_path)
    first = task_fingerprint(str(path))
    assert task_fingerprint(str(path)) == first == load_task(str(path)).fingerprint
    (tmp_path / "unrelated.csv").write_text("x")
    assert task_fingerprint(str(path)) == first
    text = (tmp_path / "test" / "de.csv").read_text("utf-8")
    (tmp_path / "test" / "de.csv").write_text(text.replace("trüber", "grauer"), "utf-8")
    second = task_fingerprint(str(path))
    assert second != first
    mood(tmp_path, longest=64)
    assert task_fingerprint(str(path)) not in (first, second)


def test_embedded_tasks_keep_their_fingerprints() -> None:
    assert (task_fingerprint("intent"), task_fingerprint("slots")) == (
        "093aa72eb102922a",
        "6c686fea859abf19",
    )


def test_one_task_has_one_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDQ_DATA", str(tmp_path / "data"))
    path = mood(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    assert (
        canonical_name("mine/task.json")
        == canonical_name(str(path))
        == load_task("mine/task.json").name
        == str(path)
    )
    assert (title(str(path)), title("xglue:/x/NC"), title("/x/topics.json")) == (
        "mine",
        "XGLUE NC",
        "topics",
    )
    mood(tmp_path / "data" / "tasks" / "kept")
    assert kept() == ("kept",)
    assert load_task("kept").name == "kept"
    with pytest.raises(UserError, match=r"a task kept in the data folder \(kept\)"):
        load_task("other")


@pytest.mark.parametrize(
    "pattern",
    [
        "x" * 300,
        "x" * 5000,
        ".",
        "**x/a.csv",
        "*" * 9,
        "a*" * 100,
        "[",
        "nul\0",
        "~/a.csv",
        " ",
        "{language}" * 3,
        "\ud800",
    ],
)
def test_patterns_that_are_none_are_refused(pattern: str, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=";") as error:
        load_task(str(mood(tmp_path, splits=SPLITS | {"test": pattern})))
    assert "\n" not in str(error.value)


def test_a_pattern_may_begin_here(tmp_path: Path) -> None:
    assert load_task(
        str(mood(tmp_path, splits=SPLITS | {"test": "./test//{language}.csv"}))
    ).languages == ("de", "en")


def test_what_was_scored_before_is_scored_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = str(mood(tmp_path))
    before = task_fingerprint(path)
    monkeypatch.setattr(taskfile, "SINCE", "")
    assert task_fingerprint(path) != before
