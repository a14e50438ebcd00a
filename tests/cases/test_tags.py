"""Spans are counted by the scheme the tags are written in; tags that are no spans are never
scored as if they were (cases 02, 03, 27)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.cases.build import Sentences, checkpoint, conll, jsonl, task_folder
from tests.cases.doors import Doors, either
from tests.helpers.tag_schemes import IOB1, IOB2


def tagged(
    doors: Doors, folder: Path, sentences: Sentences, answers: Mapping[str, str], **fields: object
) -> tuple[str, float]:
    """(metric, score) of a model that answers each word as `answers` say, or else as it is tagged
    first."""
    labels = list(
        dict.fromkeys(
            ["O", *(tag for sentence in sentences for _, tag in sentence), *answers.values()]
        )
    )
    known = {
        word: labels.index(answers.get(word, tag))
        for sentence in reversed(sentences)
        for word, tag in reversed(sentence)
    }
    model = checkpoint(folder / "model", known, labels, token=True)
    found = doors.run(
        model,
        task_folder(
            folder / "task",
            {"train/en": conll(sentences)},
            ".conll",
            "token",
            labels=labels,
            **fields,
        ),
    )
    return found.metric, found.mean


IO = [
    [
        ("Acme", "ORGANIZATION"),
        ("Corp", "ORGANIZATION"),
        ("hires", "O"),
        ("Anna", "PER"),
        ("in", "O"),
        ("Oslo", "LOC"),
    ]
]
IOBES = [
    [("New", "B-LOC"), ("York", "E-LOC"), ("in", "O"), ("Anna", "S-PER")],
    [("the", "B-ORG"), ("big", "I-ORG"), ("bank", "E-ORG")],
]
BILOU = [
    [(w, t.replace("E-", "L-").replace("S-", "U-")) for w, t in sentence] for sentence in IOBES
]


def of_type(name: str) -> Sentences:
    """IO tags with a type of that name, beside another."""
    return [
        [
            ("Acme", name),
            ("Corp", name),
            ("hires", "O"),
            ("Anna", "PER"),
            ("in", "O"),
            ("Rome", name),
        ]
    ]


# tags, what a model answers differently, the F1 of it
SPANS: dict[str, tuple[Sentences, dict[str, str], float]] = {
    "IO, all right": (IO, {}, 1),
    "IO, ORGANIZATION never found (case 03)": (IO, {"Acme": "O", "Corp": "O"}, 2 * 2 / (2 + 3)),
    "IO, half of a run": (IO, {"Corp": "O"}, 2 * 2 / (3 + 3)),
    "IO with I- before each type": (
        [[(w, t if t == "O" else f"I-{t}") for w, t in IO[0]]],
        {"Acme": "O"},
        2 * 2 / (3 + 3),
    ),
    **{
        f"IO, type {name}": (of_type(name), {"Rome": "O"}, 2 * 2 / (2 + 3))
        for name in ("BRAND", "ITEM", "SHOP", "EVENT", "LOC", "UNIT", "OBJECT", "B", "I")
    },
    "IOBES, all right": (IOBES, {}, 1),
    "IOBES, a span that never ends": (IOBES, {"York": "I-LOC"}, 2 * 2 / (2 + 3)),
    "IOBES, a span that never begins": (IOBES, {"the": "I-ORG"}, 2 * 2 / (2 + 3)),
    "IOBES, an end of another type": (IOBES, {"York": "E-ORG"}, 2 * 2 / (2 + 3)),
    "BILOU, all right": (BILOU, {}, 1),
    "BILOU, a span that never ends": (BILOU, {"York": "I-LOC"}, 2 * 2 / (2 + 3)),
    "BILOU, a unit for a span of two": (BILOU, {"New": "U-LOC", "York": "O"}, 2 * 2 / (3 + 3)),
    "IOB1, all right": (IOB1, {}, 1),
    "IOB1, neighbours taken for one": (IOB1, {"Bea": "I-PER"}, 2 * 1 / (2 + 3)),
    "IOB2, all right": (IOB2, {}, 1),
    "IOB2, another type": (IOB2, {"New": "B-PER", "York": "I-PER"}, 2 * 2 / (3 + 3)),
    "IOB2, types with a hyphen": (
        [[("New", "B-LOC-CITY"), ("York", "I-LOC-CITY"), ("in", "O"), ("Oslo", "B-LOC-PORT")]],
        {"Oslo": "O"},
        2 * 1 / (1 + 2),
    ),
}


@pytest.mark.parametrize("case", SPANS)
def test_spans(doors: Doors, tmp_path: Path, case: str) -> None:
    sentences, answers, right = SPANS[case]
    assert tagged(doors, tmp_path, sentences, answers) == ("f1", pytest.approx(right, abs=1e-12))


def test_prefixes_in_small_letters_are_a_scheme_or_refused(doors: Doors, tmp_path: Path) -> None:
    small = [[(w, t.lower()) for w, t in sentence] for sentence in BILOU]
    task = task_folder(tmp_path / "task", {"train/en": conll(small)}, ".conll", "token")
    labels = sorted({t for s in small for _, t in s})
    model = checkpoint(
        tmp_path / "model", {w: labels.index(t) for s in small for w, t in s}, labels, token=True
    )
    code, _, _ = doors.call("run", "fp32", "--model", str(model), "--task", str(task), "--json")
    if code == 0:  # all answers are right, by whatever metric
        assert doors.run(model, task).mean == 1
    else:
        doors.refused(model, task, "o")


NAMES = ("O", "B-PER", "I-PER", "B-LOC")
WORDS = {"Anna": 1, "Smith": 2, "visits": 0, "Oslo": 3, ".": 0, "Bea": 1, "Rome": 3}


def numbered(folder: Path, column: str = "ner_tags", **fields: object) -> Path:
    """A task whose tags are numbers, as `datasets` gives a ClassLabel."""
    rows = [
        {"tokens": words.split(), column: [WORDS[w] for w in words.split()]}
        for words in ("Anna Smith visits Oslo .", "Bea visits Rome .")
    ]
    columns = {"tokens": "tokens", "tags": column}
    return task_folder(
        folder,
        {"train/en": jsonl(rows), "test/de": jsonl(rows)},
        ".jsonl",
        "token",
        columns=columns,
        **fields,
    )


@pytest.mark.parametrize("column", ["ner_tags", "upos"])
def test_numbers_as_tags_are_said_to_be_no_spans(doors: Doors, tmp_path: Path, column: str) -> None:
    said = doors.warned(numbered(tmp_path, column))
    assert "labels" in said
    either(said, "B-", "span", "IOB")


def test_numbers_with_names_are_tags(doors: Doors, tmp_path: Path) -> None:
    task = numbered(tmp_path / "task", labels={str(i): name for i, name in enumerate(NAMES)})
    found = doors.run(checkpoint(tmp_path / "model", WORDS, NAMES, token=True), task)
    assert (found.metric, found.mean) == ("f1", 1)
    assert "span" not in doors.warned(task)


@pytest.mark.parametrize("heads", [("0", "1", "2", "3"), NAMES])
def test_numbers_as_tags_have_no_f1(doors: Doors, tmp_path: Path, heads: tuple[str, ...]) -> None:
    """A model that is always right never gets 0 %: tokens are counted, or the run is refused."""
    model, task = (
        checkpoint(tmp_path / "model", WORDS, heads, token=True),
        numbered(tmp_path / "task"),
    )
    code, _, _ = doors.call("run", "fp32", "--model", str(model), "--task", str(task), "--json")
    if code:
        doors.refused(model, task, "labels")
    else:
        found = doors.run(model, task)
        assert (found.metric, found.mean) == ("token_accuracy", 1)


POS = {
    "en": [[("a", "NOUN"), ("b", "NOUN"), ("c", "NOUN"), ("d", "VERB"), (".", "PUNCT")]],
    "fr": [[("d", "VERB"), ("x", "X")], [("x", "X")]],
}
CONLLU = {"tokens": "form", "tags": "upos"}


def conllu(sentences: Sentences) -> str:
    return "".join(
        "".join(f"{i}\t{w}\t_\t{t}\t_\t_\t0\tdep\t_\t_\n" for i, (w, t) in enumerate(s, 1)) + "\n"
        for s in sentences
    )


def test_parts_of_speech_are_no_spans(doors: Doors, tmp_path: Path) -> None:
    labels = ("ADJ", "NOUN", "PUNCT", "VERB", "X")
    files = {
        "train/en": conllu([*POS["en"], [("x", "X"), ("j", "ADJ")]]),
        "test/en": conllu(POS["en"]),
        "test/fr": conllu(POS["fr"]),
    }
    model = checkpoint(
        tmp_path / "model",
        {"a": 1, "b": 1, "c": 3, "d": 3, "x": 4, ".": 2, "j": 0},
        labels,
        token=True,
    )  # c is a noun, the model says verb
    task = task_folder(tmp_path / "task", files, ".conllu", "token", columns=CONLLU, labels=labels)
    said = doors.warned(task)
    assert "token" in said
    either(said, "accuracy", "token_accuracy")
    code, _, _ = doors.call("run", "fp32", "--model", str(model), "--task", str(task), "--json")
    if code:
        doors.refused(model, task, "token_accuracy")
    else:
        found = doors.run(model, task)
        assert found.metric == "token_accuracy"
        assert found.scores == {"en": pytest.approx(4 / 5), "fr": 1}


def test_who_asks_for_span_f1_on_parts_of_speech_is_warned(doors: Doors, tmp_path: Path) -> None:
    task = task_folder(
        tmp_path, {"train/en": conllu(POS["en"])}, ".conllu", "token", columns=CONLLU, metric="f1"
    )
    code, out, err = doors.call("task", "check", str(task))
    assert code in (0, 2)
    either(out + err, "span")
    either(out + err, "token_accuracy", "token accuracy")


def test_who_asks_for_token_accuracy_is_not_warned(doors: Doors, tmp_path: Path) -> None:
    task = task_folder(
        tmp_path,
        {"train/en": conllu(POS["en"])},
        ".conllu",
        "token",
        columns=CONLLU,
        metric="token_accuracy",
    )
    assert "span" not in doors.warned(task)


@pytest.mark.parametrize(
    ("sentences", "name"),
    [(IOB2, "IOB2"), (IOB1, "IOB1"), (IOBES, "IOBES"), (BILOU, "BILOU"), (IO, "IO")],
)
def test_the_scheme_is_shown(doors: Doors, tmp_path: Path, sentences: Sentences, name: str) -> None:
    code, out, _ = doors.call(
        "task",
        "check",
        str(task_folder(tmp_path, {"train/en": conll(sentences)}, ".conll", "token")),
    )
    assert code == 0
    assert f" {name}" in out.replace(",", " ").replace("(", " ").replace(":", " ")
