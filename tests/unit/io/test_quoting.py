"""Text from outside stays text: in CSV that a spreadsheet opens, in Markdown, in LaTeX."""

from __future__ import annotations

import io
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdq.io.quoting import cell, csv, quoted, quoted_sentence, tex
from sdq.reproduce.tables import html, latex, markdown

HOSTILE = (
    "=1+1",
    "+cmd|' /C calc'!A0",
    "-2+3",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "＝1+1",
    '=HYPERLINK("http://x","y")',
)
SIGNS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
MARKS = (
    "**bold**",
    "[link](http://x)",
    "![x](http://x/p.png)",
    "<b>x</b>",
    "$x^2$",
    ":red[x]",
    "a|b",
    "# head",
    "`code`",
    "&lt;",
    "~~gone~~",
    "- list",
    "1. list",
    "_x_",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_text_that_a_spreadsheet_would_compute_is_quoted(text: str) -> None:
    table = pd.DataFrame({"label": [text], text: [1.5]}, index=[text])
    back = pd.read_csv(io.StringIO(csv(table)))
    shown = "'" + text.replace("\r", "\n")
    assert back["label"][0] == back.columns[1] == shown
    assert pd.read_csv(io.StringIO(csv(table, index=True)), index_col=0).index[0] == shown


def test_numbers_and_plain_text_stay() -> None:
    table = pd.DataFrame(
        {
            "a": [-1.5, 2.0],
            "b": ["-3", "+.5e-3"],
            "c": ["x=1", "[-1, 2]"],
            "d": [np.int64(-4), np.nan],
            "e": ["", None],
        }
    )
    assert csv(table) == table.to_csv(index=False)


def test_every_csv_goes_through_it() -> None:
    root = Path(__file__).parents[3]
    direct = [
        str(p)
        for folder in ("sdq", "pages")
        for p in (root / folder).rglob("*.py")
        if ".to_csv(" in p.read_text("utf-8") and p.name != "quoting.py"
    ]
    assert direct == []


@given(
    st.tuples(st.sampled_from(["", "'", *SIGNS]), st.text() | st.floats(width=16).map(str)).map(
        "".join
    )
)
def test_a_cell_begins_no_formula_and_is_otherwise_as_it_was(text: str) -> None:
    plain = text.replace("\r\n", "\n").replace("\r", "\n")
    computed = plain.startswith(SIGNS) and not re.fullmatch(
        r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?", plain
    )
    assert cell(text) == (f"'{plain}" if computed else plain)


@pytest.mark.parametrize("text", MARKS)
def test_markdown_shows_it_as_it_is(text: str) -> None:
    from markdown_it import MarkdownIt

    renderer = MarkdownIt("commonmark", {"html": True}).enable(["table", "strikethrough"])
    for before, after in (("", ""), ("on ", " now")):
        (paragraph, inline, _) = renderer.parse(before + quoted(text) + after)
        assert paragraph.type == "paragraph_open"
        assert [child.type for child in inline.children or []] == ["text"] * len(
            inline.children or []
        ) or all(child.type in ("text", "text_special") for child in inline.children or [])
        shown = "".join(child.content for child in inline.children or []).replace("\u200b", "")
        assert shown == before + text + after


def test_a_sentence_keeps_its_commands() -> None:
    assert (
        quoted_sentence("run `python -m sdq task check a_b` for [x](y)")
        == r"run `python -m sdq task check a_b` for \[x\](y)"
    )
    assert "\n" not in quoted_sentence("a\n\n# b") + quoted("a\r\n- b")


def test_latex_sets_it_as_it_is() -> None:
    assert (
        tex(r"\input{x}~^&%$#_")
        == r"\textbackslash{}input\{x\}\textasciitilde{}\textasciicircum{}\&\%\$\#\_"
    )
    assert tex("[1, 2]") == "{[1, 2]}"
    assert tex("a\n% b") == r"a \% b"


def test_tables_of_a_paper_keep_to_their_cells() -> None:
    table = pd.DataFrame({"a|b <i>\\": ["1"]}, index=["m|n\n**x** \\input{y}"])
    text = markdown([("t|<b>", table)], ["one\n# two"])
    assert [
        line.replace("\\|", "").count("|") for line in text.splitlines() if line.startswith("|")
    ] == [3, 3, 3]
    assert "\n# two" not in text
    assert "<i>" not in html([("t", table)], [], "t")
    assert "\\input{" not in latex([("t", table)], ["one\n\\input{z}"]).replace(
        "% one \\input{z}", ""
    )
