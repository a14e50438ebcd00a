"""Tables as text: fields between commas, semicolons, bars or tabs, quoted or not. Needs no
torch."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Iterator
from pathlib import Path

from sdq.data.cells import WHITE
from sdq.data.column_names import names_columns
from sdq.data.lines import WIDEST, ended, head_of, lines
from sdq.data.recognise import Format
from sdq.data.rows import ReadOptions, Row, too_wide
from sdq.io.limits import limits
from sdq.settings import UserError, listed


def _named(path: Path, line: int, header: list[str]) -> tuple[str, ...]:
    """Column names, without the space around them. A first column without a name, and columns
    without one that are empty, are left out (see _fitted): "" stands for them. UserError if no
    column has a name, or one is there twice."""
    names = tuple(name.strip(WHITE) for name in header)
    given = [name for name in names if name]
    twice = next((name for i, name in enumerate(given) if name in given[:i]), None)
    if twice is not None or not given:
        said = f"the name {twice[:40]!r} is there twice" if twice is not None else "none has one"
        raise UserError(
            f"every column must have a name of its own, in line {line} of {path.name} {said}; mend "
            "the header, or list the columns under `names`"
        )
    return names


def _fitted(
    path: Path,
    options: ReadOptions,
    rows: Iterator[tuple[int, list[str]]],
    off: Callable[[list[str]], str],
) -> Iterator[Row]:
    """Rows of text fields under their names; the first row names them if `names` does not.
    UserError for a row of another width; `off`: the remedy for it."""
    names, given, seen = options.names, options.names, 0
    single: set[int] | None = None  # columns whose fields are all in single quotes
    for line, fields in rows:
        if len(fields) > limits().columns:
            raise too_wide(path, f"line {line}")
        bare = tuple(field.strip(WHITE) for field in fields)
        if given and not seen and (bare == given or names_columns(bare)):
            said = f"line {line} of {path.name} names them already ({listed(bare, 12, 80)})"
            wanted = "`names` is for files that do not name their columns"
            raise UserError(f"{wanted}, {said}; take `names` out, or that line")
        if not names:
            names = _named(path, line, fields)
            _remark_unnamed(names, options)
            continue
        if len(bare) > 1 and tuple(name.strip('"') for name in bare) == names:
            said = f"its header is there again in line {line}, where files were joined"
            options.remark(f"{said}, and was left out")
            continue
        quoted = {i for i, field in enumerate(bare) if field[:1] == field[1:][-1:] == "'"}
        single = quoted if single is None else single & quoted
        if len(fields) != len(names):
            shown = listed((name or "one without a name" for name in names), 12, 80)
            raise UserError(
                f"every line must have {len(names)} fields ({shown}), line {line} of {path.name} "
                f"has {len(fields)}; {off(fields)}"
            )
        if (at := next((i for i, name in enumerate(names) if i and not name and fields[i]), 0)) > 0:
            raise UserError(
                f"every column must have a name of its own, column {at + 1} of {path.name} has "
                f"none and holds {fields[at][:40]!r} in line {line}; name it in the header, or "
                "take it out"
            )
        seen += 1
        cells = zip(names, fields, strict=True)
        yield Row(f"line {line}", {name: field for name, field in cells if name})
    if single:
        shown = listed(names[i] or "one without a name" for i in sorted(single))
        said = (
            f"all fields of {shown} stand in single quotes, which were taken as a part of the text"
        )
        options.remark(f"{said}; if they are none, write double quotes")
    if not seen:
        raise UserError(
            f"a data file must hold rows, {path.name} has only a header; add rows, or list its "
            "columns under `names` if the header is a row"
        )


def _remark_unnamed(names: tuple[str, ...], options: ReadOptions) -> None:
    """Say which columns are left out."""
    if not names[0]:
        options.remark(
            "its first column has no name (as the index that pandas writes), and is left out"
        )
    if "" in names[1:]:
        options.remark("columns that have neither a name nor values are left out")


def _ends_empty(fields: list[str], otherwise: str) -> str:
    """The remedy for a line of another width."""
    if len(fields) > 1 and not fields[-1]:
        return "take the delimiter at its end out if it ends with one too many, or else mend it"
    return otherwise


def read_csv(path: Path, options: ReadOptions, form: Format) -> Iterator[Row]:
    """Fields between commas (or what the first line has instead), quoted as in RFC 4180; a row is
    where it begins.

    path: the file
    options: how to read it
    form: what it was recognised as
    """
    if options.quoting == "none":
        return read_tsv(path, options, form)
    return _quoted(path, options, form)


def _quoted(path: Path, options: ReadOptions, form: Format) -> Iterator[Row]:
    delimiter = _between(form)
    raw: list[str] = []  # the lines of the row that is being read
    spaced = _quoted_after_space(path, delimiter)
    if spaced:
        said = "quoted fields have a space before them"
        options.remark(f"{said}; spaces after the delimiter were taken as no part of the fields")

    def text() -> Iterator[str]:
        for number, line in lines(path):
            if number <= form.skipped:
                continue
            if line.count(delimiter) > WIDEST:
                raise too_wide(path, f"line {number}")
            raw.append(line)
            yield line

    rows = csv.reader(text(), strict=True, delimiter=delimiter, skipinitialspace=spaced)

    def fields() -> Iterator[tuple[int, list[str]]]:
        csv.field_size_limit(WIDEST)
        start = 1 + form.skipped
        try:
            for cells in rows:
                late = [cell for cell in cells[1:] if _QUOTED.fullmatch(cell)]
                if not spaced and any(f"{delimiter}{cell}" in "".join(raw) for cell in late):
                    where = f"in line {start} of {path.name} a space is between them"
                    raise UserError(
                        f"a quoted field must begin right after the delimiter, {where}; take the "
                        "space out"
                    )
                raw.clear()
                if cells:
                    yield start, cells
                start = rows.line_num + form.skipped + 1
        except csv.Error as error:
            if "new-line character" in str(error):  # which says how Python files are opened
                raise UserError(
                    f"all lines of {path.name} must end alike, in line {start} a CR "
                    "stands between others that end with LF; save it again with LF alone"
                ) from error
            raise UserError(
                f"{path.name} must be CSV, the row that begins in line {start} is not ({error}); "
                "mend its quotes, or save it again as CSV"
            ) from error

    return _fitted(
        path,
        options,
        fields(),
        lambda row: _ends_empty(row, "mend it, or quote the delimiter (CSV)"),
    )


_QUOTED = re.compile(r' +".*" *', re.S)  # in a cell: a quoted field that was taken for text


def _quoted_after_space(path: Path, delimiter: str) -> bool:
    """Whether fields are quoted after a space, `pos, "good"`: RFC 4180 would take the quotes for
    text."""
    text, between = head_of(path).decode("utf-8-sig", errors="replace"), re.escape(delimiter)
    quoted = rf'(?P<space> *)"(?:[^"]|"")*" *(?={between}|$)'
    field = re.compile(rf"(?:^|{between})(?:{quoted}|[^{between}\r\n]*)", re.M)
    return any(match["space"] for match in field.finditer(text.replace("\r", "\n")))


def read_tsv(path: Path, options: ReadOptions, form: Format) -> Iterator[Row]:
    """Fields between tabs, one row a line. Quotes mean nothing unless asked, as in the files of
    XNLI, PAWS-X and XGLUE.

    path: the file
    options: how to read it
    form: what it was recognised as
    """
    if options.quoting == "double":
        return _quoted(path, options, form)
    return _unquoted(path, options, form)


def _between(form: Format) -> str:
    """What stands between the fields of a table."""
    return form.delimiter if form.name == "csv" else "\t"


def _unquoted(path: Path, options: ReadOptions, form: Format) -> Iterator[Row]:
    delimiter = _between(form)
    remedy = (
        'quotes mean nothing here: save the file as CSV with commas, or set "quoting": '
        '"double" in the task file'
    )
    quoted = 0

    def fields() -> Iterator[tuple[int, list[str]]]:
        nonlocal quoted
        for number, raw in lines(path):
            line = ended(raw)
            if not line or number <= form.skipped:
                continue
            if line.count(delimiter) >= limits().columns:
                raise too_wide(path, f"line {number}")
            cells = line.split(delimiter)
            if options.quoting is None and (quotes := sum(cell[:1] == '"' for cell in cells)):
                if (
                    number == 1 + form.skipped
                    and not options.names
                    and quotes == len(cells)
                    and all(len(c) > 1 and c[-1] == '"' for c in cells)
                ):
                    raise UserError(
                        f"names of columns must have no quotes around them, in line {number} of "
                        f"{path.name} all have; {remedy}"
                    )
                if not quoted and number > 1:
                    options.remark(
                        "fields begin with a quote, which was taken as a part of the text; if it "
                        f"is none, {remedy.partition(': ')[2]}"
                    )
                quoted += 1
            yield number, cells

    def off(cells: list[str]) -> str:
        if quoted and options.quoting is None:
            return remedy
        return _ends_empty(cells, "mend it; no field may hold a tab or a line end")

    return _fitted(path, options, fields(), off)
