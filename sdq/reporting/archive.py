"""One to five finished runs as files to take away, in each of EXPORTS: the page of
sdq.reporting.html, or a zip with that page, tables, recipes and, where a Chrome is found, pictures.
Imports neither streamlit nor torch."""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import io
import zipfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import pandas as pd

from sdq.io.quoting import csv
from sdq.recipe import preset_of
from sdq.reporting.html import SIMULATED, commands, heading, page, recipe_json, summary, versions
from sdq.reporting.sections import Part
from sdq.results import Report


def no_pictures() -> str | None:
    """Why SVG pictures cannot be made, as far as that is known without trying; None if they may."""
    return (
        None
        if importlib.util.find_spec("kaleido")
        else "the Python package kaleido is not installed"
    )


def pictures(parts: Sequence[Part]) -> tuple[dict[str, bytes], str | None]:
    """(SVG of each figure by its slug, None), or ({}, why there are none): kaleido draws them in a
    Chrome or Chromium of this machine."""
    try:
        kaleido = importlib.import_module("kaleido")
    except ImportError:
        return {}, "the Python package kaleido is not installed"
    shown = [(part.slug, part.figure) for part in parts if part.figure is not None]

    async def draw() -> list[bytes]:
        # asked directly, because plotly's own call lets Chrome fetch MathJax from the net; one
        # Chrome draws all
        async with kaleido.Kaleido(n=1, mathjax=False) as chrome:
            sizes = [
                {"format": "svg", "width": 900, "height": figure.layout.height or 500, "scale": 1}
                for _, figure in shown
            ]
            return [
                await chrome.calc_fig(figure, opts=size)
                for (_, figure), size in zip(shown, sizes, strict=True)
            ]

    try:
        with ThreadPoolExecutor(1) as aside:
            # a thread of its own, because the caller's may have an event loop already
            drawn = aside.submit(lambda: asyncio.run(draw())).result()
    except Exception as error:
        # no Chrome, a Chrome that does not start, a time-out: of many kinds, and none may cost the
        # zip
        first = (str(error).strip().splitlines() or [""])[0]
        return (
            {},
            f"kaleido found no Chrome or Chromium that works here ({type(error).__name__}: "
            f"{first[:200]})",
        )
    return {slug: svg for (slug, _), svg in zip(shown, drawn, strict=True)}, None


def contents(reports: Sequence[Report], parts: Sequence[Part]) -> pd.DataFrame:
    """What the zip will hold: one row per file, with columns file and holds. Pictures are listed as
    far as it is known beforehand."""
    files = [
        ("README.txt", "what is here, and how to make it again"),
        ("report.html", "everything on one page; needs no network"),
    ]
    files += [
        ("tables/runs.csv", "the runs: scores, sizes (simulated), times"),
        ("tables/versions.csv", "seeds and versions"),
    ]
    shown = [p for p in parts if p.table is not None]
    files += [(f"tables/{p.slug}.csv", f"the numbers behind: {p.title}") for p in shown]
    files += [
        (f"recipes/{r.run}.json", f"recipe {r.recipe['name']}, seed {r.recipe['seed']}")
        for r in reports
    ]
    if no_pictures() is None:
        files += [
            (f"figures/{p.slug}.svg", f"the picture: {p.title}")
            for p in shown
            if p.figure is not None
        ]
    return pd.DataFrame(files, columns=["file", "holds"])


def _readme(title: str, reports: Sequence[Report], files: Sequence[str], reason: str | None) -> str:
    lines = [
        title,
        "",
        SIMULATED,
        "",
        "What is here:",
        *(f"  {name}" for name in files),
        "",
        "To make it again, where the project lies:",
        *(f"  {c}" for c in commands(reports).splitlines()),
    ]
    if any(preset_of(r.recipe) is None for r in reports):
        lines += [
            "",
            "Enter a command that names recipes/... where this file lies, with the project on "
            "the PYTHONPATH, or copy the folder recipes there.",
        ]
    if reason:
        lines += [
            "",
            f"The pictures as SVG are left out: {reason}.",
            "To have them: pip install kaleido, install Chrome or Chromium (or run "
            "plotly_get_chrome), and make the zip again.",
            "Or open report.html and press the camera at a picture's upper right corner: it "
            "saves that picture as SVG.",
        ]
    return "\n".join(lines) + "\n"


def archive(
    title: str,
    reports: Sequence[Report],
    parts: Sequence[Part],
    words: Mapping[str, str] | None = None,
) -> bytes:
    """The zip: README.txt, report.html, tables/*.csv, recipes/*.json and, where kaleido finds a
    Chrome, figures/*.svg. Names depend on the runs only. Arguments and errors: those of
    sdq.reporting.html.page."""
    title = title.strip() or heading(reports)
    files: dict[str, str | bytes] = {"report.html": page(title, reports, parts, words)}
    files |= {
        "tables/runs.csv": csv(summary(reports)),
        "tables/versions.csv": csv(versions(reports)),
    }
    files |= {f"tables/{p.slug}.csv": csv(p.table) for p in parts if p.table is not None}
    files |= {f"recipes/{r.run}.json": recipe_json(r) for r in reports}
    drawn, reason = pictures(parts)
    files |= {f"figures/{slug}.svg": svg for slug, svg in drawn.items()}
    readme = _readme(title, reports, sorted(files), reason)
    target = io.BytesIO()
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as package:
        for name, content in {"README.txt": readme, **files}.items():
            # equal content, equal zip
            entry = zipfile.ZipInfo(name, date_time=(1980, 1, 1, 0, 0, 0))
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            package.writestr(entry, content)
    return target.getvalue()


class Export(NamedTuple):
    """A format of a report: what a button says, its media type, and what makes the file, with the
    arguments and errors of sdq.reporting.html.page."""

    label: str
    media: str
    made: Callable[[str, Sequence[Report], Sequence[Part], Mapping[str, str] | None], str | bytes]


# Ending of the file -> its format: the page Report has a button for each, `sdq.report` goes by the
# ending of its path and makes a web page of any other.
EXPORTS: dict[str, Export] = {
    "html": Export("One web page (HTML, about 5 MB)", "text/html", page),
    "zip": Export("Everything (ZIP)", "application/zip", archive),
}
