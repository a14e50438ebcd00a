"""Which output of a checkpoint's head is which label of a task, by their names. Needs no torch.

Names are compared after NFKC, trimming and casefold. Output i of a joined model is the task's label
i; outputs that the task has no label for come after them, and are never right. Where one side has
no names, only LABEL_0, LABEL_1, ... or numbers in their order, the order is assumed, and that is
said.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdq.data.schemes import scheme_of, written_as
from sdq.settings import UserError, listed, one_line

# what transformers calls outputs that nobody named
_DEFAULT = re.compile(r"LABEL_(\d+)", re.IGNORECASE)
# a label that needs no quotation marks in a sentence
_PLAIN = re.compile(r"\w(?:[\w .:/+-]*[\w.+-])?")
_SHOWN = 8


@dataclass(frozen=True)
class Joint:
    """How a head is joined to a task: `order[i]` is the output of the checkpoint that becomes
    output i; `extra` are the names of those beyond the task's labels; `remark` says what was
    permuted, assumed or added, empty if nothing was."""

    order: tuple[int, ...]
    extra: tuple[str, ...] = ()
    remark: str = ""

    @property
    def reordered(self) -> bool:
        """Whether any output changes its place."""
        return self.order != tuple(range(len(self.order)))


def names_of(config: Mapping[str, Any], where: Path) -> tuple[str, ...]:
    """What the outputs of a head are called, in order; LABEL_0, ... where config.json does not name
    them, as many as `num_labels` says, else two.

    UserError where id2label, label2id and num_labels are not what transformers writes, or
    contradict one another.
    """
    said, back, count = config.get("id2label"), config.get("label2id"), config.get("num_labels")
    if count is not None and (type(count) is not int or not 1 <= count <= 100_000):
        raise UserError(
            f"num_labels must be a whole number from 1 to 100000 in {where}, got "
            f"{one_line(repr(count), 60)}; correct it"
        )
    back = _numbers(back, where) if back is not None else {}
    key, default = "id2label", all(_DEFAULT.fullmatch(name) for name in back)
    if said is None and back and (count is None or not default):
        key, said = "label2id", _turned(back, where)
    if said is None:
        return tuple(f"LABEL_{i}" for i in range(2 if count is None else count))
    names = _names(said, key, where)
    if count is not None and count != len(names):
        raise UserError(
            f"num_labels must be the number of names in {key} in {where}, got {count} and "
            f"{len(names)}; correct one of them"
        )
    if not default:  # else it was left as it is when names were given
        for name, i in back.items():
            if not i < len(names) or names[i] != name:
                got = (
                    f"{one_line(name, 60)!r} for {i}, and id2label {one_line(names[i], 60)!r}"
                    if i < len(names)
                    else f"{one_line(name, 60)!r} for {i}"
                )
                raise UserError(
                    f"label2id must be id2label the other way round in {where}, it has {got}; "
                    "correct one of them"
                )
    return names


def _turned(back: Mapping[str, int], where: Path) -> dict[str, str]:
    """label2id the other way round. UserError if two names have one number."""
    names: dict[str, str] = {}
    for name, i in back.items():
        if str(i) in names:
            two = f"{one_line(names[str(i)], 60)!r} and {one_line(name, 60)!r}"
            raise UserError(
                f"every number must be in label2id once in {where}, {two} are both {i}; correct it"
            )
        names[str(i)] = name
    return names


def _names(said: Any, key: str, where: Path) -> tuple[str, ...]:
    """The names by number, as config.json gives them under `key`."""
    wanted = f'id2label must map numbers to names, as {{"0": "no", "1": "yes"}}, in {where}'
    if not isinstance(said, dict) or not said:
        raise UserError(f"{wanted}, got {one_line(repr(said), 80)}; correct it")
    names: dict[int, str] = {}
    for at, value in said.items():
        if not re.fullmatch(r"\d{1,6}", str(at).strip()):
            turned = (
                "it is the wrong way round, as label2id" if type(value) is int else "correct it"
            )
            raise UserError(f"{wanted}, got the key {one_line(str(at), 60)!r}; {turned}")
        if isinstance(value, dict | list) or value is None or not str(value).strip():
            got = f"that of {at} is {one_line(repr(value), 60)}"
            raise UserError(f"a name in {key} must be text in {where}, {got}; correct it")
        if int(at) in names:
            raise UserError(
                f"every number must be in {key} once in {where}, {int(at)} is in it twice; correct "
                "it"
            )
        names[int(at)] = str(value)
    if (gap := next((i for i in range(len(names)) if i not in names), None)) is not None:
        raise UserError(
            f"{key} must name every output from 0 to {max(names)} in {where}, {gap} has no name; "
            "correct it"
        )
    return tuple(names[i] for i in range(len(names)))


def _numbers(back: Any, where: Path) -> dict[str, int]:
    if not isinstance(back, dict) or not all(type(i) is int and i >= 0 for i in back.values()):
        raise UserError(
            f'label2id must map names to numbers, as {{"no": 0, "yes": 1}}, in {where}, got '
            f"{one_line(repr(back), 80)}; correct it"
        )
    return dict(back)


def plain(name: str) -> str:
    """A label as it is compared: NFKC, trimmed, without case."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).strip().casefold())


