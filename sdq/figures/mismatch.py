"""What calibration clips per language, and what calibrating on all languages would recover."""

from __future__ import annotations

import pandas as pd
import plotly.graph_objects as go

from sdq.figures.axes import value_axis
from sdq.figures.style import INK, LEGEND, MARKS, Theme, template
from sdq.figures.weights import Picture
from sdq.labels import language_name, nats, share


def clipped_picture(mismatch: pd.DataFrame, theme: Theme = "light") -> Picture | None:
    """Share of the inputs outside the static ranges, per language: as calibrated, and calibrated on
    all languages. None without static ranges."""
    rows = _clipped_table(mismatch)
    if rows.empty:
        return None
    figure = go.Figure()
    for row in rows.to_dict("records"):
        figure.add_scatter(
            x=[row["as calibrated, %"], row["on all languages, %"]],
            y=[row["language"]] * 2,
            mode="lines",
            line={"color": INK[theme].quiet, "width": 1},
            hoverinfo="skip",
            showlegend=False,
        )
    for column, name, mark in (
        ("as calibrated, %", "as calibrated", MARKS["PTQ"]),
        ("on all languages, %", "calibrated on all languages", MARKS["FP32"]),
    ):
        figure.add_scatter(
            x=rows[column],
            y=rows["language"],
            mode="markers",
            name=name,
            marker={"symbol": mark.symbol, "size": 10, "color": mark.colour(theme)},
            hovertext=[
                f"{r['language']}<br>{name}: {share(r[column] / 100)} clipped"
                for r in rows.to_dict("records")
            ],
            hoverinfo="text",
        )
    figure.update_layout(
        template=template(theme),
        height=25 * max(3, len(rows)) + 116,
        margin={"l": 150, "r": 14, "t": 8, "b": 90},
        hovermode="closest",
        legend=LEGEND,
        xaxis=value_axis(
            "Inputs outside the range, % (lower is better)", rangemode="tozero", nticks=6
        ),
        yaxis={
            "categoryorder": "array",
            "categoryarray": list(rows["language"])[::-1],
            "fixedrange": True,
        },
    )
    return figure, rows, mismatch_reading(mismatch)


def _clipped_table(mismatch: pd.DataFrame) -> pd.DataFrame:
    """One row per language, what clips most first: language, clipped and KL as calibrated and on
    all languages, and what that costs with its interval."""
    each = mismatch[mismatch["language"] != "all"].sort_values(
        "clipped", ascending=False, ignore_index=True
    )
    names = [
        language_name(code) + (" (calibrated)" if own else "")
        for code, own in zip(each["language"], each["calibrated"], strict=True)
    ]
    return pd.DataFrame(
        {
            "language": names,
            "as calibrated, %": 100 * each["clipped"],
            "on all languages, %": 100 * each["clipped_alike"],
            "KL as calibrated, nats": each["kl"],
            "KL on all, nats": each["kl_alike"],
            "cost, nats": each["cost"],
            "cost, low": each["cost_low"],
            "cost, high": each["cost_high"],
        }
    )


def mismatch_reading(mismatch: pd.DataFrame) -> str:
    """What the choice of the calibration's languages costs, in two sentences."""
    if mismatch.empty:
        return (
            "Ranges are dynamic, taken from each token or batch: there are no static ranges that "
            "calibration could fit to one language only."
        )
    whole, each = (
        mismatch[mismatch["language"] == "all"].iloc[0],
        mismatch[mismatch["language"] != "all"],
    )
    worst, own = each.loc[each["clipped"].idxmax()], each[each["calibrated"]]
    on = (
        " and ".join(language_name(code) for code in own["language"])
        if len(own) <= 3
        else f"{len(own)} languages"
    )
    text = (
        f"Calibrated on {on}, the ranges clip {share(whole['clipped'])} of all inputs, "
        f"{share(worst['clipped'])} in {language_name(worst['language'])}; "
    )
    text += f"calibrated on all languages, {share(whole['clipped_alike'])}. "
    bounds = f"95 % interval {nats(whole['cost_low'])} to {nats(whole['cost_high'])}"
    if whole["cost_low"] > 0:
        return (
            f"{text}That costs {nats(whole['cost'])} of the {nats(whole['kl'])} nats of KL "
            f"({bounds}), which calibrating on all languages would recover."
        )
    return (
        f"{text}On {whole['sentences']} sentences the cost cannot be distinguished from chance: "
        f"{nats(whole['cost'])} nats ({bounds})."
    )
