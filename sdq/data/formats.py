"""File formats of labelled text, one function each: a file -> its rows. Nothing in a file is ever
executed. Needs no torch.

Which reader a file gets is said by its content (sdq.data.recognise). What is accepted and what is
refused: docs/files.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from sdq.data.conll import read_conll, read_conllu
from sdq.data.delimited import read_csv, read_tsv
from sdq.data.lines import head_of, is_blank, lines, size_of
from sdq.data.parquet import read_parquet
from sdq.data.recognise import Format, recognise
from sdq.data.rows import Quoting, Reader, ReadOptions, Row, too_wide
from sdq.io.limits import limits
from sdq.io.strict_json import DECODER, NotStrict, refuse_surrogates, strict
from sdq.settings import UserError


def read(
    path: Path,
    names: tuple[str, ...] = (),
    quoting: Quoting | None = None,
    remark: Callable[[str], None] = lambda said: None,
) -> Iterator[Row]:
    """The rows of a file, read as what it is by its content.

    path: the file
    names: of its columns, if it does not name them
    quoting: what quotes mean; None: what is usual for the format
    remark: is told what a reader of results should know

    Raises UserError naming the file, the line and the remedy for what cannot be read rightly, or
    exceeds a limit of sdq.io.limits.
    """
    form = recognise(path)
    if form.remark:
        remark(form.remark)
    bounds, size = limits(), 0
    for count, row in enumerate(
        READERS[form.name](path, ReadOptions(names, quoting, remark), form), 1
    ):
        if count > bounds.rows:
            raise UserError(
                f"a data file must have at most {bounds.rows:,} rows, {path.name} has more; take a "
                "sample, or raise SDQ_ROWS"
            )
        if len(row.cells) > bounds.columns:
            raise too_wide(path, row.at)
        size += sum(_bytes(cell) for cell in row.cells.values())
        if size > bounds.decoded_mb * 10**6:
            raise UserError(
                f"a data file must hold at most {bounds.decoded_mb} MB once it is read, "
                f"{path.name} holds more; take a sample, split it by language, or raise "
                "SDQ_DECODED_MB"
            )
        yield row


def accept(path: Path) -> None:
    """UserError for a file that is not worth opening: no regular file, unreadable, empty, too
    large, or plainly no labelled text."""
    size_of(path)
    head_of(path)


def _bytes(cell: Any) -> int:
    return (
        len(cell)
        if isinstance(cell, str | bytes)
        else 16 * len(cell)
        if isinstance(cell, list)
        else 8
    )


def _object(value: Any, said: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(
            f"every row must be a JSON object, {said} is a {type(value).__name__}; write one "
            "object a line"
        )
    return value


def read_jsonl(path: Path, options: ReadOptions, form: Format) -> Iterator[Row]:
    """One JSON object a line.

    path: the file
    options: how to read it
    form: what it was recognised as
    """
    for i, line in lines(path):
        if is_blank(line):
            continue
        try:
            cells = strict(line)
        except NotStrict as error:
            raise UserError(
                f"every line must be JSON, line {i} of {path.name} {error}; write it again with "
                "another program, or mend the line"
            ) from error
        except ValueError as error:
            raise UserError(
                f"every line must be a JSON object, line {i} of {path.name} is no JSON; write one "
                "object a line"
            ) from error
        yield Row(f"line {i}", _object(cells, f"line {i} of {path.name}"))


def read_json(path: Path, options: ReadOptions, form: Format) -> Iterator[Row]:
    """An array of JSON objects, one decoded at a time.

    path: the file
    options: how to read it
    form: what it was recognised as
    """
    text = "".join(line for _, line in lines(path, longest=limits().data_file_mb * 10**6))
    at, line, count = _after(text, text.index("[") + 1), 1, 0
    seen = 0
    while True:
        line, seen = line + text.count("\n", seen, at), at
        where = f"line {line} of {path.name}"
        if text[at : at + 1] == "]":
            break
        try:
            value, end = DECODER.raw_decode(text, at)
            refuse_surrogates(text[at:end], value)
        except NotStrict as error:
            raise UserError(
                f"every row must be JSON, the one at {where} {error}; write it again with another "
                "program, or mend it"
            ) from error
        except (ValueError, RecursionError) as error:
            raise UserError(
                f"a JSON file must be an array of objects, what stands in {where} is no JSON; mend "
                "it, or write one object a line"
            ) from error
        count += 1
        yield Row(f"row {count}", _object(value, f"what stands in {where}"))
        at = _after(text, end)
        if text[at : at + 1] == ",":
            at = _after(text, at + 1)
            if text[at : at + 1] == "]":
                raise UserError(
                    f"a JSON file must be an array of objects, {path.name} has a comma after its "
                    f"last, row {count}; take the comma out"
                )
        elif text[at : at + 1] != "]":
            raise UserError(
                f"a JSON file must be one whole array, {path.name} is not after row {count}; write "
                "it again"
            )
    if not is_blank(text[at + 1 :]):
        raise UserError(
            f"a JSON file must be one array, {path.name} goes on after it; take the rest out, or "
            "write one object a line"
        )
    if not count:
        raise UserError(f"a data file must hold rows, {path.name} has none; export it again")


def _after(text: str, at: int) -> int:
    """Where white space ends."""
    while text[at : at + 1] in (" ", "\t", "\n", "\r"):
        at += 1
    return at


def _parquet(path: Path, options: ReadOptions, form: Format) -> Iterator[Row]:
    return (Row(f"row {number}", cells) for number, cells in enumerate(read_parquet(path), 1))


# format -> reader; a new format is one line here, and how it is recognised in sdq.data.recognise
READERS: dict[str, Reader] = {
    "csv": read_csv,
    "tsv": read_tsv,
    "jsonl": read_jsonl,
    "json": read_json,
    "parquet": _parquet,
    "conllu": read_conllu,
    "conll": read_conll,
}
