"""The pictures of what was measured inside a run, by analysis (sdq.inspection.storage) and by table
of the run itself (sdq.store).

A picture is added by one line in PICTURES.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache

import pandas as pd

from sdq.data.registry import load_task, task_fingerprint
from sdq.data.task import joined
from sdq.figures import (
    activations,
    attribution,
    channels,
    conductance,
    depth,
    depth_rows,
    dimensions,
    disagreement,
    estimates,
    examples,
    flips,
    mismatch,
    module_scan,
    odds,
    outliers,
    remedies,
    sensitivity,
    tensors,
    weight_histograms,
    weights,
    why,
    widths,
)
from sdq.figures.style import MARKS, Theme
from sdq.figures.weights import Picture
from sdq.inspection.remedies import choice_at
from sdq.labels import width
from sdq.results import METRICS, Report
from sdq.settings import UserError

Tables = Mapping[str, pd.DataFrame]
Draw = Callable[[Tables, Report, Theme], Picture | None]


def _most_distorted(table: pd.DataFrame) -> str:
    """The module whose values are rounded worst: of lowest SQNR; the first one where nothing is
    rounded."""
    rows = table.dropna(subset=["sqnr_db"]) if "sqnr_db" in table else table[:0]
    return str((rows.loc[rows["sqnr_db"].idxmin()] if len(rows) else table.iloc[0])["module"])


def _map(tables: Tables, report: Report, theme: Theme) -> Picture:
    table = tables["weights"]
    figure, rows, text = weights.modules_picture(table, "SQNR", _most_distorted(table), theme)
    return (
        figure,
        rows,
        f"{weights.reading(table, f'{width(report.recipe)} by {report.method}')} {text}",
    )


def _histogram(tables: Tables, report: Report, theme: Theme) -> Picture:
    return weight_histograms.histogram_picture(
        tables["weights"], _most_distorted(tables["weights"]), report.method, True, theme
    )


def _channels(tables: Tables, report: Report, theme: Theme) -> Picture:
    return channels.channels_picture(
        tables["weights"], _most_distorted(tables["weights"]), True, theme
    )


def _flowing(tables: Tables, report: Report, theme: Theme) -> Picture:
    table = tables["activations"]
    layer, home = _most_distorted(table), report.labelled
    return activations.histogram_picture(
        table, layer, [home, *activations.compared(table, layer, home)], home, True, theme
    )


def _distorted(tables: Tables, report: Report, theme: Theme) -> Picture | None:
    return activations.sqnr_picture(
        tables["activations"], _most_distorted(tables["activations"]), report.labelled, theme
    )


def _units(tables: Tables, report: Report, theme: Theme) -> Picture:
    return dimensions.dimension_picture(
        tables["profiles"], _most_distorted(tables["activations"]), theme
    )


def _positions(tables: Tables, report: Report, theme: Theme) -> Picture | None:
    return activations.position_picture(
        tables["profiles"], _most_distorted(tables["activations"]), theme
    )


def _through_depth(view: str, error: str) -> Draw:
    def draw(tables: Tables, report: Report, theme: Theme) -> Picture:
        floors = {report.run: tables["floor"]} if "floor" in tables else {}
        return depth.draw(
            view,
            [report],
            {report.run: tables["depth"]},
            "relative_l2",
            error,
            depth_rows.EVERY,
            report.run,
            theme,
            floors,
        )

    return draw


def _modules(view: str) -> Draw:
    def draw(tables: Tables, report: Report, theme: Theme) -> Picture:
        return module_scan.modules_picture(
            tables["sensitivity"], tables["floor"], "KL", view, method=report.method, theme=theme
        )

    return draw


def _estimated(tables: Tables, report: Report, theme: Theme) -> Picture:
    return estimates.estimate_picture(
        tables["sensitivity"],
        tables["estimate"],
        tables["floor"],
        method=report.method,
        theme=theme,
    )


def _parts(tables: Tables, report: Report, theme: Theme) -> Picture:
    return tensors.parts_picture(
        tables["parts"], tables["floor"], "KL", method=report.method, theme=theme
    )


def _outliers(tables: Tables, report: Report, theme: Theme) -> Picture | None:
    return outliers.units_picture(tables["why"], theme)


def _clipped(tables: Tables, report: Report, theme: Theme) -> Picture | None:
    return mismatch.clipped_picture(tables["mismatch"], theme)


def _damped(tables: Tables, report: Report, theme: Theme) -> Picture | None:
    return why.damping_picture(tables["why"], theme)


def _drift(tables: Tables, report: Report, theme: Theme) -> Picture:
    return attribution.drift_picture(tables["drift"], report.method, theme)


def _flowing_through(level: str) -> Draw:
    def draw(tables: Tables, report: Report, theme: Theme) -> Picture:
        return conductance.picture(tables["conductance"], "kl", "all", level, theme)

    return draw


def _widths(tables: Tables, report: Report, theme: Theme) -> Picture:
    """What the front chooses at the run's own size."""
    front = tables["pareto"]
    nearest = front.iloc[
        int((front["bytes"] - report.size_bytes["quantized_simulated"]).abs().argmin())
    ]
    return widths.widths_picture(
        choice_at(nearest.to_dict(), tables["costs"]), tables["costs"], theme
    )


