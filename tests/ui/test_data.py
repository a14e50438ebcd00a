"""The page Your data: from files to a task that the other pages know, and nothing written anywhere else."""
# ruff: noqa: F811

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from sdq.data.intake import Incoming, accepted, guess, keep, propose
from sdq.data.tasks import home, kept, load_task
from sdq.quoting import quoted
from sdq.settings import UserError
from sdq.store import Store
from tests.ui.test_pages import opened, store, text_of  # noqa: F401

PAGE = "pages/lab/data.py"
SPLITS = ("train", "dev", "test")


def rows(split: str, code: str, n: int = 6) -> bytes:
    return ("id,text,label\n" + "".join(f"{i},day {i} {split} {code},{('bad', 'good')[i % 2]}\n" for i in range(n))).encode()


def files(*codes: str) -> list[tuple[str, bytes, str]]:
    return [(f"{split}-{code}.csv", rows(split, code), "text/csv") for split in SPLITS for code in codes]


def brought(named: str, *given: tuple[str, bytes, str]) -> AppTest:
    """The page after these files were uploaded and a name was given."""
    app = opened(PAGE).file_uploader(key="files").set_value(list(given)).run()
    assert not app.exception, [e.message for e in app.exception]
    return app.text_input(key="name").set_value(named).run()


def test_without_data_the_page_says_what_to_do(store: Store) -> None:
    shown = text_of(opened(PAGE))
    assert "Nothing is chosen yet" in shown
    assert "python -m sdq task check task.json" in shown


def test_files_become_a_task_that_is_counted_and_offered(store: Store) -> None:
    app = brought("mood", *files("en", "de"))
    assert not app.error, [e.value for e in app.error]
    assert app.dataframe[0].value["text"].tolist()[0] == "day 0 train en"
    assert [s.value for s in app.selectbox if s.label == "Split"][1:] == [split for split in SPLITS for _ in "ab"]
    app = app.button(key="keep").click().run()
    assert not app.exception
    assert not app.error, [e.value for e in app.error]
    assert "The task mood" in text_of(app)
    assert any("Fewer than 30 test sentences" in w.value for w in app.warning)
    sentences, labels = (table.value for table in app.dataframe[1:])
    assert sentences.set_index("language").loc["de"].tolist() == [6, 6, 6]
    assert labels.set_index("label").loc["good"].tolist() == [3, 3]
    task = load_task("mood")
    assert (task.labels, task.languages, len(task.examples("test"))) == (("bad", "good"), ("de", "en"), 12)
    written = {path.relative_to(store.folder.parent).as_posix() for path in store.folder.parent.rglob("*.csv") if ".session" not in str(path)}
    assert written == {f"tasks/mood/{split}/{code}.csv" for split in SPLITS for code in ("de", "en")}
    quantize = opened("pages/lab/quantize.py", on="mood")
    assert quantize.selectbox(key="on").value == "mood"
    assert "mood (yours)" in quantize.selectbox(key="on").options


def test_one_file_with_columns_for_language_and_a_split_by_shares(store: Store) -> None:
    lines = "lang,words,tags\n" + "".join(f'{code},"in New York",O B-city I-city\n' for code in ("en", "de") for _ in range(40))
    app = brought("cities", ("everything.csv", lines.encode(), "text/csv"))
    assert app.segmented_control(key="kind").value == "token"
    assert app.selectbox(key="column-token-tokens").value == "words"
    app = app.slider(key="shares").set_value((50, 70)).run()
    app = app.button(key="keep").click().run()
    assert not app.error, [e.value for e in app.error]
    task = load_task("cities")
    assert task.kind == "token"
    assert len(task.examples("train", ("en",))) == len(task.examples("train", ("de",))) == pytest.approx(20, abs=8)


def test_what_a_file_is_and_what_is_proposed_is_shown_before_anything_is_taken(store: Store) -> None:
    conll = "In IN O 1 *anna*\nNew NNP B-city 2 bob\n\nYork NNP I-city 3 *anna*\n" * 120
    app = brought("cities", ("everything.data", conll.encode(), "text/plain"))
    assert "was recognised as CoNLL (one word a line), 5 columns. Proposed: words: tokens, tags: 3 (tags of spans); nothing is taken" in text_of(app)
    assert app.dataframe[0].value["5"].tolist()[0] == "*anna* bob"
    assert app.selectbox(key="column-token-tags").value == "3"
    assert app.selectbox(key="metric-token-f1").options == ["F1", "Precision", "Token accuracy"]
    app = app.selectbox(key="metric-token-f1").set_value("token_accuracy").run()
    assert kept() == ()
    app = app.button(key="keep").click().run()
    assert not app.error, [e.value for e in app.error]
    assert (load_task("cities").labels, load_task("cities").metric) == (("O", "B-city", "I-city"), "token_accuracy")


