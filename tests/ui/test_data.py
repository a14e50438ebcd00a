"""The page Your data: from files to a task that the other pages know, and nothing written
anywhere else."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from sdq.data.kept import KEPT, home, kept
from sdq.data.registry import load_task
from sdq.intake.own_tasks import Incoming, keep, task_name
from sdq.io.quoting import quoted
from sdq.settings import UserError
from sdq.store import Store
from tests.helpers.data_page import PAGE, SPLITS, brought, files, rows
from tests.helpers.pages import links, opened, text_of


def test_without_data_the_page_says_what_to_do(store: Store) -> None:
    shown = text_of(opened(PAGE))
    assert "No file is selected yet" in shown
    assert "`sdq task check task.json`" in shown


def test_files_become_a_task_that_is_counted_and_offered(store: Store) -> None:
    app = brought("mood", *files("en", "de"))
    assert not app.error, [e.value for e in app.error]
    assert app.dataframe[0].value["text"].tolist()[0] == "day 0 train en"
    assert [s.value for s in app.selectbox if s.label == "Split"][1:] == [
        split for split in SPLITS for _ in "ab"
    ]
    app = app.button(key="keep").click().run()
    assert not app.exception
    assert not app.error, [e.value for e in app.error]
    assert "Task mood" in text_of(app)
    assert any("Fewer than 30 test sentences" in w.value for w in app.warning)
    sentences, labels = (table.value for table in app.dataframe)
    assert sentences.set_index("language").loc["de"].tolist() == [6, 6, 6]
    assert labels.set_index("label").loc["good"].tolist() == [3, 3]
    task = load_task("mood")
    assert task.file_kind == "sentence"
    assert (task.labels, task.languages, len(task.examples("test"))) == (
        ("bad", "good"),
        ("de", "en"),
        12,
    )
    written = {
        path.relative_to(store.folder.parent).as_posix()
        for path in store.folder.parent.rglob("*.csv")
        if ".session" not in str(path)
    }
    assert written == {
        f"tasks/mood/{split}/{split}-{code}.csv" for split in SPLITS for code in ("de", "en")
    }
    assert "Task mood saved." in [said.value for said in app.success]
    assert links(app)["Quantize with mood"] == "on=mood"
    assert not [box for box in app.text_input if box.key == "name"], "the form is empty again"
    assert app.file_uploader[0].key != "files"
    assert not list(home().glob(".session-*/*/*")), (
        "what was used counts no more for what a visitor may bring"
    )
    quantize = opened("pages/lab/quantize.py", on="mood")
    assert quantize.selectbox(key="on").value == "mood"
    assert "mood (yours)" in quantize.selectbox(key="on").options


def test_one_file_with_columns_for_language_and_a_split_by_shares(store: Store) -> None:
    lines = "lang,words,tags\n" + "".join(
        f'{code},"in New York",O B-city I-city\n' for code in ("en", "de") for _ in range(40)
    )
    app = brought("cities", ("everything.csv", lines.encode(), "text/csv"))
    assert app.radio(key="kind").value == "token"
    assert app.selectbox(key="column-token-tokens").value == "words"
    app = app.slider(key="shares").set_value((50, 70)).run()
    app = app.button(key="keep").click().run()
    assert not app.error, [e.value for e in app.error]
    task = load_task("cities")
    assert task.kind == "token"
    assert (
        len(task.examples("train", ("en",)))
        == len(task.examples("train", ("de",)))
        == pytest.approx(20, abs=8)
    )


def test_what_a_file_is_and_what_is_proposed_is_shown_before_anything_is_taken(
    store: Store,
) -> None:
    conll = "In IN O 1 *anna*\nNew NNP B-city 2 bob\n\nYork NNP I-city 3 *anna*\n" * 120
    app = brought("cities", ("everything.data", conll.encode(), "text/plain"))
    assert (
        "was recognised as CoNLL (one word a line), 5 columns. Suggested: words: tokens, tags: 3 "
        "(tags of spans); nothing is stored" in text_of(app)
    )
    assert app.dataframe[0].value["5"].tolist()[0] == "*anna* bob"
    assert app.selectbox(key="column-token-tags").value == "3"
    assert app.selectbox(key="metric-token-f1").options == ["F1", "Precision", "Token accuracy"]
    app = app.selectbox(key="metric-token-f1").set_value("token_accuracy").run()
    assert kept() == ()
    app = app.button(key="keep").click().run()
    assert not app.error, [e.value for e in app.error]
    assert (load_task("cities").labels, load_task("cities").metric) == (
        ("O", "B-city", "I-city"),
        "token_accuracy",
    )


@pytest.mark.parametrize(
    "evil",
    [
        "**bold**",
        "[x](http://y)",
        "<b>",
        "$x$",
        ":red[x]",
        "`c`",
        "~~s~~",
        "# h",
        "a_b_c",
        ":smile:",
        "|a|",
    ],
)
def test_what_files_say_is_no_markdown(evil: str) -> None:
    shown = quoted(evil)
    assert re.sub(r"\\(.)", r"\1", shown) == evil
    assert not re.search(r"(?<!\\)[*`\[$<~#|_]|(?<!\\):\w+:", shown)


@pytest.mark.parametrize(
    ("named", "given", "said"),
    [
        (
            "mood",
            [*files("en"), ("test-de.csv", b"\x89PNG\x00", "text/csv")],
            "test-de.csv is binary (line 1",
        ),
        (
            "mood",
            [
                *files("en"),
                ("test-de.csv", "id,text,label\n1,trüb,bad\n".encode("latin-1"), "text/csv"),
            ],
            "line 2 of test-de.csv is not",
        ),
        (
            "mood",
            [*files("en"), ("test-de.csv", b"id,text,label\n1,x,0.5\n", "text/csv")],
            "test-de.csv, line 2, column label: a label must be",
        ),
        ("mood", [*files("en"), *files("en")], "train has two for en"),
        (
            "mood",
            [*files("en"), ("test-de.csv", b"PK\x03\x04", "text/csv")],
            "test-de.csv is a ZIP archive or a sheet of Excel",
        ),
        (
            "Intent",
            files("en"),
            "must have a name of its own, 'intent' is that of an embedded task",
        ),
        ("mini", files("en"), "'mini' is that of an embedded model"),
    ],
)
def test_what_does_not_fit_is_said_and_leaves_nothing(
    store: Store, named: str, given: list[tuple[str, bytes, str]], said: str
) -> None:
    app = brought(named, *given)
    if not app.button(key="keep").disabled:
        app = app.button(key="keep").click().run()
    assert not app.exception
    assert said in app.error[0].value
    assert app.text_input(key="name").value == named, "the form stays"
    assert kept() == ()
    assert {path.name.partition("-")[0] for path in home().iterdir()} <= {".session"}
    assert not list(store.folder.parent.parent.rglob("mood*"))


def test_a_bad_file_among_good_ones_is_named_as_soon_as_it_is_there(store: Store) -> None:
    bad = ("test-sv.csv", b"\x89PNG\x00", "text/csv")
    for given in (
        [bad, *files("en")],
        [*files("en"), bad],
        [*files("en"), ("a..b.csv", rows("test", "de"), "text/csv")],
    ):
        app = brought("mood", *given)
        (error,) = app.error
        name = "test-sv.csv" if bad in given else "a..b.csv"
        assert name in error.value
        assert app.button(key="keep").disabled
        assert f"Still missing: a readable file instead of {quoted(name)}." in text_of(app)


@pytest.mark.parametrize(
    ("typed", "name"),
    [
        ("My films", "my-films"),
        ("../../mood", "mood"),
        ("Stück Ä", "stuck-a"),
        ("mood_2-x", "mood_2-x"),
        ("映画", ""),
        ("-x-", "x"),
        ("é" * 60, "e" * 41),
        (" a. ", "a"),
    ],
)
def test_what_is_typed_becomes_a_name(typed: str, name: str) -> None:
    assert task_name(typed) == name
    assert not name or KEPT.fullmatch(name)


def test_the_name_that_a_task_gets_is_said(store: Store) -> None:
    app = brought("My films", *files("en"))
    assert "It will be saved as `my-films`" in text_of(app)
    assert not app.button(key="keep").click().run().error
    assert kept() == ("my-films",)
    assert "must contain a Latin letter" in text_of(brought("映画", *files("en")))


def test_what_was_kept_is_said_once(store: Store) -> None:
    app = brought("mood", *files("en", "de")).button(key="keep").click().run()
    assert "No file is selected yet" not in text_of(app)
    assert [link.proto.label for link in app.get("page_link")] == ["Quantize with mood"]


def test_a_taken_name_is_refused_unless_replaced(store: Store, tmp_path: Path) -> None:
    def incoming(code: str) -> list[Incoming]:
        found = []
        for split in SPLITS:
            path = tmp_path / f"{split}-{code}"
            path.write_bytes(rows(split, code))
            found.append(Incoming(f"{split}.csv", path, split, code))
        return found

    fields = {
        "name": "mood",
        "kind": "sentence",
        "columns": {"text": "text", "label": "label"},
        "training_language": "en",
    }
    path, _ = keep(fields, incoming("en"))
    first = json.loads(path.read_text())
    with pytest.raises(UserError, match="'mood' is taken"):
        keep(fields, incoming("en"))
    with pytest.raises(UserError, match="training language fr"):
        keep(fields | {"training_language": "fr"}, incoming("en"), replace=True)
    assert json.loads(path.read_text()) == first  # what was there stays
    keep(fields | {"training_language": "de"}, incoming("de"), replace=True)
    assert load_task("mood").languages == ("de",)


@pytest.mark.parametrize(
    "name", ["en.train", "eng.testa", "data", "de.conllu", "x.TXT", "a.b.c", "train.de"]
)
def test_a_file_comes_in_whatever_its_ending_and_is_what_is_in_it(store: Store, name: str) -> None:
    lines = "In O\nNew B-city\nYork I-city\n\nHe O\nis O\n\n" * 30
    app = brought("cities", (name, lines.encode(), "application/octet-stream"))
    assert "was recognised as CoNLL (one word a line), 2 columns" in text_of(app)
    split = next(box for box in app.selectbox if (box.key or "").startswith("split-"))
    app = split.set_value("all").run()
    code = next(box for box in app.text_input if (box.key or "").startswith("language-"))
    app = code.set_value("en").run().button(key="keep").click().run()
    assert not app.error, [e.value for e in app.error]
    assert load_task("cities").labels == ("O", "B-city", "I-city")


def test_the_inbox_offers_every_file_but_hidden_ones(store: Store) -> None:
    for name in ("en.train", "data", ".DS_Store", "train.csv"):
        (home().parent / "inbox").mkdir(parents=True, exist_ok=True)
        (home().parent / "inbox" / name).write_bytes(rows("train", "en"))
    assert opened(PAGE).multiselect(key="inbox").options == ["data", "en.train", "train.csv"]


def test_what_is_no_text_is_refused_by_what_is_in_it(store: Store) -> None:
    app = (
        opened(PAGE)
        .file_uploader(key="files")
        .set_value([("x.exe", b"MZ\0\0\1", "text/csv")])
        .run()
    )
    assert "x.exe is binary" in app.error[0].value
