"""Which module breaks the answers most, of those whose effect stands out of the noise. Reads
tables; needs no torch."""

from __future__ import annotations

from typing import NamedTuple

import pandas as pd

EVERY = "all"  # the language code that stands for all of them
_COLUMNS = [
    "module",
    "role",
    "block",
    "order",
    "kl",
    "kl_low",
    "kl_high",
    "flips",
    "floor",
    "above",
    "rank",
    "estimate",
]


class Agreement(NamedTuple):
    """Spearman's rank correlation, -1..1 (NaN if either side ranks nothing), over n modules."""

    rho: float
    n: int


def ranked(sensitivity: pd.DataFrame, estimate: pd.DataFrame, floor: pd.DataFrame) -> pd.DataFrame:
    """The modules by what each of them alone does to the answers in all languages, worst first;
    from tables of the analyses of these names.

    module, role, block, order
    kl, kl_low, kl_high: with its 95 % interval, nats
    flips: share, 0..1
    floor: nats: the largest KL between repetitions of the same, of either cause
    above: kl > floor
    rank: 1: largest kl; missing for a module not above its floor, which comes last
    estimate: nats; NaN where there is none

    Raises ValueError if `sensitivity` was not measured with "one", or a module has no floor.
    """
    one = one_at_a_time(sensitivity)
    highest = (
        floor[(floor["kind"] == "module") & (floor["measure"] == "kl")]
        .groupby("name")["high"]
        .max()
    )
    if without := [name for name in one["module"] if name not in highest.index]:
        raise ValueError(
            f"every module of the scan must have a noise floor, {without[0]} has none; measure "
            "both on the same model"
        )
    table = one.merge(estimate[["module", "estimate"]], on="module", how="left")
    table["floor"] = table["module"].map(highest)
    table["above"] = table["kl"] > table["floor"]
    table["rank"] = (
        table["kl"].where(table["above"]).rank(method="first", ascending=False).astype("Int64")
    )
    return table.sort_values(["rank", "order"], ignore_index=True)[_COLUMNS]


def one_at_a_time(sensitivity: pd.DataFrame) -> pd.DataFrame:
    """The rows of a scan that say what each module alone does to all languages. Raises ValueError
    if it has none."""
    one = sensitivity[(sensitivity["measure"] == "one") & (sensitivity["language"] == EVERY)]
    if one.empty:
        raise ValueError(
            'the exact scan must hold the measure "one", it does not; scan with measures=("one",)'
        )
    return one


def rho(table: pd.DataFrame) -> Agreement:
    """How alike the columns estimate and kl of a table of modules rank them; one without either
    does not count."""
    both = table[["estimate", "kl"]].dropna()
    ranks = both.rank()
    return Agreement(
        float(ranks["estimate"].corr(ranks["kl"])) if (ranks.nunique() > 1).all() else float("nan"),
        len(both),
    )
