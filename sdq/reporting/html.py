"""One to five finished runs as a web page that needs no network, and the commands and tables that
tell how to make them again.

The figures are those of sdq.reporting.sections. Imports neither streamlit nor torch.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import pandas as pd
import plotly
import plotly.graph_objects as go
from markupsafe import Markup
from plotly.offline import get_plotlyjs

from sdq.figures.style import INK
from sdq.io.quoting import csv
from sdq.io.templates import rendered
from sdq.labels import listed, run_names, width
from sdq.recipe import preset_of
from sdq.reporting.sections import Part, checked, slug
from sdq.results import METRICS, Report

LIMIT = 10_000_000  # bytes of the web page
ROWS = 60  # rows of a table in the web page; the zip has all


def heading(reports: Sequence[Report]) -> str:
    """A title for those who give none: what was done to which model on which task."""
    methods = dict.fromkeys(
        f"{r.method} {width(r.recipe)}" if r.is_quantized else r.method for r in reports
    )
    return f"{listed(methods)}: the model {reports[0].model} on the task {reports[0].on}"


def stem(reports: Sequence[Report]) -> str:
    """The file name without its ending: the task and the first digits of the runs."""
    return f"sdq-{slug(reports[0].on)}-{'-'.join(r.run[:4] for r in reports)}"


def summary(reports: Sequence[Report]) -> pd.DataFrame:
    """One row per run. Scores in %, change to FP32 in points, size in 10^6 bytes (simulated, but
    for FP32), time in seconds."""
    rows, names = [], run_names(reports)
    for r in reports:
        unit = METRICS[r.metric]
        rows.append(
            {
                "run": names[r.run],
                "width": width(r.recipe),
                "recipe": r.recipe["name"],
                "seed": r.recipe["seed"],
                f"{unit.name}, all languages, {unit.unit}": round(100 * r.quantized.mean, 1),
                f"{unit.name}, zero-shot, {unit.unit}": round(100 * r.quantized.zero_shot_mean, 1),
                "zero-shot change to FP32, points": round(
                    100 * (r.quantized.zero_shot_mean - r.reference.zero_shot_mean), 1
                ),
                "size, MB": round(r.size / 1e6, 2),
                "size is": "simulated" if r.is_quantized else "of FP32 parameters",
                "seconds": round(sum(r.seconds.values()), 1),
                "id": r.run,
            }
        )
    return pd.DataFrame(rows)


def versions(reports: Sequence[Report]) -> pd.DataFrame:
    """One row per run: its id, seed, and what its provenance says (versions, number of test
    sentences)."""
    return pd.DataFrame([{"id": r.run, "seed": r.recipe["seed"], **r.provenance} for r in reports])


def command(report: Report) -> str:
    """The command that makes the run again, to be entered where the project lies; without a preset
    it needs the recipe's file from the zip."""
    what = preset_of(report.recipe) or f"recipes/{report.run}.json"
    return shlex.join(
        [
            "python",
            "-m",
            "sdq",
            "run",
            what,
            "--model",
            report.model,
            "--task",
            report.task,
            "--seed",
            str(report.recipe["seed"]),
        ]
    )


def commands(reports: Sequence[Report]) -> str:
    """All commands, each under a line that names its run, and the paired comparison."""
    names = run_names(reports)
    lines = [
        line
        for r in reports
        for line in (f"# {' '.join(names[r.run].split())}, makes run {r.run}", command(r))
    ]
    if len(reports) > 1:
        lines += [
            "# paired comparison, the first is the baseline",
            shlex.join(["python", "-m", "sdq", "compare", *(r.run for r in reports)]),
        ]
    return "\n".join(lines)


def recipe_json(report: Report) -> str:
    """The recipe as a file that `python -m sdq run` reads."""
    return json.dumps(report.recipe, indent=1, ensure_ascii=False) + "\n"


SIMULATED = (
    "Quantization is simulated (fake quantization): numbers are rounded to the values integers "
    "could hold and computed in floating point. The scores are real, the sizes are simulated: "
    "what codes and scales would take. Nothing here is faster."
)


