"""A form from a settings class: every field of a pydantic model becomes a labelled control by
itself.

Numbers get their limits from the field, a discriminated union a list of its kinds with the fields
of the chosen one, a tuple a list that can grow, shrink and be reordered. A new field, or a new
class in a union, needs no code here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from inspect import cleandoc, isclass
from math import floor, log10
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

import streamlit as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from streamlit.delta_generator import DeltaGenerator

from sdq.data.lines import settings_of
from sdq.labels import ROLE_LABELS
from sdq.settings import UserError

M = TypeVar("M", bound=BaseModel)
MOST = 20  # entries of a list
LARGEST = 2**53 - 1  # what a browser can hold exactly
OWN = "my own list"
WIDTH = 220  # of a control, in pixels: one column on a telephone, several on a screen


def form(model: type[M], value: M, key: str, leave: tuple[str, ...] = ()) -> M:
    """Draw a control for every field of `model` but those named in `leave`, and return what they
    say.

    Controls start at `value`, and again only under another `key`. The key of a control is the path
    of its field: `key`.training.steps. Raises pydantic's ValidationError if the controls do not fit
    together, TypeError for a type that has no control.
    """
    return model.model_validate(_fields(model, _plain(value), key, _Place(st.container()), leave))


def parse(model: type[M], data: bytes, most: int = 100_000) -> M:
    """The settings in a JSON file of at most `most` bytes. UserError with one sentence for anything
    else."""
    if len(data) > most:
        raise UserError(
            f"the file must have at most {most // 1000} kB, it has {len(data) / 1000:.0f} kB; "
            "choose a recipe saved here"
        )
    return fitting(settings_of(model, data, "recipe", "the one chosen"))


def fitting(value: M) -> M:
    """The same settings. UserError if a form cannot hold them: a list too long, or a number beyond
    what a browser can hold."""
    for part in _parts(_plain(value)):
        if isinstance(part, list) and len(part) > MOST:
            raise UserError(
                f"a form can show lists of at most {MOST} entries, got {len(part)}; run this "
                "recipe with `python -m sdq run`"
            )
        if isinstance(part, int | float) and not abs(part) <= LARGEST:
            raise UserError(
                f"numbers must be finite and at most 2^53 in size, got {part:g}; choose a smaller "
                "one"
            )
    return value


def words(name: str) -> str:
    """The name of a field or a class in words: learning_rate -> "Learning rate", MinMax -> "Min
    max", KLD -> "KLD"."""
    parts = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).replace("_", " ").split()
    text = " ".join(part if part.isupper() else part.lower() for part in parts)
    return text[:1].upper() + text[1:]


class _Place:
    """Where controls go: small ones side by side in a row, large ones below each other."""

    def __init__(self, box: DeltaGenerator) -> None:
        self.box = box
        self._row: DeltaGenerator | None = None

    def row(self) -> DeltaGenerator:
        if self._row is None:
            self._row = self.box.container(horizontal=True, vertical_alignment="bottom")
        return self._row

    def block(self, border: bool = False) -> DeltaGenerator:
        self._row = None
        return self.box.container(border=border)


