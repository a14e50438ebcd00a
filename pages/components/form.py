"""A form generated from a settings class: every field of a pydantic model becomes a control.

Numbers get their limits from the field, a discriminated union becomes a choice of kinds with the
fields of the chosen one, a tuple a list whose entries can be added, removed and reordered. A new
field, or a new class in a union, needs no code here.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import floor, log10
from typing import Any, get_args

import streamlit as st
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from streamlit.delta_generator import DeltaGenerator

from pages.components.fields import (
    MOST,
    M,
    field_label,
    first_value,
    fitting,
    help_of,
    limits_of,
    option_text,
    plain,
    shape_of,
    untouched,
)
from sdq.data.lines import settings_of
from sdq.settings import UserError

OWN = "my own list"
WIDTH = 220  # of a control, in pixels: one column on a telephone, several on a screen


def form(model: type[M], value: M, key: str, leave: tuple[str, ...] = ()) -> M:
    """Draw a control for every field of `model` but those named in `leave`, and return what they
    say.

    Controls start at `value`, and again only under another `key`. The key of a control is the path
    of its field: `key`.training.steps. Raises pydantic's ValidationError if the controls do not fit
    together, TypeError for a type that has no control.
    """
    return model.model_validate(_fields(model, plain(value), key, _Place(st.container()), leave))


def parse(model: type[M], data: bytes, most: int = 100_000) -> M:
    """The settings in a JSON file of at most `most` bytes. UserError with one sentence for anything
    else."""
    if len(data) > most:
        raise UserError(
            f"the file must have at most {most // 1000} kB, it has {len(data) / 1000:.0f} kB; "
            "choose a recipe that was saved here"
        )
    return fitting(settings_of(model, data, "recipe", "the one chosen"))


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


def _fields(
    model: type[BaseModel],
    value: Mapping[str, Any],
    key: str,
    place: _Place,
    leave: tuple[str, ...] = (),
) -> dict[str, Any]:
    """Controls for the fields of a class; what they say, as plain data. `value` may leave out what
    is at its default."""
    value = untouched(model) | dict(value)
    return {
        name: value[name]
        if name in leave
        else _control(field_label(name), info, value[name], f"{key}.{name}", place)
        for name, info in model.model_fields.items()
    }


def _control(label: str, info: FieldInfo, value: Any, key: str, place: _Place) -> Any:
    """The control of one field; what it says."""
    shape, parts = shape_of(info)
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
    about: dict[str, Any] = {"key": key, "help": help_of(info)}
    if shape == "model":
        box = place.block(border=True)
        box.markdown(f"**{label}**", help=about["help"])
        return _fields(parts[0], value, key, _Place(box))
    row = place.row()
    if shape == "bool":
        return row.toggle(label, value, **about)
    if shape == "choice":
        return row.selectbox(
            label, parts, parts.index(value), format_func=option_text, width=WIDTH, **about
        )
    if shape == "several":
        return row.multiselect(
            label,
            parts,
            list(dict.fromkeys(value)),
            format_func=option_text,
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
    low, high = limits_of(info)
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
    shape, parts = shape_of(inner)
    about = help_of(info) if info.description else help_of(inner)
    start = first_value(inner) if value is None else value
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
    """A choice of classes, and the fields of the chosen one."""
    tag = info.discriminator if isinstance(info.discriminator, str) else "kind"
    by_tag = {get_args(c.model_fields[tag].annotation)[0]: c for c in classes}
    tags = list(by_tag)
    chosen = place.row().selectbox(
        label,
        tags,
        tags.index(value[tag]),
        format_func=lambda t: field_label(by_tag[t].__name__),
        key=key,
        help=help_of(info),
        width=WIDTH,
    )
    start = value if value[tag] == chosen else untouched(by_tag[chosen])
    return _fields(by_tag[chosen], start, f"{key}.{chosen}", place)


def _named(
    label: str,
    info: FieldInfo,
    names: tuple[str, ...],
    value: str | list[str],
    key: str,
    place: _Place,
) -> str | list[str]:
    """A choice of names; the last option is a list that the user types."""
    own, row = [] if isinstance(value, str) else value, place.row()
    at = names.index(value) if isinstance(value, str) else len(names)
    chosen = row.selectbox(
        label, [*names, OWN], at, format_func=option_text, key=key, help=help_of(info), width=WIDTH
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
    """Entries in order, each with buttons to move it up and to remove it, and a button to add
    one."""
    box = place.block()
    box.markdown(f"**{label}**", help=help_of(info))
    shape, parts = shape_of(item)
    called = field_label(parts[0].__name__) if shape == "model" else label
    name = f"{key}.rows"  # entries by number; those from len(value) on were added here
    rows: list[int] = st.session_state.setdefault(name, list(range(len(value))))
    values = []
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
        start = value[row] if row < len(value) else first_value(item)
        inside = _Place(entry)
        values.append(
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
    return values


def _add(name: str, row: int) -> None:
    st.session_state[name] = [*st.session_state[name], row]


def _remove(name: str, row: int) -> None:
    st.session_state[name] = [r for r in st.session_state[name] if r != row]


def _up(name: str, row: int) -> None:
    rows = list(st.session_state[name])
    at = rows.index(row)
    rows[at - 1 : at + 1] = rows[at], rows[at - 1]
    st.session_state[name] = rows
