"""What a form needs to know about a field of a settings class: control, limits, default, help."""

from __future__ import annotations

import re
from collections.abc import Mapping
from inspect import cleandoc, isclass
from types import NoneType, UnionType
from typing import Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from sdq.labels import ROLE_LABELS
from sdq.settings import UserError

M = TypeVar("M", bound=BaseModel)
MOST = 20  # entries of a list
LARGEST = 2**53 - 1  # what a browser can hold exactly


def fitting(value: M) -> M:
    """The same settings. UserError if a form cannot hold them: a list too long, or a number beyond
    what a browser can hold."""
    for part in _parts(plain(value)):
        if isinstance(part, list) and len(part) > MOST:
            raise UserError(
                f"a form can show lists of at most {MOST} entries, got {len(part)}; run this "
                "recipe with `sdq run`"
            )
        if isinstance(part, int | float) and not abs(part) <= LARGEST:
            raise UserError(
                f"numbers must be finite and at most 2^53 in size, got {part:g}; choose a smaller "
                "one"
            )
    return value


def field_label(name: str) -> str:
    """The name of a field or a class in words: learning_rate -> "Learning rate", MinMax -> "Min
    max", KLD -> "KLD"."""
    parts = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).replace("_", " ").split()
    text = " ".join(part if part.isupper() else part.lower() for part in parts)
    return text[:1].upper() + text[1:]


def plain(value: Any) -> Any:
    """Settings as plain data."""
    if isinstance(value, BaseModel):
        return value.model_dump(mode="json")
    return [plain(part) for part in value] if isinstance(value, tuple | list) else value


def _parts(data: Any) -> list[Any]:
    """Everything in plain data, at any depth."""
    inside = data.values() if isinstance(data, Mapping) else data if isinstance(data, list) else ()
    return [data, *(deep for part in inside for deep in _parts(part))]


def shape_of(info: FieldInfo) -> tuple[str, tuple[Any, ...]]:
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


def limits_of(info: FieldInfo) -> tuple[Any, Any]:
    """(least, greatest) of a number, None for no limit. A float's open limit counts as closed: the
    class still refuses it."""
    limits = {
        name: limit
        for m in info.metadata
        for name in ("ge", "gt", "le", "lt")
        if (limit := getattr(m, name, None)) is not None
    }
    inside = 1 if info.annotation is int else 0
    low = [limits[n] + d for n, d in (("ge", 0), ("gt", inside)) if n in limits]
    high = [limits[n] - d for n, d in (("le", 0), ("lt", inside)) if n in limits]
    return max(low, default=None), min(high, default=None)


def first_value(info: FieldInfo) -> Any:
    """The initial value of a control: the field's default as plain data, or the first allowed
    value."""
    if not info.is_required():
        return plain(info.get_default(call_default_factory=True))
    shape, parts = shape_of(info)
    if shape in ("model", "kinds"):
        return untouched(parts[0])
    if shape in ("int", "float"):
        low, high = limits_of(info)
        return next((limit for limit in (low, high) if limit is not None), 0)
    return (
        {"optional": None, "several": [], "list": [], "bool": False, "str": ""}[shape]
        if shape not in ("choice", "constant", "named")
        else parts[0]
    )


def untouched(model: type[BaseModel]) -> dict[str, Any]:
    return {name: first_value(info) for name, info in model.model_fields.items()}


def _doc(model: type[BaseModel]) -> str:
    """The first paragraph of a class's docstring."""
    return cleandoc(model.__doc__ or "").split("\n\n")[0].replace("\n", " ")


def help_of(info: FieldInfo) -> str | None:
    """What a field is for: its description, and what each kind of a union is."""
    shape, parts = shape_of(info)
    lines = [info.description or ""]
    if shape == "kinds":
        lines += [f"- **{field_label(kind.__name__)}**: {_doc(kind)}" for kind in parts]
    elif shape == "model" and not info.description:
        lines = [_doc(parts[0])]
    return "\n".join(line for line in lines if line) or None


def option_text(value: Any) -> str:
    return ROLE_LABELS.get(value, str(value).replace("_", " "))
