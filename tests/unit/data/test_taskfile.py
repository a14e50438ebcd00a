"""Task files: every format reads to the same examples, and what is malformed is refused in one
sentence that names the place."""

from __future__ import annotations

import gc
import json
import os
import pickle
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
from transformers import AutoTokenizer, XLMRobertaConfig, XLMRobertaForSequenceClassification

from sdq import __main__ as cli
from sdq.data import registry as tasks
from sdq.data import taskfile
from sdq.data.check import check
from sdq.data.kept import kept
from sdq.data.registry import address, fingerprint, load_task
from sdq.recipe import PRESETS
from sdq.results import title
from sdq.settings import ROOT, UserError
from sdq.store import Store
from sdq.store.identity import identify

LABELS = ("bad", "good")
SPLITS = {split: f"{split}/{{language}}.csv" for split in ("train", "dev", "test")}
GOOD = {
    "name": "mood",
    "kind": "sentence",
    "splits": SPLITS,
    "columns": {"text": "text", "label": "label"},
    "training_language": "en",
}
SAID = {
    "en": ("a fine day", "a sad day", "good work", "poor work"),
    "de": ("ein schöner Tag", "ein trüber Tag", "gute Arbeit", "schlechte Arbeit"),
}
POWER = ("O", "B-city", "I-city")


def write(folder: Path, task: Any = GOOD, **changed: Any) -> Path:
    """A task file in a folder, with some of its fields changed."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "task.json").write_text(json.dumps(task | changed if changed else task))
    return folder / "task.json"


def mood(folder: Path, **changed: Any) -> Path:
    """A small task of two languages in CSV files that is all right."""
    for split in SPLITS:
        for code, texts in SAID.items():
            (folder / split).mkdir(parents=True, exist_ok=True)
            rows = [f'{i},"{text}, {split}",{LABELS[(i + 1) % 2]}' for i, text in enumerate(texts)]
            (folder / split / f"{code}.csv").write_text(
                "\n".join(["id,text,label", *rows]) + "\n", "utf-8"
            )
    return write(folder, **changed)


def tagged(folder: Path, ending: str, text: str, **columns: str) -> Path:
    """A tagging task of one file for all splits and languages."""
    for split in SPLITS:
        (folder / split).mkdir(parents=True, exist_ok=True)
        (folder / split / f"en{ending}").write_text(text, "utf-8")
    names = {"tokens": "tokens", "tags": "tags"} | columns
    return write(
        folder,
        GOOD,
        kind="token",
        columns=names,
        splits={s: f"{s}/{{language}}{ending}" for s in SPLITS},
    )


# --- formats


def _rows() -> list[dict[str, Any]]:
    return [
        {"text": f'Zoë said "{i}", then\tleft'.replace("\t", " "), "label": LABELS[i % 2]}
        for i in range(4)
    ]


def _csv(rows: list[dict[str, Any]], path: Path) -> None:
    pd.DataFrame(rows).to_csv(path, index=False)


def _tsv(rows: list[dict[str, Any]], path: Path) -> None:
    path.write_text(
        "\ufefftext\tlabel\r\n" + "".join(f"{r['text']}\t{r['label']}\r\n" for r in rows), "utf-8"
    )


def _jsonl(rows: list[dict[str, Any]], path: Path) -> None:
    path.write_text("\n".join(json.dumps(r) for r in rows) + "\n\n", "utf-8")


def _parquet(rows: list[dict[str, Any]], path: Path) -> None:
    pd.DataFrame(rows).to_parquet(path)


@pytest.mark.parametrize(
    ("ending", "save"), [(".csv", _csv), (".tsv", _tsv), (".jsonl", _jsonl), (".parquet", _parquet)]
)
def test_every_table_format_gives_the_same_examples(
    tmp_path: Path, ending: str, save: Callable[..., None]
) -> None:
    for split in SPLITS:
        (tmp_path / split).mkdir()
        save(_rows(), tmp_path / split / f"en{ending}")
    task = load_task(str(write(tmp_path, splits={s: f"{s}/{{language}}{ending}" for s in SPLITS})))
    assert [e.text for e in task.examples("test")] == [r["text"] for r in _rows()]
    assert [e.targets for e in task.examples("test")] == [(r["label"],) for r in _rows()]
    assert (task.labels, task.languages, task.labelled, task.metric) == (
        LABELS,
        ("en",),
        "en",
        "accuracy",
    )


CONLLU = """# sent_id = s1
# text = Im Tal
1-2\tIm\t_\t_\t_\t_\t_\t_\t_\t_
1\tIn\tin\tADP\tAPPR\t_\t3\tcase\t_\t_
2\tdem\tder\tDET\tART\t_\t3\tdet\t_\t_
3\tTal\tTal\tNOUN\tNN\t_\t0\troot\t_\t_
3.1\tx\tx\tX\tX\t_\t_\t_\t_\t_

