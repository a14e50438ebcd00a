"""What was measured inside a run, as something to take away: JSON with every number, or a folder
with CSV, JSON and a web page per analysis.

Imports neither streamlit nor torch.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

import numpy as np
import pandas as pd

from sdq.inspection.diagnosis import Diagnosis, diagnose
from sdq.inspection.registry import ANALYSES
from sdq.inspection.settings import Inspection, Tables
from sdq.inspection.storage import read
from sdq.io import files
from sdq.io.quoting import csv
from sdq.io.sealed import Damaged
from sdq.labels import language_name
from sdq.reporting.html import SIMULATED, figure_html, html_of, table_html
from sdq.reporting.inspected import PICTURES, pictures
from sdq.results import Report
from sdq.settings import UserError
from sdq.store import TABLES, Store

# the tables that a run has of itself, in words
OWN = {
    "weights": "Weights: histograms, ranges of channels and rounding error per module",
    "activations": "Activations: histograms, ranges and rounding error per module and language",
    "profiles": "Activations: ranges per position and per hidden unit",
    "depth": "Error of each module alone and through depth, per language",
    "tokens": "Error per token",
    "sample": "The sentences that the run was looked at on",
    "sentences": "The answers to all test sentences",
    "reference": "The answers of FP32 to the same sentences",
}
ROWS, REST = 200, "the file has all"  # rows of a table in a web page


@dataclass(frozen=True)
class Chapter:
    """An analysis, or a table that a run has of itself, as it is written to files."""

    name: str
    title: str
    own: Tables  # its tables
    all: Tables  # those of the run and its inspection: pictures may need others too
    report: Report


def tables(report: Report, store: Store, how: Inspection | None = None) -> Tables:
    """Every table of a run and its inspection that is there, by name: those of its analyses, those
    of OWN."""
    measured = read(report.run, store, how)
    for name in TABLES:
        try:
            measured[name] = store.table(report.run, name)
        except Damaged:
            raise
        except UserError:
            # FP32 has no errors; repetitions that came with the project have only scores
            continue
    measured["sentences"] = store.sentences(report.run)
    if not report.is_reference:
        reference = next(
            (r for r in store.finished() if r.is_reference and store.alike(r, report)), None
        )
        if reference is not None:
            measured["reference"] = store.sentences(reference.run)
    return measured


def chapters(report: Report, measured: Tables) -> list[Chapter]:
    """What was measured, by analysis and by table of the run, as far as it is there."""
    titles = [(name, a.title, a.tables) for name, a in ANALYSES.items()]
    titles += [(name, title, (name,)) for name, title in OWN.items()]
    listed = [
        Chapter(name, title, {t: measured[t] for t in of if t in measured}, measured, report)
        for name, title, of in titles
    ]
    return [chapter for chapter in listed if chapter.own]


def plain(value: Any) -> Any:
    """A value as JSON has it: arrays as lists; NaN, infinity and missing as None."""
    if isinstance(value, dict):
        return {name: plain(part) for name, part in value.items()}
    if isinstance(value, np.ndarray | np.generic):
        value = value.tolist()
    if isinstance(value, list | tuple):
        return [plain(part) for part in value]
    return (
        None
        if value is None
        or value is pd.NA
        or value is pd.NaT
        or (isinstance(value, float) and not math.isfinite(value))
        else value
    )


def rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A table as JSON has it: one object per row."""
    columns = [[plain(value) for value in table[name].tolist()] for name in table]
    return [dict(zip(table.columns, cells, strict=True)) for cells in zip(*columns, strict=True)]


def everything(report: Report, store: Store, how: Inspection | None = None) -> dict[str, Any]:
    """Every number the pages show of a run.

    run (its id), report, settings of the inspection, tables (name -> rows), pictures (name of an
    analysis or a table -> reading and table of each picture) and diagnosis (see
    sdq.inspection.diagnosis, with its paragraph; None if the run was not looked into).
    """
    measured = tables(report, store, how)
    said = diagnosed(report, measured)
    return {
        "run": report.run,
        "report": report.model_dump(mode="json"),
        "settings": (how or Inspection()).model_dump(mode="json"),
        "tables": {name: rows(table) for name, table in measured.items()},
        "pictures": {
            name: [
                {"reading": text, "table": rows(table)}
                for _, table, text in pictures(name, measured, report)
            ]
            for name in PICTURES
        },
        "diagnosis": None
        if said is None
        else plain(said.model_dump(mode="json")) | {"paragraph": said.paragraph},
    }


def words(
    report: Report, store: Store, how: Inspection | None = None, index: Path | None = None
) -> str:
    """What was found, in words: the diagnosis, and a line per table; `index` is where it was
    written to."""
    measured = tables(report, store, how)
    said = diagnosed(report, measured)
    lines = [_who(report), "", *([said.paragraph, ""] if said else [])]
    lines += [
        f"{name:12} {len(table):6} rows of {', '.join(map(str, table.columns))}"
        for name, table in measured.items()
    ]
    where = str(index) if index else "--json, or --out FOLDER for files and web pages"
    return "\n".join([*lines, "", f"All of it: {where}"])


