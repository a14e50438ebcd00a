"""The base of every settings class, the one way in which wrong settings are reported, and where the
project's own files are."""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import NoneType, SimpleNamespace, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator
from pydantic.fields import FieldInfo
from typing_extensions import TypeAliasType

ROOT = Path(__file__).parent.parent
PROGRESS = "... "  # begins a line of progress on stderr, which is no reason of a failure
ASSETS = ROOT / "assets"  # what ships with the project


class Settings(BaseModel):
    """Frozen settings: unknown fields are refused, and the JSON round trip is the identity."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True)


@dataclass(frozen=True)
class Words:
    """Beside the pattern of a text field: what fits it, in words (`Annotated[str, Words(...)]`)."""

    words: str


class Document(Settings):
    """Settings that people write as a JSON file of its own: it may name its schema, as editors want
    it, under "$schema"."""

    @model_validator(mode="before")
    @classmethod
    def _without_schema(cls, value: Any) -> Any:
        return (
            {key: part for key, part in value.items() if key != "$schema"}
            if isinstance(value, dict)
            else value
        )

    @classmethod
    def schema_text(cls, title: str) -> str:
        """The JSON schema (draft 2020-12) of such files, for editors."""
        schema = cls.model_json_schema()
        schema["properties"] = {
            "$schema": {
                "type": "string",
                "description": "Where this schema is, for editors; it changes nothing",
            },
            **schema["properties"],
        }
        return json.dumps(
            {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": title},
            indent=2,
            ensure_ascii=False,
        )


class UserError(Exception):
    """Something the user can mend. The message is one sentence: what must be what, got what, what
    to do."""


def data_folder() -> Path:
    """Where runs, tasks and models of one's own are: `SDQ_DATA`, or `data/` beside the code."""
    return Path(os.environ.get("SDQ_DATA", ROOT / "data"))


def one_line(text: str, most: int = 1000) -> str:
    """A text as one printable line of at most that many characters: control characters, line ends
    and lone surrogates are written out."""
    shown = " ".join(text[: 4 * most].split())
    shown = "".join(
        c if c.isprintable() else c.encode("unicode_escape", "backslashreplace").decode()
        for c in shown
    )
    return shown if len(shown) <= most else f"{shown[: most - 3]}..."


def whole(text: str, what: str) -> str:
    """A text that somebody typed. UserError if it cannot be stored as text."""
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = f"U+{ord(text[error.start]):04X}"
        raise UserError(
            f"{what} must be whole characters, it holds half of one ({half}); type it again"
        ) from error
    return text


def listed(
    items: Iterable[object], most: int = 8, room: int = 160, each: int = 60, between: str = ", "
) -> str:
    """Items for a sentence, the rest counted: "a, b and 12 more". At most `most`, of at most `room`
    characters together."""
    every = [one_line(str(item), each) for item in items]
    few = every[:1]
    for item in every[1:most]:
        if len(between.join([*few, item])) > room:
            break
        few.append(item)
    return between.join(few) + (
        f" and {len(every) - len(few)} more" if len(every) > len(few) else ""
    )


def path_of(given: str | Path, what: str = "a path") -> Path:
    """The path that a user named, `~` expanded; it need not exist. UserError with one sentence for
    what can be no path on this machine."""
    text = str(given)
    if not text.strip():
        raise UserError(f"{what} must be named, got {text[:80]!r}; name it, or leave it out")
    shown = repr(one_line(text, 80))
    try:
        path = Path(text).expanduser()
    except RuntimeError as error:  # ~nobody
        raise UserError(
            f"{what} must begin with ~ only for a user of this machine, got {shown}; write the "
            "folder out"
        ) from error
    try:
        encoded = str(path).encode("utf-8")
    except UnicodeEncodeError as error:
        raise UserError(
            f"{what} must be readable text, got {shown}, whose bytes are none; rename the file or "
            "folder"
        ) from error
    if b"\0" in encoded:
        raise UserError(f"{what} must have no NUL in it, got {shown}; correct it")
    if len(encoded) > 4000 or any(len(part.encode()) > 255 for part in path.parts):
        raise UserError(
            f"{what} must have at most 4000 bytes and 255 in each part, got {len(encoded)}; it "
            f"begins with {shown}"
        )
    return path


def text_of(path: Path, what: str, most: int = 10_000_000) -> str:
    """The UTF-8 text of a regular file of at most `most` bytes that a user named. UserError for a
    folder, pipe or device, and what is no text."""
    try:
        return small(path, what, most).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"{what} must be UTF-8 text, {one_line(str(path), 300)} cannot be read as text; save "
            "it as UTF-8"
        ) from error


def unwritable(folder: Path, error: OSError) -> UserError:
    """What to say when nothing can be written to the data folder."""
    return UserError(
        f"the data folder must be writable, {folder} is not ({error.strerror}); free space or set "
        "SDQ_DATA to another folder"
    )


def unfitting(folder: Path, error: OSError) -> UserError:
    """What to say when results could not be written."""
    return UserError(
        f"the results must fit into {folder}, writing failed ({error.strerror}); earlier runs are "
        "intact"
    )


def small(path: Path, what: str, most: int = 1_000_000) -> bytes:
    """The bytes of a file of settings, `what` it is called. UserError for what is no regular file
    of at most `most` bytes, or cannot be read."""
    try:
        if not path.exists():
            raise UserError(f"{what} must exist, {str(path)[:200]!r} does not; check the path")
        if not path.is_file():
            raise UserError(
                f"{what} must be a regular file, {str(path)[:200]!r} is a folder, a pipe or a "
                "device; name the file"
            )
        with path.open("rb") as file:
            data = file.read(most + 1)
    except (OSError, ValueError) as error:  # ValueError: a name with a zero byte in it
        said = getattr(error, "strerror", None) or "no such name can be"
        raise UserError(
            f"{what} {str(path)[:200]!r} must be readable, it is not ({said}); check the path"
        ) from error
    if len(data) > most:
        raise UserError(
            f"{what} must have at most {most // 1000} kB, {path} has more; it describes, and does "
            "not hold data"
        )
    return data


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
        beside = {str(one[-1]): one for one in missing if one[:-1] == loc[:-1]}
        if near := difflib.get_close_matches(str(loc[-1]), beside, 1):
            return beside[near[0]], str(loc[-1])
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
        elif (dicts := [one for one in options if get_origin(one) is dict]) and not re.match(
            r"\w+\[", part
        ):  # "dict[str,str]" is the name of a kind
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
    parts = [f"of at least {low}"] if low is not None else []
    parts += [f"above {by['gt']}"] if "gt" in by else []
    parts += [f"of at most {by['le']}"] if "le" in by else []
    parts += [f"below {by['lt']}"] if "lt" in by else []
    return f" {' and '.join(parts)}" if parts else ""


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