# sent_id = s2
1\tJa\tja\tINTJ\tITJ\t_\t0\troot\t_\t_
"""
CONLL = (
    "# id 7 domain=en\n-DOCSTART- -X- O\n\nIn NN O\nNew NN B-city\n# NN O\nYork NN "
    "I-city\n\n# a comment of five words\nHe NN O\n"
)


def test_conllu_leaves_ranges_and_empty_nodes_out(tmp_path: Path) -> None:
    task = load_task(
        str(tagged(tmp_path, ".conllu", CONLLU, tokens="form", tags="upos", id="sent_id"))
    )
    assert [(e.id, e.words, e.targets) for e in task.examples("test")] == [
        ("s1", ("In", "dem", "Tal"), ("ADP", "DET", "NOUN")),
        ("s2", ("Ja",), ("INTJ",)),
    ]
    assert task.kind == "token"


@pytest.mark.parametrize("ending", [".conll", ".iob", ".bio"])
@pytest.mark.parametrize("between", [" ", "\t"])
def test_conll_takes_first_and_last_field(tmp_path: Path, ending: str, between: str) -> None:
    task = load_task(
        str(tagged(tmp_path, ending, CONLL.replace(" ", between) if between == "\t" else CONLL))
    )
    assert [(e.words, e.targets) for e in task.examples("test")] == [
        (("In", "New", "#", "York"), ("O", "B-city", "O", "I-city")),
        (("He",), ("O",)),
    ]
    assert task.labels == POWER


def test_words_may_be_lists_or_text(tmp_path: Path) -> None:
    for split in SPLITS:
        (tmp_path / split).mkdir()
        lines = [
            {"tokens": ["New", "York"], "tags": ["B-city", "I-city"]},
            {"tokens": "in Rome", "tags": "O B-city"},
            {"tokens": '["a b"]', "tags": '["O"]'},
        ]
        (tmp_path / split / "en.jsonl").write_text("\n".join(map(json.dumps, lines)))
    task = load_task(
        str(
            write(
                tmp_path,
                kind="token",
                columns={"tokens": "tokens", "tags": "tags"},
                splits={s: f"{s}/{{language}}.jsonl" for s in SPLITS},
            )
        )
    )
    assert [e.words for e in task.examples("dev")] == [("New", "York"), ("in", "Rome"), ("a b",)]


def test_numbers_that_stand_for_names(tmp_path: Path) -> None:
    for split in SPLITS:
        (tmp_path / split).mkdir()
        pd.DataFrame({"tokens": [["in", "Rome"]], "tags": [[0, 1]]}).to_parquet(
            tmp_path / split / "en.parquet"
        )
    columns, labels = {"tokens": "tokens", "tags": "tags"}, {"0": "O", "1": "B-city"}
    task = load_task(
        str(
            write(
                tmp_path,
                kind="token",
                columns=columns,
                labels=labels,
                splits={s: f"{s}/{{language}}.parquet" for s in SPLITS},
            )
        )
    )
    assert (task.labels, task.examples("test")[0].targets) == (("O", "B-city"), ("O", "B-city"))


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
    changed, before = tmp_path / "test" / "de.csv", taskfile.fingerprint(path)
    state = changed.stat()
    (tmp_path / "new").write_bytes(changed.read_bytes()[:-1] + b" ")
    os.utime(tmp_path / "new", ns=(state.st_atime_ns, state.st_mtime_ns))
    (tmp_path / "new").replace(changed)
    assert taskfile.fingerprint(path) != before


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
    first = fingerprint(str(path))
    assert fingerprint(str(path)) == first == load_task(str(path)).fingerprint
    (tmp_path / "unrelated.csv").write_text("x")
    assert fingerprint(str(path)) == first
    text = (tmp_path / "test" / "de.csv").read_text("utf-8")
    (tmp_path / "test" / "de.csv").write_text(text.replace("trüber", "grauer"), "utf-8")
    second = fingerprint(str(path))
    assert second != first
    mood(tmp_path, longest=64)
    assert fingerprint(str(path)) not in (first, second)


def test_embedded_tasks_keep_their_fingerprints() -> None:
    assert (fingerprint("intent"), fingerprint("slots")) == ("093aa72eb102922a", "6c686fea859abf19")


def test_one_task_has_one_address(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDQ_DATA", str(tmp_path / "data"))
    path = mood(tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    assert (
        address("mine/task.json")
        == address(str(path))
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
    before = fingerprint(path)
    monkeypatch.setattr(taskfile, "SINCE", "")
    assert fingerprint(path) != before


# --- what is malformed


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random XLM-R of one narrow block with two labels."""
    folder = tmp_path_factory.mktemp("model")
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
        id2label=dict(enumerate(LABELS)),
        label2id={label: i for i, label in enumerate(LABELS)},
    )
    XLMRobertaForSequenceClassification(config).save_pretrained(folder)
    AutoTokenizer.from_pretrained(ROOT / "assets" / "mini" / "encoder").save_pretrained(folder)
    return folder


