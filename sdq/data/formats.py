"""File formats of labelled text, one function each: a file -> its rows. Nothing in a file is ever executed. Needs no torch."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdq.settings import UserError

LARGEST = 100_000_000  # bytes of one file
_WIDEST = 1_000_000  # characters of one field
CONLLU = ("id", "form", "lemma", "upos", "xpos", "feats", "head", "deprel", "deps", "misc")  # universaldependencies.org/format.html


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file: where it is ("line 7"), and its cells by column. In tagging formats a cell holds one value per word."""

    at: str
    cells: dict[str, Any]


Reader = Callable[[Path, tuple[str, ...]], Iterator[Row]]


def read(path: Path, names: tuple[str, ...] = ()) -> Iterator[Row]:
    """The rows of a file, by its ending (see FORMATS). `names`: the columns of a CSV, TSV or CoNLL file that does not name them.

    Raises UserError naming the file, the line and the remedy for what is no file of its format.
    """
    accept(path)
    return FORMATS[path.suffix.lower()](path, names)


def accept(path: Path) -> None:
    """UserError for a file that is not worth opening: of no known ending, unreadable, empty, or larger than LARGEST bytes."""
    if path.suffix.lower() not in FORMATS:
        raise UserError(f"a data file must end in {', '.join(FORMATS)}, {path.name} does not; convert it to one of these")
    try:
        size = path.stat().st_size
    except OSError as error:
        raise UserError(f"data file {path.name} must be readable, it is not ({error.strerror}); check the path and its permissions") from error
    if size > LARGEST:
        raise UserError(
            f"a data file must have at most {LARGEST // 10**6} MB, {path.name} has {size / 10**6:.0f} MB; take a sample of it or split it by language"
        )
    if size == 0:
        raise UserError(f"a data file must hold rows, {path.name} is empty; save it again")