def join(names: Sequence[str], labels: Sequence[str], where: Path, remedy: str) -> Joint:
    """How a head whose outputs have these names answers with these labels.

    names: of the outputs, in the order of the checkpoint
    labels: of the task, in its order
    where: the config.json that has the names, for errors
    remedy: what to do about a head that does not fit, for errors

    UserError for a label that the head never learned, names that are equal but for case, and a head
    without names of another size. Names that are all others than the labels say nothing of their
    order.
    """
    # two that differ by case only are two
    if set(labels) <= set(names) and len(set(names)) == len(names):
        return _by_name(names, list(names), list(labels))
    have, want = [plain(name) for name in names], [plain(label) for label in labels]
    for what, given, compared in (
        ("the names in id2label", names, have),
        ("the labels of the task", labels, want),
    ):
        if (
            twice := next((i for i, name in enumerate(compared) if name in compared[:i]), None)
        ) is not None:
            first = given[compared.index(compared[twice])]
            raise UserError(
                f"{what} must differ by more than case and space ({where}), got "
                f"{_list([first, given[twice]])}; rename one of them"
            )
    if not set(have) & set(want) and (assumed := _by_order(names, labels, where, remedy)):
        return assumed
    if never := [
        label for label, compared in zip(labels, want, strict=True) if compared not in have
    ]:
        way = (
            "say under `labels` of the task file what the model calls them (or list the others "
            "there, if no row has these)"
        )
        if renamed := written_as(never, names):
            pairs = _listed([f'"{label}": "{name}"' for label, name in renamed.items()])
            model_scheme, task_scheme = (scheme_of(tags) for tags in (names, labels))
            way = (
                f"the model's tags are {model_scheme}, the task's {task_scheme}, so map these "
                f"under `labels` of the task file ({{{pairs}}}) and list the others with them"
            )
        raise UserError(
            "the model must have learned every label of the task, it has labels the model never "
            f"learned: {_list(never)}; {where} has {_list(names)}: {way}, or {remedy}"
        )
    return _by_name(names, have, want)


def _by_name(names: Sequence[str], have: list[str], want: list[str]) -> Joint:
    at = {name: i for i, name in enumerate(have)}
    order = [at[name] for name in want]
    rest = sorted(set(range(len(names))) - set(order))
    extra = tuple(names[i] for i in rest)
    said = []
    if order != sorted(order) or (rest and order + rest != list(range(len(names)))):
        said.append(
            "the outputs of the head were put into the order of the task's labels by their names "
            f"(the model has {_list(names)})"
        )
    if extra:
        said.append(
            f"the model can also answer {_list(extra)}, which the task has no label for: such an "
            "answer is never right"
        )
    return Joint((*order, *rest), extra, "; ".join(said))


def _by_order(
    names: Sequence[str], labels: Sequence[str], where: Path, remedy: str
) -> Joint | None:
    """How they are joined where one side does not name the outputs, but counts them; None where
    both have names. UserError if it counts other outputs than there are."""
    unnamed = [int(match[1]) for name in names if (match := _DEFAULT.fullmatch(name))]
    if len(names) != len(labels):
        if unnamed == list(range(len(names))):
            raise UserError(
                f"the model must have one output per label of the task ({len(labels)}), got "
                f"{len(names)} in {where}; {remedy}"
            )
        return None
    if unnamed and unnamed != list(range(len(names))):
        raise UserError(
            f"id2label must name the outputs, or LABEL_0, LABEL_1, ... in their order, {where} has "
            f"{_list(names)}; correct it"
        )
    if not unnamed and not _counts(names, labels) and not _counts(labels, names):
        return None
    reason = "none of the names in its config.json is that of a label"
    reason = "its config.json names none" if unnamed else reason
    called = [str(i) if unnamed else f"{i} ({name})" for i, name in enumerate(names)]
    pairs = [f"{output} = {label}" for output, label in zip(called, labels, strict=True)]
    return Joint(
        tuple(range(len(names))),
        remark=f"the order of the head's outputs was assumed to be that of the task's labels, as "
        f"{reason}: output {_listed(pairs)}",
    )


def _counts(ones: Sequence[str], others: Sequence[str]) -> bool:
    """Whether the ones are numbers from 0 or 1 on in their order, and the others are names."""
    numbers = [match[1] if (match := _DEFAULT.fullmatch(one)) else one for one in ones]
    counted = any(numbers == [str(i + first) for i in range(len(ones))] for first in (0, 1))
    return counted and not any(map(is_number, others))


def _list(names: Sequence[str]) -> str:
    """Labels, those in quotation marks that would be hard to tell apart without."""
    plainly = (n if _PLAIN.fullmatch(n) else json.dumps(n, ensure_ascii=False) for n in names)
    return _listed([*plainly])


def _listed(words: Sequence[str]) -> str:
    return listed(words, _SHOWN, 500)


def is_number(name: str) -> bool:
    try:
        return math.isfinite(float(name))
    except ValueError:
        return False