def _plain(value: Any) -> Any:
    """Settings as plain data."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return [_plain(part) for part in value] if isinstance(value, tuple | list) else value


def _parts(data: Any) -> list[Any]:
    """Everything in plain data, at any depth."""
    inside = data.values() if isinstance(data, Mapping) else data if isinstance(data, list) else ()
    return [data, *(deep for part in inside for deep in _parts(part))]


def _shape(info: FieldInfo) -> tuple[str, tuple[Any, ...]]:
    """(what control a field needs, what that is made of)."""
    kind, args = get_origin(info.annotation), get_args(info.annotation)
    if kind in (Union, UnionType):
        some = tuple(a for a in args if a is not NoneType)
        if len(some) < len(args):
            inner = FieldInfo.from_annotation(Union[some])  # type: ignore[arg-type]  # noqa: UP007
            inner.discriminator = inner.discriminator or info.discriminator
            inner.metadata = inner.metadata or info.metadata
            return "optional", (inner,)
        if all(isclass(a) and issubclass(a, BaseModel) for a in some):
            return "kinds", some
        if [get_origin(a) for a in some] == [Literal, tuple] and get_args(some[1]) == (str, ...):
            return "named", get_args(some[0])
    if kind is Literal:
        return ("choice" if len(args) > 1 else "constant"), args
    if kind is tuple and len(args) == 2 and args[1] is Ellipsis:
        item = FieldInfo.from_annotation(args[0])
        return (
            ("several", get_args(item.annotation))
            if get_origin(item.annotation) is Literal
            else ("list", (item,))
        )
    if isclass(info.annotation) and issubclass(info.annotation, BaseModel):
        return "model", (info.annotation,)
    if info.annotation in (bool, int, float, str):
        return info.annotation.__name__, ()
    raise TypeError(
        "a form can show numbers, text, choices, settings classes and tuples of them, got a field "
        f"of type {info.annotation}; add a control for it"
    )


def _limits(info: FieldInfo) -> tuple[Any, Any]:
    """(least, greatest) of a number, None for no limit. A float's open limit counts as closed: the
    class still refuses it."""
    found = {
        name: limit
        for m in info.metadata
        for name in ("ge", "gt", "le", "lt")
        if (limit := getattr(m, name, None)) is not None
    }
    inside = 1 if info.annotation is int else 0
    low = [found[n] + d for n, d in (("ge", 0), ("gt", inside)) if n in found]
    high = [found[n] - d for n, d in (("le", 0), ("lt", inside)) if n in found]
    return max(low, default=None), min(high, default=None)


def _start(info: FieldInfo) -> Any:
    """What a control shows before anybody chose: the field's default as plain data, or else the
    first thing allowed."""
    if not info.is_required():
        return _plain(info.get_default(call_default_factory=True))
    shape, parts = _shape(info)
    if shape in ("model", "kinds"):
        return _untouched(parts[0])
    if shape in ("int", "float"):
        low, high = _limits(info)
        return next((limit for limit in (low, high) if limit is not None), 0)
    return (
        {"optional": None, "several": [], "list": [], "bool": False, "str": ""}[shape]
        if shape not in ("choice", "constant", "named")
        else parts[0]
    )


def _untouched(model: type[BaseModel]) -> dict[str, Any]:
    return {name: _start(info) for name, info in model.model_fields.items()}


def _doc(model: type[BaseModel]) -> str:
    """The first paragraph of a class's docstring."""
    return cleandoc(model.__doc__ or "").split("\n\n")[0].replace("\n", " ")


def _help(info: FieldInfo) -> str | None:
    """What a field is for: its description, and what each kind of a union is."""
    shape, parts = _shape(info)
    lines = [info.description or ""]
    if shape == "kinds":
        lines += [f"- **{words(kind.__name__)}**: {_doc(kind)}" for kind in parts]
    elif shape == "model" and not info.description:
        lines = [_doc(parts[0])]
    return "\n".join(line for line in lines if line) or None


def _option(value: Any) -> str:
    return ROLE_LABELS.get(value, str(value).replace("_", " "))


