"""Rows of files -> the examples of a task. Every refusal names the file, the row and the column.
Needs no torch."""

from __future__ import annotations

import hashlib
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeVar

from sdq.data import cells, label_order, taskfile
from sdq.data.conll import CONLLU, unnamed
from sdq.data.formats import read
from sdq.data.parquet import as_names, class_labels, named
from sdq.data.rows import Row
from sdq.data.schemes import settled
from sdq.data.task import SPLITS, Example, Task
from sdq.data.taskfile import CODE, Named, Source, TaskFile
from sdq.settings import UserError, listed

MOST_LABELS = 500
MOST_FOUND = 5000  # sentences that can be found
_KINDS: dict[str, Literal["sequence", "token", "retrieval"]] = {
    "token": "token",
    "retrieval": "retrieval",
}
_SPLIT = {"training": "train", "validation": "dev", "valid": "dev", "val": "dev"} | {
    split: split for split in SPLITS
}
_CODE = re.compile(CODE)
T = TypeVar("T")


def assemble(file: TaskFile, sources: Iterable[Source], name: str, fingerprint: str) -> Task:
    """The task of a task file, from its data files. UserError for the first row that does not
    fit."""
    builder = Builder(file)
    for source in sources:
        rows = read(
            source.path,
            file.names,
            file.quoting,
            partial(builder.remark, name=source.path.name),
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
    _counts: Counter[tuple[str, str]] = field(
        default_factory=Counter
    )  # rows so far by (split of the file, language)
    # queries so far by (split of the file, language), of a ranking whose rows do not name them
    _queries: Counter[tuple[str, str]] = field(default_factory=Counter)
    _ids: dict[tuple[str, str], dict[str, str]] = field(
        default_factory=lambda: defaultdict(dict)
    )  # (split, language) -> id -> where
    _seen: dict[str, str] = field(default_factory=dict)  # label -> where it was first
    # names that files give the numbers of their labels, in order -> the file that was first
    _classes: dict[tuple[str, ...], str] = field(default_factory=dict)
    _remarks: dict[str, list[str]] = field(
        default_factory=lambda: defaultdict(list)
    )  # what was remarked -> in which files
    _trimmed: list[str] = field(default_factory=list)  # where labels had white space around them

    def remark(self, said: str, name: str) -> None:
        """Something that whoever reads a result should know about the file of that name."""
        self._remarks[said].append(name)

    @property
    def remarks(self) -> tuple[str, ...]:
        """What was remarked, a sentence each, with the files it is about."""
        found = [f"{_some(dict.fromkeys(names))}: {said}." for said, names in self._remarks.items()]
        if self._trimmed:
            found.append(
                f"White space around {len(self._trimmed):,} label(s) was taken away, first in "
                f"{self._trimmed[0]}."
            )
        return tuple(found)

    def add(
        self,
        source: Source,
        rows: Iterable[Row],
        classes: Mapping[str, tuple[str, ...]] = MappingProxyType({}),
    ) -> None:
        """The rows of one file. `classes`: of columns whose numbers stand for names, these
        names."""
        before: dict[
            str, str
        ] = {}  # language -> query of the row before; each file begins a new one
        classes = self._meant(source, classes)
        for row in rows:
            place = _Place(source.path, row, self.file.names, classes)
            language = self._language(source, place)
            if language is None:
                continue
            self._counts[source.split, language] += 1
            given = self.file.columns.id
            id = place.plain(given) if given else f"{self._counts[source.split, language]:06d}"
            example = self._example(place, language, id)
            if (
                self.file.kind == "ranking" and not self.file.columns.group
            ):  # as the official scorer of XGLUE: neighbours with the same query
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
            if (
                self.file.kind != "retrieval"
                and not example.targets
                and (split != "train" or language == self.file.training_language)
            ):
                missing = (
                    self.file.columns.tags if self.file.kind == "token" else self.file.columns.label
                )
                raise place.wrong(
                    missing,
                    "a label must not be empty where it is used, this one is; fill it in, or "
                    "take the row out",
                )
            self._ids[split, language][id] = place.name
            self.splits[split].append(example)

    def _meant(
        self, source: Source, classes: Mapping[str, tuple[str, ...]]
    ) -> dict[str, tuple[str, ...]]:
        """The columns whose numbers are read as names: not where the task file itself says what the
        numbers mean."""
        columns = self.file.columns
        answers = (columns.label, columns.tags)
        used = {
            name
            for value in columns.model_dump().values()
            for name in ([value] if isinstance(value, str) else value or ())
        }
        meant = {
            column: names
            for column, names in classes.items()
            if column in used
            and not (column in answers and label_order.are_numbers(self._given, names))
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
            remarks=(
                *self.remarks,
                *(f"{said[0].upper()}{said[1:]}." for said in (tagging.said if tagging else ())),
            ),
        )
        for split in ("train", "dev"):
            if not any(e.language == task.labelled for e in self.splits[split]):
                raise UserError(
                    f"the {split} split must have examples in the training language "
                    f"{task.labelled}, task {self.file.name} has none; correct training_language "
                    f"or splits.{split}"
                )
        if not self.splits["test"]:
            raise UserError(
                f"the test split must have examples, task {self.file.name} has none; correct "
                "splits.test"
            )
        return task

    def _languages(self) -> tuple[str, ...]:
        found = {e.language for examples in self.splits.values() for e in examples}
        asked = self.file.languages
        wanted = list(dict.fromkeys(asked.values() if isinstance(asked, dict) else asked))
        missing = [code for code in wanted if code not in found]
        if missing:
            raise UserError(
                f"every language listed under `languages` must occur, task {self.file.name} has "
                f"none of {listed(missing, 5)}; take it out or correct its code"
            )
        return tuple(wanted or sorted(found))

    def _labels(self) -> tuple[str, ...]:
        labels = label_order.called(self._given, self._classes)
        if not labels:
            self._refuse_marks()
        labels = labels or label_order.occurring(self._classes, self._seen, self.remark)
        if not 2 <= len(labels) <= MOST_LABELS:
            what = "tags" if self.file.kind == "token" else "label"
            raise UserError(
                f"a task must have 2 to {MOST_LABELS} different labels, {self.file.name} has "
                f"{len(labels)}; check which column is named under columns.{what}"
            )
        if (
            self.file.kind == "ranking"
            and (
                bad := next(
                    (label for label in labels if not re.fullmatch(r"[0-9]{1,2}", label)), None
                )
            )
            is not None
        ):
            raise UserError(
                "labels of a ranking must be whole numbers from 0 (how relevant), "
                f"{self.file.name} has {bad[:40]!r}; map them under `labels`"
            )
        return tuple(labels)

    def _refuse_marks(self) -> None:
        """UserError for a "label" that says that there is none: as a class it would be learned and
        scored."""
        mark = cells.mark_among(self._seen, words=self.file.kind == "token")
        if mark is not None:
            tags = self.file.kind == "token"
            column = self.file.columns.tags if tags else self.file.columns.label
            said = _no_tag(mark) if tags else _no_label(mark)
            raise UserError(f"{self._seen[mark]}, column {column}: {said}")

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
        known = set(ids)
        if stray := next((e for e in self.splits["test"] if e.id not in known), None):
            raise UserError(
                f"every test sentence must have one with the same id in {home}, {stray.id[:40]!r} "
                f"in {stray.language} has none; take it out"
            )
        self.splits["test"] = [replace(e, targets=(e.id,)) for e in self.splits["test"]]
        return ids

    def _language(self, source: Source, place: _Place) -> str | None:
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

    def _split(self, source: Source, place: _Place, example: Example) -> str:
        if source.split != "all":
            return source.split
        column = self.file.columns.split
        if column:
            value = place.plain(column).strip(cells.WHITE).lower()
            if value not in _SPLIT:
                raise place.wrong(
                    column,
                    f"a split must be train, dev or test, got {value[:40]!r}; correct it, or use "
                    "`shares`",
                )
            return _SPLIT[value]
        assert self.file.shares is not None
        train, dev, _ = self.file.shares
        part = (
            int.from_bytes(hashlib.sha256((example.group or example.id).encode()).digest()[:8])
            / 2**64
        )
        return "train" if part < train else "dev" if part < train + dev else "test"

    def _example(self, place: _Place, language: str, id: str) -> Example:
        columns = self.file.columns
        group = place.plain(columns.group) if columns.group else ""
        if self.file.kind == "token":
            tags = self._trim(place, columns.tags, place.several(columns.tags or "", tags=True))
            words = place.several(columns.tokens or "", fitting=len(tags))
            if not words:
                raise place.wrong(
                    columns.tokens,
                    "a sentence must have words, this one has none; fill it in, or take the row "
                    "out",
                )
            if (
                odd := next((tag for tag in tags if not tag or re.search(r"[ \t\r\n]", tag)), None)
            ) is not None:
                raise place.wrong(
                    columns.tags,
                    f"a tag must have no space in it, got {odd[:40]!r}; correct the row",
                )
            if tags and len(tags) != len(words):
                raise place.wrong(
                    columns.tags,
                    f"every word must have one tag, there are {len(words)} words and {len(tags)} "
                    "tags; mend the row",
                )
            return Example(
                id,
                language,
                place.joined(columns.text) if columns.text else " ".join(words),
                words,
                self._named(place, columns.tags, tags),
                None,
                group,
            )
        if self.file.kind == "retrieval":
            return Example(id, language, place.joined(columns.text or ""), (), (), None, group)
        (label,) = self._trim(place, columns.label, (place.plain(columns.label or ""),))
        second = place.joined(columns.second) if columns.second else None
        return Example(
            id,
            language,
            place.joined(columns.text or ""),
            (),
            self._named(place, columns.label, (label,) if label else ()),
            second,
            group,
        )

    def _trim(self, place: _Place, column: str | None, labels: tuple[str, ...]) -> tuple[str, ...]:
        """Labels without the white space around them, as headers are read; how often there was some
        is remembered."""
        return tuple(
            cells.trimmed(label, lambda: self._trimmed.append(f"{place.name}, column {column}"))
            for label in labels
        )

    def _named(self, place: _Place, column: str | None, raw: tuple[str, ...]) -> tuple[str, ...]:
        """Labels as the task calls them. UserError for one that is not listed, or is no name and no
        whole number."""
        given = self._given
        for label in raw:
            if given and label not in given:
                if label in cells.MARKS:
                    tags = self.file.kind == "token"
                    raise place.wrong(column, _no_tag(label) if tags else _no_label(label))
                raise place.wrong(
                    column,
                    f"a label must be one of {listed(given, 12)}, got {label[:40]!r}; correct it, "
                    "or add it under `labels`",
                )
            if label not in self._seen:
                if not given and cells.looks_numeric(label):
                    raise place.wrong(
                        column,
                        f"a label must be a name or a whole number, got {label[:40]!r}; correct "
                        "it, or say what it means under `labels`",
                    )
                if len(label) > cells.LABEL or re.search(r"[\r\n]", label):
                    raise place.wrong(
                        column,
                        f"a label must be one line of at most {cells.LABEL} characters, got "
                        f"{label[:40]!r}, {len(label):,} long; map another column",
                    )
                self._seen[label] = place.name
        return tuple(given.get(label, label) for label in raw)

    @cached_property
    def _given(self) -> dict[str, str]:
        """The listed labels, and what each is called."""
        return label_order.pairs(self.file.labels)


def _no_tag(mark: str) -> str:
    return (
        f"every word must have a tag, {mark} stands for none (transformers ignores such words in "
        "the loss and in scores); take these words and their tags out, or, if it is a tag, list "
        "it with the others under `labels`"
    )


def _no_label(mark: str) -> str:
    return (
        f"every sentence must have a label, {mark} stands for none, as in the public test sets of "
        "GLUE; use a split that has labels, or, if it is a label, list it with the others under "
        "`labels`"
    )


def _some(names: Iterable[str]) -> str:
    shown = list(names)
    return listed(shown, 3) + (" files" if len(shown) > 3 else "")


@dataclass(frozen=True)
class _Place:
    """A row and where it is. `named`: what the task file calls the columns; `classes`: names that
    numbers of a column stand for."""

    path: Path
    row: Row
    named: tuple[str, ...] = ()
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return f"{self.path.name}, {self.row.at}"

    def wrong(self, column: str | None, said: str) -> UserError:
        """The error of this place."""
        where = f", column {column}" if column else ""
        return UserError(f"{self.name}{where}: {said}")

    def _cell(self, column: str) -> Any:
        there, fields = self.row.cells, self.row.fields
        if column in there:
            value = there[column]
        elif fields and re.fullmatch(r"[1-9][0-9]{0,5}", column) and int(column) <= fields:
            value = list(there.values())[int(column) - 1]
        elif fields and CONLLU[0] not in there:
            raise self.wrong(None, unnamed(self.path, self.named, column))
        else:
            raise self.wrong(
                None,
                f"the file must have a column {column[:40]!r}, it has {listed(there, 20)}; "
                "correct the task file's columns",
            )
        return value if column not in self.classes else self._name(column, value)

    def _name(self, column: str, value: Any, inside: bool = False) -> Any:
        """Numbers as the names they stand for; -1, which stands for none, as nothing. `inside`: it
        is one of a list, where nothing may be missing."""
        if isinstance(value, list):
            return [self._name(column, item, True) for item in value]
        if inside and type(value) is int and str(value) in cells.MARKS:
            raise self.wrong(column, _no_tag(str(value)))
        try:
            return named(value, self.classes[column])
        except ValueError as error:
            raise self.wrong(column, str(error)) from error

    def plain(self, column: str) -> str:
        """A cell as text; nothing, and not a number, are empty. UserError for a list, or what is no
        text."""
        return self._sound(column, cells.text_of)

    def joined(self, columns: Named) -> str:
        """The text of one column, or of several."""
        return (
            self.plain(columns)
            if isinstance(columns, str)
            else " ".join(part for c in columns if (part := self.plain(c)))
        )

    def several(self, column: str, tags: bool = False, fitting: int = 0) -> tuple[str, ...]:
        """A cell of words: a list in any usual writing, or text with spaces between. UserError for
        anything else. `fitting`: how many there should be (see cells.words_of)."""
        return self._sound(column, lambda value: cells.words_of(value, tags, fitting))

    def _sound(self, column: str, read: Callable[[Any], T]) -> T:
        value = self._cell(column)
        try:
            return read(value)
        except cells.Refused as error:
            raise self.wrong(column, str(error)) from error


def load(path: Path, name: str) -> Task:
    """The task that the file at `path` describes; `name` is what it is remembered by."""

    file = taskfile.read(path)
    task = assemble(file, taskfile.locate(file, path.parent), name, taskfile.fingerprint(path))
    return task if name.startswith("hub:") else replace(task, title=file.name)
