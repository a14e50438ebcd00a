"""What a task is: examples, labels, languages and splits. Reads nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from sdq.data.tagging import Tagging
from sdq.results import title
from sdq.settings import UserError

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True, slots=True)
class Example:
    """One sentence or pair: `words` and one `target` per word (token tasks), or `text`, perhaps a
    `second` text, and one target."""

    id: str
    language: str
    text: str
    words: tuple[str, ...]
    # one label, or one tag per word; empty where a sentence for training has none
    targets: tuple[str, ...]
    second: str | None = None
    group: str = ""  # which query a ranked pair belongs to


def joined(words: Sequence[str]) -> str:
    """Words as the column `words` holds them, by tabs: as many as there are, none empty and none
    with a tab in it."""
    return "\t".join(word.replace("\t", " ") or " " for word in words)


@dataclass(frozen=True)
class Task:
    """What is to be predicted, for which languages.

    In a retrieval task the labels are the ids of the test sentences in the labelled language, and
    the answer is which of them means the same. `labelled` is the language whose train split has
    labels; the train sentences of all others are unlabelled text. Splits are disjoint.
    `fingerprint` names the content.
    """

    name: str
    kind: Literal["sequence", "token", "retrieval"]
    labels: tuple[str, ...]
    languages: tuple[str, ...]
    labelled: str
    metric: str
    fingerprint: str
    splits: dict[str, list[Example]] = field(repr=False)
    beside: tuple[str, ...] = ()  # metrics reported beside the one that counts
    longest: int = 128  # subwords; a longer input is cut
    tagging: Tagging | None = None  # how tags make spans, where words have tags
    # what the model that does it can answer beside the labels: never gold
    extra: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()  # what was noticed when the data were read, a sentence each
    title: str = ""  # the name that its task file gives it
    file_kind: str = ""  # the kind that its task file gives it
    answers: str = ""  # the column of its files that the labels are from

    @property
    def called(self) -> str:
        """What readers call it; `name` is what it is remembered by."""
        return self.title or title(self.name)

    def examples(self, split: str, languages: tuple[str, ...] | None = None) -> list[Example]:
        """Examples of a split in file order. Raises UserError if there are none."""
        examples = [e for e in self.splits[split] if languages is None or e.language in languages]
        if not examples:
            where = "" if languages is None else f" in {', '.join(languages)}"
            raise UserError(
                f"the {split} split of task {self.name} must not be empty, it has no "
                f"examples{where}; check the task's files"
            )
        return examples

    @property
    def outputs(self) -> tuple[str, ...]:
        """The names of a model's outputs, in order: the labels, and what else it can answer."""
        return (*self.labels, *self.extra)

    @property
    def zero_shot(self) -> tuple[str, ...]:
        """The languages without labels in training."""
        return tuple(code for code in self.languages if code != self.labelled)
