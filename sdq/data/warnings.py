"""What in a task's data may spoil a result, one sentence each. Needs no torch."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from sdq.data.cells import same_number
from sdq.data.languages import same
from sdq.data.task import SPLITS, Example, Task
from sdq.settings import listed

RULES = 2  # raised when anything below is found or said otherwise: what is kept is made anew
IMBALANCE = 20  # the commonest label this many times as often as the rarest
# without a width: control characters, and what Unicode calls Default_Ignorable_Code_Point
_INVISIBLE = re.compile(
    "[\\x00-\\x08\\x0e-\\x1b\\x7f-\\x84\\x86-\\x9f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5"
    "\u180b-\u180f\u200b-\u200f\u202a-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0"
    "\U000e0000-\U000e0fff]"
)
FEW = 30  # test sentences of a language
ALONE = 10  # sentences of one word that are no chance


class Warned(NamedTuple):
    """A warning: its kind, "" if it bears on no test score, and the sentence."""

    kind: str
    said: str


def all_warnings(task: Task, counts: pd.DataFrame, sentences: pd.DataFrame) -> Iterator[Warned]:
    """What of a task's data may spoil a result.

    task: whose data are checked
    counts: split, language, label, count (sentences; of tags, words)
    sentences: split, language, sentences, empty (texts)
    """
    yield from _repeated(task)
    yield from _spelled_twice(task)
    yield from _absent(task)
    yield from _torn(task)
    if task.kind != "retrieval":  # whose labels are the sentences themselves
        yield from _of_labels(task, counts)
    for row in sentences[sentences["empty"] > 0].itertuples():
        yield Warned(
            "empty" * (row.split == "test"),
            f"{row.empty:,} of {row.sentences:,} texts are empty in {row.split}, {row.language}: "
            "they are answered all the same.",
        )
    several = len(set(sentences.loc[sentences["split"] == "train", "language"])) > 1
    for split in ("test", *(("train",) if several else ())):
        there = set(sentences.loc[sentences["split"] == split, "language"])
        missing = [code for code in task.languages if code not in there]
        if missing:
            said = f"The {split} split has no sentences in {', '.join(missing)}."
            yield Warned("missing" * (split == "test"), said)
    tested = sentences[sentences["split"] == "test"].set_index("language")["sentences"]
    few = [code for code, n in tested.items() if n < FEW]
    if few:
        yield Warned(
            "few",
            f"Fewer than {FEW} test sentences in {', '.join(map(str, few))}: no difference there "
            "can be told from chance.",
        )
    if list(tested.index) == [task.labelled]:
        yield Warned(
            "one language",
            f"The only test language is {task.labelled}, the language of training: what "
            "quantization costs there can be measured, but nothing can be said about transfer to "
            "others; add test sentences in other languages.",
        )


def _of_labels(task: Task, counts: pd.DataFrame) -> Iterator[Warned]:
    """Labels that a model cannot learn, and those it need not."""
    train_counts = counts[(counts["split"] == "train") & (counts["language"] == task.labelled)]
    trained = train_counts.set_index("label")["count"]
    origin = f"; labels are from the column {task.answers[:40]!r}" if task.answers else ""
    for split in ("dev", "test"):
        unseen = sorted(set(counts.loc[counts["split"] == split, "label"]) - set(trained.index))
        if unseen:
            yield Warned(
                "unseen" * (split == "test"),
                f"{_some(unseen)} {_occur(unseen)} in {split} and never in the training sentences "
                f"of {task.labelled}: a model cannot learn {'them' if len(unseen) > 1 else 'it'}"
                f"{origin}.",
            )
    if len(trained) and trained.max() >= IMBALANCE * trained.min():
        much, little = trained.idxmax(), trained.idxmin()
        yield Warned(  # most words are outside of every span
            "unbalanced" * (task.kind != "token"),
            f"Labels are unbalanced in training: {trained.max():,} times {much}, {trained.min():,} "
            f"times {little}; {task.metric} may hide that rare ones are never answered.",
        )


def _torn(task: Task) -> Iterator[Warned]:
    """Splits in which every sentence is one word, as where a row of a table is a word: no model
    sees a word beside the others then."""
    for split in SPLITS:
        sizes = [len(e.words) for e in task.splits[split]] if task.kind == "token" else []
        if len(sizes) >= ALONE and max(sizes) == 1:
            yield Warned(
                "torn" * (split == "test"),
                f"Every sentence in {split} is one word: if a row of the file is a word, the model "
                "sees none beside another; write a sentence a row (a list of words and one of "
                "tags), or CoNLL with blank lines between sentences.",
            )


def folded(text: str) -> str:
    """A text without what two copies of it may differ in: Unicode form, case, white space,
    characters without a width."""
    if text.isascii() and text.isprintable():  # most of it is, and needs no table of Unicode
        return " ".join(text.lower().split())
    return " ".join(
        _INVISIBLE.sub(
            "", unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
        ).split()
    )


def _repeated(task: Task) -> Iterator[Warned]:
    """What is in more than one split: it makes scores too good."""
    # few texts are in two splits: which ones is found first; what was written is kept of them
    places: dict[bytes, int] = defaultdict(int)  # what is folded -> a bit for each of its splits
    for number, split in enumerate(SPLITS):
        for e in task.splits[split]:
            if not is_empty(e):
                places[_folded(e)] |= 1 << number
    shared = {key for key, splits in places.items() if splits.bit_count() > 1}
    written: dict[bytes, dict[str, set[tuple[str, str]]]] = defaultdict(lambda: defaultdict(set))
    for split in SPLITS if shared else ():
        for e in task.splits[split]:
            if not is_empty(e) and (key := _folded(e)) in shared:
                written[key][split].add((e.text.strip(), (e.second or "").strip()))
    for one, two in (("train", "dev"), ("train", "test"), ("dev", "test")):
        both = [splits for splits in written.values() if one in splits and two in splits]
        if both:
            other = sum(not splits[one] & splits[two] for splits in both)
            but = (
                f" ({other:,} of them in another case, white space or Unicode form)"
                if other
                else ""
            )
            verb = " is" if len(both) == 1 else "s are"
            yield Warned(
                "repeated" * (two == "test"),
                f"{len(both):,} text{verb} in {one} and in {two}{but}: scores come out too good; "
                "take them out of one of the two.",
            )


def _folded(e: Example) -> bytes:
    """A digest of an example, the same for every copy of it."""
    parts = e.language, folded(e.text), folded(e.second or "")
    return hashlib.sha256("\0".join(parts).encode()).digest()[:16]


def _spelled_twice(task: Task) -> Iterator[Warned]:
    """Labels and languages that are written in two ways."""
    names: dict[str, list[str]] = defaultdict(list)
    for label in task.labels if task.kind != "retrieval" else ():
        names[same_number(label) or folded(label)].append(label)
    for written in names.values():
        if len(written) > 1:
            shown = listed(map(repr, written), 5)
            yield Warned(
                "labels alike",
                f"The labels {shown} differ only in how they are written: they count as "
                f"{len(written)} labels; map them to one under `labels` if they are one.",
            )
    for i, code in enumerate(task.languages):
        for other in task.languages[:i]:
            if same(code, other):
                yield Warned(
                    "languages alike",
                    f"The languages {other} and {code} are one language: they are scored apart; "
                    "give both one code under `languages`.",
                )


def _absent(task: Task) -> Iterator[Warned]:
    """Languages of an official benchmark whose files are not there."""
    if not task.name.startswith("xglue:"):
        return
    from sdq.data.xglue import TASKS

    named = Path(task.name).name.partition("@")[0]
    missing = (
        [code for code in TASKS[named].languages.split() if code not in task.languages]
        if named in TASKS
        else []
    )
    if missing:
        yield Warned(
            "absent",
            f"XGLUE tests {named} in {len(missing) + len(task.languages)} languages, files in "
            f"{', '.join(missing)} are not there: means over languages cannot be compared with "
            "published ones; extract the whole archive.",
        )


def is_empty(example: Example) -> bool:
    """Whether one of its texts has nothing that can be seen."""
    return not _INVISIBLE.sub("", example.text).strip() or (
        example.second is not None and not _INVISIBLE.sub("", example.second).strip()
    )


def _some(labels: Sequence[str]) -> str:
    return listed(labels, 5) + (" labels" if len(labels) > 5 else "")


def _occur(labels: Sequence[str]) -> str:
    return "occurs" if len(labels) == 1 else "occur"