def html_of(template: str, title: str, drawn: bool, **values: object) -> str:
    """A web page that asks nothing of the network, from a template beside this module.

    title: text
    drawn: whether it has pictures, and so carries plotly along (5 MB)
    """
    plotly_js = Markup(get_plotlyjs()) if drawn else ""
    ink = INK["light"]
    return rendered(__package__, template, title=title, plotly_js=plotly_js, ink=ink, **values)


def table_html(
    table: pd.DataFrame, title: str, rows: int = ROWS, rest: str = "the zip has all"
) -> Markup:
    """A table for a page of `html_of`.

    table: any columns
    title: what screen readers call it
    rows: how many of its rows are shown, from the first
    rest: where the others are, in words
    """
    with pd.option_context("display.max_colwidth", None):  # otherwise long names are cut
        body = table.head(rows).to_html(
            index=False, border=0, na_rep="", escape=True, float_format=lambda value: f"{value:.4g}"
        )
    about = {"title": title, "of": len(table), "rows": rows, "rest": rest}
    return Markup(rendered(__package__, "table.html", body=Markup(body), **about))


def figure_html(figure: go.Figure, name: str, title: str) -> Markup:
    """A picture for a page of `html_of`.

    figure: the picture
    name: unique on the page, and the name of the file it is saved as
    title: what screen readers call it
    """
    image = {"format": "svg", "filename": name, "width": 900, "height": figure.layout.height or 500}
    config = {
        "displaylogo": False,
        "responsive": True,
        "modeBarButtons": [["toImage"]],
        "toImageButtonOptions": image,
    }
    body = figure.to_html(
        full_html=False, include_plotlyjs=False, config=config, div_id=f"figure-{name}"
    )
    return Markup('<figure role="group" aria-label="{}">{}</figure>').format(title, Markup(body))


@dataclass(frozen=True)
class _Section:
    """A part of a report as its template has it: `figure` is empty where there is none, or where it
    was left out."""

    title: str
    text: str
    table: str = ""
    figure: str = ""
    left_out: bool = False


def _sections(parts: Sequence[Part]) -> list[_Section]:
    """The parts without their pictures, which are put in as far as they fit."""
    return [
        _Section(part.title, part.text)
        if part.table is None
        else _Section(
            part.title, part.text, table_html(part.table, part.title), left_out=bool(part.figure)
        )
        for part in parts
    ]


def _with_pictures(
    sections: Sequence[_Section], parts: Sequence[Part], room: int
) -> list[_Section]:
    """The same with the pictures that fit into that many bytes, the first ones first."""
    filled = []
    for section, part in zip(sections, parts, strict=True):
        if section.left_out:
            drawn = figure_html(part.figure, part.slug, part.title)
            if len(drawn.encode()) <= room:
                room -= len(drawn.encode())
                section = replace(section, figure=drawn, left_out=False)
        filled.append(section)
    return filled


def _explained(words: Mapping[str, str], text: str) -> list[tuple[str, str]]:
    """The words that the text has, with what they mean."""
    used = [word for word in words if re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text)]
    return [(word, words[word]) for word in used]


def page(
    title: str,
    reports: Sequence[Report],
    parts: Sequence[Part],
    words: Mapping[str, str] | None = None,
) -> str:
    """One HTML file that asks nothing of the network.

    title: text; that of `heading` if it is empty
    reports: one to five runs that are alike
    parts: of these runs (see sdq.reporting.sections)
    words: terms, with an explanation each

    At most LIMIT bytes: pictures that would make it larger are left out and say so. UserError for
    too many runs, or unlike ones.
    """
    checked(reports)
    title = title.strip() or heading(reports)
    text = [title, SIMULATED, *(f"{p.title} {p.text}" for p in parts), csv(summary(reports))]
    values: dict[str, object] = {
        "summary": table_html(summary(reports), "The runs"),
        "simulated": SIMULATED,
        "own_recipe": not all(preset_of(r.recipe) for r in reports),
        "commands": commands(reports),
        "versions": table_html(versions(reports), "Seeds and versions"),
        "plotly": plotly.__version__,
        "recipes": [(r.recipe["name"], r.run, recipe_json(r)) for r in reports],
        "terms": _explained(words or {}, " ".join(text)),
    }
    sections = _sections(parts)
    around = len(html_of("report.html", title, True, sections=sections, **values).encode())
    sections = _with_pictures(sections, parts, LIMIT - around)
    return html_of("report.html", title, True, sections=sections, **values)