def command(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, *words: str
) -> tuple[int, str, str]:
    """(exit code, stdout, stderr) of `python -m sdq words`, in this process."""
    capsys.readouterr()
    monkeypatch.setattr(sys, "argv", ["sdq", *words])
    try:
        cli.main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, *capsys.readouterr()


class Evil:
    """Unpickling this writes a file."""

    def __reduce__(self) -> tuple[Any, ...]:
        return (os.system, ("touch executed",))


def _file(name: str, content: bytes | str) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        path = mood(folder)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return build


def _with(**changed: Any) -> Callable[[Path], Path]:
    return lambda folder: mood(folder, **changed)


def _huge(folder: Path) -> Path:
    path = mood(folder)
    with (folder / "test" / "de.csv").open("wb") as file:
        file.truncate(200_000_000)
    return path


def _linked(folder: Path) -> Path:
    path = mood(folder)
    (folder.parent / "secret.csv").write_text("id,text,label\n1,secret,good\n")
    (folder / "test" / "de.csv").unlink()
    (folder / "test" / "de.csv").symlink_to(folder.parent / "secret.csv")
    return path


def _pickled(folder: Path) -> Path:
    path = mood(folder, splits=SPLITS | {"test": "test/{language}.parquet"})
    (folder / "test" / "en.parquet").write_bytes(pickle.dumps(Evil()))
    return path


def _twice(folder: Path) -> Path:
    path = mood(folder, splits=SPLITS | {"test": "*/{language}.csv"})
    return path


def _not_json(text: str) -> Callable[[Path], Path]:
    def build(folder: Path) -> Path:
        path = mood(folder)
        path.write_text(text)
        return path

    return build


