"""Declared datasets of the Hub: fetched from a local folder of the Hub's layout, refused at once
without network."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import ClassLabel, Dataset, Features, Sequence, Value, disable_progress_bars

from sdq.data import hub
from sdq.data.kept import kept
from sdq.data.registry import load_task, task_fingerprint
from sdq.io.files import busy
from sdq.pipeline.run import Request
from sdq.recipe import PRESETS
from sdq.settings import ASSETS, UserError

LAYOUT = "{repository}/{configuration}/{split}/*.parquet"
TEXT, TEXTS = Value("string"), Sequence(Value("string"))
# entry -> features at the Hub, and how one row is made
AT_HUB: dict[str, tuple[dict[str, Any], Any]] = {
    "xnli": (
        {
            "premise": TEXT,
            "hypothesis": TEXT,
            "label": ClassLabel(names=["entailment", "neutral", "contradiction"]),
        },
        lambda i: (f"p{i}", f"h{i}", i % 3),
    ),
    "pawsx": (
        {
            "id": Value("int32"),
            "sentence1": TEXT,
            "sentence2": TEXT,
            "label": ClassLabel(names=["0", "1"]),
        },
        lambda i: (i, f"a{i}", f"b{i}", i % 2),
    ),
    "wikiann": (
        {
            "tokens": TEXTS,
            "ner_tags": Sequence(ClassLabel(names=["O", "B-PER", "I-PER"])),
            "spans": TEXTS,
        },
        lambda i: (["Anna", "x"], [1, 0], []),
    ),
    "udpos": (
        {"idx": TEXT, "tokens": TEXTS, "upos": TEXTS, "head": TEXTS},
        lambda i: (str(i), ["a", "b"], ["NOUN", "VERB"], []),
    ),
    "sib200": (
        {"index_id": Value("int64"), "category": TEXT, "text": TEXT},
        lambda i: (i, ("travel", "sports")[i % 2], f"t{i}"),
    ),
    "massive": (
        {"id": TEXT, "utt": TEXT, "intent": ClassLabel(names=["a", "b", "c"])},
        lambda i: (str(i), f"u{i}", i % 3),
    ),
    "amazon": (
        {"id": TEXT, "text": TEXT, "label": Value("int32"), "label_text": TEXT},
        lambda i: (f"en_{i}", f"r{i}", i % 5, str(i % 5)),
    ),
}
FIRST = {
    "xnli": "entailment",
    "pawsx": "0",
    "wikiann": "B-PER",
    "udpos": "NOUN",
    "sib200": "travel",
    "massive": "a",
    "amazon": "0",
}


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("SDQ_DATA", str(tmp_path / "data"))
    for name, entry in hub.ENTRIES.items():
        two = {code: entry.configurations[code] for code in ("en", "de")}
        monkeypatch.setitem(hub.ENTRIES, name, replace(entry, configurations=two))
    disable_progress_bars()
    return tmp_path / "data"


def publish(root: Path, name: str, validation: str = "validation", **changed: Any) -> str:
    """Write an entry's dataset as the Hub lays it out; the pattern of its files."""
    features, row = AT_HUB[name]
    entry = hub.ENTRIES[name]
    for configuration in entry.configurations.values():
        for split in ("train", validation, "test"):
            path = root / entry.repository / configuration / split / "0000.parquet"
            path.parent.mkdir(parents=True)
            columns = {
                column: [row(i)[k] for i in range(5)] for k, column in enumerate(features)
            } | changed
            columns = {column: values for column, values in columns.items() if values is not None}
            Dataset.from_dict(
                columns, features=Features({c: f for c, f in features.items() if c in columns})
            ).to_parquet(path)
    return str(root / LAYOUT)


def test_every_entry_is_met_here() -> None:
    assert set(AT_HUB) == set(hub.ENTRIES)


