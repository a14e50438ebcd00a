"""What a diagnosis says of changed tables."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd

from sdq.inspection.diagnosis import Diagnosis, diagnose
from tests.helpers.made_up_sensitivity import KL

WORST = sorted(KL, key=lambda name: -KL[name])


def said(inspected: Any, **changed: pd.DataFrame | None) -> Diagnosis:
    """The diagnosis with some tables changed, or without them (None)."""
    report, tables = inspected
    return diagnose(
        report, {name: table for name, table in (tables | changed).items() if table is not None}
    )


def edited(
    table: pd.DataFrame, where: Callable[[pd.DataFrame], Any], **values: Any
) -> pd.DataFrame:
    table = table.copy()
    for name, value in values.items():
        table.loc[where(table), name] = value
    return table
