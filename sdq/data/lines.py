"""Bytes of a file -> its lines, or its settings, strictly: what is no text, too long or not sure to
be read rightly is refused. Needs no torch."""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, TypeVar

from pydantic import BaseModel, ValidationError

from sdq.io.explain import explain
from sdq.io.limits import limits
from sdq.io.strict_json import NotStrict, strict
from sdq.settings import UserError, one_line

M = TypeVar("M", bound=BaseModel)
HEAD = 65_536  # bytes that a format is recognised by
WIDEST = 1_000_000  # characters of one field
_LONGEST = 16_000_000  # bytes of one line
_SPACE = " \t\r\n"  # what stands between fields; U+00A0, U+3000 and the like are a part of one
# what a file begins with, what it then is, and what to do
_MAGIC: tuple[tuple[bytes, str, str], ...] = (
    (b"\x1f\x8b", "compressed (gzip)", "unpack it first (gunzip)"),
    (b"BZh", "compressed (bzip2)", "unpack it first (bunzip2)"),
    (b"\xfd7zXZ", "compressed (xz)", "unpack it first (unxz)"),
    (b"\x28\xb5\x2f\xfd", "compressed (zstd)", "unpack it first (unzstd)"),
    (b"7z\xbc\xaf", "an archive (7z)", "unpack it first"),
    (
        b"PK\x03\x04",
        "a ZIP archive or a sheet of Excel",
        "unpack it first, or save the sheet as CSV in UTF-8",
    ),
    (b"\xd0\xcf\x11\xe0", "a sheet of an old Excel", "save the sheet as CSV in UTF-8"),
    (b"{\\rtf", "a document (RTF)", "save it as plain text, or export the table as CSV or JSONL"),
    (b"%PDF", "a PDF", "export the text as CSV or JSONL"),
    (b"SQLite format 3", "a database", "export the table as CSV or JSONL"),
    (b"ARROW1", "an Arrow file", "write it as Parquet"),
    (
        b"version https://git-lfs",
        "a pointer of Git LFS, not the data",
        "fetch the data first (git lfs pull)",
    ),
)
_MARKUP = (
    (
        rb"<(?:!doctype html|html|head|body|div)\b",
        "a web page",
        "download the file itself (the raw file)",
    ),
    (rb"<(?:table|tbody|tr)\b[^>]*>", "a table in HTML", "save the table as CSV in UTF-8"),
    (
        rb"<\?xml\b|<[a-z][\w:.-]*(?:\s[^<>]*)?>\s*<[/a-z!]",
        "XML",
        "export its rows as CSV or JSONL",
    ),
)


def size_of(path: Path) -> int:
    """Bytes of a file worth opening. UserError for what is no regular file (a pipe or a device
    never ends), cannot be read, is empty or too large."""
    try:
        state = path.stat()
    except (OSError, ValueError) as error:
        said = getattr(error, "strerror", None) or "no such name can be"
        raise UserError(
            f"data file {path.name[:80]} must be readable, it is not ({said}); check the path and "
            "its permissions"
        ) from error
    if not stat.S_ISREG(state.st_mode):
        raise UserError(
            f"a data file must be a regular file, {path.name} is a folder, a pipe or a device; "
            "copy the data into a file"
        )
    most = limits().data_file_mb
    if state.st_size > most * 10**6:
        raise UserError(
            f"a data file must have at most {most} MB, {path.name} has {state.st_size / 10**6:.0f} "
            "MB; take a sample of it, split it by language, or raise SDQ_DATA_FILE_MB"
        )
    if state.st_size == 0:
        raise UserError(f"a data file must hold rows, {path.name} is empty; save it again")
    return state.st_size


def opened(path: Path) -> BinaryIO:
    """The file, open for reading. UserError if it may not be read."""
    size_of(path)
    try:
        return path.open("rb")
    except OSError as error:
        raise UserError(
            f"data file {path.name} must be readable, it is not ({error.strerror}); check the path "
            "and its permissions"
        ) from error


def head_of(path: Path) -> bytes:
    """The first HEAD bytes. UserError for what is recognised as no labelled text at all: archives,
    sheets, web pages, UTF-16, binary."""
    with opened(path) as file:
        head = file.read(HEAD)
    if head[:4] in (b"PAR1", b"PARE"):
        return head
    for magic, what, remedy in _MAGIC:
        if head.startswith(magic):
            raise UserError(f"a data file must be text or Parquet, {path.name} is {what}; {remedy}")
    if head[:4] in (b"\xff\xfe\0\0", b"\0\0\xfe\xff"):
        raise UserError(f"text must be UTF-8, {path.name} is UTF-32; save it again as UTF-8")
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UserError(f"text must be UTF-8, {path.name} is UTF-16; save it again as UTF-8")
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    for markup, what, remedy in _MARKUP:
        if re.match(markup, start, re.IGNORECASE):
            raise UserError(f"a data file must be text or Parquet, {path.name} is {what}; {remedy}")
    if path.suffix.lower() in (".parquet", ".pq") and (b"\0" in head or not _is_text(head)):
        raise UserError(
            f"{path.name} must be a Parquet file, it is not, or it is damaged; export it again"
        )
    at = head.find(b"\0")
    if at >= 0:
        raise _binary(path, head.count(b"\n", 0, at) + 1)
    return head


