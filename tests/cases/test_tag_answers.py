"""Answers in another scheme than the labels."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cases.build import Sentences, checkpoint, conll, task_folder
from tests.cases.doors import Doors, either
from tests.helpers.tag_schemes import IOB1, IOB2


def answering(
    doors_folder: Path, data: Sentences, answers: Sentences, **fields: object
) -> tuple[Path, Path]:
    """(model, task): a model that answers the words of the data with the tags of `answers`."""
    given = {tag for sentence in answers for _, tag in sentence} - {"O"}
    kinds, letters = {tag[1:] for tag in given}, {tag[0] for tag in given} | {"I"}
    labels = sorted({"O", *(letter + kind for kind in kinds for letter in letters)})
    known = {word: labels.index(tag) for sentence in answers for word, tag in sentence}
    model = checkpoint(doors_folder / "model", known, labels, token=True)
    return model, task_folder(
        doors_folder / "task", {"train/en": conll(data)}, ".conll", "token", **fields
    )


I_ONLY = [[(w, t.replace("B-", "I-")) for w, t in IOB2[0][:4]]]
OTHERS = {
    "IOBES": [
        [
            ("New", "B-LOC"),
            ("York", "E-LOC"),
            ("in", "O"),
            ("Anna", "S-PER"),
            ("Bea", "B-PER"),
            ("Smith", "E-PER"),
        ]
    ]
}
OTHERS["BILOU"] = [[(w, t.replace("E-", "L-").replace("S-", "U-")) for w, t in OTHERS["IOBES"][0]]]


@pytest.mark.parametrize("theirs", OTHERS)
@pytest.mark.parametrize("fields", [{}, {"metric": "token_accuracy", "beside": ["f1"]}])
def test_answers_in_another_scheme_are_not_scored_0(
    doors: Doors, tmp_path: Path, theirs: str, fields: dict[str, object]
) -> None:
    model, task = answering(tmp_path, IOB2, OTHERS[theirs], **fields)
    doors.refused(model, task, theirs, "IOB2", '"scheme": "conlleval"', "task.json")


def test_conlleval_counts_iobes_answers_on_iob2(doors: Doors, tmp_path: Path) -> None:
    found = doors.run(*answering(tmp_path / "iobes", IOB2, OTHERS["IOBES"], scheme="conlleval"))
    assert found.mean == 1
    found = doors.run(*answering(tmp_path / "bilou", IOB2, OTHERS["BILOU"], scheme="conlleval"))
    either(found.remarks, "BILOU")  # U-PER before L-PER: neighbours become one


def test_another_scheme_is_left_where_no_span_is_counted(doors: Doors, tmp_path: Path) -> None:
    found = doors.run(*answering(tmp_path, IOB2, OTHERS["IOBES"], metric="token_accuracy"))
    assert found.mean == pytest.approx(3 / 6)


@pytest.mark.parametrize("ours", OTHERS)
def test_a_head_of_iob2_is_joined_to_other_schemes_by_labels(
    doors: Doors, tmp_path: Path, ours: str
) -> None:
    said = doors.refused(
        *answering(tmp_path / "plain", OTHERS[ours], IOB2), "IOB2", ours, "`labels`"
    )
    single, end = ("S", "E") if ours == "IOBES" else ("U", "L")
    assert f'"{single}-PER": "B-PER"' in said
    named = {t: t.replace(f"{single}-", "B-").replace(f"{end}-", "I-") for _, t in OTHERS[ours][0]}
    found = doors.run(*answering(tmp_path / "named", OTHERS[ours], IOB2, labels=named))
    assert (found.metric, found.mean) == ("f1", 1)


def test_data_without_b_and_a_head_with_it(doors: Doors, tmp_path: Path) -> None:
    found = doors.run(*answering(tmp_path / "plain", I_ONLY, [IOB2[0][:4]]))
    assert found.mean < 1
    for word in ("IOB1", "IOB2", '"scheme": "conlleval"'):
        assert word in found.remarks
    assert (
        doors.run(*answering(tmp_path / "set", I_ONLY, [IOB2[0][:4]], scheme="conlleval")).mean == 1
    )


@pytest.mark.parametrize(("data", "answers"), [(IOB1, IOB2), (IOB2, IOB1)])
def test_iob1_and_iob2_are_told_apart_by_the_answers(
    doors: Doors, tmp_path: Path, data: Sentences, answers: Sentences
) -> None:
    found = doors.run(*answering(tmp_path / "plain", data, answers))
    assert found.mean < 0.7
    assert '"scheme": "conlleval"' in found.remarks
    assert doors.run(*answering(tmp_path / "set", data, answers, scheme="conlleval")).mean == 1
    assert "conlleval" not in doors.run(*answering(tmp_path / "same", data, data)).remarks
