"""What every reader of files is asked and gives: rows of cells, and where each is. Needs no
torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from sdq.data.recognise import Format
from sdq.io.limits import limits
from sdq.settings import UserError

Quoting = Literal["double", "none"]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file: where it is ("line 7"), and its cells by column. In tagging formats a cell
    holds one value per word.

    `fields`: how many cells, from the first, are also called by their number from 1 (columns of
    CoNLL).
    """

    at: str
    cells: dict[str, Any]
    fields: int = 0


@dataclass(frozen=True)
class ReadOptions:
    """How a file is to be read: `names` of the columns of a file that does not name them; what
    quotes mean (`quoting`; None: what is usual for the format); where remarks go."""

    names: tuple[str, ...] = ()
    quoting: Quoting | None = None
    remark: Callable[[str], None] = lambda said: None


Reader = Callable[[Path, ReadOptions, Format], Iterator[Row]]


def too_wide(path: Path, at: str) -> UserError:
    """The error of a file with too many columns; `at` is where it was seen."""
    most = limits().columns
    return UserError(
        f"a data file must have at most {most} columns, {path.name} has more ({at}); leave out "
        "those that hold neither text nor labels, or raise SDQ_COLUMNS"
    )
