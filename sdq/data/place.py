"""A row of a file as a task reads it: its cells by the names of columns, and refusals that name the
file, the row and the column. Needs no torch."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from sdq.data import cells
from sdq.data.conll import CONLLU, unnamed
from sdq.data.parquet import named
from sdq.data.rows import Row
from sdq.data.taskfile import Named
from sdq.settings import UserError, listed

T = TypeVar("T")


@dataclass(frozen=True)
class Place:
    """A row and where it is. `named`: what the task file calls the columns; `classes`: names that
    numbers of a column stand for."""

    path: Path
    row: Row
    named: tuple[str, ...] = ()
    classes: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The file and the row, as a refusal names them."""
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
            raise self.wrong(column, no_tag(str(value)))
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
        """A cell of words: a list in any usual writing, or text with spaces between.

        column: that holds it
        tags: whether it holds tags
        fitting: how many there should be; 0: nobody knows (see cells.words_of)

        UserError for anything else.
        """
        return self._sound(column, lambda value: cells.words_of(value, tags, fitting))

    def _sound(self, column: str, read: Callable[[Any], T]) -> T:
        value = self._cell(column)
        try:
            return read(value)
        except cells.Refused as error:
            raise self.wrong(column, str(error)) from error


def no_tag(mark: str) -> str:
    """What to say of a tag that stands for none."""
    return (
        f"every word must have a tag, {mark} stands for none (transformers ignores such words in "
        "the loss and in scores); take these words and their tags out, or, if it is a tag, list "
        "it with the others under `labels`"
    )


def no_label(mark: str) -> str:
    """What to say of a label that stands for none."""
    return (
        f"every sentence must have a label, {mark} stands for none, as in the public test sets of "
        "GLUE; use a split that has labels, or, if it is a label, list it with the others under "
        "`labels`"
    )