def _remedies(tables: Tables, report: Report, theme: Theme) -> Picture:
    return remedies.picture(
        report, remedies.table(report, tables["remedies"], tables["costs"]), tables["pareto"], theme
    )


@lru_cache(maxsize=2)
def _texts(task: str, content: str) -> pd.DataFrame:
    """The test sentences of a task: id, language, text, gold, words (joined by tabs; empty for
    tasks with one label a sentence)."""
    data = load_task(task, "test")
    rows = [
        (
            e.id,
            e.language,
            e.text,
            " ".join(e.targets),
            joined(e.words) if data.kind == "token" else "",
        )
        for e in data.examples("test")
    ]
    return pd.DataFrame(rows, columns=["id", "language", "text", "gold", "words"])


def _pairs(tables: Tables, report: Report) -> pd.DataFrame:
    """What FP32 and the run answered to each test sentence."""
    texts = _texts(report.task, task_fingerprint(report.task))  # of a task that is here
    return examples.pair(tables["reference"], tables["sentences"], texts)


def _changed(tables: Tables, report: Report, theme: Theme) -> Picture:
    # it counts words where words have tags, the picture sentences
    floor = (
        flips.floor_of(tables["floor"])
        if "floor" in tables and not METRICS[report.metric].of_words
        else None
    )
    return flips.language_picture(_pairs(tables, report), report.method, theme, None, floor)


def _matrix(tables: Tables, report: Report, theme: Theme) -> Picture:
    return disagreement.matrix_picture(
        disagreement.matrix(disagreement.positions(_pairs(tables, report))), report.method, theme
    )


def _odds(tables: Tables, report: Report, theme: Theme) -> Picture:
    return odds.odds_picture(
        odds.odds({report.method: _pairs(tables, report)}),
        {report.method: MARKS[report.method]},
        theme,
    )


# name of an analysis or of a table of the run -> its pictures
PICTURES: dict[str, tuple[Draw, ...]] = {
    "weights": (_map, _histogram, _channels),
    "activations": (_flowing, _distorted),
    "profiles": (_units, _positions),
    "depth": (
        _through_depth("Blocks", "accumulated"),
        _through_depth("Roles", "local"),
        _through_depth("Languages", "accumulated"),
    ),
    "sentences": (_changed, _matrix, _odds),
    "sensitivity": tuple(_modules(view) for view in sensitivity.VIEWS),
    "estimate": (_estimated,),
    "parts": (_parts,),
    "why": (_outliers, _clipped, _damped),
    "costs": (_widths,),
    "remedies": (_remedies,),
    "attribution": (_drift,),
    "conductance": (_flowing_through("block"), _flowing_through("module")),
}


def pictures(name: str, tables: Tables, report: Report, theme: Theme = "light") -> list[Picture]:
    """(figure, table, what it shows) of an analysis or a table of the run, as far as these tables
    allow."""
    drawn = []
    for draw in PICTURES.get(name, ()):
        try:
            picture = draw(tables, report, theme)
        except (
            UserError,
            KeyError,
            IndexError,
            ValueError,
        ):
            # a table that is missing, or has nothing to draw
            continue
        if picture is not None:
            drawn.append(picture)
    return drawn
