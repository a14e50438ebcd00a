"""Why a module breaks: the causes that were looked for, in words, and which of them is called the
reason."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pandas as pd

from sdq.labels import language_name, nats, share

# times the median unit: an outlier (sdq.analyses.outliers lists further units beyond that)
FAR = 4.0


EXPLAINS = 0.5  # of a module's KL must vanish with a cause for that to be called the reason


ALIKE = 0.9  # of the largest win: the cause that is cheaper to remove is taken


CALIBRATION = "calibration"


Row = Mapping[str, Any]


def _three(value: float) -> str:
    return f"{value:.3g}" if abs(value) >= 0.01 or value == 0 else nats(value)


# Code -> (what stands out, with the numbers of its row; what was done to remove it). What is
# cheapest to remove comes first: of causes that win
# about as much, the first is the reason. `weights` and `inputs`, which only say on which side it
# is, come last and are no match for the others.
_UNIT = "hidden unit {at} of its input reaches {value}, the median unit {usual}"


CAUSES: dict[str, tuple[str, str]] = {
    CALIBRATION: (
        "{value} of its inputs in {language} lie outside the range that was calibrated, {usual} "
        "if that is done on all languages",
        "calibrated on all languages alike",
    ),
    "clipped": (
        "{value} of its inputs in {language} lie outside the range, {usual} in the median language",
        "with a range that holds all it was measured on",
    ),
    "outlier_unit": (_UNIT, "with that unit of the input in FP32"),
    "single_weight": (
        "its weight [{at}, {position}] reaches {value}, the next largest {usual}",
        "with that one weight in FP32",
    ),
    "weight_row": (
        "row {at} of its weight reaches {value}, the median row {usual}, and all rows share one "
        "range",
        "with that row in FP32",
    ),
    "weight_column": (
        "column {at} of its weight reaches {value}, the median column {usual}",
        "with that column in FP32",
    ),
    "massive_token": (
        "the token{token} at position {at} of a sentence in {language} reaches {value}, the "
        "median token {usual}, and all share one range",
        "with a range per token",
    ),
    "weight_range": (
        "all rows of its weight share one range, up to {value}, where the median row reaches "
        "{usual}",
        "with a range per row",
    ),
    "weights": (
        "rounding its weight errs by a relative L2 of {value}, in the median module by {usual}",
        "with its weight in FP32",
    ),
    "inputs": (
        "rounding its input errs by a relative L2 of {value}, in the median module by {usual}",
        "with its input in FP32",
    ),
}


# in tables older than `kept` of sdq.analyses.ablation: the unit, and the column of the weight that
# reads it
_BOTH = "with that unit in FP32"


GENERAL = ("weights", "inputs")


UNUSUAL = 1.2  # times the median error: what is below that does not stand out


# of a module's KL must vanish with a cause on the other side (input, weight) for that to be named
# beside the reason
BESIDE = 0.1


SEEN_ON = {
    "single_weight": "weights",
    "weight_row": "weights",
    "weight_column": "weights",
    "weight_range": "weights",
    "weights": "weights",
}


def reason(rows: pd.DataFrame) -> dict[str, Any] | None:
    """The row of the table "why" that explains its module: of the causes that were removed the one
    that won most, or a cheaper one on the same side (input, weight) that won ALIKE of that. None if
    none won EXPLAINS of the module's KL."""
    tried = rows[rows["gain"].notna() & rows["cause"].isin(list(CAUSES))]
    for general in (False, True):
        causes = tried[tried["cause"].isin(GENERAL) == general]
        if causes.empty or not causes["gain"].max() >= EXPLAINS * causes["kl"].iloc[0]:
            continue
        side = (
            causes["cause"].isin(list(SEEN_ON))
            if "kept" in causes
            else pd.Series(True, index=causes.index)
        )
        enough = causes[
            (causes["gain"] >= ALIKE * causes["gain"].max())
            & (side == side[causes["gain"].idxmax()])
        ]
        order = enough["cause"].map(list(CAUSES).index)
        return dict(enough[order == order.min()].sort_values("gain", ascending=False).iloc[0])
    return None


def removed(row: Row) -> str:
    """What was done to remove a cause, in words: a row of the table "why"."""
    return (
        _BOTH
        if row["cause"] == "outlier_unit" and not isinstance(row.get("kept"), str)
        else CAUSES[row["cause"]][1]
    )


def described(row: Row) -> str:
    """What stands out, in words: a row of the table "why"."""
    show = share if row["unit"] == "share" else _three
    token = f" “{row['token']}”" if row.get("token") else ""
    language = language_name(row["language"]) if row["language"] else ""
    if row["cause"] in GENERAL and row["value"] < UNUSUAL * row["usual"]:
        what = "its weight" if row["cause"] == "weights" else "its input"
        return (
            f"rounding {what} errs by no more than elsewhere (relative L2 {show(row['value'])}, in "
            f"the median module {show(row['usual'])}), but the answers depend on it"
        )
    text = CAUSES[row["cause"]][0].format(
        at=row["at"],
        position=row.get("position"),
        value=show(row["value"]),
        usual=show(row["usual"]),
        language=language,
        token=token,
    )
    if row["cause"] == "weight_row" and token:
        text = text.replace("of its weight", f"of its weight (the subword{token})")
    if row["cause"] != "outlier_unit" or not row["source"]:
        return text
    value, usual = _three(row["source_value"]), _three(row["source_usual"])
    how = (
        f"a gain of {value} against a median of {usual}"
        if "norm" in row["source"].lower()
        else f"a row that reaches {value} against a median of {usual}"
    )
    return f"{text}; {row['source']} makes it, with {how}"
