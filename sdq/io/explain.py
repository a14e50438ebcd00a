"""What is wrong with settings, as one sentence in our own words: pydantic's errors, and what a
value must be."""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Sequence
from types import NoneType, SimpleNamespace, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo
from typing_extensions import TypeAliasType

from sdq.settings import Words, one_line


def explain(error: ValidationError) -> str:
    """The first problem of a pydantic error as one sentence in our own words: the path of the
    field, what it must be, got what, what to do."""
    problems = error.errors(include_url=False)
    first = problems[0]
    # of a union pydantic tells why each kind does not fit; the one that came furthest is the one
    # that was meant
    first = max(
        (p for p in problems if p["loc"][:1] == first["loc"][:1]), key=lambda p: len(p["loc"])
    )
    model = _model(error.title)
    loc, kind = tuple(first["loc"]), first["type"]
    if kind == "json_invalid":
        problem = str(first.get("ctx", {}).get("error", ""))
        return f"text must be JSON, it is not{f' ({problem})' if problem else ''}; correct it"
    if (meant := _misspelt(problems)) is not None:
        loc, kind = meant[0], "missing"
    elif kind == "extra_forbidden":
        return _unknown(model, loc)
    path, annotation, info = _walk(model, loc)
    shown_path = ".".join(path)
    if kind in ("value_error", "assertion_error"):
        said = first["msg"].partition(", ")[2] or first["msg"]
        return (
            f"{shown_path}{': ' if shown_path else ''}{said}{'' if ';' in said else '; correct it'}"
        )
    wanted = described(annotation, () if info is None else tuple(info.metadata))
    where = f"{shown_path}: " if shown_path else ""
    if kind == "missing":
        if meant is not None:
            there = f"it is missing, but {one_line(meant[1], 60)!r} is there"
            return f"{where}must be given ({wanted}), {there}; did you mean {path[-1]}?"
        return f"{where}must be given ({wanted}), it is missing; add it"
    return (
        f"{where}must be {wanted}, got {_got(first.get('input'), annotation)}; "
        f"{_remedy(first.get('input'), annotation, info)}"
    )


def _misspelt(problems: Sequence[Any]) -> tuple[tuple[int | str, ...], str] | None:
    """(where a field is missing, the unknown name beside it that was likely meant for it)."""
    missing = [tuple(p["loc"]) for p in problems if p["type"] == "missing"]
    for loc in (tuple(p["loc"]) for p in problems if p["type"] == "extra_forbidden"):
        siblings = {str(one[-1]): one for one in missing if one[:-1] == loc[:-1]}
        if near := difflib.get_close_matches(str(loc[-1]), siblings, 1):
            return siblings[near[0]], str(loc[-1])
    return None


def of_option(error: ValidationError) -> str:
    """What the command line has against the value of an option, as the end of a sentence."""
    problem = error.errors(include_url=False)[0]
    kind = {"int": "a whole number", "float": "a number", "bool": "true or false"}
    bounds = SimpleNamespace(**problem.get("ctx", {}))
    wanted = kind.get(problem["type"].partition("_")[0], "a number") + _bounds((bounds,))
    return f"must be {wanted}, got {one_line(repr(problem.get('input')), 60)}"


def _model(title: str) -> type[BaseModel] | None:
    """The settings class of that name."""
    waiting: list[type[BaseModel]] = [BaseModel]
    while waiting:
        one = waiting.pop()
        if one.__name__ == title and one.__module__ != "pydantic.main":
            return one
        waiting += one.__subclasses__()
    return None


def _unknown(model: type[BaseModel] | None, loc: tuple[int | str, ...]) -> str:
    """The sentence for a field that is none, with those there are."""
    path, at, _ = _walk(model, loc[:-1])
    name = str(loc[-1])
    fields = [key for one in _options(at) if _is_model(one) for key in one.model_fields]
    near = difflib.get_close_matches(name, fields, 1)
    remedy = f"write `{near[0]}` or remove it" if near else "remove it or correct its name"
    return (
        f"{'.'.join([*path, name[:60]])}: unknown field; "
        f"{remedy}{': the fields here are ' + ', '.join(fields) if fields else ''}"
    )


def _is_model(one: Any) -> bool:
    return isinstance(one, type) and issubclass(one, BaseModel)