def _fields(
    model: type[BaseModel],
    value: Mapping[str, Any],
    key: str,
    place: _Place,
    leave: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Controls for the fields of a class; what they say, as plain data."""
    return {
        name: value[name]
        if name in leave
        else _control(words(name), info, value[name], f"{key}.{name}", place)
        for name, info in model.model_fields.items()
    }


def _control(label: str, info: FieldInfo, value: Any, key: str, place: _Place) -> Any:
    """The control of one field; what it says."""
    shape, parts = _shape(info)
    if shape == "constant":
        return parts[0]
    if shape == "optional":
        return _optional(label, info, parts[0], value, key, place)
    if shape == "kinds":
        return _kinds(label, info, parts, value, key, place)
    if shape == "list":
        return _list(label, info, parts[0], value, key, place)
    if shape == "named":
        return _named(label, info, parts, value, key, place)
    about: dict[str, Any] = {"key": key, "help": _help(info)}
    if shape == "model":
        box = place.block(border=True)
        box.markdown(f"**{label}**", help=about["help"])
        return _fields(parts[0], value, key, _Place(box))
    row = place.row()
    if shape == "bool":
        return row.toggle(label, value, **about)
    if shape == "choice":
        return row.selectbox(
            label, parts, parts.index(value), format_func=_option, width=WIDTH, **about
        )
    if shape == "several":
        return row.multiselect(
            label,
            parts,
            list(dict.fromkeys(value)),
            format_func=_option,
            placeholder="none chosen",
            width=2 * WIDTH,
            **about,
        )
    if shape == "str":
        pattern = next((m.pattern for m in info.metadata if getattr(m, "pattern", None)), None)
        return row.text_input(
            label,
            value,
            validate=(pattern, f"must match {pattern}") if pattern else None,
            width=WIDTH,
            **about,
        )
    return _number(label, info, value, row, about)


def _number(
    label: str, info: FieldInfo, value: Any, row: DeltaGenerator, about: Mapping[str, Any]
) -> Any:
    low, high = _limits(info)
    if info.annotation is int:
        return row.number_input(label, low, high, value, step=1, width=WIDTH, **about)
    step = 10.0 ** (floor(log10(abs(value))) - 1) if value else 0.01  # a tenth of its leading digit
    low, high = (None if limit is None else float(limit) for limit in (low, high))
    return row.number_input(
        label, low, high, float(value), step=step, format="%g", width=WIDTH, **about
    )


def _optional(
    label: str, info: FieldInfo, inner: FieldInfo, value: Any, key: str, place: _Place
) -> Any:
    """A switch, and below it what is switched on."""
    shape, parts = _shape(inner)
    about = _help(info) if info.description else _help(inner)
    start = _start(inner) if value is None else value
    if shape == "model":
        box = place.block(border=True)
        return (
            _fields(parts[0], start, key, _Place(box))
            if box.toggle(label, value is not None, key=f"{key}.on", help=about)
            else None
        )
    on = place.row().toggle(f"{label} on", value is not None, key=f"{key}.on", help=about)
    return _control(label, inner, start, key, place) if on else None


def _kinds(
    label: str, info: FieldInfo, classes: tuple[Any, ...], value: Any, key: str, place: _Place
) -> dict[str, Any]:
    """A choice of classes, and beside it the fields of the chosen one."""
    tag = info.discriminator if isinstance(info.discriminator, str) else "kind"
    by_tag = {get_args(c.model_fields[tag].annotation)[0]: c for c in classes}
    tags = list(by_tag)
    chosen = place.row().selectbox(
        label,
        tags,
        tags.index(value[tag]),
        format_func=lambda t: words(by_tag[t].__name__),
        key=key,
        help=_help(info),
        width=WIDTH,
    )
    start = value if value[tag] == chosen else _untouched(by_tag[chosen])
    return _fields(by_tag[chosen], start, f"{key}.{chosen}", place)


def _named(
    label: str,
    info: FieldInfo,
    names: tuple[str, ...],
    value: str | list[str],
    key: str,
    place: _Place,
) -> str | list[str]:
    """A choice of names; the last entry stands for a list of one's own words, which is typed."""
    own, row = [] if isinstance(value, str) else value, place.row()
    at = names.index(value) if isinstance(value, str) else len(names)
    chosen = row.selectbox(
        label, [*names, OWN], at, format_func=_option, key=key, help=_help(info), width=WIDTH
    )
    if chosen != OWN:
        return chosen
    typed = {
        "accept_new_options": True,
        "placeholder": "type one and press Enter",
        "max_selections": MOST,
        "width": 2 * WIDTH,
    }
    return row.multiselect(f"{label}, one by one", own, own, key=f"{key}.own", **typed)


def _list(
    label: str, info: FieldInfo, item: FieldInfo, value: list[Any], key: str, place: _Place
) -> list[Any]:
    """Entries in order, each with buttons that move it up and take it away, and one that adds
    another."""
    box = place.block()
    box.markdown(f"**{label}**", help=_help(info))
    shape, parts = _shape(item)
    called = words(parts[0].__name__) if shape == "model" else label
    name = f"{key}.rows"  # entries by number; those from len(value) on were added here
    rows: list[int] = st.session_state.setdefault(name, list(range(len(value))))
    found = []
    for place_in_list, row in enumerate(rows):
        entry, title = box.container(border=True), f"{called} {place_in_list + 1}"
        head = entry.container(horizontal=True, vertical_alignment="center")
        head.markdown(title)
        if place_in_list:
            head.button(
                f"Move {title.lower()} up",
                key=f"{key}.{row}.up",
                icon=":material/arrow_upward:",
                type="tertiary",
                on_click=_up,
                args=(name, row),
            )
        head.button(
            f"Remove {title.lower()}",
            key=f"{key}.{row}.remove",
            icon=":material/delete:",
            type="tertiary",
            on_click=_remove,
            args=(name, row),
        )
        start = value[row] if row < len(value) else _start(item)
        inside = _Place(entry)
        found.append(
            _fields(parts[0], start, f"{key}.{row}", inside)
            if shape == "model"
            else _control(title, item, start, f"{key}.{row}", inside)
        )
    new = max([len(value), *(row + 1 for row in rows)])
    box.button(
        f"Add to {label.lower()}",
        key=f"{key}.add",
        icon=":material/add:",
        disabled=len(rows) >= MOST,
        on_click=_add,
        args=(name, new),
    )
    return found


def _add(name: str, row: int) -> None:
    st.session_state[name] = [*st.session_state[name], row]


def _remove(name: str, row: int) -> None:
    st.session_state[name] = [r for r in st.session_state[name] if r != row]


def _up(name: str, row: int) -> None:
    rows = list(st.session_state[name])
    at = rows.index(row)
    rows[at - 1 : at + 1] = rows[at], rows[at - 1]
    st.session_state[name] = rows
