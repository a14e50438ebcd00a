"""Errors through depth that are drawn."""

from __future__ import annotations

import pandas as pd

from sdq.results import Report
from sdq.store import Store

THREE = ("ptq-w3a8", "qat-w3a8", "sdq-att-kld-w3a8")


def chosen(store: Store, names: tuple[str, ...] = THREE) -> list[Report]:
    by_name = {r.recipe["name"]: r for r in store.finished()}
    return [by_name[name] for name in names]


def errors(store: Store) -> dict[str, pd.DataFrame]:
    return {r.run: store.table(r.run, "depth") for r in chosen(store)}
