"""A head's outputs are joined to the task's labels by name; by order only where no name matches,
and that is said (cases 06 to 09, 39, 40)."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.cases.build import byte_checkpoint, checkpoint, conll, csv, edit_json, task_folder
from tests.cases.doors import Doors, either

FAMILIES = ("bert", "roberta", "electra", "distilbert")


def sentences(labels: Sequence[str]) -> str:
    """A word of its own for each label, twice in a sentence: w0 w0,label."""
    return csv([(f"w{i} w{i}", label) for i, label in enumerate(labels)])


def model(folder: Path, heads: Sequence[str], means: Sequence[int], family: str = "bert") -> Path:
    """A classifier whose outputs are called `heads`, and that answers the word w0 with output
    means[0], w1 with means[1], ..."""
    return checkpoint(
        folder,
        {f"w{i}": output for i, output in enumerate(means)},
        heads,
        token=False,
        family=family,
    )


def score(
    doors: Doors,
    folder: Path,
    labels: Sequence[str],
    heads: Sequence[str],
    means: Sequence[int],
    family: str = "bert",
    recipe: str = "fp32",
) -> float:
    """Accuracy of such a model on data with these labels, as they are written there."""
    task = task_folder(folder / "task", {"train/en": sentences(labels)}, ".csv")
    return doors.run(model(folder / "model", heads, means, family), task, recipe).mean


# labels in the data, names of the outputs, the output that means each label
NAMED: dict[str, tuple[tuple[str, ...], tuple[str, ...], tuple[int, ...]]] = {
    "the same": (("bad", "good", "ok"), ("bad", "good", "ok"), (0, 1, 2)),
    "another order (08)": (("bad", "good", "ok"), ("ok", "bad", "good"), (1, 2, 0)),
    "capitals and another order (06)": (("bad", "good", "ok"), ("OK", "BAD", "GOOD"), (1, 2, 0)),
    "space around the names": (("bad", "good", "ok"), (" ok ", "bad ", " good"), (1, 2, 0)),
    "more outputs than labels (40)": (("bad", "good"), ("bad", "good", "ok"), (0, 1)),
    "more outputs, another order": (("bad", "good"), ("ok", "GOOD", "awful", "Bad"), (3, 1)),
    "labels that differ by case": (("Good", "good"), ("good", "Good"), (1, 0)),
    "labels that differ by case, more outputs": (("Good", "good"), ("bad", "good", "Good"), (2, 1)),
    "sharp s": (("straße", "weg"), ("WEG", "STRASSE"), (1, 0)),
    "numbers in another order": (("0", "1", "2"), ("2", "0", "1"), (1, 2, 0)),
    "eleven numbers": (
        tuple(map(str, range(11))),
        tuple(map(str, reversed(range(11)))),
        tuple(reversed(range(11))),
    ),
    "placeholders": (("a", "b", "c"), ("LABEL_0", "LABEL_1", "LABEL_2"), (0, 1, 2)),
}


@pytest.mark.parametrize("case", NAMED)
def test_names_are_joined(doors: Doors, tmp_path: Path, case: str) -> None:
    labels, heads, means = NAMED[case]
    assert score(doors, tmp_path, labels, heads, means) == 1


@pytest.mark.parametrize("family", FAMILIES)
def test_heads_of_several_layers_are_permuted(doors: Doors, tmp_path: Path, family: str) -> None:
    labels, heads, means = ("bad", "good", "ok"), ("extra", "OK", "BAD", "GOOD"), (2, 3, 1)
    assert score(doors, tmp_path, labels, heads, means, family) == 1
    assert (
        score(doors, tmp_path / "quantized", labels, heads, means, family, "ptq-int8-dynamic") == 1
    )


def test_an_order_given_by_the_task_is_kept(doors: Doors, tmp_path: Path) -> None:
    task = task_folder(
        tmp_path / "task",
        {"train/en": sentences(("bad", "good", "ok"))},
        ".csv",
        labels=("ok", "good", "bad"),
    )
    assert doors.run(model(tmp_path / "model", ("good", "bad", "ok"), (1, 0, 2)), task).mean == 1


def test_an_output_that_the_data_lack_is_listed_and_never_right(
    doors: Doors, tmp_path: Path
) -> None:
    heads = ("O", "B-PER", "I-PER", "B-LOC", "I-LOC")
    rows = conll([[("Anna", "B-PER"), ("in", "O"), ("Oslo", "B-LOC")]], " ")
    task = task_folder(tmp_path / "task", {"train/en": rows}, ".conll", "token")
    found = doors.run(
        checkpoint(tmp_path / "right", {"Anna": 1, "in": 0, "Oslo": 3}, heads, token=True), task
    )
    assert (found.metric, found.mean) == ("f1", 1)
    assert "I-LOC" in found.remarks
    odd = checkpoint(
        tmp_path / "odd", {"Anna": 1, "in": 4, "Oslo": 4}, heads, token=True
    )  # I-LOC I-LOC: one span, and not Oslo's
    # strictly, as the tags are IOB2: the second I-LOC has no B- before it, and is no span
    assert doors.run(odd, task).mean == pytest.approx(2 * 1 / (1 + 2))


def test_an_extra_answer_of_a_classifier_is_wrong(doors: Doors, tmp_path: Path) -> None:
    assert score(doors, tmp_path, ("bad", "good"), ("bad", "good", "ok"), (0, 2)) == pytest.approx(
        1 / 2
    )


# one side has no names: the order is assumed, and said
ASSUMED: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "numbers against names (07)": (("0", "1", "2"), ("contradiction", "neutral", "entailment")),
    "stars": (("1", "2", "3"), ("1 star", "2 stars", "3 stars")),
}


@pytest.mark.parametrize("case", ASSUMED)
def test_an_assumed_order_is_said(doors: Doors, tmp_path: Path, case: str) -> None:
    labels, heads = ASSUMED[case]
    task = task_folder(tmp_path / "task", {"train/en": sentences(labels)}, ".csv")
    found = doors.run(model(tmp_path / "model", heads, range(len(heads))), task)
    assert found.mean == 1
    assert "order" in found.remarks
    assert heads[0] in found.remarks
    code, out, _ = doors.call(
        "run", "fp32", "--model", str(tmp_path / "model"), "--task", str(task)
    )
    assert code == 0
    assert "order" in out


def test_joined_names_are_no_remark(doors: Doors, tmp_path: Path) -> None:
    task = task_folder(tmp_path / "task", {"train/en": sentences(("bad", "good"))}, ".csv")
    assert (
        "assumed" not in doors.run(model(tmp_path / "model", ("good", "BAD"), (1, 0)), task).remarks
    )


def test_labels_tell_what_numbers_mean(doors: Doors, tmp_path: Path) -> None:
    said = {"0": "entailment", "1": "neutral", "2": "contradiction"}
    task = task_folder(
        tmp_path / "task", {"train/en": sentences(("0", "1", "2"))}, ".csv", labels=said
    )
    found = doors.run(
        model(tmp_path / "model", ("contradiction", "neutral", "entailment"), (2, 1, 0)), task
    )
    assert found.mean == 1
    assert "assumed" not in found.remarks


# a label has no output of its name: nothing can be assumed
REFUSED: dict[str, tuple[tuple[str, ...], tuple[str, ...], str]] = {
    "one label is missing": (("bad", "good", "ok"), ("bad", "good", "neutral"), "ok"),
    "fewer outputs": (("bad", "good", "ok"), ("BAD", "GOOD"), "ok"),
    "another language": (("gut", "schlecht"), ("good", "bad"), "gut, schlecht"),
    "fewer outputs of other names": (("bad", "good", "ok"), ("x", "y"), "x, y"),
    "case is all that parts two labels": (("Good", "good"), ("GOOD", "bad"), "good"),
    "two outputs of one name": (("bad", "good"), ("good", "GOOD"), "good, GOOD"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_label_without_an_output_is_refused(doors: Doors, tmp_path: Path, case: str) -> None:
    labels, heads, named = REFUSED[case]
    task = task_folder(tmp_path / "task", {"train/en": sentences(labels)}, ".csv")
    doors.refused(
        model(tmp_path / "model", heads, [i % len(heads) for i in range(len(labels))]), task, named
    )


def test_names_in_another_unicode_form_are_not_joined_wrongly(doors: Doors, tmp_path: Path) -> None:
    labels, heads = (
        ("café", "thé"),
        [unicodedata.normalize("NFD", name) for name in ("thé", "café")],
    )
    task = task_folder(tmp_path / "task", {"train/en": sentences(labels)}, ".csv")
    folder = model(tmp_path / "model", heads, (1, 0))
    code, _, _ = doors.call("run", "fp32", "--model", str(folder), "--task", str(task), "--json")
    if code:
        doors.refused(folder, task, "caf")
    else:
        assert doors.run(folder, task).mean == 1


def test_outputs_without_names(doors: Doors, tmp_path: Path) -> None:
    """`num_labels` alone (09), as transformers takes it."""
    task = task_folder(tmp_path / "task", {"train/en": sentences(("a", "b", "c"))}, ".csv")
    found = doors.run(
        checkpoint(tmp_path / "model", {"w0": 0, "w1": 1, "w2": 2}, None, token=False, outputs=3),
        task,
    )
    assert found.mean == 1


def test_numbers_of_outputs_are_numbers(doors: Doors, tmp_path: Path) -> None:
    """{"10": ..., "2": ..., "0": ...}: neither the order of the file nor that of the alphabet
    counts."""
    labels = [f"l{i:02}" for i in range(12)]
    task = task_folder(tmp_path / "task", {"train/en": sentences(labels)}, ".csv")
    folder = model(tmp_path / "model", labels, range(12))
    edit_json(
        folder / "config.json",
        id2label={str(i): labels[i] for i in (10, 2, 0, 11, 1, 3, 9, 4, 8, 5, 7, 6)},
    )
    assert doors.run(folder, task).mean == 1


# id2label, label2id (None: as it was), what the sentence names; every one is refused
BROKEN: dict[str, tuple[object, object]] = {
    "the wrong way round (39)": ({"a": 0, "b": 1}, {"a": 0, "b": 1}),
    "a list": (["a", "b"], None),
    "a gap": ({"0": "a", "2": "b"}, None),
    "from one": ({"1": "a", "2": "b"}, None),
    "a fraction": ({"0.5": "a", "1.5": "b"}, None),
    "names that are no text": ({"0": ["a"], "1": {"b": 1}}, None),
    "a number": (5, None),
    "minus one": ({"-1": "a", "0": "b"}, None),
}


@pytest.mark.parametrize("case", BROKEN)
def test_broken_names_are_refused_with_the_file(doors: Doors, tmp_path: Path, case: str) -> None:
    named, back = BROKEN[case]
    task = task_folder(tmp_path / "task", {"train/en": sentences(("a", "b"))}, ".csv")
    folder = model(tmp_path / "model", ("a", "b"), (0, 1))
    edit_json(
        folder / "config.json", id2label=named, **({} if back is None else {"label2id": back})
    )
    doors.refused(folder, task, "config.json", "id2label")


def test_label2id_that_says_otherwise_is_not_passed_over(doors: Doors, tmp_path: Path) -> None:
    task = task_folder(tmp_path / "task", {"train/en": sentences(("a", "b"))}, ".csv")
    folder = model(tmp_path / "model", ("a", "b"), (0, 1))
    edit_json(folder / "config.json", label2id={"a": 1, "b": 0})
    code, _, err = doors.call("run", "fp32", "--model", str(folder), "--task", str(task), "--json")
    if code:
        either(err, "label2id")
    else:
        found = doors.run(folder, task)
        assert found.mean == 1
        either(found.remarks, "label2id")


def test_a_tagger_over_bytes_is_permuted_too(doors: Doors, tmp_path: Path) -> None:
    folder = byte_checkpoint(
        tmp_path / "model", {"see": 2, "Anna": 0, "Oslo": 1}, ("b-per", "b-loc", "o")
    )
    task = task_folder(
        tmp_path / "task",
        {"train/en": conll([[("see", "O"), ("Anna", "B-PER"), ("Oslo", "B-LOC")]])},
        ".conll",
        "token",
    )
    assert doors.run(folder, task).mean == 1
