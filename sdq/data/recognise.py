"""Which format a file has, by what is in it; the ending of its name is only a hint. Needs no
torch."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from pathlib import Path, PurePath
from statistics import median

from sdq.data.column_names import names_columns
from sdq.data.lines import HEAD, head_of, spaced
from sdq.data.tagging import UPOS
from sdq.io.strict_json import strict
from sdq.settings import UserError

# ending -> the format it promises; any other ending promises nothing
ENDINGS = {
    ".csv": "csv",
    ".tsv": "tsv",
    ".tab": "tsv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".conllu": "conllu",
    ".conll": "conll",
    ".conll03": "conll",
    ".iob": "conll",
    ".iob2": "conll",
    ".bio": "conll",
    ".iobes": "conll",
    ".bioes": "conll",
    ".bilou": "conll",
}
CALLED = {
    "csv": "CSV",
    "tsv": "TSV (fields between tabs)",
    "jsonl": "JSONL (one object a line)",
    "json": "JSON (an array of objects)",
    "parquet": "Parquet",
    "conllu": "CoNLL-U",
    "conll": "CoNLL (one word a line)",
}
_SPAN = re.compile(r"(?:[BIESULMW](?:-\S+)?|O)")
_WORD = 12  # characters of a word in the middle of many: of English 4, of Finnish 7
_DECLARED = re.compile(r"\"?sep=([,;|\t:^~])\"?[ ,;\t]*", re.IGNORECASE)  # a line for Excel
_DELIMITERS = {"csv": ",;|", "tsv": "\t"}


# under the header of a table
_RULE = re.compile(r"[|+]?[ ]*:?(?:-{2,}|={2,}):?[ ]*(?:[|+][ ]*:?(?:-+|=+):?[ ]*)+[|+]?[ ]*")


@dataclass(frozen=True)
class Format:
    """What a file was recognised as: the name of its format (see CALLED), what stands between
    fields (of CSV), what to remark on."""

    name: str
    delimiter: str = ","
    remark: str = ""
    skipped: int = 0  # lines before the first that is read


def promised(name: str) -> str | None:
    """The format that a file name promises: "train.conllu.txt" -> "conllu"; None if it promises
    none."""
    return next(
        (
            ENDINGS[ending.lower()]
            for ending in reversed(PurePath(name).suffixes)
            if ending.lower() in ENDINGS
        ),
        None,
    )


def recognise(path: Path) -> Format:
    """The format of a file, by its content. UserError for what is none of CALLED, or cannot be
    told."""
    head = head_of(path)
    hint = promised(path.name)
    form = Format("parquet") if head[:4] in (b"PAR1", b"PARE") else _of_text(path, head, hint)
    if form.skipped:
        said = "its first line says what stands between fields (as Excel reads it), and is no row"
    elif form == Format("conllu", " "):
        said = (
            "it is CoNLL-U with spaces between its fields, where tabs belong, and was read as that"
        )
    elif hint is not None and hint != form.name and {hint, form.name} != {"json", "jsonl"}:
        said = (
            f"its ending promises {CALLED[hint]}, its content is {CALLED[form.name]}, and was "
            "read as that"
        )
    elif form.name == "csv" and form.delimiter != ",":
        said = f"fields are told apart by {form.delimiter!r}, as its first line has no comma"
    else:
        said = ""
    return Format(form.name, form.delimiter, said, form.skipped)


def _of_text(path: Path, head: bytes, hint: str | None) -> Format:
    text = head.decode("utf-8-sig", errors="replace")
    lines = re.split(r"\r\n|\n|\r", text)
    if len(head) == HEAD:
        lines = lines[:-1] or lines  # the end of the head cuts a line
    full = [line for line in lines if line.strip(" \t")]
    if not full:
        raise UserError(
            f"a data file must hold rows, {path.name} has only blank lines; export it again"
        )
    if declared := _DECLARED.fullmatch(lines[0]):
        return Format("csv", declared[1], skipped=1)
    if any(map(_RULE.fullmatch, full[:2])):
        what = "a table as Markdown or a terminal shows it"
        raise UserError(
            f"a data file must be text or Parquet, {path.name} is {what}; save the table itself as "
            "CSV"
        )
    if form := _json(path, text, full[0], hint):
        return form
    data = [line for line in full if not line.startswith(("#", "-DOCSTART-"))] or full
    blank = any(not line.strip(" \t") for line in lines[:-1])
    if blank and len(data) > 1 and names_columns(fields_of(data[0]), words=True):
        data = data[1:]
    if hint != "conll" and (form := _conllu(data)):
        return form
    if hint == "parquet":
        hint = None
    if hint in ("conll", "conllu"):
        if hint == "conll" and not _is_table(full, data):
            return _conllu(data) or Format("conll")
        return (
            Format(hint)
            if hint == "conllu" and _may_be_conllu(data)
            else _by_looks(path, lines, full, data, None)
        )
    if (
        hint in _DELIMITERS
        and any(d in full[0] for d in _DELIMITERS[hint])
        and not (_is_conll(lines, data) and _is_tagged(data))
    ):
        return Format(hint, _delimiter(full[0]))
    return _by_looks(path, lines, full, data, hint)


def _json(path: Path, text: str, first: str, hint: str | None) -> Format | None:
    """JSON and JSONL, if it is one of them."""
    start = text.lstrip(" \t\r\n")
    if start.startswith("[") and (hint == "json" or re.match(r"\[\s*(\{|\]\s*$)", start)):
        return Format("json")
    named = re.match(r'\{\s*(?:"(?:[^"\\]|\\.)*"\s*:|\}|$)', start)
    if start.startswith("{") and (hint in ("json", "jsonl") or named or _is_object(first)):
        if first.strip(" \t") == "{" or (
            hint == "json" and not _is_object(first) and len(text) < HEAD and "\n" in text.strip()
        ):
            raise UserError(
                "a JSON file must be an array of objects, or hold one object a line (JSONL), "
                f"{path.name} is one object; write its rows as an array"
            )
        return Format("jsonl")
    return Format("jsonl") if hint in ("json", "jsonl") and start[0] in '{["' else None


def _is_object(line: str) -> bool:
    try:
        return isinstance(strict(line), dict)
    except ValueError:
        return False


def _may_be_conllu(data: list[str]) -> bool:
    return bool(re.match(r"\d+(?:[-.]\d+)?\t", data[0]))


def _conllu(data: list[str]) -> Format | None:
    """CoNLL-U, if every line has its ten fields: between tabs, or else spaces."""
    tabs = any("\t" in line for line in data[:50])
    rows = [fields_of(line, tabs, 10) for line in data[:50]]
    if not all(len(row) == 10 and re.fullmatch(r"\d+(?:[-.]\d+)?", row[0]) for row in rows):
        return None
    if tabs:
        return Format("conllu")
    heads = all(re.fullmatch(r"\d+|_", row[6]) for row in rows)
    return Format("conllu", " ") if heads else None


def layout_of(lines: list[str]) -> tuple[bool, int]:
    """(whether tabs stand between the fields of words, how many fields there are) as the first
    lines of a CoNLL file show. A tab at the end of every line begins no field."""
    tabs = any("\t" in line.rstrip("\t ") for line in lines)
    rows = [fields_of(line, tabs) for line in lines]
    width = len(rows[0]) if rows else 0
    while width > 1 and not any(row[width - 1] for row in rows if len(row) >= width):
        width -= 1
    return tabs, width


def fields_of(line: str, tabs: bool = True, width: int = 0) -> list[str]:
    """The fields of a line of CoNLL: between tabs if there are any, or else spaces.

    line: of a CoNLL file
    tabs: whether tabs stand between fields
    width: how many fields there should be; empty ones after them are none
    """
    fields = line.split("\t") if tabs and "\t" in line else spaced(line)
    while 0 < width < len(fields) and not fields[-1]:
        fields.pop()
    return fields


def _rows(data: list[str]) -> list[list[str]]:
    tabs, width = layout_of(data[:500])
    return [fields_of(line, tabs, width) for line in data[:500]]


def _is_conll(lines: list[str], data: list[str]) -> bool:
    """Whether lines look like one word a line: blank lines between sentences, and as many fields,
    two at least, in every other line."""
    if any(line.startswith("-DOCSTART-") for line in lines[:50]):
        return True
    rows = _rows(data)
    widths = {len(row) for row in rows}
    if len(widths) != 1 or widths == {1}:
        return False
    blank = any(not line.strip(" \t") for line in lines[:-1]) and any(
        line.strip(" \t") for line in lines[1:]
    )
    first, last = ([row[i] for row in rows] for i in (0, -1))
    few = len(set(last)) < max(3, len(last) / 2) and (
        is_span(last) or is_speech(last) or _are_words(rows)
    )
    return (blank and (few or is_span(first))) or (len(last) > 1 and is_span(last))


def _are_words(rows: list[list[str]]) -> bool:
    """Whether fields are as short as words are, without spaces, and no delimiter is in every line:
    in a table of texts it is otherwise."""
    # Case=Nom|Number=Sing is as long as it likes
    rows = [["" if "=" in field else field for field in row] for row in rows]
    if any(all(delimiter in "".join(row) for row in rows) for delimiter in _DELIMITERS["csv"]):
        return False
    return not any(" " in field for row in rows for field in row) and all(
        median(map(len, column)) <= _WORD for column in zip(*rows, strict=True)
    )


def _is_tagged(data: list[str]) -> bool:
    """Whether what ends the lines are plainly tags: a table of texts and labels has none of these,
    whatever its blank lines."""
    first, last = ([row[i] for row in _rows(data)] for i in (0, -1))
    return data[0].startswith("-DOCSTART-") or is_span(last) or is_speech(last) or is_span(first)


def _is_table(full: list[str], data: list[str]) -> bool:
    """Whether lines that should be CoNLL are plainly CSV: commas, and neither a tab nor a space."""
    return all(
        line.count(",") == full[0].count(",") > 0 and not re.search(r"[ \t]", line)
        for line in data[:20]
    )


def is_span(values: list[str]) -> bool:
    """Whether values are tags of spans: O, B-x, I-x and the like; O alone counts."""
    tags = {value.strip(" ") for value in values}
    return (
        bool(tags)
        and all(map(_SPAN.fullmatch, tags))
        and ("O" in tags or any("-" in tag for tag in tags))
    )


def is_speech(values: list[str]) -> bool:
    """Whether values are the universal parts of speech, or nothing (_) for some words."""
    tags = {value.strip(" ") for value in values} - {"_"}
    return bool(tags) and tags <= UPOS


def _delimiter(line: str) -> str:
    """What stands between the fields of a first line: a comma if there is one, or else what there
    is most of."""
    outside = re.sub(r'"[^"]*"', "", line)
    if "," in outside or not any(d in outside for d in ";|\t"):
        return ","
    return Counter(c for c in outside if c in ";|\t").most_common(1)[0][0]


def _by_looks(
    path: Path, lines: list[str], full: list[str], data: list[str], hint: str | None
) -> Format:
    """The format of text whose ending says nothing, or something else."""
    if _is_conll(lines, data):
        return Format("conll")
    if "\t" in full[0]:
        return Format("tsv")
    if any(d in full[0] for d in ",;|"):
        return Format("csv", _delimiter(full[0]))
    if hint in _DELIMITERS:
        return Format(hint)  # one column: what it lacks is said when columns are looked for
    raise UserError(
        f"a data file must be one of {', '.join(CALLED.values())}, what {path.name} is cannot be "
        "told from its first lines; convert it, or end its name in .csv, .tsv, .jsonl, .parquet, "
        ".conllu or .conll"
    )
