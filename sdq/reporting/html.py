"""One to five finished runs as a web page that needs no network, and the commands and tables that
tell how to make them again.

The figures are those of sdq.reporting.sections. Imports neither streamlit nor torch.
"""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Mapping, Sequence
from html import escape

import pandas as pd
import plotly
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from sdq.figures.style import INK
from sdq.io.quoting import csv
from sdq.labels import run_names, width
from sdq.recipe import preset_of
from sdq.reporting.sections import Part, checked, slug
from sdq.results import METRICS, Report

LIMIT = 10_000_000  # bytes of the web page
ROWS = 60  # rows of a table in the web page; the zip has all


def heading(reports: Sequence[Report]) -> str:
    """A title for those who give none: what was done to which model on which task."""
    methods = list(
        dict.fromkeys(
            r.method if r.method == "FP32" else f"{r.method} {width(r.recipe)}" for r in reports
        )
    )
    named = methods[0] if len(methods) == 1 else f"{', '.join(methods[:-1])} and {methods[-1]}"
    return f"{named}: the model {reports[0].model} on the task {reports[0].on}"


def stem(reports: Sequence[Report]) -> str:
    """The file name without its ending: the task and the first digits of the runs."""
    return f"sdq-{slug(reports[0].on)}-{'-'.join(r.run[:4] for r in reports)}"


def summary(reports: Sequence[Report]) -> pd.DataFrame:
    """One row per run. Scores in %, change to FP32 in points, size in 10^6 bytes (simulated, but
    for FP32), time in seconds."""
    rows, names = [], run_names(reports)
    for r in reports:
        quantized, unit = bool(r.recipe["rules"]), METRICS[r.metric]
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
                "size, MB": round(
                    r.size_bytes["quantized_simulated" if quantized else "fp32"] / 1e6, 2
                ),
                "size is": "simulated" if quantized else "of FP32 parameters",
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


_STYLE = """
body{font:16px/1.5 "Source Sans","Source Sans \
Pro",Helvetica,Arial,sans-serif;color:TEXT;background:PAPER;max-width:60rem;margin:2rem \
auto;padding:0 1rem}
h1{line-height:1.2} h2{margin-top:2.2rem;border-top:1px solid GRID;padding-top:1rem} \
figure{margin:0}
.wide{overflow-x:auto} table{border-collapse:collapse;font-size:.85rem} th,td{padding:.2rem \
.6rem;border-bottom:1px solid GRID;text-align:left;vertical-align:top}
pre{background:#f3f5f8;padding:.8rem;white-space:pre-wrap;overflow-wrap:anywhere;font-size:.85rem} \
.quiet{color:QUIET;font-size:.9rem}
@page{margin:15mm}
@media print{body{max-width:none;margin:0;padding:0;font-size:10.5pt} h2{break-after:avoid} \
figure,tr,dt{break-inside:avoid} .wide{overflow:visible}
 table{font-size:7.5pt} th,td{padding:.1rem .25rem;overflow-wrap:anywhere} pre{font-size:8pt} \
.modebar-container{display:none}}
"""
# pictures take the width of the sheet while printing, and that of the window again afterwards
_PRINTING = """
const pictures = (change) => document.querySelectorAll(".plotly-graph-div").forEach((at) => \
Plotly.relayout(at, change));
addEventListener("beforeprint", () => pictures({width: 670, autosize: false}));
addEventListener("afterprint", () => pictures({width: null, autosize: true}));
"""
SIMULATED = (
    "Quantization is simulated (fake quantization): numbers are rounded to the values integers "
    "could hold and computed in floating point. The scores are real, the sizes are simulated: "
    "what codes and scales would take. Nothing here is faster."
)


def _style() -> str:
    ink = INK["light"]
    return (
        _STYLE.replace("TEXT", ink.text)
        .replace("PAPER", ink.paper)
        .replace("GRID", ink.grid)
        .replace("QUIET", ink.quiet)
    )


def table_html(
    table: pd.DataFrame, title: str, rows: int = ROWS, rest: str = "the zip has all"
) -> str:
    """A table for a page of `offline`.

    table: any columns
    title: what screen readers call it
    rows: how many of its rows are shown, from the first
    rest: where the others are, in words
    """
    with pd.option_context("display.max_colwidth", None):  # otherwise long names are cut
        body = table.head(rows).to_html(
            index=False, border=0, na_rep="", escape=True, float_format=lambda value: f"{value:.4g}"
        )
    more = (
        f'<p class="quiet">The first {rows} of {len(table)} rows; {rest}.</p>'
        if len(table) > rows
        else ""
    )
    return (
        f'<div class="wide" role="region" tabindex="0" '
        f'aria-label="{escape(title)}">{body}</div>{more}'
    )


