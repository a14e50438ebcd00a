"""What one cell holds: text, a label, a list of words or tags. Every way in which lists are
commonly written is read, or refused. Needs no torch."""

from __future__ import annotations

import ast
import math
import re
import sys
import unicodedata
from collections.abc import Callable, Collection
from typing import Any

from sdq.data.lines import WIDEST, spaced
from sdq.data.tagging import UPOS
from sdq.io.strict_json import strict

# what may stand around a label or a name of a column
WHITE = "".join(c for c in map(chr, range(0x3001)) if c.isspace()) + "\ufeff"
LABEL = 200  # characters of one label
MARKS = ("-100", "-1")  # "ignore this word" of transformers; "no label" of padding and of test sets
_STRING = r"""(?:'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*\")"""
_ITEM = re.compile(
    rf"(?:np\.str_\((?P<wrapped>[bu]?{_STRING})\)|(?P<text>u?{_STRING})|(?:np\.u?int\d*\((?P<whole"
    rf">-?\d+)\)|(?P<number>-?\d+)))",
    re.S,
)
_ARRAY = re.compile(r"^array\((.*?)(?:,\s*dtype=[^()]*)?\)$", re.S)
_LISTLIKE = re.compile(
    r"""^(?:array\(|list\(|[\[({]\s*[\[({]\s*[bu]?['"]"""
    r"""|[\[({](?:[bu]?['"]|np\.|[\])}]$|\.\.\.)|\[[^\s\]\[]*,"""
    r"""|\[ *-?\d+(?:[,\s]+-?\d+)+,?\]$|\(-?\d+(?:,|(?:, ?-?\d+)+,?)\)$)"""
)
_TAG = re.compile(r"O|[BIESLU]-[^\s,;|]+|\d+")
_ONE = re.compile(r"[\[(]-?\d+[\])]")  # a list of one tag; as a word, what it is
_STRING_ALONE = re.compile(rf"\({_STRING}\)", re.S)  # Python writes a tuple of one as ("a",)
# a list with white space after its bracket, or text in brackets
_SET_APART = re.compile(r"""\[\s+[bu]?['"].*\]""", re.S)
# as tags, a list that lacks its quotes; `[ NN ]` may be the tags of a word in brackets, `(A0* *)`
# are tags
_UNQUOTED = re.compile(r"\[(?:[^\s\[\]]|[^\[\]]*[^\s\[\],],\s)[^\[\]]*\]|\([^\s()*][^()*]*\)")
_SPACE = " \t\r\n"
_ESCAPES = re.compile(r"\\(?![\\'\"abfnrtvxuUN0-7\n])")


class Refused(ValueError):
    """A cell that cannot be read rightly; the message is what it must be and what to do."""


