"""Task: languages, labels, splits, metric. Reading one needs no torch."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

import pandas as pd

from sdq.settings import ASSETS, UserError

SPLITS = ("train", "dev", "test")


@dataclass(frozen=True)
class Example:
    """One sentence: `words` and one `target` per word (token tasks), or `text` and one target (sequence tasks)."""

    id: str
    language: str
    text: str
    words: tuple[str, ...]
    targets: tuple[str, ...]  # one label, or one tag per word


@dataclass(frozen=True)
class Task:
    """What is to be predicted, for which languages.

    `labelled` is the language whose train split has labels; the train sentences of all others are unlabelled
    text. Splits are disjoint. `fingerprint` names the content.
    """

    name: str
    kind: Literal["sequence", "token"]
    labels: tuple[str, ...]
    languages: tuple[str, ...]
    labelled: str
    metric: str
    fingerprint: str
    splits: dict[str, list[Example]] = field(repr=False)

    def examples(self, split: str, languages: tuple[str, ...] | None = None) -> list[Example]:
        """Examples of a split in file order. Raises UserError if there are none."""
        found = [e for e in self.splits[split] if languages is None or e.language in languages]
        if not found:
            where = "" if languages is None else f" in {', '.join(languages)}"
            raise UserError(f"the {split} split of task {self.name} must not be empty, it has no examples{where}; check the task's files")
        return found

    @property
    def zero_shot(self) -> tuple[str, ...]:
        """The languages without labels in training."""
        return tuple(code for code in self.languages if code != self.labelled)


def _embedded(name: str) -> Task:
    folder = ASSETS / "mini" / "data"
    card = json.loads((folder / "tasks.json").read_text())
    table = pd.read_parquet(folder / "sentences.parquet")
    kind: Literal["sequence", "token"] = card[name]["kind"]
    splits: dict[str, list[Example]] = {s: [] for s in SPLITS}
    for row in table.itertuples(index=False):
        targets = (row.intent,) if kind == "sequence" else tuple(row.tags)
        splits[row.split].append(Example(row.id, row.language, row.text, tuple(row.tokens), targets))
    return Task(name, kind, tuple(card[name]["labels"]), tuple(card["languages"]), "en", card[name]["metric"], fingerprint(name), splits)


# name -> loader; a new embedded task is one line
TASKS: dict[str, Callable[[str], Task]] = {"intent": _embedded, "slots": _embedded}


def fingerprint(name: str) -> str:
    """16 hex digits that name the content of a task, without reading its examples. UserError for an unknown task."""
    if name not in TASKS:
        raise UserError(f"task must be one of {', '.join(TASKS)}, got {name!r}")
    path = ASSETS / "mini" / "data" / "sentences.parquet"
    if not path.is_file():
        raise UserError(f"the embedded data must be in {path}, it is not there; clone the project again or run `python -m sdq mini build`")
    return hashlib.sha256(path.read_bytes() + name.encode()).hexdigest()[:16]


def load_task(name: str) -> Task:
    """The task of that name. Raises UserError with the known names for any other."""
    fingerprint(name)
    return TASKS[name](name)
