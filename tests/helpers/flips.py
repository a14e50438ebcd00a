"""Runs whose answers are compared."""

from __future__ import annotations

from sdq.results import Report
from sdq.store import Store
from tests.helpers import made_up

THREE = ("fp32", "ptq-w3a8", "sdq-att-kld-w3a8")


def filled(store: Store, task: str = "intent") -> dict[str, Report]:
    return {r.recipe["name"]: r for r in made_up.fill(store, THREE, (task,))}


def ids(reports: dict[str, Report]) -> str:
    return ",".join(r.run for r in reports.values())