HEAD = "id,text,label\n"
PNG = b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR"
MALFORMED: dict[str, tuple[Callable[[Path], Path], str]] = {
    "binary as CSV": (_file("test/de.csv", PNG), r"de\.csv is binary \(line 3"),
    "mixed encodings": (
        _file(
            "test/de.csv",
            HEAD.encode() + "1,schön,good\n".encode() + "2,trüb,bad\n".encode("latin-1"),
        ),
        r"line 3 of de\.csv is not \(byte 0xfc\).*UTF-8",
    ),
    "UTF-16": (
        _file("test/de.csv", (HEAD + "1,x,good\n").encode("utf-16")),
        r"de\.csv is UTF-16; save it again as UTF-8",
    ),
    "200 MB": (_huge, r"at most 100 MB, de\.csv has 200 MB; take a sample"),
    "labels as floats": (
        _file("test/de.csv", HEAD + "1,x,0.5\n"),
        r"de\.csv, line 2, column label: .*got '0\.5'",
    ),
    "NaN labels": (
        _file("test/de.csv", HEAD + "1,x,nan\n"),
        r"de\.csv, line 2, column label: .*got 'nan'",
    ),
    "missing column": (
        _file("test/de.csv", "id,words,label\n1,x,good\n"),
        r"de\.csv, line 2: the file must have a column 'text', it has id, words, label",
    ),
    "duplicated ids": (
        lambda folder: (
            _file("test/de.csv", HEAD + "7,x,good\n8,y,bad\n7,z,bad\n")(folder),
            mood_ids(folder),
        )[1],
        r"de\.csv, line 4, column id: ids must be unique.*'7' was in de\.csv, line 2",
    ),
    "unknown label": (
        _with(labels=["good", "fair"]),
        r"column label: a label must be one of good, fair, got 'bad'; correct it, or add it under "
        r"`labels`",
    ),
    "unknown tags": (
        lambda folder: tagged_labels(folder),
        r"en\.conll, line 1, column tags: a label must be one of O, B-city, got 'I-city'",
    ),
    "path that climbs out": (
        _with(splits=SPLITS | {"test": "../{language}.csv"}),
        r"files must be given relative to the task file's folder and stay in it, got '\.\./",
    ),
    "absolute path": (
        _with(splits=SPLITS | {"test": "/etc/passwd.csv"}),
        r"stay in it, got '/etc/passwd\.csv'",
    ),
    "link that leads out": (_linked, r"de\.csv is a link that leads out of it"),
    "ragged CoNLL": (
        lambda folder: tagged(folder, ".conll", "In O\nNew York B-city\n"),
        r"line 2 of en\.conll has 3",
    ),
    "ragged CoNLL-U": (
        lambda folder: tagged(folder, ".conllu", "1\tIn\tin\tADP\n", tokens="form", tags="upos"),
        r"line 1 of en\.conllu has 4",
    ),
    "tags and words of unequal number": (
        lambda folder: tagged(folder, ".jsonl", '{"tokens": ["a", "b"], "tags": ["O"]}\n'),
        r"en\.jsonl, line 1, column tags: every word must have one tag, there are 2 words and 1 "
        r"tags",
    ),
    "ragged CSV": (_file("test/de.csv", HEAD + "1,x,y,good\n"), r"line 2 of de\.csv has 4"),
    "open quote": (
        _file("test/de.csv", HEAD + '1,"x,good\n2,y,bad\n'),
        r"de\.csv must be CSV, the row that begins in line 2 is not",
    ),
    "name twice": (
        _file("test/de.csv", "text,text,label\nx,y,good\n"),
        r"in line 1 of de\.csv the name 'text' is there twice",
    ),
    "empty file": (_file("test/de.csv", b""), r"de\.csv is empty"),
    "header only": (_file("test/de.csv", HEAD), r"de\.csv has only a header"),
    "JSON that is no object": (
        lambda folder: tagged(folder, ".jsonl", '["a", "b"]\n'),
        r"line 1 of en\.jsonl is a list; write one object a line",
    ),
    "a task file that is a list": (_not_json("[1, 2]"), r"a task file must be a JSON object"),
    "a task file that is no JSON": (_not_json("{'name': 1}"), r"a task file must be JSON text"),
    "unknown field": (_with(speed=3), r"speed: unknown field; remove it"),
    "unknown metric": (
        _with(metric="f1"),
        r"metric must be one of accuracy in a sentence task, got 'f1'",
    ),
    "name that is a path": (_with(name="../../x"), r"name: "),
    "pickle as Parquet": (_pickled, r"en\.parquet must be a Parquet file"),
    "unknown ending": (
        lambda folder: (
            mood(folder),
            (folder / "t.xlsx").write_bytes(PNG),
            write(folder, splits=SPLITS | {"test": "t.xlsx"}),
        )[2],
        r"must be text or Parquet, t\.xlsx is binary \(line 3",
    ),
    "two files for one language": (_twice, r"test has two for de: dev/de\.csv and test/de\.csv"),
    "no file": (
        _with(splits=SPLITS | {"test": "tests/{language}.csv"}),
        r"splits\.test must match at least one file, 'tests/\{language\}\.csv' matches none",
    ),
    "no training language": (
        _with(training_language="fr"),
        r"the train split must have examples in the training language fr",
    ),
    "one label": (
        _with(labels={"good": "good", "bad": "good"}),
        r"2 to 500 different labels, mood has 1",
    ),
    "split that is none": (
        lambda folder: (
            mood(folder),
            (folder / "a.csv").write_text("text,label,part\nx,good,trian\n"),
            write(folder, splits={"all": "a.csv"}, columns=GOOD["columns"] | {"split": "part"}),
        )[2],
        r"a\.csv, line 2, column part: a split must be train, dev or test, got 'trian'",
    ),
    "language that is none": (
        lambda folder: (
            mood(folder),
            (folder / "a.csv").write_text("text,label,part,lang\nx,good,train,<b>\n"),
            write(
                folder,
                splits={"all": "a.csv"},
                columns=GOOD["columns"] | {"split": "part", "language": "lang"},
            ),
        )[2],
        r"a\.csv, line 2, column lang: a language must be a code",
    ),
}


def mood_ids(folder: Path) -> Path:
    return write(folder, columns=GOOD["columns"] | {"id": "id"})


def tagged_labels(folder: Path) -> Path:
    path = tagged(folder, ".conll", "In O\nNew B-city\nYork I-city\n")
    return write(folder, json.loads(path.read_text()), labels=["O", "B-city"])


