"""What students are told of paths of this machine: their last part, and no folder before it."""

from __future__ import annotations

import re
from pathlib import Path

from sdq.settings import ROOT, data_folder

_MARK = r"'\"`,;:()"
# what a path is made of: a mark is a part of it unless nothing but marks follows before the next
# space
_SIGN = rf"(?:[^\s{_MARK}/]|[{_MARK}](?![{_MARK}.!?]*(?:\s|$)))"
_PART = rf"{_SIGN}+"
_VERBS = "must|is|are|was|were|has|have|had|does|do|did|can|cannot|may|holds|hold|needs|lacks|it"
_WORD = rf" (?!(?:{_VERBS}) )(?!['\"`])\(?(?:(?!~){_SIGN})+\)?"
# folders; one may have spaces in its name, but for a verb that our sentences go on with
_TAIL = rf"(?:{_PART}(?:{_WORD}){{0,3}}/)*"
_BEFORE = r"(?<![\w./~-])"
# absolute ones; neither owner/model nor https://
_PATH = re.compile(rf"{_BEFORE}(?:~[\w-]*)?/(?!/){_TAIL}{_PART}/?")
# to the first such quote that no word goes on after
_QUOTED = re.compile(
    r"""(['"`])((?:xglue:)?)((?:~[\w-]*)?/(?!/)(?:(?!\1(?![\w/]))[^\n])*)\1(?![\w/])"""
)
_SLASHES = re.compile(r"(?i)\bfile:/+|(?<=\bxglue:)/{2,}|(?<![\w/:])/{2,}")  # what is read as one


def shown(text: str) -> str:
    """A name or a sentence with every path cut to its last part: "model folder must hold
    config.json, .../mine does not"."""
    text = _QUOTED.sub(
        lambda match: f"{match[1]}{match[2]}{_last(match[3])}{match[1]}", _SLASHES.sub("/", text)
    )
    for root in _roots():
        text = re.sub(
            rf"{_BEFORE}{re.escape(root)}(?!\.?[\w-])(?:/(?:{_TAIL}{_PART}/?)?)?",
            lambda match: _last(match[0]),
            text,
        )
    return _PATH.sub(lambda match: _last(match[0]), text)


def _last(path: str) -> str:
    return f".../{path.rstrip('/').rsplit('/', 1)[-1]}"


def _roots() -> list[str]:
    """Folders whose paths are known here, whatever their names hold; the longest first."""
    data = data_folder().absolute()
    paths = {
        path
        for root in (data, data / "inbox", ROOT, Path.home())
        for path in (root, root.resolve())
        if len(path.parts) > 1
    }
    return sorted(map(str, paths), key=len, reverse=True)
