"""JSON that every reader reads alike: what some read otherwise, or not at all, is refused."""

from __future__ import annotations

import json
import math
import re
from typing import Any


class NotStrict(ValueError):
    """JSON that readers of JSON read differently."""


def _pairs(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for i, name in enumerate(names) if name in names[:i])
        raise NotStrict(f"has the name {twice[:40]!r} twice in one object")
    return made


def _constant(name: str) -> Any:
    raise NotStrict(f"holds {name}, which is no JSON (a missing value is null)")


def _float(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise NotStrict(f"holds the number {text[:20]}, which is too large")
    return number


DECODER = json.JSONDecoder(object_pairs_hook=_pairs, parse_constant=_constant, parse_float=_float)


def strict(text: str) -> Any:
    """The value of a JSON text. ValueError (NotStrict where it says why) for a name given twice,
    NaN, Infinity, half a surrogate pair, or no JSON."""
    try:
        value = DECODER.decode(text)
    except RecursionError as error:
        raise NotStrict("has too many brackets inside each other") from error
    refuse_surrogates(text, value)
    return value


def refuse_surrogates(text: str, value: Any) -> None:
    """NotStrict for half a surrogate pair in a value that was read from `text`: no text in any
    encoding can hold it."""
    if re.search(r"\\u[dD][89a-fA-F]", text):
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError as error:
            half = f"\\u{ord(error.object[error.start]):04x}"
            raise NotStrict(
                f"holds half a character ({half}, one of a surrogate pair without the other)"
            ) from error
