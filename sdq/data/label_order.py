"""Which labels a task has, and in which order: a head without names is joined to them by it. Needs
no torch."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from sdq.data.cells import WHITE, is_whole, order
from sdq.settings import listed


def pairs(labels: Sequence[str] | Mapping[str, str]) -> dict[str, str]:
    """The labels that a task file lists -> what each is called, without white space around them."""
    items = labels.items() if isinstance(labels, Mapping) else zip(labels, labels, strict=True)
    return {label.strip(WHITE): name.strip(WHITE) for label, name in items}


def called(given: Mapping[str, str], classes: Collection[Sequence[str]]) -> list[str]:
    """What the labels that a task file lists are called, in its order; numbers count themselves,
    wherever they stand: in the order of the files (`classes`, see `occurring`) if they are names
    there, or else by size if they are 0, 1, ... or are given names."""
    labels = list(given)
    if all(map(is_whole, labels)):
        named = [name for names in classes for name in names]
        if named:
            labels.sort(key=lambda label: named.index(label) if label in named else len(named))
        elif set(labels) == set(map(str, range(len(labels)))) or labels != list(given.values()):
            labels.sort(key=order)
    return list(dict.fromkeys(given[label] for label in labels))


def are_numbers(labels: Collection[str], names: Sequence[str]) -> bool:
    """Whether labels that a task file lists are the numbers in a column, not the names that the
    file gives those numbers."""
    if set(labels) <= set(names) or set(names) <= set(labels):
        return False
    return all(map(is_whole, labels))


def occurring(
    classes: Mapping[tuple[str, ...], str],
    seen: Collection[str],
    remark: Callable[[str, str], None],
) -> list[str]:
    """The labels of a task that lists none: as files name and order them, then the others that
    occur.

    classes: names of labels in a file's order -> the first file that has them
    seen: the labels that occur
    remark: is told (what, file)
    """
    labels = list(dict.fromkeys(name for names in classes for name in names))
    first = next(iter(classes.values()), "")
    for names, file in classes.items():
        if list(names) != [label for label in labels if label in names]:
            said = f"its labels are in another order than those of {first}, which counts"
            remark(f"{said}; give the order under `labels`", file)
    if unused := [label for label in labels if label not in seen]:
        said = f"no row has {listed(unused, 8)}, which the file lists among its labels"
        remark(f"{said}; if they are none, list the others under `labels`", first)
    return labels + sorted(set(seen) - set(labels), key=order)
