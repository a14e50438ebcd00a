"""Data files -> the task of a task file. Every refusal of a row names the file, the row and the
column. Needs no torch."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Literal

from sdq.data import cells, label_order, taskfile
from sdq.data.examples import ExampleReader
from sdq.data.formats import read
from sdq.data.parquet import as_names, class_labels
from sdq.data.place import Place, no_label, no_tag
from sdq.data.rows import Row
from sdq.data.schemes import settled
from sdq.data.task import SPLITS, Example, Task
from sdq.data.taskfile import CODE, Source, TaskFile
from sdq.settings import UserError, listed

MOST_LABELS = 500
MOST_FOUND = 5000  # sentences that can be found
_KINDS: dict[str, Literal["sequence", "token", "retrieval"]] = {
    "token": "token",
    "retrieval": "retrieval",
}
# what a column may call the splits, in any case
SPLIT_NAMES = {"training": "train", "validation": "dev", "valid": "dev", "val": "dev"} | {
    split: split for split in SPLITS
}
_CODE = re.compile(CODE)


def assemble(file: TaskFile, sources: Iterable[Source], name: str, fingerprint: str) -> Task:
    """The task of a task file, from its data files.

    file: what the task is
    sources: the data files, each with its split and language
    name: what the task is remembered by
    fingerprint: of the content of all files

    UserError for the first row that does not fit.
    """
    builder = Builder(file)
    for source in sources:
        rows = read(
            source.path,
            file.names,
            file.quoting,
            partial(builder.remark, name=source.path.name),
            builder.used,
        )
        builder.add(source, rows, class_labels(source.path))
    return builder.task(name, fingerprint)


@dataclass
class Builder:
    """Collects the examples of a task, file by file, and what is to be remarked on."""

    file: TaskFile
    splits: dict[str, list[Example]] = field(
        default_factory=lambda: {split: [] for split in SPLITS}
    )
    # rows so far by (split of the file, language)
    _counts: Counter[tuple[str, str]] = field(default_factory=Counter)
    # queries so far by (split of the file, language), of a ranking whose rows do not name them
    _queries: Counter[tuple[str, str]] = field(default_factory=Counter)
    # (split, language) -> id -> where
    _ids: dict[tuple[str, str], dict[str, str]] = field(default_factory=lambda: defaultdict(dict))
    # names that files give the numbers of their labels, in order -> the file that was first
    _classes: dict[tuple[str, ...], str] = field(default_factory=dict)
    # what was remarked -> in which files
    _remarks: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        self._reader = ExampleReader(self.file)

    def remark(self, said: str, name: str) -> None:
        """Something that whoever reads a result should know about the file of that name."""
        self._remarks[said].append(name)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was remarked, a sentence each, with the files it is about."""
        sentences = [
            f"{_some(dict.fromkeys(names))}: {said}." for said, names in self._remarks.items()
        ]
        if trimmed := self._reader.trimmed:
            sentences.append(
                f"White space around {len(trimmed):,} label(s) was taken away, first in "
                f"{trimmed[0]}."
            )
        return tuple(sentences)

    @property
    def used(self) -> frozenset[str]:
        """The columns that the task file names."""
        return frozenset(
            name
            for value in self.file.columns.model_dump().values()
            for name in ([value] if isinstance(value, str) else value or ())
        )

    def add(
        self,
        source: Source,
        rows: Iterable[Row],
        classes: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    ) -> None:
        """The rows of one file.

        rows: of the file
        source: the file, with its split and language
        classes: column -> the names that its numbers stand for

        UserError for the first row that does not fit.
        """
        # language -> query of the row before; each file begins a new one
        before: dict[str, str] = {}
        classes = self._meant(source, classes)
        for row in rows:
            place = Place(source.path, row, self.file.names, classes)
            language = self._language(source, place)
            if language is None:
                continue
            self._counts[source.split, language] += 1
            given = self.file.columns.id
            id = place.plain(given) if given else f"{self._counts[source.split, language]:06d}"
            example = self._reader.read(place, language, id)
            if self.file.kind == "ranking" and not self.file.columns.group:
                # as the official scorer of XGLUE: neighbours with the same query
                self._queries[source.split, language] += example.text != before.get(language)
                before[language] = example.text
                example = replace(example, group=f"q{self._queries[source.split, language]:06d}")
            split = self._split(source, place, example)
            if (other := self._ids[split, language].get(id)) is not None:
                raise place.wrong(
                    given,
                    f"ids must be unique within a language and split, {id[:40]!r} was in {other} "
                    "already; correct it, or leave `columns.id` out",
                )
            if not example.targets and self._needs_label(split, language):
                raise place.wrong(
                    self._answers,
                    "a label must not be empty where it is used, this one is; fill it in, or "
                    "take the row out",
                )
            self._ids[split, language][id] = place.name
            self.splits[split].append(example)

    def _needs_label(self, split: str, language: str) -> bool:
        """Whether examples of a split and language are scored or learned from."""
        return self.file.kind != "retrieval" and (
            split != "train" or language == self.file.training_language
        )

    @property
    def _answers(self) -> str | None:
        """The column that holds what is to be answered."""
        columns = self.file.columns
        return columns.tags if self.file.kind == "token" else columns.label

    def _meant(
        self, source: Source, classes: Mapping[str, tuple[str, ...]]
    ) -> dict[str, tuple[str, ...]]:
        """The columns whose numbers are read as names: not where the task file itself says what the
        numbers mean."""
        answers = (self.file.columns.label, self.file.columns.tags)
        meant = {
            column: names
            for column, names in classes.items()
            if column in self.used
            and not (column in answers and label_order.are_numbers(self._reader.given, names))
        }
        for column, names in meant.items():
            self.remark(as_names(column, names), source.path.name)
            if column in answers:
                bare = (name.strip(cells.WHITE) for name in names)
                self._classes.setdefault(tuple(filter(None, bare)), source.path.name)
        return meant

    def task(self, name: str, fingerprint: str) -> Task:
        """What was collected. UserError if there is too little for a task."""
        languages = self._languages()
        labels = self._found() if self.file.kind == "retrieval" else self._labels()
        order = {code: i for i, code in enumerate(languages)}
        for examples in self.splits.values():
            examples.sort(key=lambda e: order[e.language])
        metric, tagging = self.file.scored_by, None
        if self.file.kind == "token":
            gold = [e.targets for examples in self.splits.values() for e in examples]
            metric, tagging = settled(
                self.file.metric, self.file.beside, self.file.scheme, gold, labels, self.file.name
            )
        task = Task(
            name,
            _KINDS.get(self.file.kind, "sequence"),
            labels,
            languages,
            self.file.training_language,
            metric,
            fingerprint,
            self.splits,
            self.file.beside,
            self.file.longest,
            tagging=tagging,
            file_kind=self.file.kind,
            answers=self._answers or "",
            remarks=(
                *self.remarks,
                *(f"{said[0].upper()}{said[1:]}." for said in (tagging.said if tagging else ())),
            ),
        )
        self._refuse_empty()
        return task

    def _refuse_empty(self) -> None:
        """UserError for a split without what it is needed for."""
        home = self.file.training_language
        for split in ("train", "dev"):
            if not any(e.language == home for e in self.splits[split]):
                raise UserError(
                    f"the {split} split must have examples in the training language {home}, task "
                    f"{self.file.name} has none; correct training_language or splits.{split}"
                )
        if not self.splits["test"]:
            raise UserError(
                f"the test split must have examples, task {self.file.name} has none; correct "
                "splits.test"
            )

    def _languages(self) -> tuple[str, ...]:
        occurring = {e.language for examples in self.splits.values() for e in examples}
        asked = self.file.languages
        wanted = list(dict.fromkeys(asked.values() if isinstance(asked, dict) else asked))
        missing = [code for code in wanted if code not in occurring]
        if missing:
            raise UserError(
                f"every language listed under `languages` must occur, task {self.file.name} has "
                f"none of {listed(missing, 5)}; take it out or correct its code"
            )
        return tuple(wanted or sorted(occurring))

    def _labels(self) -> tuple[str, ...]:
        labels = label_order.called(self._reader.given, self._classes)
        if not labels:
            self._refuse_marks()
        labels = labels or label_order.occurring(self._classes, self._reader.seen, self.remark)
        if not 2 <= len(labels) <= MOST_LABELS:
            what = "tags" if self.file.kind == "token" else "label"
            raise UserError(
                f"a task must have 2 to {MOST_LABELS} different labels, {self.file.name} has "
                f"{len(labels)}; check which column is named under columns.{what}"
            )
        bad = next((label for label in labels if not re.fullmatch(r"[0-9]{1,2}", label)), None)
        if self.file.kind == "ranking" and bad is not None:
            raise UserError(
                "labels of a ranking must be whole numbers from 0 (how relevant), "
                f"{self.file.name} has {bad[:40]!r}; map them under `labels`"
            )
        return tuple(labels)

    def _refuse_marks(self) -> None:
        """UserError for a "label" that says that there is none: as a class it would be learned and
        scored."""
        mark = cells.mark_among(self._reader.seen, words=self.file.kind == "token")
        if mark is not None:
            said = no_tag(mark) if self.file.kind == "token" else no_label(mark)
            raise UserError(f"{self._reader.seen[mark]}, column {self._answers}: {said}")

    def _found(self) -> tuple[str, ...]:
        """Of a retrieval: ids of the test sentences in the training language. The test sentences
        are given them as what is to be found."""
        home = self.file.training_language
        ids = tuple(e.id for e in self.splits["test"] if e.language == home)
        if not 2 <= len(ids) <= MOST_FOUND:
            raise UserError(
                f"a retrieval must have 2 to {MOST_FOUND} test sentences in the training language "
                f"{home}, {self.file.name} has {len(ids)}"
            )
        targets = set(ids)
        if stray := next((e for e in self.splits["test"] if e.id not in targets), None):
            raise UserError(
                f"every test sentence must have one with the same id in {home}, {stray.id[:40]!r} "
                f"in {stray.language} has none; take it out"
            )
        self.splits["test"] = [replace(e, targets=(e.id,)) for e in self.splits["test"]]
        return ids

    def _language(self, source: Source, place: Place) -> str | None:
        """The row's language as it is called, None if the task leaves it out."""
        code = (
            source.language
            if source.language is not None
            else place.plain(self.file.columns.language or "").strip(cells.WHITE)
        )
        if not _CODE.fullmatch(code):
            raise place.wrong(
                self.file.columns.language,
                f"a language must be a code such as en or zh-hans, got {code[:40]!r}; correct it, "
                "or map the right column",
            )
        asked = self.file.languages
        if isinstance(asked, dict):
            return asked.get(code)
        return code if not asked or code in asked else None

    def _split(self, source: Source, place: Place, example: Example) -> str:
        if source.split != "all":
            return source.split
        column = self.file.columns.split
        if column:
            value = place.plain(column).strip(cells.WHITE).lower()
            if value not in SPLIT_NAMES:
                raise place.wrong(
                    column,
                    f"a split must be train, dev or test, got {value[:40]!r}; correct it, or use "
                    "`shares`",
                )
            return SPLIT_NAMES[value]
        assert self.file.shares is not None
        train, dev, _ = self.file.shares
        part = (
            int.from_bytes(hashlib.sha256((example.group or example.id).encode()).digest()[:8])
            / 2**64
        )
        return "train" if part < train else "dev" if part < train + dev else "test"


def _some(names: Iterable[str]) -> str:
    shown = list(names)
    return listed(shown, 3) + (" files" if len(shown) > 3 else "")


def load(path: Path, name: str) -> Task:
    """The task that the file at `path` describes; `name` is what it is remembered by."""
    file = taskfile.read(path)
    sources = taskfile.locate(file, path.parent, path.name)
    task = assemble(file, sources, name, taskfile.content_hash(path))
    return task if name.startswith("hub:") else replace(task, title=file.name)
