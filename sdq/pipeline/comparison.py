"""Two finished runs, compared sentence by sentence: for the command line and for Python."""

from __future__ import annotations

import pandas as pd

from sdq.evaluate.significance import paired_tests
from sdq.results import Report
from sdq.settings import UserError
from sdq.store import Store


def compared(base: Report, other: Report, store: Store) -> pd.DataFrame:
    """How `other` differs from `base`, see `sdq.evaluate.significance.paired_tests`.

    UserError for runs of two models or tasks, of two states of them, or on other sentences.
    """
    if (base.task, base.model) != (other.task, other.model):
        raise UserError(
            "compare needs at least two runs of one model and task, got "
            f"{', '.join(f'{r.run} ({r.model}, {r.task})' for r in (base, other))}"
        )
    if not store.alike(base, other):
        raise UserError(
            "compare needs runs of one state of model and task, one of them was replaced between "
            f"{base.run} and {other.run}; run both recipes again"
        )
    before, after = (store.sentences(report.run) for report in (base, other))
    try:
        return paired_tests(before, after, list(base.quantized.by_language), (base.labelled,))
    except UserError as error:
        raise UserError(f"{base.run} and {other.run}: {error}") from error