def _is_text(head: bytes) -> bool:
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4  # a character that the end of the head cuts
    return True


def _binary(path: Path, line: int) -> UserError:
    return UserError(
        f"a data file must be text or Parquet, {path.name} is binary (line {line} has a zero "
        "byte); name it by what it is, or export it again"
    )


def lines(path: Path, longest: int = _LONGEST) -> Iterator[tuple[int, str]]:
    """(number from 1, line with its end) of a text file, one at a time: UTF-8 with or without a
    byte order mark, lines that end with LF, CRLF or CR.

    `longest`: bytes of one line. Only LF, CRLF and CR end a line: texts hold U+2028, U+0085 and the
    like. UserError names the line of anything else.
    """
    head = head_of(path)
    split = _by_cr if b"\r" in head and b"\n" not in head else _by_lf
    most = 64 * limits().rows  # words go one a line: more lines than rows
    with opened(path) as file:
        for number, text in _decoded(split(file, longest), path, longest):
            if number > most:
                raise UserError(
                    f"a data file must have at most {most:,} lines, {path.name} has more; take a "
                    "sample of it"
                )
            yield number, text


def lines_of_any_size(path: Path) -> Iterator[tuple[int, str]]:
    """As `lines`, of a file that nobody uploads: it may have hundreds of megabytes. OSError if it
    cannot be read."""
    with path.open("rb") as file:
        yield from _decoded(_by_lf(file, _LONGEST), path, _LONGEST)


def _decoded(split: Iterator[bytes], path: Path, longest: int) -> Iterator[tuple[int, str]]:
    for number, raw in enumerate(split, 1):
        if len(raw) > longest:
            raise UserError(
                f"a line must have at most {longest // 10**6} MB, line {number} of {path.name} is "
                "longer; check its line ends and its quotes"
            )
        if b"\0" in raw:
            raise _binary(path, number)
        try:
            text = raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as error:
            raise UserError(
                f"text must be UTF-8, line {number} of {path.name} is not (byte "
                f"0x{raw[error.start]:02x}); save the file again as UTF-8"
            ) from error
        yield number, text


def _by_lf(file: BinaryIO, longest: int) -> Iterator[bytes]:
    while raw := file.readline(longest + 1):
        yield raw


def _by_cr(file: BinaryIO, longest: int) -> Iterator[bytes]:
    """Lines that end with CR alone, as old spreadsheets write them; they are given LF instead."""
    rest = b""
    while piece := file.read(HEAD):
        *whole, rest = (rest + piece).split(b"\r")
        yield from (line + b"\n" for line in whole)
        if len(rest) > longest:
            break
    if rest:
        yield rest


def ended(line: str) -> str:
    """A line without its end."""
    return line.removesuffix("\n").removesuffix("\r")


def is_blank(line: str) -> bool:
    """Whether nothing but spaces and tabs is in a line. A line of U+00A0 alone is no blank one: it
    may be a word."""
    return not line.strip(_SPACE)


def spaced(text: str) -> list[str]:
    """Fields between spaces, tabs and line ends, and nothing else."""
    return [part for part in re.split(r"[ \t\r\n]+", text) if part]


def settings_of(model: type[M], data: bytes, what: str, called: str) -> M:
    """The settings in the bytes of a JSON file. UserError with one sentence for anything else.

    model: the settings' class
    data: bytes of the file
    what: they are, for errors
    called: the file's name, for errors
    """
    called = one_line(called, 300)
    try:
        value = strict(data.decode("utf-8-sig"))
    except NotStrict as error:
        raise UserError(
            f"a {what} file must be JSON text, {called} {error}; write it again"
        ) from error
    except UnicodeDecodeError as error:
        raise UserError(
            f"a {what} file must be UTF-8 text, {called} cannot be read as text; save it as UTF-8"
        ) from error
    except ValueError as error:
        where = f" from line {error.lineno} on" if isinstance(error, json.JSONDecodeError) else ""
        raise UserError(
            f"a {what} file must be JSON text, {called} is not{where}; write it again, or see the "
            "examples in docs/"
        ) from error
    if not isinstance(value, dict):
        raise UserError(
            f"a {what} file must be a JSON object, {called} is not; write it again, or see the "
            "examples in docs/"
        )
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise UserError(f"{what} {called}: {explain(error)}") from error
