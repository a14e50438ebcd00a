"""What files that somebody brings look like before anything is taken from them: rows to show, and
what to propose. Needs no torch."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence
from contextlib import suppress
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from sdq.data.conll import conll_head, proposed, words_at
from sdq.data.formats import read
from sdq.data.languages import language_in_name
from sdq.data.parquet import as_names, class_labels, named
from sdq.data.recognise import CALLED, ENDINGS, recognise
from sdq.data.schemes import metrics_for
from sdq.data.task import SPLITS
from sdq.data.taskfile import USUAL
from sdq.intake.columns import propose
from sdq.results import METRICS
from sdq.settings import UserError

ROWS = 8  # of a preview
SAMPLED = 300  # rows whose values tell what a column holds
_SAY_NOTHING = (".txt", ".data", ".text", ".dat")  # endings that promise no format
_SPLITS = {
    "training": "train",
    "validation": "dev",
    "valid": "dev",
    "val": "dev",
    "eval": "dev",
    "testa": "dev",
    "testb": "test",
} | {split: split for split in SPLITS}


def guess(name: str) -> tuple[str, str]:
    """(split, language) that a file name tells: "train-de.csv" -> ("train", "de"), "eng.testa" ->
    ("dev", "eng"); "all" and "" where it does not."""
    while (ending := Path(name).suffix.lower()) in (*ENDINGS, *_SAY_NOTHING):
        name = name[: -len(ending)]
    words = [part.lower() for part in re.split(r"[^A-Za-z]+", name) if part]
    return next((_SPLITS[part] for part in words if part in _SPLITS), "all"), language_in_name(
        name, _SPLITS
    )


def preview(path: Path) -> pd.DataFrame:
    """The first rows of a file, all columns as text, before anything is taken from it. UserError if
    it cannot be read.

    Its `attrs` say what the file was recognised as: `format` (in words), `kind` and `columns` (what
    is likely to be predicted, and which column is likely to hold what), `looks` (what the column
    proposed for tags looks like), `remarks` (a sentence each).
    """
    form, remarks, classes = recognise(path), list[str](), class_labels(path)
    rows = [row.cells for row in islice(read(path, remark=remarks.append), ROWS)]
    remarks += [
        as_names(column, names) for column, names in classes.items() if rows and column in rows[0]
    ]
    table = pd.DataFrame(
        [
            {str(k): _shown(_meant(v, classes.get(str(k)))) for k, v in cells.items()}
            for cells in rows
        ]
    )
    kind, columns = propose(list(table.columns), _values(path))
    looks = ""
    if form.name == "conllu":
        columns.pop("id", None)  # the first column of CoNLL-U numbers words
        columns |= {"id": "sent_id"} if "sent_id" in table else {}
    if form.name == "conll":
        head = conll_head(path)
        number, looks = proposed(head) or (len(head.called), "a guess")
        words = words_at(head.values)
        kind, columns = (
            "token",
            {"tokens": head.called[words]}
            | ({"tags": head.called[number - 1]} if len(head.called) > 1 else {}),
        )
    table.attrs = {
        "format": CALLED[form.name],
        "kind": kind,
        "columns": columns,
        "looks": looks,
        "remarks": remarks,
    }
    return table


def _values(path: Path) -> dict[str, list[str]]:
    """Column -> what is in the first rows, as text. What cannot be read further down is said when
    the task is kept."""
    found: dict[str, list[str]] = defaultdict(list)
    with suppress(UserError):
        for row in islice(read(path), SAMPLED):
            for column, value in row.cells.items():
                found[str(column)].append(_shown(value))
    return found


def metrics(kind: str, tags: Sequence[str] = ()) -> tuple[str, ...]:
    """The metrics that answers of this kind can be scored by, the one to propose first. `tags`: of
    some words, where words have tags."""
    # O alone says nothing
    usual = metrics_for([tags])[0] if kind == "token" and set(tags) - {"O"} else USUAL[kind]
    fitting = [name for name, metric in METRICS.items() if kind in metric.kinds]
    return tuple(sorted(fitting, key=lambda name: name != usual))


def _meant(value: Any, names: Sequence[str] | None) -> Any:
    """A cell as it will be read: numbers as the names they stand for. One that stands for none
    stays; it is refused when the task is kept."""
    try:
        return value if names is None else named(value, names)
    except ValueError:
        return value


def _shown(value: Any) -> str:
    """A cell for the preview: a list cut between two items, a text anywhere."""
    text = (
        " ".join(map(str, value))
        if isinstance(value, list)
        else ""
        if value is None
        else str(value)
    )
    if len(text) <= 300:
        return text
    cut = text[:301].rpartition(" ")[0] if isinstance(value, list) else ""
    return f"{cut or text[:300]} …"