def figure_html(figure: go.Figure, name: str, title: str) -> str:
    """A picture for a page of `offline`.

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
    return f'<figure role="group" aria-label="{escape(title)}">{body}</figure>'


def offline(title: str, body: str, drawn: bool = True) -> str:
    """A web page that asks nothing of the network.

    title: text, escaped here
    body: HTML
    drawn: whether it has pictures, and so carries plotly along (5 MB)
    """
    script = (
        f"<script>window.PlotlyConfig = {{MathJaxConfig: "
        f'"local"}};</script><script>{get_plotlyjs()}</script>'
        if drawn
        else ""
    )
    without = (
        "<noscript><p>The pictures need JavaScript. Every number in them is in the table below "
        "it.</p></noscript>"
        if drawn
        else ""
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, \
initial-scale=1">
<title>{escape(title)}</title><style>{_style()}</style>
{script}</head>
<body><h1>{escape(title)}</h1>{without}
{body}
{f"<script>{_PRINTING}</script>" if drawn else ""}</body></html>
"""


def _sections(found: Sequence[Part], room: int) -> str:
    """The figures with their sentences and tables; a figure that would take more than the bytes
    that are left says so instead."""
    out = []
    for part in found:
        out.append(f"<h2>{escape(part.title)}</h2><p>{escape(part.text)}</p>")
        if part.table is None:
            continue
        drawn = "" if part.figure is None else figure_html(part.figure, part.slug, part.title)
        if len(drawn.encode()) > room:
            drawn = (
                '<p class="quiet">The picture would make this page too large; its numbers '
                "follow.</p>"
            )
        room -= len(drawn.encode())
        out.append(f"{drawn}{table_html(part.table, part.title)}")
    return "\n".join(out)


def _explained(words: Mapping[str, str], text: str) -> str:
    used = [word for word in words if re.search(rf"(?<![\w-]){re.escape(word)}(?![\w-])", text)]
    entries = "".join(
        f"<dt><b>{escape(word)}</b></dt><dd>{escape(words[word])}</dd>" for word in used
    )
    return f"<h2>What the words mean</h2><dl>{entries}</dl>" if used else ""


def page(
    title: str,
    reports: Sequence[Report],
    found: Sequence[Part],
    words: Mapping[str, str] | None = None,
) -> str:
    """One HTML file that asks nothing of the network.

    title: text; that of `heading` if it is empty
    reports: one to five runs that are alike
    found: their parts (see sdq.reporting.sections)
    words: terms, with an explanation each

    At most LIMIT bytes: pictures that would make it larger are left out and say so. UserError for
    too many runs, or unlike ones.
    """
    checked(reports)
    title = title.strip() or heading(reports)
    recipes = "".join(
        f"<h3>{escape(r.recipe['name'])}, run "
        f"{escape(r.run)}</h3><pre>{escape(recipe_json(r))}</pre>"
        for r in reports
    )
    own_recipe = (
        ""
        if all(preset_of(r.recipe) for r in reports)
        else " A recipe without a name is read from a file: save it from below, or take it from "
        "the zip."
    )
    rest = f"""<h2>How to make it again</h2><p>Enter these where the project lies. The same \
engine, model and data give the same run ids.{own_recipe}</p>
<pre>{escape(commands(reports))}</pre>
<h2>Seeds and versions</h2>{table_html(versions(reports), "Seeds and versions")}<p \
class="quiet">Drawn with plotly {escape(plotly.__version__)}.</p>
<h2>Recipes</h2>{recipes}"""
    first = f"<h2>The runs</h2>{table_html(summary(reports), 'The runs')}<p>{SIMULATED}</p>"
    terms = _explained(
        words or {},
        " ".join(
            [title, SIMULATED, *(f"{p.title} {p.text}" for p in found), csv(summary(reports))]
        ),
    )
    around = len((first + rest + terms).encode())
    tables = sum(len(table_html(p.table, p.title).encode()) for p in found if p.table is not None)
    sections = _sections(found, LIMIT - len(get_plotlyjs().encode()) - around - tables - 100_000)
    return offline(title, f"{first}\n{sections}\n{rest}\n{terms}")
