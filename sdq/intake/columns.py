"""Which column of a file that somebody brings holds what: by the names of the columns, or else by
what is in them. Needs no torch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from sdq.data.assemble import SPLIT_NAMES
from sdq.data.column_names import COLUMN_NAMES
from sdq.data.language_table import LANGUAGES
from sdq.data.languages import subtags, unspaced

_MOST_LABELS = 60  # that are proposed; a task may have more


def propose(
    columns: Sequence[str], values: Mapping[str, Sequence[str]] = MappingProxyType({})
) -> tuple[str, dict[str, str]]:
    """(kind, role -> the column that is likely to hold it). No column is proposed twice; where
    several fit equally well, or none does, none is.

    columns: their names
    values: column -> what is in its first rows, as text; none: names alone count
    """
    by_name = {name.lower(): name for name in columns}
    there = {
        role: [by_name[name] for name in names if name in by_name]
        for role, names in COLUMN_NAMES.items()
    }
    found = {role: names[0] for role, names in there.items() if names}
    if "split" in found and not _is_split(values.get(found["split"], [*SPLIT_NAMES])):
        del found["split"]
    tokens = {"tokens", "tags"} <= found.keys()
    kind = "token" if tokens else "pair" if "second" in found else "sentence"
    return kind, found | _by_values(columns, values, found, tokens)


def _by_values(
    columns: Iterable[str],
    values: Mapping[str, Sequence[str]],
    found: Mapping[str, str],
    tokens: bool,
) -> dict[str, str]:
    """Role -> column, of the roles that no name tells. `tokens`: words have tags, so that neither a
    text nor a label is needed."""
    left = {
        name: [value for value in values.get(name, ()) if value]
        for name in columns
        if name not in found.values()
    }
    told: dict[str, str] = {}
    for role, fits in (("split", _is_split), ("language", _is_language)):
        fitting = [name for name, there in left.items() if there and fits(there)]
        if role not in found and len(fitting) == 1:
            told[role] = fitting[0]
        # one of several is no label all the same
        left = {name: there for name, there in left.items() if name not in fitting}
    if tokens:
        return told
    texts = [name for name, there in left.items() if _is_text(there)]
    if texts and "text" not in found:
        told["text"] = max(texts, key=lambda name: sum(map(len, left[name])) / len(left[name]))
    few = [name for name, there in left.items() if name not in texts and _is_few(there)]
    if "label" not in found and len(few) == 1:
        told["label"] = few[0]
    return told


def _is_split(values: Sequence[str]) -> bool:
    return all(value.strip().lower() in SPLIT_NAMES for value in values)


def _is_language(values: Sequence[str]) -> bool:
    return all(len(value) <= 12 and subtags(value.strip()).base in LANGUAGES for value in values)


def _is_text(values: Sequence[str]) -> bool:
    """Whether most values are several words, or of a script without spaces, and most differ: ids
    are one word each, labels recur."""
    several = sum(" " in value or any(map(unspaced, value)) for value in values)
    return 2 * several > len(values) and 2 * len(set(values)) > len(values)


def _is_few(values: Sequence[str]) -> bool:
    """Whether values recur as labels do."""
    return 1 < len(set(values)) <= max(2, min(_MOST_LABELS, len(values) // 3)) < len(values)