def write(
    folder: Path,
    report: Report,
    store: Store,
    how: Inspection | None = None,
    progress: Callable[[dict[str, Any]], None] = lambda event: None,
) -> Path:
    """Write what was measured in every one of FORMATS, and index.html, which links the files;
    returns its path.

    A web page needs no network and no other file. UserError if the folder cannot be written.
    """
    writable(folder)
    measured = tables(report, store, how)
    listed = chapters(report, measured)
    links: list[tuple[Chapter, list[str]]] = []
    try:
        for number, chapter in enumerate(listed, 1):
            progress(
                {
                    "event": "stage",
                    "name": chapter.name,
                    "text": f"Writing: {chapter.title}",
                    "number": number,
                    "of": len(listed),
                }
            )
            links.append((chapter, []))
            for name, text in (file for made in FORMATS.values() for file in made(chapter)):
                files.write_text(folder / name, text)
                links[-1][1].append(name)
        index = _index(links, diagnosed(report, measured), report, how or Inspection())
        files.write_text(folder / "index.html", index)
    except OSError as error:
        raise _refused(folder, error) from error
    return folder / "index.html"


def _json_file(chapter: Chapter) -> Iterator[tuple[str, str]]:
    content = {name: rows(table) for name, table in chapter.own.items()}
    yield f"{chapter.name}.json", json.dumps(content, allow_nan=False, ensure_ascii=False)


def _csv_files(chapter: Chapter) -> Iterator[tuple[str, str]]:
    for name, table in chapter.own.items():
        yield f"{name}.csv", csv(table.map(_cell))


def writable(folder: Path) -> None:
    """Make the folder, if it is not there. UserError if it cannot be written."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise _refused(folder, error) from error


def _refused(folder: Path, error: OSError) -> UserError:
    return UserError(
        f"the folder for what was found must be writable, {folder} is not ({error.strerror}); free "
        "space or choose another one"
    )


def _cell(value: Any) -> Any:
    """A cell as CSV has it: arrays as JSON text."""
    return json.dumps(plain(value)) if isinstance(value, np.ndarray | list | tuple) else value


def _shown(name: str, table: pd.DataFrame) -> dict[str, Any]:
    """A table as chapter.html has it: one with languages by language; columns with arrays are named
    only."""
    long = [
        column
        for column in table
        if table[column].map(lambda cell: isinstance(cell, np.ndarray | list | tuple)).any()
    ]
    short = table.drop(columns=long)
    values = {"name": name, "rows": len(table), "long": long, "by_language": [], "body": ""}
    if "language" not in short or short["language"].nunique() < 2:
        return values | {"body": table_html(short, name, ROWS, REST)}
    by_language = []
    for code, rows in short.groupby("language", sort=False):
        label = "All languages" if code == "all" else language_name(str(code))
        by_language.append((label, len(rows), table_html(rows, f"{name}, {label}", ROWS, REST)))
    return values | {"by_language": by_language}


def diagnosed(report: Report, found: Tables) -> Diagnosis | None:
    """What is wrong and what helps, in words; None if the run was not looked into."""
    return diagnose(report, found) if "sensitivity" in found else None


def _page_file(chapter: Chapter) -> Iterator[tuple[str, str]]:
    drawn = [
        (figure_html(figure, f"{chapter.name}-{i}", text), text)
        for i, (figure, _, text) in enumerate(
            pictures(chapter.name, chapter.all, chapter.report), 1
        )
    ]
    shown = [_shown(name, table) for name, table in chapter.own.items()]
    yield (
        f"{chapter.name}.html",
        html_of(
            "chapter.html",
            chapter.title,
            bool(drawn),
            who=_who(chapter.report),
            tables=shown,
            pictures=drawn,
        ),
    )


def _who(report: Report) -> str:
    return (
        f"Run {report.run}: {report.recipe['name']} ({report.method}) on {report.model}, task "
        f"{report.on}, seed {report.recipe['seed']}."
    )


# Format -> what it makes of a chapter: (name of a file, its text). `inspect --out` writes them all,
# and the index page links them in this order.
FORMATS: dict[str, Callable[[Chapter], Iterator[tuple[str, str]]]] = {
    "html": _page_file,
    "json": _json_file,
    "csv": _csv_files,
}


def _index(
    links: Sequence[tuple[Chapter, Sequence[str]]],
    said: Diagnosis | None,
    report: Report,
    how: Inspection,
) -> str:
    """The page that links the others: each chapter by its web page, and its files."""
    return html_of(
        "index.html",
        f"What was found in run {report.run}",
        False,
        who=_who(report),
        sentences=how.sentences,
        paragraph=None if said is None else said.paragraph,
        links=[(chapter.title, page, others) for chapter, (page, *others) in links],
        simulated=SIMULATED,
    )
