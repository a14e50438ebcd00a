"""Why modules break: the hidden units that stand out, layer by layer; what calibration clips per
language; how LayerNorms damp errors.

Draws the tables "why" and "mismatch" (sdq.inspection.root_causes). Each picture comes as (figure,
table behind it, sentence).
"""

from __future__ import annotations

import math
from typing import Any

import pandas as pd
import plotly.graph_objects as go

from sdq.figures.style import INK, LEGEND, MARKS, Theme, template
from sdq.figures.weights import Picture
from sdq.inspection.reasons import CAUSES, FAR, described, reason, removed
from sdq.labels import language_name, module_label, nats, share

_SHARED = ("k", "v")  # they read the input of "q"


def modules(why: pd.DataFrame) -> pd.DataFrame:
    """One row per quantized module: module, role, block, kl (nats; missing where no cause was
    removed), the worst first, then in forward order."""
    rows = why[why["role"] != "layernorm"].drop_duplicates("module")[
        ["module", "role", "block", "kl"]
    ]
    return rows.sort_values(
        "kl", ascending=False, na_position="last", kind="stable", ignore_index=True
    )


# --- one module


def causes_table(why: pd.DataFrame, layer: str) -> pd.DataFrame:
    """What stands out in a module: cause (in words); where it was removed: wins (nats), share (of
    the module's KL, %), its 95 % interval low, high and removed (how); value, usual, unit, at ("":
    no single place). Those that win most first."""
    rows = why[why["module"] == layer].sort_values(
        "gain", ascending=False, na_position="last", kind="stable"
    )
    found = pd.DataFrame(
        {
            "cause": [
                described(row) if row["cause"] in CAUSES else _SYMPTOMS[row["cause"]]
                for row in rows.to_dict("records")
            ]
        }
    )
    found["wins, nats"], found["share of the KL, %"] = (
        list(rows["gain"]),
        list(100 * rows["gain"] / rows["kl"]),
    )
    found["low"], found["high"] = list(rows["gain_low"]), list(rows["gain_high"])
    found["removed"] = [
        "" if math.isnan(row["gain"]) else removed(row) for row in rows.to_dict("records")
    ]
    for name in ("value", "usual", "unit"):
        found[name] = list(rows[name])
    found["at"] = ["" if at < 0 else str(at) for at in rows["at"]]
    return found


_SYMPTOMS = {
    "wide_language": "range of the inputs in the language that needs the widest, and in the "
    "median language",
    "heavy_tails": "kurtosis of the inputs (3: normal distribution), here and in the median module",
    "unused_inputs": "share of the input codes that never occur, here and in the median module",
    "unused_weights": "share of the weight codes that never occur, here and in the median module",
}


def reading(why: pd.DataFrame, layer: str) -> str:
    """Why a module breaks, in a sentence or two with numbers."""
    rows = why[why["module"] == layer]
    name = module_label(layer, rows.iloc[0]["role"], int(rows.iloc[0]["block"]))
    tried = rows[rows["gain"].notna()]
    if tried.empty:
        worst = int(modules(why)["kl"].notna().sum())
        return (
            f"{name[:1].upper()}{name[1:]} is not among the {worst} modules that break the answers "
            "most, so none of its causes was removed."
        )
    kl = float(tried.iloc[0]["kl"])
    text = f"{name[:1].upper()}{name[1:]} alone moves the answers by a KL of {nats(kl)} nats"
    if (cause := reason(rows)) is None:
        return f"{text}. None of the {len(tried)} causes that were removed explains half of that."
    won, done = share(min(1.0, cause["gain"] / kl)), removed(cause)
    return (
        f"{text}: {described(cause)}. {done[:1].upper()}{done[1:]} it is {nats(cause['gain'])} "
        f"nats less, {won} of it."
    )


# --- which units, in which layers


def units(why: pd.DataFrame) -> pd.DataFrame:
    """One row per outlier unit and input: layer (whose input), module, block, hidden unit, largest
    |x|, median unit, times, beyond (FAR times), made by, language. Query, key and value share their
    input and count once."""
    mine = why[(why["cause"] == "outlier_unit")]
    asked = set(zip(mine["block"], mine["role"], strict=True))
    mine = mine[
        [
            role not in _SHARED or (block, "q") not in asked
            for role, block in zip(mine["role"], mine["block"], strict=True)
        ]
    ]
    found = pd.DataFrame({"layer": [_reader(row) for row in mine.to_dict("records")]})
    for name, column in (
        ("module", "module"),
        ("block", "block"),
        ("hidden unit", "at"),
        ("largest |x|", "value"),
        ("median unit", "usual"),
    ):
        found[name] = list(mine[column])
    found["times"] = found["largest |x|"] / found["median unit"].where(found["median unit"] > 0)
    found["beyond"] = found["times"] > FAR
    return found.assign(
        **{
            "made by": list(mine["source"]),
            "language": [language_name(code) for code in mine["language"]],
        }
    )


