"""The lines of a CoNLL file: its sentences and comments, and how the fields of a word are told
apart. Needs no torch."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from sdq.data.cells import WHITE
from sdq.data.column_names import names_columns
from sdq.data.lines import ended, is_blank, lines
from sdq.data.recognise import fields_of, is_span, is_speech, layout_of
from sdq.settings import UserError

Block = list[tuple[int, str]]


def blocks(path: Path) -> Iterator[Block]:
    """The lines between blank ones, with their numbers."""
    block: Block = []
    for i, line in lines(path):
        if not is_blank(line):
            block.append((i, ended(line)))
        elif block:
            yield block
            block = []
    if block:
        yield block


def named_comment(content: str) -> tuple[str, str] | None:
    """(name, value) of a comment `# name = value`; None for a line that is none."""
    name, equals, value = content[1:].partition("=")
    return (name.strip(WHITE), value.strip(WHITE)) if content.startswith("#") and equals else None


def no_sentences(path: Path) -> UserError:
    """The error of a file without words."""
    return UserError(
        f"a data file must hold sentences, {path.name} has none; words go one a line, with a blank "
        "line after each sentence"
    )


@dataclass(frozen=True)
class Layout:
    """What a word's line has: how many fields, tabs between them or spaces, and at its end one of
    the tags `known` from lines without #."""

    width: int
    tabs: bool
    tags: frozenset[str]
    header: int = 0  # number of the line that names the columns; 0: none does

    def fields(self, line: str) -> list[str]:
        """The fields of a line."""
        return fields_of(line, self.tabs, self.width)


def file_layout(path: Path, most: int = 400) -> Layout:
    """The layout of a file, by its first `most` words."""
    words: Block = []
    for block in blocks(path):
        words += [word for word in block if not word[1].startswith(("#", "-DOCSTART-"))]
        if len(words) >= most:
            break
    tabs, width = layout_of([content for _, content in words])
    fields = [fields_of(content, tabs, width) for _, content in words]
    header = 0
    tags = frozenset(row[-1] for row in fields[1:])
    if tags and names_columns(fields[0], words=True) and fields[0][-1] not in tags:
        header = words[0][0]
    else:
        tags |= {row[-1] for row in fields[:1]}
    return Layout(width, tabs, tags, header)


_NOTED = re.compile(r"#+(?:[ \t]|$)|#+[\w.:-]+[ \t]*=|#(?:begin|end) document\b")
_NAMED = re.compile(r"#+ +[\w.:-]+ += |#(?:begin|end) document\b")


def without_comments(path: Path, block: Block, layout: Layout) -> Block:
    """The words of a block: without -DOCSTART-, and without comments.

    path: the file, for errors
    block: lines between blank ones, with their numbers
    layout: of the file

    A comment is `# text` or `#name=value` with another number of fields than words have, or `# name
    = value`, wherever it stands: CoNLL-U has them before a sentence alone, other tools write them
    after it too. UserError for what may be either: `# newdoc` where words have two fields with a
    space between.
    """
    return [
        (number, content)
        for number, content in block
        if number != layout.header
        and not content.startswith("-DOCSTART-")
        and not _is_comment(path, number, content, layout)
    ]


def comments_within(block: Block, words: Block) -> list[int]:
    """Numbers of the comments of a block that stand between its words."""
    if not words:
        return []
    kept = {number for number, _ in words}
    return [
        number
        for number, content in block
        if words[0][0] < number < words[-1][0] and number not in kept and content.startswith("#")
    ]


def _is_comment(path: Path, number: int, content: str, layout: Layout) -> bool:
    """Whether a line is a comment and no word. UserError for what may be either."""
    if not _NOTED.match(content):
        return False
    fields = layout.fields(content)
    if len(fields) != layout.width or ("\t" in content.rstrip("\t ")) != layout.tabs:
        return True
    if _is_tag(fields[-1], layout):
        return False
    if not _NAMED.match(content) and re.match("#+ ", content):
        raise UserError(
            "a line that begins with # must be a comment or a word with its tags, line "
            f"{number} of {path.name} may be either ({content[:40]!r}); take the comment out, or "
            "put tabs between words and tags"
        )
    return _NAMED.match(content) is not None


def _is_tag(field: str, layout: Layout) -> bool:
    return (
        field in layout.tags
        or is_span([field])
        or is_speech([field])
        or not any(c.isalnum() for c in field)
    )