@pytest.mark.parametrize("case", MALFORMED)
def test_malformed_input_is_refused_in_one_sentence_and_starts_nothing(
    case: str,
    tmp_path: Path,
    data: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    build, said = MALFORMED[case]
    path = build(tmp_path / "task")
    monkeypatch.chdir(tmp_path)
    for words in (
        ("task", "check", str(path)),
        ("run", "ptq-int8-dynamic", "--model", str(model), "--task", str(path)),
    ):
        code, out, err = command(capsys, monkeypatch, *words)
        assert (code, out) == (2, "")
        assert len(err.strip().splitlines()) == 1, err
        assert re.search(said, err), err
        assert ";" in err, "the sentence names no remedy"
    assert not list((data / "runs").glob("*")), "a run was begun"
    assert not (tmp_path / "executed").exists()


def test_pickle_renamed_to_safetensors_is_not_executed(
    tmp_path: Path,
    data: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    folder = tmp_path / "model"
    folder.mkdir()
    for part in model.iterdir():
        (folder / part.name).write_bytes(
            pickle.dumps(Evil()) if part.suffix == ".safetensors" else part.read_bytes()
        )
    monkeypatch.chdir(tmp_path)
    code, out, err = command(
        capsys,
        monkeypatch,
        "run",
        "ptq-int8-dynamic",
        "--model",
        str(folder),
        "--task",
        str(mood(tmp_path / "task")),
    )
    assert (code, out) == (2, "")
    assert str(folder) in err.strip().splitlines()[-1]
    assert not (tmp_path / "executed").exists()
    assert not list(Store.default().finished())


def test_run_ids_follow_the_data(tmp_path: Path, model: Path) -> None:
    path = mood(tmp_path / "one")
    first = identify(PRESETS["fp32"], str(model), str(path))
    assert (
        identify(PRESETS["fp32"], str(model), str(mood(tmp_path / "two"))) == first
    )  # the same content elsewhere is the same run
    (tmp_path / "one" / "train" / "de.csv").write_text("id,text,label\n1,anders,good\n", "utf-8")
    assert identify(PRESETS["fp32"], str(model), str(path)) != first


# --- what is odd, but works


def test_one_language_endless_text_and_empty_text_run_and_are_told(
    tmp_path: Path,
    data: Path,
    model: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    path = mood(tmp_path / "task", splits={s: f"{s}/en.csv" for s in SPLITS})
    (tmp_path / "task" / "test" / "en.csv").write_text(
        f"id,text,label\n1,{'word ' * 20_000},good\n2,,bad\n", "utf-8"
    )
    found = check(load_task(str(path)))
    assert any("The only test language is en" in w for w in found.warnings)
    assert any("1 of 2 texts are empty in test, en" in w for w in found.warnings)
    assert any("longer than 128 subwords" in w for w in found.warnings)
    code, out, _ = command(
        capsys,
        monkeypatch,
        "run",
        "ptq-int8-dynamic",
        "--model",
        str(model),
        "--task",
        str(path),
        "--json",
    )
    assert code == 0
    assert json.loads(out)["quantized"]["zero_shot_mean"] is None
    report = Store.default().report(json.loads(out)["run"])
    assert report.provenance["test_sentences_cut"] == 1
    assert report.task == str(path)
    assert set(report.quantized.by_language) == {"en"}
    assert {
        "event": "cut",
        "split": "test",
        "sentences": 1,
        "of": 2,
        "longest": 128,
    }.items() <= next(e for e in Store.default().events(report.run) if e["event"] == "cut").items()


def test_a_task_file_survives_the_round_trip(tmp_path: Path) -> None:
    file = taskfile.read(
        mood(tmp_path, languages={"en": "en", "de": "deu"}, labels=["good", "bad"])
    )
    assert taskfile.parse(file.model_dump_json(exclude_defaults=True).encode(), "x") == file


@pytest.mark.parametrize("collects", [True, False])
def test_garbage_is_collected_afterwards_as_it_was_before(
    monkeypatch: pytest.MonkeyPatch, collects: bool
) -> None:
    during = []
    monkeypatch.setitem(tasks.TASKS, "intent", lambda name: during.append(gc.isenabled()))
    (gc.enable if collects else gc.disable)()
    try:
        tasks.load_task("intent")
        with pytest.raises(UserError):
            tasks.load_task("nowhere.json")
        assert (during, gc.isenabled()) == ([False], collects)
    finally:
        gc.enable()