def _reader(row: dict[str, Any]) -> str:
    if row["role"] == "q":
        return f"block {row['block']} · query, key, value"
    return module_label(row["module"], row["role"], int(row["block"]))


def units_picture(why: pd.DataFrame, theme: Theme = "light") -> Picture | None:
    """Hidden units whose largest input stands out, one line per layer in forward order; the larger
    the dot, the farther. None where no input is rounded. customdata is the module."""
    rows = units(why)
    if rows.empty:
        return None
    ink, layers = INK[theme], list(dict.fromkeys(rows["layer"]))
    figure = go.Figure()
    for beyond, name, symbol in (
        (True, f"beyond {FAR:g} × the median unit", "circle"),
        (False, "the largest of its layer, not so far", "circle-open"),
    ):
        part = rows[rows["beyond"] == beyond]
        if part.empty:
            continue
        hover = [
            f"{r.layer}<br>unit {r[4]}: {r.times:.1f} × the median unit<br>largest in {r.language}"
            for r in part.itertuples()
        ]
        size = [min(26.0, 4 + 4 * times**0.5) for times in part["times"].fillna(1)]
        figure.add_scatter(
            x=part["hidden unit"],
            y=part["layer"],
            mode="markers",
            name=name,
            hovertext=hover,
            hoverinfo="text",
            customdata=[[m] for m in part["module"]],
            marker={
                "symbol": symbol,
                "size": size,
                "color": MARKS["PTQ"].colour(theme),
                "line": {"width": 1.5, "color": MARKS["PTQ"].colour(theme)},
            },
            unselected={"marker": {"opacity": 1}},
        )
    far = (
        rows.loc[rows.groupby("layer", sort=False)["times"].idxmax()]
        if rows["times"].notna().all()
        else rows[:0]
    )
    figure.add_scatter(
        x=far["hidden unit"],
        y=far["layer"],
        mode="text",
        text=[f"{r[4]}: {r.times:.0f}×" for r in far.itertuples()],
        textposition="middle right",
        textfont={"color": ink.text, "size": 12},
        hoverinfo="skip",
        showlegend=False,
        cliponaxis=False,
    )
    widest = float(rows["hidden unit"].max())
    figure.update_layout(
        template=template(theme),
        height=26 * len(layers) + 130,
        margin={"l": 150, "r": 14, "t": 8, "b": 96},
        hovermode="closest",
        legend=LEGEND,
        xaxis={
            "title": {"text": "Number of the hidden unit", "standoff": 6},
            "range": [-0.04 * widest - 1, 1.22 * widest + 1],
            "nticks": 6,
            "fixedrange": True,
        },
        yaxis={
            "categoryorder": "array",
            "categoryarray": layers[::-1],
            "fixedrange": True,
            "range": [-0.7, len(layers) - 0.3],
        },
    )
    return figure, rows, _units_reading(rows, len(layers))


def _units_reading(rows: pd.DataFrame, layers: int) -> str:
    first, beyond = rows.loc[rows["times"].fillna(0).idxmax()], rows[rows["beyond"]]
    text = (
        f"In {beyond['layer'].nunique()} of {layers} inputs a hidden unit reaches beyond {FAR:g} "
        f"times the median unit; farthest is unit {first['hidden unit']} "
    )
    text += f"at the input of {first['layer']}, {first['times']:.1f} times"
    return f"{text}, made by {first['made by']}." if first["made by"] else f"{text}."


# --- what calibration costs