@pytest.mark.parametrize("evil", ["**bold**", "[x](http://y)", "<b>", "$x$", ":red[x]", "`c`", "~~s~~", "# h", "a_b_c", ":smile:", "|a|"])
def test_what_files_say_is_no_markdown(evil: str) -> None:
    shown = quoted(evil)
    assert re.sub(r"\\(.)", r"\1", shown) == evil
    assert not re.search(r"(?<!\\)[*`\[$<~#|_]|(?<!\\):\w+:", shown)


@pytest.mark.parametrize(
    ("named", "given", "said"),
    [
        ("mood", [*files("en"), ("test-de.csv", b"\x89PNG\x00", "text/csv")], "de.csv is binary (line 1"),
        ("mood", [*files("en"), ("test-de.csv", "id,text,label\n1,trüb,bad\n".encode("latin-1"), "text/csv")], "line 2 of de.csv is not"),
        ("mood", [*files("en"), ("test-de.csv", b"id,text,label\n1,x,0.5\n", "text/csv")], "column label: a label must be"),
        ("mood", [*files("en"), *files("en")], "train has two for en"),
        ("mood", [*files("en"), ("test-de.csv", b"PK\x03\x04", "text/csv")], "test-de.csv is a ZIP archive or a sheet of Excel"),
        ("../../mood", files("en"), "must have a name of small letters"),
        ("intent", files("en"), "that no embedded task has, got 'intent'"),
    ],
)
def test_what_does_not_fit_is_said_and_leaves_nothing(store: Store, named: str, given: list[tuple[str, bytes, str]], said: str) -> None:
    app = brought(named, *given)
    app = app.button(key="keep").click().run()
    assert not app.exception
    assert said in app.error[0].value
    assert kept() == ()
    assert {path.name.partition("-")[0] for path in home().iterdir()} <= {".session"}
    assert not list(store.folder.parent.parent.rglob("mood*"))


def test_a_taken_name_is_refused_unless_replaced(store: Store, tmp_path: Path) -> None:
    def incoming(code: str) -> list[Incoming]:
        found = []
        for split in SPLITS:
            path = tmp_path / f"{split}-{code}"
            path.write_bytes(rows(split, code))
            found.append(Incoming(f"{split}.csv", path, split, code))
        return found

    fields = {"name": "mood", "kind": "sentence", "columns": {"text": "text", "label": "label"}, "training_language": "en"}
    path, _ = keep(fields, incoming("en"))
    first = json.loads(path.read_text())
    with pytest.raises(UserError, match="'mood' is taken"):
        keep(fields, incoming("en"))
    with pytest.raises(UserError, match="training language fr"):
        keep(fields | {"training_language": "fr"}, incoming("en"), replace=True)
    assert json.loads(path.read_text()) == first  # what was there stays
    keep(fields | {"training_language": "de"}, incoming("de"), replace=True)
    assert load_task("mood").languages == ("de",)


@pytest.mark.parametrize("name", ["../x.csv", "a/b.csv", "x.csv\0", ".hidden.csv", "x.exe", "x.pkl", "a..csv", ""])
def test_file_names_that_may_not_come_in(name: str) -> None:
    with pytest.raises(UserError):
        accepted(name)


@pytest.mark.parametrize(
    ("name", "told"),
    [("train_de.csv", ("train", "de")), ("fr.validation.tsv", ("dev", "fr")), ("Test-ZH.jsonl", ("test", "zh")), ("everything.csv", ("all", "")), ("de_gsd-ud-train.conllu", ("train", "de"))],
)  # fmt: skip
def test_names_tell_split_and_language(name: str, told: tuple[str, str]) -> None:
    assert guess(name) == told


def test_usual_names_of_columns_are_known() -> None:
    assert propose(["premise", "hypothesis", "gold_label"]) == ("pair", {"text": "premise", "second": "hypothesis", "label": "gold_label"})
    assert propose(["id", "tokens", "upos"]) == ("token", {"tokens": "tokens", "tags": "upos", "id": "id"})
    assert propose(["Text", "Category", "split"]) == ("sentence", {"text": "Text", "label": "Category", "split": "split"})