def _options(annotation: Any) -> list[Any]:
    """The kinds of value that a type allows."""
    if isinstance(annotation, TypeAliasType):
        return _options(annotation.__value__)
    origin = get_origin(annotation)
    if origin is Annotated:
        return _options(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [one for part in get_args(annotation) for one in _options(part)]
    return [annotation]


def _tag(one: Any) -> str | None:
    """The `kind` of a class that is told apart by it."""
    field = one.model_fields.get("kind") if _is_model(one) else None
    return (
        field.default
        if field is not None
        and isinstance(field.default, str)
        and get_origin(field.annotation) is Literal
        else None
    )


def _walk(model: Any, loc: tuple[int | str, ...]) -> tuple[list[str], Any, FieldInfo | None]:
    """(path as a person writes it, type there, its field) of where pydantic says a problem is:
    without the names of kinds it puts in between."""
    path: list[str] = []
    at, info = model, None
    keys: Any = None  # of the object that was entered last
    for part in loc:
        options = _options(at)
        if isinstance(part, int):
            path.append(str(part))
            inner = [get_args(one) for one in options if get_origin(one) in (tuple, list)]
            at = (
                inner[0][part]
                if inner and part < len(inner[0]) and Ellipsis not in inner[0]
                else inner[0][0]
                if inner and inner[0]
                else None
            )
            info = None
            continue
        if tagged := [one for one in options if len(options) > 1 and _tag(one) == part]:
            at = tagged[0]
        elif hits := [one for one in options if _is_model(one) and part in one.model_fields]:
            info = hits[0].model_fields[part]
            at, path = info.annotation, [*path, part]
        elif part == "[key]":
            at, info = keys, None
        # "dict[str,str]" is the name of a kind
        elif (dicts := [one for one in options if get_origin(one) is dict]) and not re.match(
            r"\w+\[", part
        ):
            keys, inner_type = get_args(dicts[0])
            path, at, info = [*path, part], inner_type, None
    return path, at, info


def described(annotation: Any, bounds: tuple[Any, ...] = ()) -> str:
    """What a value of this type must be, in words; `bounds`: pydantic's constraints on it."""
    options = _options(annotation)
    tags = [tag for one in options if (tag := _tag(one)) is not None]
    said = [f'an object whose "kind" is {_either(tags)}'] if tags else []
    said += [_one(option, bounds) for option in options if _tag(option) is None]
    return " or ".join(dict.fromkeys(said))


def _either(values: Sequence[Any]) -> str:
    shown = [json.dumps(value) for value in values]
    return shown[0] if len(shown) == 1 else f"one of {', '.join(shown)}"


def _one(option: Any, bounds: tuple[Any, ...]) -> str:
    origin, inside = get_origin(option), get_args(option)
    if option is None or option is NoneType:
        return "null"
    if origin is Literal:
        return _either(inside)
    if _is_model(option):
        return f"an object with the fields {', '.join(option.model_fields)}"
    if option is bool:
        return "true or false"
    if option in (int, float):
        return f"{'a whole number' if option is int else 'a number'}{_bounds(bounds)}"
    if origin in (tuple, list) and inside:
        if Ellipsis in inside or origin is list:
            each = described(inside[0])
            return "a list of text" if each == "text" else f"a list of which every entry is {each}"
        return f"a list of {len(inside)} entries, each {described(inside[0])}"
    if origin is dict:
        keys = inside[0]
        named = (
            f" with names among {', '.join(map(str, get_args(keys)))}"
            if get_origin(keys) is Literal
            else ""
        )
        return f"an object{named}, each value {described(inside[1])}"
    if option is str:
        words = next((b.words for b in bounds if isinstance(b, Words)), None)
        longest = next(
            (m for b in bounds if (m := getattr(b, "max_length", None)) is not None), None
        )
        return (
            f"text{f' of {words}' if words else ''}"
            f"{f' of at most {longest} characters' if longest else ''}"
        )
    return "a value of another kind"


def _bounds(bounds: tuple[Any, ...]) -> str:
    by = {
        name: value
        for b in bounds
        for name in ("ge", "gt", "le", "lt")
        if (value := getattr(b, name, None)) is not None
    }
    low = f"{by['ge']}" if "ge" in by else None
    if low is not None and "le" in by:
        return f" from {low} to {by['le']}"
    bounds_said = [f"of at least {low}"] if low is not None else []
    bounds_said += [f"above {by['gt']}"] if "gt" in by else []
    bounds_said += [f"of at most {by['le']}"] if "le" in by else []
    bounds_said += [f"below {by['lt']}"] if "lt" in by else []
    return f" {' and '.join(bounds_said)}" if bounds_said else ""


def _got(value: Any, annotation: Any) -> str:
    """What was found instead, short enough for a sentence."""
    if isinstance(value, dict):
        tagged = any(_tag(one) is not None for one in _options(annotation))
        return (
            "an object"
            if not tagged
            else f'"kind": {json.dumps(str(value["kind"])[:40])}'
            if "kind" in value
            else 'an object without "kind"'
        )
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if value is None or isinstance(value, bool):
        return json.dumps(value)
    if isinstance(value, BaseModel):
        return f"other settings ({type(value).__name__})"
    shown = repr(value)
    return shown if len(shown) <= 60 else f"{shown[:57]}..."


def _remedy(value: Any, annotation: Any, info: FieldInfo | None) -> str:
    """What to do about a value of the wrong kind."""
    options = _options(annotation)
    if isinstance(value, str) and value in [_tag(one) for one in options]:
        return f'write {{"kind": {json.dumps(value)}}}'
    if isinstance(value, int | float) and not isinstance(value, bool) and str in options:
        return f'write it as text, "{value}"' if len(repr(value)) < 20 else "write it as text"
    if (
        isinstance(value, str)
        and any(get_origin(one) is tuple and get_args(one)[0] is str for one in options)
        and str not in options
    ):
        return f"write it as a list, [{json.dumps(value[:40])}]"
    return "correct it" if info is None or info.is_required() else "correct it, or leave it out"
