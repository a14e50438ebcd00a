"""What rounding did to the weights, module by module.

`table` holds the numbers of all modules, `reading` says them in words. Each picture comes as
(figure, table behind it, sentence). Value by value: sdq.figures.weight_histograms; per channel:
sdq.figures.channels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import plotly.graph_objects as go

from sdq.figures.maps import WORSE, module_map
from sdq.figures.style import INK, Theme, mixed
from sdq.labels import module_label
from sdq.results import NO_ERROR_DB
from sdq.settings import UserError

Picture = tuple[go.Figure, pd.DataFrame, str]


@dataclass(frozen=True)
class Measure:
    """A column of `table` that the map can show: its heading with the unit, and which direction is
    better."""

    column: str
    higher_is_better: bool


MEASURES = {
    "SQNR": Measure("SQNR, dB", True),
    "MSE": Measure("MSE, ×10⁻⁶", False),
    "Clipped": Measure("clipped, %", False),
    "Codes": Measure("codes used, %", True),
    "Range": Measure("largest / typical weight", False),
}


def nearest(layer: str | None, modules: Sequence[str]) -> str | None:
    """The module that a layer selected on any page stands for: itself, the reader of "name:input",
    the first one inside a block; None if there is none."""
    wanted = (layer or "").removesuffix(":input")
    return (
        next((m for m in modules if m == wanted or m.startswith(f"{wanted}.")), None)
        if wanted
        else None
    )


def label_of(row: Any) -> str:
    """The label of a row with module, role and block."""
    return module_label(row["module"], row["role"], int(row["block"]))


def find(rows: pd.DataFrame, layer: str) -> Any:
    """The row of a module. UserError if there is none."""
    matches = rows[rows["module"] == layer]
    if matches.empty:
        raise UserError(
            f"layer must be one of the {len(rows)} modules of this run, got {layer[:80]!r}; choose "
            "one from the list"
        )
    return matches.iloc[0]


def quantized(row: Any) -> bool:
    """Whether the weight of this row was rounded."""
    return bool(row["bits"] < 32)


def _crest(row: Any) -> float:
    """Largest |weight| over their rms: exact where an SQNR is known, else from the histogram
    (Sheppard's correction)."""
    reach, sqnr = max(abs(row["low"]), abs(row["high"])), row.get("sqnr_db", math.nan)
    if sqnr < NO_ERROR_DB and row["mse"] > 0:
        square = row["mse"] * 10 ** (sqnr / 10)
    else:
        counts = np.asarray(row["fp32"], dtype=float)
        width = (row["high"] - row["low"]) / len(counts)
        centres = row["low"] + (np.arange(len(counts)) + 0.5) * width
        square = (counts * centres**2).sum() / counts.sum() - width**2 / 12
    return float(reach / math.sqrt(square)) if square > 0 else math.nan


def table(weights: pd.DataFrame) -> pd.DataFrame:
    """One row per module, in forward order: layer (in words), bits, the columns of MEASURES (NaN
    where nothing was rounded), scales stored."""

    def column(name: str, times: float = 1.0) -> Any:
        return (
            times * weights[name].astype(float)
            if name in weights
            else pd.Series(math.nan, weights.index)
        )

    return pd.DataFrame(
        {
            "module": weights["module"],
            "layer": [label_of(row) for _, row in weights.iterrows()],
            "role": weights["role"],
            "block": weights["block"],
            "weights": weights["rows"] * weights["columns"],
            "bits": weights["bits"].astype(int),
            "SQNR, dB": column("sqnr_db"),
            "MSE, ×10⁻⁶": column("mse", 1e6),
            "clipped, %": column("clipped", 100),
            "codes used, %": 100 * column("codes_used") / column("codes"),
            "scales stored": column("ranges"),
            "largest / typical weight": [_crest(row) for _, row in weights.iterrows()],
        }
    )


def error_share(db: float) -> str:
    """An SQNR as the size of the error: "23 %" of what was rounded."""
    share = 0.0 if db >= NO_ERROR_DB else 100 * 10 ** (-db / 20)
    return f"{share:.0f} %" if share >= 9.95 else f"{share:.2g} %"


def _db(db: float) -> str:
    return "no error" if db >= NO_ERROR_DB else f"{db:.1f} dB"


def reading(weights: pd.DataFrame, run: str) -> str:
    """What happened to all modules, with the worst by name. `run` is the run in words, as "W3A8 by
    PTQ"."""
    rows = table(weights)
    rounded = rows.dropna(subset=["SQNR, dB"])
    if rounded.empty:
        widest = rows.loc[rows["largest / typical weight"].idxmax()]
        return (
            f"Nothing is rounded in this FP32 run. The hardest to round of its {len(rows)} modules "
            f"would be {widest['layer']}: its largest weight is "
            f"{widest['largest / typical weight']:.1f} times the typical one (rms), and one range "
            "must cover both."
        )
    by = rounded["SQNR, dB"]
    worst, best = rounded.loc[by.idxmin()], rounded.loc[by.idxmax()]
    text = (
        f"{run} hurts the weights of {worst['layer']} most: SQNR {_db(by.min())}, so the rounding "
        f"error is {error_share(by.min())} as large as"
    )
    text += " the weights themselves."
    if len(rounded) > 1:
        text += (
            f" The median of the {len(rounded)} rounded modules is {_db(by.median())} "
            f"({error_share(by.median())}),"
        )
        text += f" the best, {best['layer']}, is at {_db(by.max())}."
    left = len(rows) - len(rounded)
    return text + (
        f" {left} modules stay in FP32." if left > 1 else " 1 module stays in FP32." if left else ""
    )


def _squared(mse: float) -> str:
    return f"{mse:.4f}" if mse >= 9.995e-4 else f"{1e6 * mse:.3g} ×10⁻⁶"


def headline(weights: pd.DataFrame, layer: str) -> list[tuple[str, str, str]]:
    """(label, value with unit, explanation) of the numbers to show large for one module."""
    row = find(weights, layer)
    if not quantized(row):
        reach = max(abs(row["low"]), abs(row["high"]))
        return [
            ("Bits", "32", "Not rounded."),
            ("Largest weight", f"{reach:.3g}", "In absolute value."),
        ]
    numbers = [
        (
            "MSE",
            _squared(row["mse"]),
            "Mean squared error: the mean over the weights of (rounded − exact)². Lower is better.",
        ),
        (
            "SQNR",
            _db(row["sqnr_db"]),
            "Signal-to-quantization-noise ratio: power of the weights over power of their "
            "rounding errors. Every 6 dB more halves the error.",
        ),
        (
            "Clipped",
            f"{100 * row['clipped']:.3g} %",
            "Share of the weights outside the range that the codes cover; they are set to its end.",
        ),
        (
            "Codes used",
            f"{row['codes_used']:.3g} of {int(row['codes'])}",
            "How many of the possible integers occur; the mean, if there are several scales.",
        ),
    ]
    if row["ranges"] > 1:
        kind = {
            "channel": "One per output channel",
            "group": "One per group of neighbouring weights",
        }.get(row["granularity"], "Several")
        numbers.append(
            (
                "Scales stored",
                f"{int(row['ranges']):,}",
                f"{kind}: the steps between neighbouring values, stored with the codes.",
            )
        )
    return numbers


def _short(value: float, measure: str) -> str:
    """A number that fits into a cell."""
    if math.isnan(value):
        return "FP32"
    if measure == "SQNR":
        return "exact" if value >= NO_ERROR_DB else f"{value:.1f}"
    if value >= 100:
        return f"{value:.0f}"
    return "<.001" if 0 < value < 0.001 else f"{value:.2g}" if value < 10 else f"{value:.1f}"


def _shares(values: pd.Series, measure: str) -> list[float]:
    """How bad each value is among them, 0 best to 1 worst; NaN where there is none."""
    finite = values.where(values < NO_ERROR_DB) if measure == "SQNR" else values
    low, high = finite.min(), finite.max()
    if not high > low:
        return [math.nan if math.isnan(v) else 0.0 for v in values]
    shares = (finite - low) / (high - low)
    shares = 1 - shares if MEASURES[measure].higher_is_better else shares
    return list(shares.where(finite.notna(), values.where(values.isna(), 0.0)))


def modules_picture(
    weights: pd.DataFrame, measure: str, layer: str, theme: Theme = "light"
) -> Picture:
    """A map: blocks down, roles across, one cell with its number per module; each cell carries its
    module's name as customdata. `layer` is outlined."""
    rows = table(weights)
    find(rows, layer)
    column, ink = MEASURES[measure].column, INK[theme]
    paints = [
        (ink.paper, ink.quiet) if math.isnan(share) else mixed(*WORSE[theme], share)
        for share in _shares(rows[column], measure)
    ]
    texts = [_short(value, measure) for value in rows[column]]
    hover = [f"{name}<br>{column}: {text}" for name, text in zip(rows["layer"], texts, strict=True)]
    figure = module_map(
        rows, texts, paints, hover, f"{column}<br>stronger colour: worse", theme, layer
    )
    rounded = rows.dropna(subset=[column])
    if rounded.empty:
        return (
            figure,
            rows,
            f"Nothing is rounded in this run, so no module has a value for {column}.",
        )
    low, high = rounded.loc[rounded[column].idxmin()], rounded.loc[rounded[column].idxmax()]
    text = (
        f"{column}: lowest at {low['layer']} ({_short(low[column], measure)}), highest at "
        f"{high['layer']} ({_short(high[column], measure)})."
    )
    return (
        figure,
        rows,
        f"{text} {'Higher' if MEASURES[measure].higher_is_better else 'Lower'} is better.",
    )
