"""Text from outside (labels, names of tasks, models and files, cells) where it enters CSV, Markdown
or LaTeX: it stays text. Needs no torch.

For HTML there is `html.escape`; Plotly reads a few tags as well, so texts of pictures go through it
too.
"""

from __future__ import annotations

import re
from typing import Any

import pandas as pd

# what spreadsheets begin a formula with (OWASP, CSV injection)
_FORMULA = (
    "=",
    "+",
    "-",
    "@",
    "\t",
    "\r",
    "\n",
    "＝",
    "＋",
    "－",
    "＠",
)
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")
# a colon before :names: and :colours[ of Streamlit only
_MARKS = re.compile(r"([\\`*_{}\[\]<>#|~$!&]|:(?=[\w+/-]+[:\[]))")
_START = re.compile(r"^(\s*)([-+=]|\d+(?=[.)]))")
_TEX = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
}


def cell(value: Any) -> Any:
    """A cell of a CSV file: text that a spreadsheet would compute gets a single quote before it;
    numbers stay numbers.

    A carriage return becomes a line feed: pandas puts no quotes around it, and what follows would
    begin a row of its own.
    """
    if not isinstance(value, str):
        return value
    text = value.replace("\r\n", "\n").replace("\r", "\n")
    return f"'{text}" if text.startswith(_FORMULA) and not _NUMBER.fullmatch(text) else text


def csv(table: pd.DataFrame, index: bool = False) -> str:
    """A table as CSV that is safe to open in a spreadsheet, the names of its columns (and, with
    `index`, of its rows) included."""
    safe = table.map(cell).set_axis([cell(name) for name in table.columns], axis=1)
    return str((safe.rename(index=cell) if index else safe).to_csv(index=index))


def quoted(text: object) -> str:
    """Text as Markdown shows it as it is, on one line: no emphasis, link, picture, colour, formula,
    table or list of its own."""
    line = " ".join(str(text).splitlines())
    escaped = _MARKS.sub(r"\\\1", line)
    return _START.sub(
        lambda m: f"{m[1]}\\{m[2]}" if not m[2].isdigit() else f"{m[1]}{m[2]}\u200b", escaped
    )


def quoted_sentence(text: object) -> str:
    """One of our own sentences, which may name something from outside: as `quoted`, but `commands`
    stay as they are."""
    spans = re.split(r"(`[^`\n]+`)", " ".join(str(text).splitlines()))
    return "".join(part if i % 2 else _MARKS.sub(r"\\\1", part) for i, part in enumerate(spans))


def tex(text: str) -> str:
    """Text as LaTeX sets it as it is; in braces where it would otherwise be read as an option of
    the line before."""
    escaped = "".join(_TEX.get(sign, sign) for sign in " ".join(text.splitlines()))
    return f"{{{escaped}}}" if escaped.startswith(("[", "*")) else escaped
