"""A row -> an example of a task, its labels as the task calls them. Needs no torch."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from functools import cached_property

from sdq.data import cells, label_order
from sdq.data.place import Place, no_label, no_tag
from sdq.data.task import Example
from sdq.data.taskfile import TaskFile
from sdq.settings import listed


@dataclass
class ExampleReader:
    """Reads the rows of a task file's data, and remembers which labels they had: `seen`, label ->
    where it was first; `trimmed`, where labels had white space around them."""

    file: TaskFile
    seen: dict[str, str] = field(default_factory=dict)
    trimmed: list[str] = field(default_factory=list)

    @cached_property
    def given(self) -> dict[str, str]:
        """The listed labels, and what each is called."""
        return label_order.pairs(self.file.labels)

    def read(self, place: Place, language: str, id: str) -> Example:
        """The example of a row. UserError for cells that are not what the task file says.

        place: the row

        language: as the task calls it
        id: of the example, unique within its language and split
        """
        columns = self.file.columns
        group = place.plain(columns.group) if columns.group else ""
        if self.file.kind == "token":
            return self._tagged(place, language, id, group)
        if self.file.kind == "retrieval":
            return Example(id, language, place.joined(columns.text or ""), (), (), None, group)
        (label,) = self._trim(place, columns.label, (place.plain(columns.label or ""),))
        second = place.joined(columns.second) if columns.second else None
        text = place.joined(columns.text or "")
        targets = self._named(place, columns.label, (label,) if label else ())
        return Example(id, language, text, (), targets, second, group)

    def _tagged(self, place: Place, language: str, id: str, group: str) -> Example:
        """A sentence of words with their tags."""
        columns = self.file.columns
        tags = self._trim(place, columns.tags, place.several(columns.tags or "", tags=True))
        words = place.several(columns.tokens or "", fitting=len(tags))
        if not words:
            raise place.wrong(
                columns.tokens,
                "a sentence must have words, this one has none; fill it in, or take the row out",
            )
        odd = next((tag for tag in tags if not tag or re.search(r"[ \t\r\n]", tag)), None)
        if odd is not None:
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
        text = place.joined(columns.text) if columns.text else " ".join(words)
        targets = self._named(place, columns.tags, tags)
        return Example(id, language, text, words, targets, None, group)

    def _trim(self, place: Place, column: str | None, labels: tuple[str, ...]) -> tuple[str, ...]:
        """Labels without the white space around them, as headers are read; how often there was some
        is remembered."""
        return tuple(
            cells.trimmed(label, lambda: self.trimmed.append(f"{place.name}, column {column}"))
            for label in labels
        )

    def _named(self, place: Place, column: str | None, raw: tuple[str, ...]) -> tuple[str, ...]:
        """Labels as the task calls them. UserError for one that is not listed, or is no name and no
        whole number."""
        for label in raw:
            if self.given and label not in self.given:
                if label in cells.MARKS:
                    tags = self.file.kind == "token"
                    raise place.wrong(column, no_tag(label) if tags else no_label(label))
                raise place.wrong(
                    column,
                    f"a label must be one of {listed(self.given, 12)}, got {label[:40]!r}; correct "
                    "it, or add it under `labels`",
                )
            if label not in self.seen:
                if not self.given and cells.looks_numeric(label):
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
                self.seen[label] = place.name
        return tuple(self.given.get(label, label) for label in raw)
