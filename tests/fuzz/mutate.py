"""What is done to good input: tables of odd values and odd bytes, and the few ways to put them
in."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

LONG = "@digits@"  # stands for a number of 5,000 digits, which no serializer writes

# values of JSON in places where others are meant
VALUES: tuple[Any, ...] = (
    None,
    True,
    False,
    0,
    -1,
    1,
    2,
    3,
    7,
    1.5,
    -0.0,
    1e308,
    1e-308,
    10**30,
    -(2**63),
    2**31,
    float("nan"),
    float("inf"),
    LONG,
    "",
    " ",
    "0",
    "-1",
    "1e3",
    "\0",
    "\ud83d",
    "x" * 5000,
    "é",
    "e\u0301",
    "\u202e",
    "\u2028",
    "\u00a0",
    "a\nb",
    "a\tb",
    "<b>&</b>",
    "$x$",
    "[a](b)",
    "`",
    "{}",
    "{language}",
    "%s",
    "../../etc/passwd",
    "/dev/zero",
    "~root",
    "~nouser",
    "*",
    "(",
    "\\",
    "CON",
    "__import__('os')",
    "os.system",
    "nan",
    "null",
    "true",
    [],
    {},
    [[]],
    [None],
    {"": None},
    {"a": {"a": {"a": {}}}},
    [0] * 300,
    ["a", "a"],
    [1, "a", None],
)
# bytes that mean something to a reader
BYTES: tuple[bytes, ...] = (
    b"\0",
    b"\xff",
    b"\xfe\xff",
    b"\xef\xbb\xbf",
    b"\r",
    b"\n",
    b"\r\n",
    b"\n\n",
    b"\t",
    b" ",
    b'"',
    b'""',
    b"'",
    b",",
    b";",
    b"\\",
    b"#",
    b"# a = b\n",
    b"{",
    b"}",
    b"[",
    b"]",
    b":",
    b"\xed\xa0\xbd",
    b"\xc2\xa0",
    b"\xe3\x80\x80",
    b"\xe2\x80\xa8",
    b"\xe2\x80\x8e",
    b"\xc2\xad",
    b"\xf0\x9f\x98\x80",
    b"-DOCSTART-",
    b"9" * 5000,
    b"x" * 200_000,
    b"NaN",
    b"null",
    b"-1",
    b"1-2\t",
)


def json_text(value: Any) -> bytes:
    """JSON as other programs write it: NaN and lone surrogates among it."""
    return json.dumps(value).replace(f'"{LONG}"', "9" * 5000).encode()


def places(value: Any) -> list[tuple[Any, Any]]:
    """(container, key) of everything inside a JSON value."""
    inner = (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list)
        else ()
    )
    found = []
    for key, each in inner:
        found += [(value, key), *places(each)]
    return found


def mutated(value: Any, rng: Random, most: int = 3) -> Any:
    """A copy of a JSON value with one to `most` things changed: put in, taken out, renamed,
    wrapped, or exchanged."""
    value = copy.deepcopy(value)
    for _ in range(rng.randint(1, most)):
        if not (there := places(value)):
            return rng.choice(VALUES)
        holder, key = rng.choice(there)
        match rng.randrange(8):
            case 0:
                holder.pop(key)
            case 1 if isinstance(holder, dict):
                holder[str(rng.choice(VALUES))[:99]] = holder.pop(key)
            case 2:
                holder[key] = [holder[key]]
            case 3:
                other, at = rng.choice(there)
                if at in other if isinstance(other, dict) else at < len(other):
                    holder[key] = copy.deepcopy(other[at])
            case _:
                holder[key] = copy.deepcopy(rng.choice(VALUES))
    return value


def damaged(data: bytes, rng: Random, most: int = 3) -> bytes:
    """Bytes with one to `most` changes: a bit, a piece lost, said twice, moved, put in; or the end
    missing."""
    for _ in range(rng.randint(1, most)):
        at = rng.randrange(len(data) + 1)
        end = min(len(data), at + rng.choice((1, 1, 2, 5, 20, 200)))
        match rng.randrange(7):
            case 0 if at < len(data):
                data = data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :]
            case 1:
                data = data[:at] + data[end:]
            case 2:
                data = data[:end] + data[at:end] + data[end:]
            case 3:
                data = data[:at]
            case 4:
                there = rng.randrange(len(data) + 1)
                data = data[:there] + data[at:end] + data[there:]
            case _:
                data = data[:at] + rng.choice(BYTES) + data[at:]
    return data
