"""The noise floor of errors through depth: how far a measurement moves when it is repeated."""

from __future__ import annotations

from collections.abc import Mapping

import pandas as pd

from sdq.figures.curves import MEASURES, said
from sdq.results import NO_ERROR_DB


def with_floor(
    table: pd.DataFrame, floors: Mapping[str, pd.DataFrame], measure: str
) -> pd.DataFrame:
    """The table of a picture (columns id, site) with the column `floor`, in the unit of `measure`:
    the repetition of either cause that moved most.

    `floors`: run id -> the table of its analysis "floor". It is over all languages; missing where
    none was measured or, in dB, nothing moved. Without `floors` the table is unchanged.
    """
    if not floors:
        return table
    by_site: dict[tuple[str, str], float] = {}
    for run, floor in floors.items():
        sites = floor[(floor["kind"] == "site") & (floor["measure"] == measure)].groupby("name")[
            "high"
        ]
        farthest = sites.min() if MEASURES[measure].higher_is_better else sites.max()
        by_site |= {
            (run, str(site)): float(value)
            for site, value in farthest.items()
            if measure != "sqnr_db" or value < NO_ERROR_DB
        }
    return table.assign(
        floor=[
            by_site.get(key, float("nan")) for key in zip(table["id"], table["site"], strict=True)
        ]
    )


def reading(table: pd.DataFrame, measure: str) -> str:
    """Where the error of each run is closest to its noise floor; empty if no floor was measured."""
    if "floor" not in table:
        return ""
    parts, within, decibels = [], 0, measure == "sqnr_db"
    for name, errors in table.dropna(subset=["value", "floor"]).groupby("run", sort=False):
        room = (
            errors["floor"] - errors["value"]
            if decibels
            else errors["value"] / errors["floor"].clip(lower=1e-30)
        )
        nearest = errors.loc[room.idxmin()]
        within += int((room <= (0 if decibels else 1)).sum())
        parts.append(
            f"with {name} at {nearest['layer']} ({said(nearest['floor'], measure)} against "
            f"{said(nearest['value'], measure)})"
        )
    if not parts:
        return ""
    text = (
        " The noise floor (how far a repeated measurement moves) comes closest to the error "
        f"{' and '.join(parts)}."
    )
    return text + (
        f" {within} of the {len(table)} errors shown are no larger than that." if within else ""
    )
