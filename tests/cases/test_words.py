"""Answers belong to the words they were given for, whatever a tokenizer makes of a word (cases 01,
12)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cases.build import Sentences, byte_checkpoint, checkpoint, conll, jsonl, task_folder
from tests.cases.doors import Doors

TAGS = ("O", "B-PER", "I-PER", "B-LOC")
ANSWERS = {"Anna": 1, "Bea": 1, "Smith": 2, "visits": 0, "Oslo": 3, "Rome": 3, ".": 0}
PLAIN = [
    [("Anna", "B-PER"), ("Smith", "I-PER"), ("visits", "O"), ("Oslo", "B-LOC"), (".", "O")],
    [("Bea", "B-PER"), ("visits", "O"), ("Rome", "B-LOC"), (".", "O")],
]
# marks that BERT's normalizer takes out, so that a word of them alone has no subword
MARKS = {
    "left-to-right mark": "\u200e",
    "right-to-left mark": "\u200f",
    "zero-width space": "\u200b",
    "zero-width joiner": "\u200d",
    "soft hyphen": "\u00ad",
    "byte order mark": "\ufeff",
    "two marks": "\u200e\u200f",
    "replacement": "\ufffd",
}


@pytest.fixture(scope="module")
def tagger(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(tmp_path_factory.mktemp("tagger"), ANSWERS, TAGS, token=True)


def scored(
    doors: Doors, tagger: Path, folder: Path, test: Sentences, longest: int = 128
) -> tuple[float, float]:
    """(F1, token accuracy) of German, whose test sentences are `test`."""
    rows = jsonl([{"tokens": [w for w, _ in s], "tags": [t for _, t in s]} for s in test])
    plain = jsonl([{"tokens": [w for w, _ in s], "tags": [t for _, t in s]} for s in PLAIN])
    fields = {"labels": TAGS, "metric": "f1", "beside": ["token_accuracy"], "longest": longest}
    found = doors.run(
        tagger,
        task_folder(folder, {"train/en": plain, "test/de": rows}, ".jsonl", "token", **fields),
    )
    return found.scores["de"], found.beside["token_accuracy"]["de"]


# test sentences with an empty word ("*") at a place, the F1 of a model that answers every other
# word rightly, and its share of right tags
EMPTY: dict[str, tuple[Sentences, float, float]] = {
    "at the start": ([[("*", "O"), *PLAIN[0]]], 1, 5 / 6),
    "in the middle": ([[*PLAIN[0][:3], ("*", "O"), *PLAIN[0][3:]]], 1, 5 / 6),
    "at the end": ([[*PLAIN[0], ("*", "O")]], 1, 5 / 6),
    "several": (
        [[("*", "O"), *PLAIN[1][:1], ("*", "O"), ("*", "O"), *PLAIN[1][1:], ("*", "O")]],
        1,
        4 / 8,
    ),
    "all words": ([[("*", "O"), ("*", "O")], PLAIN[1]], 1, 4 / 6),
    "a span of its own": ([[("*", "B-PER"), *PLAIN[1][1:]]], 2 * 1 / (1 + 2), 3 / 4),
    "the end of a span": (
        [[("Anna", "B-PER"), ("*", "I-PER"), ("visits", "O"), ("Oslo", "B-LOC")]],
        2 * 1 / (2 + 2),
        3 / 4,
    ),
}


@pytest.mark.parametrize("case", EMPTY)
def test_a_word_without_a_subword_has_its_own_place(
    doors: Doors, tagger: Path, tmp_path: Path, case: str
) -> None:
    sentences, f1, right = EMPTY[case]
    marked = [
        [("\u200e" if word == "*" else word, tag) for word, tag in sentence]
        for sentence in sentences
    ]
    assert scored(doors, tagger, tmp_path, marked) == pytest.approx((f1, right), abs=1e-12)


@pytest.mark.parametrize("name", MARKS)
def test_whatever_the_mark_is(doors: Doors, tagger: Path, tmp_path: Path, name: str) -> None:
    mark = (MARKS[name], "O")
    marked = [[*PLAIN[0][:2], mark, *PLAIN[0][2:]], [mark, *PLAIN[1], mark]]
    assert scored(doors, tagger, tmp_path, marked) == pytest.approx((1, 9 / 12), abs=1e-12)


def test_case_01_as_it_was_brought(doors: Doors, tagger: Path, tmp_path: Path) -> None:
    test = [[("\u200e", "O"), *PLAIN[0]], [*PLAIN[1][:2], ("\u200f", "O"), *PLAIN[1][2:]]]
    files = {"train/en": conll(PLAIN), "train/de": conll(PLAIN), "test/de": conll(test)}
    for metric, right in (("f1", 1.0), ("token_accuracy", 9 / 11)):
        found = doors.run(
            tagger,
            task_folder(tmp_path / metric, files, ".conll", "token", labels=TAGS, metric=metric),
        )
        assert found.scores == {"de": pytest.approx(right, abs=1e-12), "en": 1.0}


def test_a_cut_sentence_has_answers_up_to_the_cut(
    doors: Doors, tagger: Path, tmp_path: Path
) -> None:
    sentence = [
        *PLAIN[0],
        ("\u200e", "O"),
        *PLAIN[1],
    ]  # longest 8: [CLS], six words of which one is empty by then, [SEP]
    # five words, the mark, and one more word are within the cut; the last two of the data's spans
    # are Bea (found) and Rome (not)
    assert scored(doors, tagger, tmp_path, [sentence], longest=8) == pytest.approx(
        (2 * 3 / (3 + 4), 6 / 10), abs=1e-12
    )


def test_a_quantized_model_is_scored_at_the_same_places(
    doors: Doors, tagger: Path, tmp_path: Path
) -> None:
    rows = conll([[("\u200e", "O"), *PLAIN[0]], PLAIN[1]])
    task = task_folder(
        tmp_path / "task",
        {"train/en": conll(PLAIN), "test/de": rows},
        ".conll",
        "token",
        labels=TAGS,
    )
    assert doors.run(tagger, task, "ptq-int8-dynamic").scores == {"de": 1.0, "en": 1.0}


@pytest.mark.parametrize("prefix_space", [False, True])
def test_words_given_apart_to_a_byte_level_bpe_keep_their_space(
    doors: Doors, tmp_path: Path, prefix_space: bool
) -> None:
    model = byte_checkpoint(
        tmp_path / "model", {"see": 0, "Anna": 1, "Oslo": 2}, ("O", "B-PER", "B-LOC"), prefix_space
    )
    rows = [
        [("see", "O"), ("Anna", "B-PER"), ("Oslo", "B-LOC")],
        [("Oslo", "B-LOC"), ("see", "O")],
        [("Anna", "B-PER")],
    ]
    task = task_folder(
        tmp_path / "task",
        {"train/en": conll(rows)},
        ".conll",
        "token",
        labels=("O", "B-PER", "B-LOC"),
    )
    assert doors.run(model, task).mean == 1.0