@pytest.mark.parametrize("name", AT_HUB)
def test_an_entry_becomes_a_task_file_with_names_for_numbers(
    name: str, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.fetch(name, publish(tmp_path / "hub", name))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # from here on nothing may be asked
    task = load_task(f"hub:{name}")
    assert (task.languages, task.labelled, kept()) == (("en", "de"), "en", (f"hub-{name}",))
    assert {
        split: sorted({e.language for e in examples}) for split, examples in task.splits.items()
    } == {"train": ["en"], "dev": ["en"], "test": ["de", "en"]}
    assert task.examples("test", ("de",))[0].targets[0] == FIRST[name]
    assert task.fingerprint == load_task(f"hub-{name}").fingerprint
    assert {path.name for path in (data / "tasks" / f"hub-{name}").iterdir()} == {
        "train",
        "dev",
        "test",
        "task.json",
    }


def test_the_other_name_of_the_dev_split_is_tried(tmp_path: Path) -> None:
    hub.fetch("udpos", publish(tmp_path / "hub", "udpos", validation="dev"))
    assert len(load_task("hub:udpos").examples("dev")) == 5


def test_rows_without_a_label_are_left_out(tmp_path: Path) -> None:
    hub.fetch("xnli", publish(tmp_path / "hub", "xnli", label=[0, -1, 2, -1, 1]))
    assert [e.targets[0] for e in load_task("hub:xnli").examples("test", ("de",))] == [
        "entailment",
        "contradiction",
        "neutral",
    ]


def test_a_dataset_that_changed_is_named_and_leaves_no_task(tmp_path: Path) -> None:
    root = publish(tmp_path / "hub", "sib200", category=None)
    with pytest.raises(
        UserError, match=r"Davlan/sib200 must have the columns .*'category' is not in eng_Latn"
    ):
        hub.fetch("sib200", root)
    assert kept() == ()
    with pytest.raises(UserError, match=r"must give facebook/xnli, en, train, it did not"):
        hub.fetch("xnli", str(tmp_path / "nothing" / LAYOUT))


def test_without_network_one_sentence_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    started = time.perf_counter()
    with pytest.raises(
        UserError,
        match=r"XNLI must be fetched from the Hub first, and HF_HUB_OFFLINE forbids it; .*task "
        r"file",
    ):
        load_task("hub:xnli")
    assert time.perf_counter() - started < 10  # at once, on a machine with whatever load
    monkeypatch.delenv("HF_HUB_OFFLINE")
    monkeypatch.setattr(hub, "SECONDS", 0.2)
    monkeypatch.setattr(hub, "_reachable", lambda repository: time.sleep(30))
    with pytest.raises(UserError, match="did not answer"):
        load_task("hub:xnli")
    assert time.perf_counter() - started < 15  # half of what the network would have taken
    with pytest.raises(UserError, match="must be one of xnli, pawsx"):
        load_task("hub:imdb")


@pytest.mark.parametrize(
    ("name", "column", "values", "got"),
    [("wikiann", "ner_tags", [[1, -1]] * 5, "-1"), ("xnli", "label", [0, 1, 2, 3, 0], "3")],
)
def test_a_number_that_stands_for_no_name_is_refused(
    tmp_path: Path, name: str, column: str, values: list[Any], got: str
) -> None:
    root = publish(tmp_path / "hub", name)
    for path in (tmp_path / "hub").rglob("*.parquet"):  # ClassLabel itself would refuse them
        table = pq.read_table(path)
        at = table.column_names.index(column)
        numbers = pa.array(values, table.schema.field(column).type)
        pq.write_table(table.set_column(at, table.schema.field(column), numbers), path)
    with pytest.raises(UserError, match=rf"stand for one of 3 names in {column} of .*, got {got};"):
        hub.fetch(name, root)
    assert kept() == ()


def test_one_process_fetches_and_another_waits_for_it(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, table, told, held = publish(tmp_path / "hub", "xnli"), hub._table, [], []

    def slow(*given: Any) -> Any:
        held.append(busy(data / "tasks" / "hub-xnli"))
        if len(held) == 1:  # a second one asks now, and must not clear away what is there
            other.start()
            until = time.monotonic() + 60
            while not told and time.monotonic() < until:
                time.sleep(0.01)
        return table(*given)

    monkeypatch.setattr(hub, "_table", slow)
    other = threading.Thread(target=lambda: hub.fetch("xnli", root, told.append))
    path = hub.fetch("xnli", root)
    other.join(60)
    assert all(held)
    assert len(held) == 4  # train and dev of en, test of en and de: once
    assert told == ["XNLI: waiting, another process fetches it"]
    assert sorted(part.name for part in path.parent.iterdir()) == [
        "dev",
        "task.json",
        "test",
        "train",
    ]


def test_a_disk_that_refuses_leaves_no_half_file(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = publish(tmp_path / "hub", "xnli")

    def full(frame: Any, path: Path, **how: Any) -> None:
        Path(path).write_bytes(b"PAR1")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with pytest.raises(UserError, match="No space left"):
        hub.fetch("xnli", root)
    assert [
        path for path in (data / "tasks").rglob("*.parquet*") if ".cache" not in str(path)
    ] == []


def test_a_fingerprint_fetches_nothing_unless_it_is_asked_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, fetch, asked = publish(tmp_path / "hub", "xnli"), hub.fetch, []

    def local(name: str) -> Path:
        asked.append(name)
        return fetch(name, root)

    monkeypatch.setattr(hub, "fetch", local)
    with pytest.raises(UserError, match=r"XNLI must be fetched .*sdq task check hub:x"):
        task_fingerprint("hub:xnli")
    with pytest.raises(UserError, match="must be one of xnli, pawsx"):
        task_fingerprint("hub:imdb")
    assert asked == []
    assert task_fingerprint("hub:xnli", fetch=True) == task_fingerprint("hub:xnli")
    assert load_task("hub:xnli").fingerprint == task_fingerprint("hub:xnli")


def test_a_run_asked_for_by_command_fetches_its_task(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, fetch = publish(tmp_path / "hub", "sib200"), hub.fetch
    monkeypatch.setattr(hub, "fetch", lambda name: fetch(name, root))
    request = Request.of(PRESETS["fp32"], str(ASSETS / "mini" / "encoder"), "hub:sib200")
    assert request.data == task_fingerprint("hub:sib200")
