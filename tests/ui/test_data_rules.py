"""What a task still lacks, and what names of files and columns tell."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from pages.components.task_form import KINDS, ROLES
from sdq.data.registry import load_task
from sdq.data.taskfile import NEEDED, Kind
from sdq.intake.own_tasks import Incoming, accepted, missing
from sdq.intake.preview import guess, propose
from sdq.settings import UserError
from sdq.store import Store
from tests.helpers.data_page import PAGE, SPLITS, brought, files, rows
from tests.helpers.pages import opened, text_of


def file(split: str, language: str | None = "en") -> Incoming:
    return Incoming(f"{split}.csv", Path("x"), split, language)


EVERY = [file(split) for split in SPLITS]
PAIR = {"text": "a", "second": "b", "label": "c"}


@pytest.mark.parametrize(
    ("given", "incoming", "said"),
    [
        ({}, EVERY, []),
        ({}, [file("all")], []),
        ({"name": ""}, EVERY, ["a name"]),
        ({"training_language": ""}, EVERY, ["the language with labels for training"]),
        (
            {},
            [file("train")],
            ["files of dev and test (or the split `all` for every file, which is then divided)"],
        ),
        (
            {},
            [file("all"), file("test")],
            ["one way to split (`all` for every file, or train, dev and test)"],
        ),
        ({"columns": {"text": "a", "label": "b", "split": "s"}}, [file("all")], []),
        ({"columns": {"text": "a"}}, EVERY, ["a column of its own for label"]),
        ({"columns": {"text": "a", "label": "a"}}, EVERY, ["a column of its own for label"]),
        ({"kind": "pair"}, EVERY, ["a column of its own for the second text"]),
        ({"kind": "pair", "columns": PAIR}, EVERY, []),
        (
            {"kind": "retrieval", "columns": {"text": "a"}},
            EVERY,
            ["a column of its own for the id that translations share"],
        ),
        (
            {"name": "", "training_language": ""},
            EVERY,
            ["a name", "the language with labels for training"],
        ),
    ],
)
def test_what_a_task_still_lacks_is_known(
    given: dict[str, object], incoming: list[Incoming], said: list[str]
) -> None:
    fields = {
        "name": "mood",
        "kind": "sentence",
        "columns": {"text": "a", "label": "b"},
        "training_language": "en",
    }
    assert missing(fields | given, incoming) == said


def test_beside_a_grey_button_stands_what_is_missing(store: Store) -> None:
    app = brought("", *files("en"))
    assert app.button(key="keep").disabled
    assert "Still missing: a name." in text_of(app)
    app = app.text_input(key="name").set_value("mood").run()
    assert not app.button(key="keep").disabled
    assert "Still missing" not in text_of(app)


def test_every_kind_of_the_engine_can_be_brought() -> None:
    kinds = set(get_args(Kind))
    assert set(KINDS) == set(ROLES) == set(NEEDED) == kinds
    assert all(set(NEEDED[kind]) <= set(ROLES[kind]) for kind in kinds)


def test_sentences_without_labels_become_a_retrieval(store: Store) -> None:
    given = [
        (f"{split}-{code}.csv", rows(split, code), "text/csv")
        for split in SPLITS
        for code in ("en", "de")
    ]
    app = brought("same", *given)
    app = app.radio(key="kind").set_value("retrieval").run()
    assert app.selectbox(key="column-retrieval-id").options == ["id", "text", "label"]
    app = app.button(key="keep").click().run()
    assert not app.exception
    assert not app.error, [e.value for e in app.error]
    assert load_task("same").kind == "retrieval"
    assert "without a head" in text_of(app)


def test_the_docs_on_files_are_at_hand(store: Store) -> None:
    app = opened(PAGE)
    app = app.toggle(key="formats").set_value(True).run()
    assert "| what is brought | what happens |" in text_of(app)


@pytest.mark.parametrize("name", ["../x.csv", "a/b.csv", "x.csv\0", ".hidden.csv", "a..csv", ""])
def test_file_names_that_may_not_come_in(name: str) -> None:
    with pytest.raises(UserError):
        accepted(name)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("train_de.csv", ("train", "de")),
        ("fr.validation.tsv", ("dev", "fr")),
        ("Test-ZH.jsonl", ("test", "zh")),
        ("everything.csv", ("all", "")),
        ("de_gsd-ud-train.conllu", ("train", "de")),
        ("en.train", ("train", "en")),
        ("eng.testa", ("dev", "eng")),
        ("deu.testb", ("test", "deu")),
        ("data", ("all", "")),
        ("train.tr.pq", ("train", "tr")),
        ("test.de.txt", ("test", "de")),
        ("sold-per-day.csv", ("all", "")),
        ("esp.train", ("train", "")),
    ],
)
def test_names_tell_split_and_language(name: str, told: tuple[str, str]) -> None:
    assert guess(name) == told


def test_usual_names_of_columns_are_known() -> None:
    assert propose(["premise", "hypothesis", "gold_label"]) == (
        "pair",
        {"text": "premise", "second": "hypothesis", "label": "gold_label"},
    )
    assert propose(["id", "tokens", "upos"]) == (
        "token",
        {"tokens": "tokens", "tags": "upos", "id": "id"},
    )
    assert propose(["Text", "Category", "split"]) == (
        "sentence",
        {"text": "Text", "label": "Category", "split": "split"},
    )
