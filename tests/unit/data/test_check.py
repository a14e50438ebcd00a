"""What a look at a task's data finds: the counts are those of a plain loop, and every warning comes
when its cause is planted, and only then."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sdq.data import check as data
from sdq.data.check import as_json, bearing, check, summary
from sdq.data.registry import load_task
from sdq.data.task import Example, Task

LABELS = ("no", "yes")


def clean(n: int = 40) -> Task:
    """Two languages, balanced labels, no text twice."""
    splits = {
        split: [
            Example(f"{i}", code, f"{code} {split} sentence number {i}", (), (LABELS[i % 2],))
            for code in ("en", "de")
            for i in range(n)
        ]
        for split in ("train", "dev", "test")
    }
    return Task("made", "sequence", LABELS, ("en", "de"), "en", "accuracy", "0", splits)


def change(task: Task, split: str, **changed: Any) -> Task:
    """The task with its first example in German of a split changed."""
    at = next(i for i, e in enumerate(task.splits[split]) if e.language == "de")
    examples = list(task.splits[split])
    examples[at] = replace(examples[at], **changed)
    return replace(task, splits=task.splits | {split: examples})


def without(task: Task, split: str, language: str, keep: int = 0) -> Task:
    examples = [e for e in task.splits[split] if e.language == language][:keep]
    return replace(
        task,
        splits=task.splits
        | {split: [e for e in task.splits[split] if e.language != language] + examples},
    )


def test_clean_data_have_no_warnings() -> None:
    assert check(clean()).warnings == ()
    assert check(clean()).cut == 0


PLANTED: dict[str, tuple[Task, str]] = {
    "a text in two splits": (
        change(clean(), "test", text="de train sentence number 3"),
        "1 text is in train and in test",
    ),
    "a label never seen": (
        replace(change(clean(), "test", targets=("maybe",)), labels=(*LABELS, "maybe")),
        "maybe occurs in test and never in the training sentences of en",
    ),
    "an empty text": (change(clean(), "test", text="  "), "1 of 40 texts are empty in test, de"),
    "an empty second text": (
        change(clean(), "dev", second=""),
        "1 of 40 texts are empty in dev, de",
    ),
    "a language without test": (
        without(clean(), "test", "de"),
        "The test split has no sentences in de.",
    ),
    "few test sentences": (
        without(clean(), "test", "de", keep=29),
        "Fewer than 30 test sentences in de",
    ),
    "one language": (
        without(without(without(clean(), "test", "de"), "train", "de"), "dev", "de"),
        "The only test language is en",
    ),
    "a long text": (change(clean(), "test", text="word " * 500), "longer than 128 subwords"),
    "an unbalanced label": (
        replace(
            clean(),
            splits=clean().splits
            | {
                "train": [
                    e
                    for i, e in enumerate(clean().splits["train"])
                    if e.targets == ("no",) or i % 40 == 1
                ]
            },
        ),
        "Labels are unbalanced in training: 20 times no, 1 times yes",
    ),
}


@pytest.mark.parametrize("case", PLANTED)
def test_what_is_planted_is_found(case: str) -> None:
    task, said = PLANTED[case]
    assert any(said in warning for warning in check(task).warnings), check(task).warnings


@pytest.mark.parametrize("words", [("word",), ("two", "words")])
def test_a_table_of_a_word_a_row_is_said_to_be_one(words: tuple[str, ...]) -> None:
    splits = {
        split: [
            replace(e, text=f"{e.text} {i}", words=words, targets=e.targets * len(words))
            for i, e in enumerate(examples)
        ]
        for split, examples in clean().splits.items()
    }
    task = replace(clean(), kind="token", metric="token_accuracy", splits=splits)
    torn = [said for said in check(task).warnings if "one word" in said]
    assert len(torn) == (3 if len(words) == 1 else 0)
    assert any("one word" in said for said in bearing(replace(task, fingerprint=words[0]))) == (
        len(words) == 1
    )


def test_pairs_are_repeated_only_if_both_texts_are() -> None:
    first = next(e for e in clean().splits["train"] if e.language == "de")
    other = change(change(clean(), "train", second="one"), "test", text=first.text, second="two")
    assert check(other).warnings == ()
    assert any(
        "1 text is in train and in test" in w
        for w in check(change(other, "test", second="one")).warnings
    )


@pytest.mark.parametrize("name", ["intent", "slots"])
def test_counts_are_those_of_a_plain_loop(name: str) -> None:
    task = load_task(name)
    report = check(task)
    expected = Counter(
        (split, e.language, label)
        for split, examples in task.splits.items()
        for e in examples
        for label in e.targets
    )
    assert {
        tuple(row[:3]): row[3] for row in report.counts.itertuples(index=False, name=None)
    } == expected
    assert report.sentences["sentences"].sum() == sum(map(len, task.splits.values()))


def test_words_and_json_hold_what_was_found() -> None:
    task, said = PLANTED["an empty text"]
    assert f"warning: {said}" in summary(task, check(task))
    assert said in as_json(task, check(task))
    assert "no warnings" in summary(clean(), check(clean()))


def test_what_bears_on_scores_is_said_once_of_each_kind() -> None:
    assert bearing(replace(clean(), fingerprint="clean")) == ()
    task = clean()
    for split in ("train", "dev"):
        task = change(task, split, text="de test sentence number 3")
    task = change(task, "dev", second="")
    task = without(without(task, "test", "de", keep=20), "test", "en", keep=20)
    for i, code in enumerate(("en", "de")):
        examples = [
            replace(e, text=" ") if e.language == code and e.id == str(i + 5) else e
            for e in task.splits["test"]
        ]
        task = replace(task, splits=task.splits | {"test": examples})
    said = bearing(replace(task, fingerprint="planted", remarks=("White space was taken away.",)))
    assert said[0] == "White space was taken away."
    for kind, of_it in (
        ("in test: scores come out too good", 1),
        ("are empty in test", 1),
        ("Fewer than 30", 1),
        ("in train and in dev", 0),
        ("empty in dev", 0),
    ):
        assert sum(kind in each for each in said) == of_it, kind
    assert any("1 more of this kind" in each for each in said if "are empty" in each)


def test_what_bears_on_scores_is_kept_with_the_data(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = replace(change(clean(), "test", second=" ", text=" "), fingerprint="kept")
    said = bearing(task, tmp_path)
    assert "are empty in test" in " ".join(said)
    asked: list[Task] = []
    find = data._bearing
    monkeypatch.setattr(data, "_bearing", lambda task: asked.append(task) or find(task))
    assert bearing(task, tmp_path) == said
    assert not asked, "a second run reads it"
    assert bearing(replace(task, remarks=("It is new.",)), tmp_path) == ("It is new.", *said)
    (path,) = (tmp_path / "warnings").iterdir()
    whole = path.read_text()
    for bad in ("", "{", "[]", "null", '{"said": 1}', whole.replace("empty", "empyt")):
        path.write_text(bad)
        assert bearing(task, tmp_path) == said
        assert path.read_text() == whole, "and made again"
    assert len(asked) == 6
    for other in (replace(task, fingerprint="other"), replace(task, name="other")):
        bearing(other, tmp_path)
    monkeypatch.setattr(data, "RULES", data.RULES + 1)
    bearing(task, tmp_path)
    assert len(asked) == 9
    (tmp_path / "file").touch()
    assert bearing(task, tmp_path / "file") == said


def test_a_task_is_called_by_the_kind_that_its_file_says() -> None:
    for kind, said in (("pair", "pair"), ("ranking", "ranking"), ("", "sentence")):
        task = replace(clean(), file_kind=kind)
        assert f": {said}, " in summary(task, check(task)).partition("\n")[0]