def text_of(value: Any) -> str:
    """A cell as text; nothing, and not a number, are empty; Booleans are the names true and false.
    Refused for a list or what is no text."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list | tuple | dict | set | bytes):
        raise Refused(
            f"a cell must be text or a number, this one is {_kind(value)}; map another column"
        )
    return sound(str(value))


def sound(text: str) -> str:
    """The same text. Refused if it cannot be stored as text, or is longer than any text."""
    if len(text) > WIDEST:
        raise Refused(
            f"a cell must have at most {WIDEST:,} characters, this one has {len(text):,}; check "
            "the quotes before it, or map another column"
        )
    if "\0" in text:
        raise Refused("text must not hold the character U+0000, this cell does; take it out")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise Refused(
            "text must be whole characters, this cell holds half a surrogate pair "
            f"(U+{ord(text[error.start]):04X}); mend it"
        ) from error
    return text


def _kind(value: Any) -> str:
    return (
        "a list"
        if isinstance(value, list | tuple | set)
        else "an object"
        if isinstance(value, dict)
        else "bytes"
    )


def words_of(value: Any, tags: bool = False, fitting: int = 0) -> tuple[str, ...]:
    """Words or tags of a cell: a list, a list as JSON, Python, pandas or numpy write it, or text
    with spaces between.

    value: the cell
    tags: whether the cell holds tags: `[7]` is a list of one then, and else a word
    fitting: text that begins like a list and is none, `("So" he said)`, is text if it has that many
        words; 0: nobody knows

    Refused for anything else.
    """
    if value is None:
        return ()
    if isinstance(value, str):
        text = _once(sound(value).strip(" \t\r\n"))
        if _OTHER.fullmatch(text) or (tags and (_OTHER_TAGS.fullmatch(text) or _joined(text))):
            raise Refused(
                f"a list must be written as JSON, Python or numpy write it, {text[:40]!r} is not; "
                'save the column as JSON lists (["Anna", "Smith"]), or put a space between words'
            )
        try:
            value = _listed(text, tags)
        except Refused:
            value = spaced(text)
            fits = len(value) == fitting if fitting else "," not in text
            if tags or not fits or _shaped(text):
                raise
        plain = spaced(text)
        if len(value) != fitting == len(plain) and (
            not value or _SET_APART.fullmatch(text.strip(_SPACE))
        ):
            value = plain  # `[]` beside one tag is a word, and `[ "So" ]` beside three are three
    if not isinstance(value, list | tuple) or not all(
        isinstance(item, str | int) for item in value
    ):
        odd = (
            next((item for item in value if not isinstance(item, str | int)), None)
            if isinstance(value, list | tuple)
            else value
        )
        raise Refused(
            "words and tags must be lists of text, or text with spaces between, this cell holds "
            f"{_shown(odd)}; map another column, or mend the cell"
        )
    return tuple(text_of(item) for item in value)


def _shown(value: Any) -> str:
    if isinstance(value, list | tuple | dict | bytes):
        return (
            f"{_kind(value)} inside a list" if isinstance(value, list | tuple | dict) else "bytes"
        )
    return (
        "nothing (null) in a list"
        if value is None
        else f"the {type(value).__name__} {str(value)[:20]}"
    )


def _listed(text: str, tags: bool) -> Any:
    """Text of a cell -> its items; text that does not look like a list is split at spaces."""
    bare = text.strip(_SPACE)
    if not tags and _STRING_ALONE.fullmatch(bare):
        return spaced(bare)
    if bare[:1] == "[" and bare[-1:] == "]":
        try:
            value = strict(bare)
        except ValueError:
            value = None
        if isinstance(value, list) and (
            tags or _LISTLIKE.match(bare) or any(isinstance(item, str) for item in value)
        ):
            return value
    if (
        _LISTLIKE.match(bare)
        or _SET_APART.fullmatch(bare)
        or (tags and (_ONE.fullmatch(bare) or _UNQUOTED.fullmatch(bare)))
    ):
        return _literal(bare)
    return spaced(bare)


# lists as R and torch write them; of tags also those of PostgreSQL, and numbers with a point
_OTHER = re.compile(
    rf"c\(\s*(?:{_STRING}).*\)|\w*[tT]ensor\(.*\)|\{{[^\s{{}},]+(?:,[^\s{{}},]+)+\}}", re.S
)
_OTHER_TAGS = re.compile(r"c\(.*\)|\{.*\}|[\[(]\s*-?\d+\.\d*(?:[\s,]+-?\d+\.\d*)*\s*[\])]", re.S)


def _once(text: str) -> str:
    """A list that was encoded as JSON twice, as it was after the first time; any other text as it
    is."""
    if text.startswith('"[') and text.endswith(']"'):
        try:
            inside = strict(text)
            if isinstance(inside, str) and isinstance(strict(inside), list):
                return inside.strip(" \t\r\n")
        except ValueError:
            pass
    return text


def _joined(text: str) -> bool:
    """Whether tags have commas and the like between them, and no space: `O,B-PER` is no tag."""
    tags = re.split(r"[,;|]", text)
    return len(tags) > 1 and (all(map(_TAG.fullmatch, tags)) or set(tags) <= UPOS)


_OPEN = re.compile(r"\s*(?:array|list|tuple|set)?[\[({\s]+")
_CLOSED = re.compile(r"(?:,\s*dtype=\S*)?[\])}\s]*$")
_ITEMS = re.compile(rf"(?:(?:(?:np\.\w+\()?(?:[bu]?{_STRING}|-?\d+(?!\w))\)?|\.\.\.)[,:\s]*)+")


def _shaped(text: str) -> bool:
    """Whether text that is no list has the shape of one, such as a list without quotes, without an
    end or shortened: its items are quoted, or have commas after them."""
    body = _CLOSED.sub("", _OPEN.sub("", text, count=1))
    if body == "...":  # [...], where something was left out
        return False
    fields = spaced(body)
    commas = len(fields) > 1 and all(field.endswith(",") for field in fields[:-1])
    return commas or bool(_ITEMS.fullmatch(body))


def _literal(text: str) -> list[str]:
    """The items of a list as Python (commas between) or numpy (spaces between) write it; nothing is
    evaluated but single strings."""
    inside = match[1].strip() if (match := _ARRAY.match(text)) else text
    wanted = 'write lists as JSON (["Anna", "Smith"]), or words with a space between them'
    if "..." in re.sub(_STRING, "", inside, flags=re.S):
        raise Refused(
            "a list must be whole, this one was shortened with ... when it was written (numpy "
            f"prints long arrays so); {wanted}"
        )
    pairs = {"[": "]", "(": ")"}
    if not inside or pairs.get(inside[0]) != inside[-1]:
        raise Refused(f"a cell that looks like a list must be one, {text[:40]!r} is not; {wanted}")
    body, items, gaps, at = inside[1:-1].strip(" \t\r\n"), [], set(), 0
    while at < len(body):
        match = _ITEM.match(body, at)
        if match is None:
            raise Refused(
                "a cell that looks like a list must hold quoted text or whole numbers, "
                f"{text[:40]!r} does not; {wanted}"
            )
        items.append(_item(match, wanted))
        gap = re.compile(r"\s*(,?)\s*").match(body, match.end())
        assert gap is not None
        if gap.end() == match.end() and gap.end() < len(body):
            raise Refused(
                f"items of a list must have a comma or a space between them, {text[:40]!r} has "
                f"none; {wanted}"
            )
        if gap.end() < len(body):
            gaps.add(gap[1])
        at = gap.end()
    if len(gaps) > 1:  # Python would join two strings without a comma between them into one
        raise Refused(
            f"items of a list must have commas between them all, {text[:40]!r} lacks some; {wanted}"
        )
    return items


def _item(match: re.Match[str], wanted: str) -> str:
    if number := match["whole"] or match["number"]:
        return number  # as it is written: 007 is a word
    quoted = match["wrapped"] or match["text"]
    try:
        if _ESCAPES.search(quoted):
            raise ValueError("an escape that Python does not know")
        value = ast.literal_eval(quoted)
    except (ValueError, SyntaxError, MemoryError) as error:
        raise Refused(
            f"an item of a list must be a string as Python writes it, {quoted[:40]} is not; "
            f"{wanted}"
        ) from error
    if not isinstance(value, str):
        raise Refused(f"an item of a list must be text, {quoted[:40]} is bytes; {wanted}")
    return value


def is_whole(label: str) -> bool:
    """Whether a label is a whole number: digits of any script, perhaps a sign before them."""
    return (label[1:] if label[:1] in "+-" else label).isdecimal() and len(label) > 0


def looks_numeric(label: str) -> bool:
    """Whether a label is a number but no whole one, or a broken number: 1.0, nan, 1e3, 1_000,
    --5."""
    if is_whole(label):
        return False
    if re.fullmatch(r"[+\-\u2212]{2,}[\d.,]+|[+\-]?\d+[.,]|\u2212\d+", label):
        return True
    try:
        float(label)
    except ValueError:
        return False
    return True


def _digits(label: str) -> str:
    """The digits of a whole number in 0..9, without zeros before them."""
    return "".join(str(unicodedata.decimal(c)) for c in label.lstrip("+-")).lstrip("0")


def mark_among(labels: Collection[str], words: bool) -> str | None:
    """Which of the labels says that there is none: -100, or -1 where no other is below 0. None if
    none does; two classes of sentences may be called -1 and 1."""
    if MARKS[0] in labels:
        return MARKS[0]
    below = [label for label in labels if is_whole(label) and label.startswith("-")]
    pair = not words and set(labels) == {"-1", "1"}
    return MARKS[1] if below == [MARKS[1]] and not pair else None


def same_number(label: str) -> str | None:
    """What two ways to write one whole number have in common; None for a name."""
    if not is_whole(label):
        return None
    digits = _digits(label)
    return f"-{digits}" if label[0] == "-" and digits else digits


def order(label: str) -> tuple[int, int, tuple[int, str], tuple[tuple[int, str], ...], str]:
    """O first, numbers by size, names by alphabet and the numbers in them by size (class_2 before
    class_10). Total: any two different strings have an order, and no number is too long."""
    if label == "O":
        return 0, 0, (0, ""), (), label
    if not is_whole(label):
        return 1, 0, (0, ""), tuple(map(_part, re.findall(r"[0-9]+|[^0-9]+", label))), label
    digits = _digits(label)
    if label[0] == "-" and digits:  # the longer, the smaller
        return 1, -1, (-len(digits), "".join(chr(9 - int(d) + 48) for d in digits)), (), label
    return 1, 0, (len(digits), digits), (), label


def _part(text: str) -> tuple[int, str]:
    """Digits, or what is between digits, of a name: by size, before any letter, or by alphabet."""
    if not (text.isascii() and text.isdigit()):
        return sys.maxsize, text
    digits = text.lstrip("0")
    return len(digits), digits


def trimmed(label: str, tell: Callable[[], None]) -> str:
    """A label without the white space around it, as headers are; `tell` is called if there was
    some."""
    bare = label.strip(WHITE)
    if bare != label:
        tell()
    return bare
