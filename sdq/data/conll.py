"""Files of one word a line: CoNLL-U, and CoNLL with columns that are shown before one of them is
taken for tags. Needs no torch."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdq.data.cells import WHITE
from sdq.data.conll_lines import (
    Layout,
    blocks,
    comments_within,
    file_layout,
    named_comment,
    no_sentences,
    without_comments,
)
from sdq.data.recognise import Format, fields_of, is_span, is_speech
from sdq.data.rows import ReadOptions, Row, too_wide
from sdq.io.limits import limits
from sdq.settings import UserError, listed

# universaldependencies.org/format.html
CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")
GLOBAL = "global.columns"  # the comment in which a CoNLL file (CoNLL-U Plus) names its columns


def read_conllu(path: Path, options: ReadOptions, form: Format) -> Iterator[Row]:
    """Sentences of CoNLL-U: its ten columns (see CONLLU) and the comments `# name = value`.
    Multiword ranges and empty nodes are left out.

    path: the file
    options: how to read it
    form: what it was recognised as
    """
    count = 0
    for block in blocks(path):
        comments: dict[str, Any] = {}
        words: list[list[str]] = []
        for line, content in block:
            if content.startswith("#"):
                name, value = named_comment(content) or (content[1:].strip(WHITE), "")
                comments[name] = value
                continue
            fields = fields_of(content, form.delimiter != " ", len(CONLLU))
            if len(fields) != len(CONLLU):
                raise UserError(
                    f"every word of CoNLL-U must have 10 fields between tabs, line {line} of "
                    f"{path.name} has {len(fields)}; mend it or name the file .conll"
                )
            if fields[0].isascii() and fields[0].isdigit():
                words.append(fields)
        if words:
            count += 1
            yield Row(
                f"line {block[0][0]}",
                dict(zip(CONLLU, map(list, zip(*words, strict=True)), strict=True))
                | _free(comments),
                len(CONLLU),
            )
    if not count:
        raise no_sentences(path)


def _free(comments: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in comments.items() if name not in CONLLU}


@dataclass(frozen=True)
class Head:
    """What the first sentences of a CoNLL file show: the names of its columns, and some values of
    each."""

    called: tuple[str, ...]
    values: tuple[tuple[str, ...], ...]


def conll_head(path: Path, names: tuple[str, ...] = (), most: int = 400) -> Head:
    """The columns of a CoNLL file, as its own comment, `names` or their numbers call them, with the
    values of its first `most` words.

    path: the file
    names: of all its columns; none: its own
    most: words that are read

    The first is called tokens. Another is called tags only where nothing else can be meant: the
    second of two, or the last if its values, and those of no other column, are tags of spans (O,
    B-x, I-x; O alone is none). Where the first alone looks like tags, counts the words or names
    their sentence, nothing is called either. UserError if `names` are not as many as there are
    columns.
    """
    given: tuple[str, ...] = ()
    rows: list[list[str]] = []
    layout = file_layout(path, most)
    for block in blocks(path):
        for _, content in without_comments(path, block, layout):
            rows.append(layout.fields(content))
        for _, content in block:
            comment = named_comment(content)
            if comment and comment[0] == GLOBAL:
                given = tuple(fields_of(comment[1]))
            elif content.startswith("-DOCSTART-") and not given:
                given = _named_at_start(content)
        if len(rows) >= most:
            break
    if not rows:
        raise no_sentences(path)
    width = len(rows[0])
    if width > limits().columns:
        raise too_wide(path, "its first word")
    values = tuple(tuple(row[i] for row in rows if len(row) == width) for i in range(width))
    if names and len(names) != width:
        raise UserError(
            f"`names` must name every column of {path.name}, it has {width} and `names` "
            f"{len(names)}; {_columns_said(values)}"
        )
    called = names or (given if len(given) == width and len(set(given)) == width else ())
    if not called:
        spans = [i for i in range(1, width) if _looks(values[i]) == SPANS]
        last = "tags" if width == 2 or spans == [width - 1] else str(width)
        called = ("tokens", *(str(i) for i in range(2, width)), last)[:width]
        if words_at(values):
            # whoever brings it says which is which
            called = tuple(str(i) for i in range(1, width + 1))
    return Head(called, values)


def _turned(values: tuple[tuple[str, ...], ...]) -> bool:
    """Whether the first column looks like tags and no other does: the words come after it."""
    plain = [_looks(column) in (SPANS, SPEECH, OUTSIDE) for column in values]
    return len(plain) > 1 and plain[0] and not any(plain[1:])


def _numbered(values: tuple[str, ...]) -> bool:
    """Whether a column counts the words of each sentence, from 0 or 1: it holds none itself."""
    if len(values) < 2 or not all(
        value.isascii() and value.isdigit() and len(value) < 7 for value in values
    ):
        return False
    counts = [int(value) for value in values]
    return counts[0] in (0, 1) and all(
        now in (before + 1, 0, 1) for before, now in itertools.pairwise(counts)
    )


def _repeated(values: tuple[str, ...]) -> bool:
    """Whether most values are those of the word before, as the id of a sentence is: words are
    hardly ever."""
    same = sum(now == before for before, now in itertools.pairwise(values))
    return len(values) > 3 and 2 * same >= len(values) - 1


def words_at(values: tuple[tuple[str, ...], ...]) -> int:
    """Which column holds the words, from 0: the first that neither counts them, nor, of three or
    more, names their sentence, nor, where no other does, looks like tags."""
    if _turned(values):
        return 1
    names = [len(values) > 2 and _repeated(column) for column in values]
    likely = [i for i, column in enumerate(values) if not (_numbered(column) or names[i])]
    return next(iter(likely), next((i for i, c in enumerate(values) if not _numbered(c)), 0))


def _named_at_start(content: str) -> tuple[str, ...]:
    """Names of columns that a line -DOCSTART- gives: `-DOCSTART- word pos ner`; none where it only
    fills them (-X-, O, _)."""
    fields = [field for field in fields_of(content)[1:] if field]
    plain = [field for field in fields if field.isidentifier() and field not in ("O", "X", "_")]
    return tuple(plain) if plain and plain == fields else ()


def _columns_said(values: tuple[tuple[str, ...], ...]) -> str:
    """Every column with some of its values: `1: In, New, York | 2: NN, CD`."""
    shown = [
        f"{i}: {listed(dict.fromkeys(column), room=40, each=30)}".replace(";", ",")
        for i, column in enumerate(values, 1)
    ]
    return f"its columns are {listed(shown, 12, 300, each=80, between=' | ')}"


def proposed(head: Head) -> tuple[int, str] | None:
    """(number of the column that is likely to hold tags, what it looks like), by its values; None
    if none does."""
    if _turned(head.values):
        return 1, _looks(head.values[0])
    kinds = {
        i: _looks(column)
        for i, column in enumerate(head.values, 1)
        if i > words_at(head.values) + 1
    }
    for wanted in (SPANS, SPEECH, FEW, OUTSIDE):
        if fitting := [i for i, kind in kinds.items() if kind == wanted]:
            return (fitting[0] if wanted == FEW else fitting[-1]), wanted
    return None


SPANS, SPEECH, FEW = "tags of spans", "parts of speech", "few different values"
OUTSIDE = "O alone"  # of tags that say nothing, or of none


def _looks(column: tuple[str, ...]) -> str:
    if is_span(list(column)):
        return SPANS if set(column) - {"O"} else OUTSIDE
    if is_speech(list(column)):
        return SPEECH
    return FEW if 1 < len(set(column)) <= max(2, min(60, len(column) // 3)) else ""


def unnamed(path: Path, names: tuple[str, ...], wanted: str) -> str:
    """What to say when a CoNLL file has no column that is called `wanted`: all columns with
    examples, and the one that looks right.

    path: the file
    names: of its columns, if the task file gives them
    wanted: the column that is missing
    """
    head = conll_head(path, names)
    likely = proposed(head)
    number, looks = likely or (len(head.called), "a guess")
    called = [name for name in head.called if not name.isdecimal()]
    also = f", called {listed(called, room=80)}" if called and called != ["tokens"] else ""
    return (
        f"the file must have a column {wanted[:40]!r}, it has {len(head.called)} columns{also} "
        f"({_columns_said(head.values)}); name the right ones "
        f'in the task file, such as "columns": {{"tokens": "{words_at(head.values) + 1}", "tags": '
        f'"{number}"}} ({looks})'
    )


# the codes of WikiANN, such as de:, be-x-old: or simple:, and no scheme of URLs
_CODE = re.compile(r"(?!(?:doi|ftp|git|sip|ssh|tel|urn):)(?:[a-z]{2,3}(?:-[a-z]+)*|simple):(?!//)")


def _code_before_words(path: Path, layout: Layout, at: int) -> str:
    """The language and a colon that every word of a file begins with, as in WikiANN (`en:Anna`);
    "" if not every word does."""
    code, count = "", 0
    for block in blocks(path):
        for _, content in without_comments(path, block, layout):
            fields = layout.fields(content)
            prefix = _CODE.match(fields[at]) if len(fields) > at else None
            if prefix is None or prefix[0] != (code or prefix[0]):
                return ""
            code, count = prefix[0], count + 1
    return code if count > 1 else ""


def read_conll(path: Path, options: ReadOptions, form: Format) -> Iterator[Row]:
    """Sentences of one word a line: fields between tabs, or else spaces, called as `conll_head`
    says; each also by its number from 1.

    path: the file
    options: how to read it
    form: what it was recognised as

    Lines with -DOCSTART- are left out, and comments (see `without_comments`).
    """
    head = conll_head(path, options.names)
    width, layout = len(head.called), file_layout(path)
    guessed = width > 2 and head.called[-1] == "tags" and not options.names
    if guessed and (not options.used or "tags" in options.used):
        options.remark(
            f"of {width} columns the last was taken as tags, as no other holds tags of spans; name "
            f"it in the task file (columns.tags: {width!r})"
        )
    if layout.header:
        options.remark(f"its line {layout.header} names the columns, and is no word")
    at = words_at(head.values)
    code = _code_before_words(path, layout, at)
    if code:
        options.remark(f"every word begins with {code}, as in WikiANN, which was taken off")
    within: list[int] = []  # lines of comments that stand between the words of a sentence
    for block in blocks(path):
        words = []
        kept = without_comments(path, block, layout)
        within += comments_within(block, kept)
        for line, content in kept:
            fields = layout.fields(content)
            if len(fields) != width or width < 2:
                wanted = (
                    "a word and at least one tag" if width < 2 else f"{width} fields, as the first,"
                )
                raise UserError(
                    f"every line must have {wanted} between tabs or spaces, line {line} of "
                    f"{path.name} has {len(fields)}; mend it, or put a tab between them"
                )
            fields[at] = fields[at].removeprefix(code)
            words.append(fields)
        if words:
            yield Row(
                f"line {block[0][0]}",
                dict(zip(head.called, map(list, zip(*words, strict=True)), strict=True)),
                width,
            )
    if within:
        options.remark(
            f"lines that begin with # inside a sentence (the first is line {within[0]}) have other "
            "fields than words have, and were taken as comments"
        )
