"""The tables "why" and "mismatch" of an inspection: what stands out, what removing it wins in the
worst modules, and what the calibration costs."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pandas as pd

from sdq.evaluate.ranking import one_at_a_time, ranked
from sdq.models.families import SITE_ROLES

if TYPE_CHECKING:
    from sdq.inspection.settings import Inspection
    from sdq.inspection.subject import Subject

WORST = 5  # modules whose causes are removed
# times the sentences to see what calibration costs: a few of them hold most of it, and it takes
# three passes only
MORE = 4


def root_causes(subject: Subject, settings: Inspection) -> dict[str, pd.DataFrame]:
    """The two tables, by name.

    why: the columns of `sdq.analyses.outliers` and `sdq.analyses.ablation`, and token: the subword
        that a row of the embedding or a massive activation belongs to, else empty. Causes are
        removed from the WORST modules of the scan.
    mismatch: see `sdq.analyses.calibration_mismatch`, on MORE times the sentences; without static
        ranges it has no rows.
    """
    from sdq.analyses.ablation import ablation
    from sdq.analyses.calibration_mismatch import (
        COLUMNS,
        calibration_mismatch,
        recalibrated,
        static,
    )
    from sdq.analyses.outliers import outlier_statistics
    from sdq.data.batches import Encoded, encode
    from sdq.pipeline.student import calibration_examples, calibration_languages, stratified_sample

    student, data, spoken, recipe = subject.student, subject.data, subject.languages, subject.recipe
    calibration: Encoded | None = None
    balanced, mismatch = None, pd.DataFrame(columns=COLUMNS)
    if static(student):
        everywhere = recipe.model_copy(
            update={"calibration": recipe.calibration.model_copy(update={"languages": "all"})}
        )
        calibration, every = (
            encode(calibration_examples(r, subject.task), subject.task, subject.tokenizer)
            for r in (recipe, everywhere)
        )
        balanced = recalibrated(
            student, (b.inputs for b in every.in_order(recipe.calibration.batch_size))
        )
        more = stratified_sample(subject.task.examples("test"), MORE * settings.sentences)
        asked = encode(more, subject.task, subject.tokenizer)
        mismatch = calibration_mismatch(
            student,
            balanced,
            asked,
            [e.language for e in more],
            calibration_languages(recipe, subject.task),
            settings.batch_size,
        )
    table = outlier_statistics(student, data, spoken, balanced, settings.batch_size)
    table = table.join(
        ablation(
            student,
            data,
            spoken,
            table,
            worst(subject, settings),
            calibration,
            balanced,
            settings.batch_size,
        )
    )
    table["token"] = [_token(subject, row) for row in table.to_dict("records")]
    return {"why": table, "mismatch": mismatch}


def worst(subject: Subject, settings: Inspection) -> list[str]:
    """The WORST modules by what each alone does to the answers; of those above the noise floor,
    where that was measured before."""
    tables = subject.tables
    if {"sensitivity", "estimate", "floor"} <= tables.keys():
        rows = ranked(tables["sensitivity"], tables["estimate"], tables["floor"])
        return _layers(rows[rows["above"]])
    if "sensitivity" in tables:
        rows = one_at_a_time(tables["sensitivity"])
    else:
        from sdq.analyses.sensitivity import Measure, scan

        measures: tuple[Measure, ...] = ("one",)
        rows = one_at_a_time(
            scan(subject.student, subject.data, subject.languages, measures, settings.batch_size)
        )
    return _layers(rows.sort_values("kl", ascending=False))


def _layers(rows: pd.DataFrame) -> list[str]:
    """The first WORST modules that have weights, where causes can be told apart."""
    return list(rows[~rows["role"].isin(SITE_ROLES)]["module"][:WORST])


def _token(subject: Subject, row: dict[str, object]) -> str:
    if row["cause"] == "massive_token" and row["sentence"] != -1:
        number = subject.data.ids[int(str(row["sentence"]))][int(str(row["position"]))]
    elif row["cause"] in ("weight_row", "weight_range") and row["role"] == "embedding":
        number = int(str(row["at"]))
    else:
        return ""
    return str(subject.tokenizer.convert_ids_to_tokens(number))