def clipped_picture(mismatch: pd.DataFrame, theme: Theme = "light") -> Picture | None:
    """Share of the inputs outside the static ranges, per language: as calibrated, and calibrated on
    all languages alike. None without static ranges."""
    mine = mismatch[mismatch["language"] != "all"].sort_values(
        "clipped", ascending=False, ignore_index=True
    )
    if mine.empty:
        return None
    names = [
        language_name(code) + (" (calibrated)" if own else "")
        for code, own in zip(mine["language"], mine["calibrated"], strict=True)
    ]
    rows = pd.DataFrame(
        {
            "language": names,
            "as calibrated, %": 100 * mine["clipped"],
            "on all languages, %": 100 * mine["clipped_alike"],
        }
    )
    rows["KL as calibrated, nats"], rows["KL on all, nats"] = mine["kl"], mine["kl_alike"]
    rows["cost, nats"], rows["cost, low"], rows["cost, high"] = (
        mine["cost"],
        mine["cost_low"],
        mine["cost_high"],
    )
    ink, figure = INK[theme], go.Figure()
    for row in rows.to_dict("records"):
        ends = [row["as calibrated, %"], row["on all languages, %"]]
        figure.add_scatter(
            x=ends,
            y=[row["language"]] * 2,
            mode="lines",
            line={"color": ink.quiet, "width": 1},
            hoverinfo="skip",
            showlegend=False,
        )
    for column, name, mark in (
        ("as calibrated, %", "as calibrated", MARKS["PTQ"]),
        ("on all languages, %", "on all languages alike", MARKS["FP32"]),
    ):
        hover = [
            f"{r['language']}<br>{name}: {share(r[column] / 100)} clipped"
            for r in rows.to_dict("records")
        ]
        marker = {"symbol": mark.symbol, "size": 10, "color": mark.colour(theme)}
        figure.add_scatter(
            x=rows[column],
            y=rows["language"],
            mode="markers",
            name=name,
            marker=marker,
            hovertext=hover,
            hoverinfo="text",
        )
    figure.update_layout(
        template=template(theme),
        height=25 * max(3, len(rows)) + 116,
        margin={"l": 150, "r": 14, "t": 8, "b": 90},
        hovermode="closest",
        legend=LEGEND,
        xaxis={
            "title": {"text": "Inputs outside the range, % (lower is better)", "standoff": 6},
            "rangemode": "tozero",
            "nticks": 6,
            "fixedrange": True,
        },
        yaxis={
            "categoryorder": "array",
            "categoryarray": list(rows["language"])[::-1],
            "fixedrange": True,
        },
    )
    return figure, rows, mismatch_reading(mismatch)


def mismatch_reading(mismatch: pd.DataFrame) -> str:
    """What the choice of the calibration's languages costs, in two sentences."""
    if mismatch.empty:
        return (
            "Ranges are taken from each token or batch as it comes: there are 0 static ranges, "
            "and no calibration that could fit one language only."
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
    text += f"on all languages alike {share(whole['clipped_alike'])}. "
    bounds = f"95 % interval {nats(whole['cost_low'])} to {nats(whole['cost_high'])}"
    if whole["cost_low"] > 0:
        return (
            f"{text}That costs a KL of {nats(whole['cost'])} of {nats(whole['kl'])} nats "
            f"({bounds}), which calibrating on all languages would win."
        )
    return (
        f"{text}On {whole['sentences']} sentences that costs nothing that can be told from chance: "
        f"{nats(whole['cost'])} nats ({bounds})."
    )


# --- LayerNorms


def damping_picture(why: pd.DataFrame, theme: Theme = "light") -> Picture | None:
    """Relative L2 of the accumulated error before and after every LayerNorm, in forward order. None
    for a model without any."""
    mine = why[why["cause"] == "damping"]
    if mine.empty:
        return None
    place = mine.groupby("block").cumcount() + 1
    label = [
        f"block {b} · {i}" if b >= 0 else "embedding"
        for b, i in zip(mine["block"], place, strict=True)
    ]
    rows = pd.DataFrame(
        {
            "LayerNorm": label,
            "module": list(mine["module"]),
            "before": list(mine["usual"]),
            "after": list(mine["value"]),
        }
    )
    rows["after / before"] = rows["after"] / rows["before"].where(rows["before"] > 0)
    figure = go.Figure()
    for name, mark in (("before", MARKS["PTQ"]), ("after", MARKS["FP32"])):
        line, marker = (
            {"color": mark.colour(theme), "dash": mark.dash, "width": 2},
            {"symbol": mark.symbol, "size": 8, "color": mark.colour(theme)},
        )
        hover = f"%{{x}}<br>{name}: %{{y:.3g}}<extra></extra>"
        figure.add_scatter(
            x=rows["LayerNorm"],
            y=rows[name],
            mode="lines+markers",
            line=line,
            marker=marker,
            name=f"{name} the LayerNorm",
            hovertemplate=hover,
        )
    figure.update_layout(
        template=template(theme),
        height=360,
        margin={"l": 64, "r": 14, "t": 8, "b": 140},
        hovermode="closest",
        legend=LEGEND,
        xaxis={
            "title": {"text": "LayerNorm (first and second of each block)", "standoff": 6},
            "tickangle": -60,
            "fixedrange": True,
        },
        yaxis={
            "title": {"text": "Relative L2 of the error (lower is better)"},
            "rangemode": "tozero",
            "fixedrange": True,
        },
    )
    ratio = rows["after / before"]
    if ratio.isna().all():
        return figure, rows, f"At none of the {len(rows)} LayerNorms is there any error."
    least, most = rows.loc[ratio.idxmin()], rows.loc[ratio.idxmax()]
    text = (
        f"{int((ratio < 1).sum())} of {len(rows)} LayerNorms make the relative error smaller, most "
        f"of all {least['LayerNorm']} (times {least['after / before']:.2f}); "
    )
    text += (
        f"{most['LayerNorm']} multiplies it by {most['after / before']:.2f}. After the last it is "
        f"{rows['after'].iloc[-1]:.2g}."
    )
    return figure, rows, text