def text_of(path: Path) -> str:
    """A whole text file. UTF-8 with or without a byte order mark; UserError names the line of anything else."""
    data = path.read_bytes()
    if data[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise UserError(f"text must be UTF-8, {path.name} is UTF-16; save it again as UTF-8")
    at = data.find(b"\0")
    if at >= 0:
        raise UserError(
            f"a {path.suffix} file must be text, {path.name} is binary (line {_line(data, at)} has a zero byte); name it by what it is, or export it again"
        )
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(
            f"text must be UTF-8, line {_line(data, error.start)} of {path.name} is not (byte 0x{data[error.start]:02x}); save the file again as UTF-8"
        ) from error


def _line(data: bytes, at: int) -> int:
    return data.count(b"\n", 0, at) + 1


def _named(path: Path, header: list[str]) -> tuple[str, ...]:
    """Column names, without the space around them. UserError if one is missing or there twice."""
    names = tuple(name.strip() for name in header)
    wrong = next((name for i, name in enumerate(names) if not name or name in names[:i]), None)
    if wrong is not None:
        said = f"the name {wrong[:40]!r} is there twice" if wrong else "one has none"
        raise UserError(f"every column must have a name of its own, in line 1 of {path.name} {said}; mend the header, or list the columns under `names`")
    return names


def _fitted(path: Path, names: tuple[str, ...], rows: Iterator[tuple[int, list[str]]]) -> Iterator[Row]:
    """Rows of text fields under their names; the first row names them if `names` does not. UserError for a row of another width."""
    seen = 0
    for line, fields in rows:
        if not names:
            names = _named(path, fields)
            continue
        if len(fields) != len(names):
            raise UserError(
                f"every line must have {len(names)} fields ({', '.join(names)[:80]}), line {line} of {path.name} has {len(fields)}; mend it, or quote the delimiter (CSV)"
            )
        seen += 1
        yield Row(f"line {line}", dict(zip(names, fields, strict=True)))
    if not seen:
        raise UserError(f"a data file must hold rows, {path.name} has only a header; add rows, or list its columns under `names` if the header is a row")


def read_csv(path: Path, names: tuple[str, ...]) -> Iterator[Row]:
    """Comma-separated fields, quoted as in RFC 4180; a row is where it begins."""
    lines = csv.reader(io.StringIO(text_of(path), newline=""), strict=True)

    def fields() -> Iterator[tuple[int, list[str]]]:
        csv.field_size_limit(_WIDEST)
        start = 1
        try:
            for cells in lines:
                if cells:
                    yield start, cells
                start = lines.line_num + 1
        except csv.Error as error:
            raise UserError(
                f"{path.name} must be CSV, the row that begins in line {start} is not ({error}); mend its quotes, or save it again as CSV"
            ) from error

    return _fitted(path, names, fields())


def read_tsv(path: Path, names: tuple[str, ...]) -> Iterator[Row]:
    """Fields between tabs, one row a line. Quotes mean nothing, as in the files of XNLI, PAWS-X and XGLUE."""
    lines = text_of(path).split("\n")  # not splitlines: texts hold U+2028 and the like
    return _fitted(path, names, ((i, line.removesuffix("\r").split("\t")) for i, line in enumerate(lines, 1) if line.strip("\r")))


def read_jsonl(path: Path, names: tuple[str, ...]) -> Iterator[Row]:
    """One JSON object a line."""
    for i, line in enumerate(text_of(path).split("\n"), 1):
        if not line.strip():
            continue
        try:
            cells = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise UserError(f"every line must be a JSON object, line {i} of {path.name} is no JSON; write one object a line") from error
        if not isinstance(cells, dict):
            raise UserError(f"every line must be a JSON object, line {i} of {path.name} is a {type(cells).__name__}; write one object a line")
        yield Row(f"line {i}", cells)


def read_parquet(path: Path, names: tuple[str, ...]) -> Iterator[Row]:
    """Rows of a Parquet file; lists stay lists."""
    import pyarrow
    import pyarrow.parquet

    try:
        with pyarrow.parquet.ParquetFile(path) as file:
            count = 0
            for batch in file.iter_batches(4096):
                for cells in batch.to_pylist():
                    count += 1
                    yield Row(f"row {count}", cells)
    except (pyarrow.ArrowInvalid, pyarrow.ArrowNotImplementedError, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path.name} must be a Parquet file, it is not, or it is damaged; export it again") from error
    if not count:
        raise UserError(f"a data file must hold rows, {path.name} has none; export it again")


def _blocks(path: Path, tell: Callable[[list[tuple[int, str]]], Row | None]) -> Iterator[Row]:
    """What `tell` makes of each block of lines between blank ones; None is left out."""
    block: list[tuple[int, str]] = []
    count = 0
    for i, line in enumerate([*text_of(path).split("\n"), ""], 1):
        if line.strip():
            block.append((i, line.removesuffix("\r")))
        elif block:
            row, block = tell(block), []
            if row is not None:
                count += 1
                yield row
    if not count:
        raise UserError(f"a data file must hold sentences, {path.name} has none; words go one a line, with a blank line after each sentence")


def read_conllu(path: Path, names: tuple[str, ...]) -> Iterator[Row]:
    """Sentences of CoNLL-U: its ten columns (see CONLLU) and the comments `# name = value`. Multiword ranges and empty nodes are left out."""

    def sentence(block: list[tuple[int, str]]) -> Row | None:
        cells: dict[str, Any] = {}
        words: list[list[str]] = []
        for line, content in block:
            if content.startswith("#"):
                name, _, value = content[1:].partition("=")
                cells[name.strip()] = value.strip()
                continue
            fields = content.split("\t")
            if len(fields) != len(CONLLU):
                raise UserError(
                    f"every word of CoNLL-U must have 10 fields between tabs, line {line} of {path.name} has {len(fields)}; mend it or name the file .conll"
                )
            if fields[0].isdigit():
                words.append(fields)
        return Row(f"line {block[0][0]}", cells | dict(zip(CONLLU, map(list, zip(*words, strict=True)), strict=True))) if words else None

    return _blocks(path, sentence)


def read_conll(path: Path, names: tuple[str, ...]) -> Iterator[Row]:
    """Sentences of one word a line: fields between tabs, or else spaces, the first called `tokens`, the last `tags`, others by their number from 1.

    Lines with -DOCSTART- are left out, and comments: lines before a sentence that start with # and have another number of fields, or a "=".
    """
    width = 0

    def fields_of(content: str) -> list[str]:
        return content.split("\t") if "\t" in content else content.split()

    def sentence(block: list[tuple[int, str]]) -> Row | None:
        nonlocal width
        block = [(line, content) for line, content in block if not content.startswith("-DOCSTART-")]
        width = width or next((len(fields_of(content)) for _, content in block if not content.startswith("#")), 0)
        while block and block[0][1].startswith("#") and ("=" in block[0][1] or len(fields_of(block[0][1])) != width):
            block = block[1:]
        words = []
        for line, content in block:
            fields = fields_of(content)
            if len(fields) != width or width < 2:
                wanted = "a word and at least one tag" if width < 2 else f"{width} fields, as the first,"
                raise UserError(
                    f"every line must have {wanted} between tabs or spaces, line {line} of {path.name} has {len(fields)}; mend it, or put a tab between them"
                )
            words.append(fields)
        if not words:
            return None
        called = names if len(names) == width else ("tokens", *(str(i) for i in range(2, width)), "tags")
        return Row(f"line {block[0][0]}", dict(zip(called, map(list, zip(*words, strict=True)), strict=True)))

    return _blocks(path, sentence)


# ending -> reader; a new format is one line
FORMATS: dict[str, Reader] = {
    ".csv": read_csv,
    ".tsv": read_tsv,
    ".jsonl": read_jsonl,
    ".parquet": read_parquet,
    ".conllu": read_conllu,
    ".conll": read_conll,
    ".iob": read_conll,
    ".bio": read_conll,
}
