"""What breaks the answers of a quantized run, in sentences made of measured numbers: its worst
modules, and what its ranges were calibrated on. Needs no torch."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import pandas as pd
from pydantic import Field

from sdq.evaluate.ranking import one_at_a_time, ranked
from sdq.inspection.reasons import (
    BESIDE,
    CALIBRATION,
    CAUSES,
    GENERAL,
    SEEN_ON,
    Row,
    described,
    reason,
    removed,
)
from sdq.labels import language_name, module_label, nats, share
from sdq.models.families import SITE_ROLES
from sdq.results import EVERY, Report
from sdq.settings import Settings

WORST = 3  # modules named


Tables = Mapping[str, pd.DataFrame]


class Sentence(Settings):
    """A statement, and the table and columns that its numbers are from ("report": the run's
    report)."""

    text: str
    table: str
    columns: tuple[str, ...]


class Finding(Settings):
    """Something that breaks the answers: a module, or what the ranges were calibrated on."""

    label: str = Field(description="What it is, in words")
    module: str = Field(description="The module's name; empty: the whole model")
    cause: str = Field(
        description="Code of the reason found (see sdq.analyses.ablation); empty: none was"
    )
    at: int = Field(
        description="Hidden unit, row, column or token position of the cause; -1: no single one"
    )
    source: str = Field(description="The module that produces the hidden unit; empty: not known")
    cost: float = Field(
        description="Mean KL of the FP32 answers from the quantized ones that it alone brings, "
        "nats; lower is better"
    )
    gain: float | None = Field(description="How much of it removing the cause won, nats")
    sentences: tuple[Sentence, ...]
    page: str = Field(description="Address of the page that shows it")
    query: dict[str, str] = Field(description="What a link to it carries")


def interval(low: float, high: float, show: Callable[[float], str] = nats) -> str:
    return "" if math.isnan(low) else f" (95 % interval {show(low)} to {show(high)})"


def module_findings(report: Report, tables: Tables) -> list[Finding]:
    scan = tables["sensitivity"]
    if {"estimate", "floor"} <= tables.keys():
        rows = ranked(scan, tables["estimate"], tables["floor"])
        rows = rows[rows["above"]]
    else:
        rows = one_at_a_time(scan).sort_values("kl", ascending=False)
    return [
        _module(report, row, tables.get("why"), place)
        for place, row in enumerate(rows.head(WORST).to_dict("records"))
    ]


def _module(report: Report, row: Row, all_causes: pd.DataFrame | None, place: int) -> Finding:
    label = module_label(row["module"], row["role"], row["block"])
    start = f"{label[:1].upper()}{label[1:]}"
    which = ("breaks the answers most", "comes second", "comes third")[place]
    text = (
        f"{start} {which}: alone it moves them from FP32 by a KL of {nats(row['kl'])} "
        f"nats{interval(row['kl_low'], row['kl_high'])}"
    )
    columns: tuple[str, ...] = ("kl", "kl_low", "kl_high")
    if "floor" in row:
        text += f", {_above(row['kl'], row['floor'])}"
    sentences = [Sentence(text=f"{text}.", table="sensitivity", columns=columns)]
    cause, page = None, "sensitivity" if row["role"] in SITE_ROLES else "why"
    if all_causes is not None and row["role"] not in SITE_ROLES:
        causes = all_causes[all_causes["module"] == row["module"]]
        cause = reason(causes)
        sentences += _because(causes, cause)
        page = (
            SEEN_ON.get(
                cause["cause"],
                "activations"
                if cause["cause"] in ("outlier_unit", "massive_token", "inputs")
                else "why",
            )
            if cause
            else "why"
        )
    return Finding(
        label=label,
        module=row["module"],
        cause=cause["cause"] if cause else "",
        at=int(cause["at"]) if cause else -1,
        source=cause["source"] if cause else "",
        cost=float(row["kl"]),
        gain=float(cause["gain"]) if cause else None,
        sentences=tuple(sentences),
        page=page,
        query={"runs": report.run, "layer": row["module"]},
    )


def _above(kl: float, noise_floor: float) -> str:
    if nats(noise_floor) == "0":
        return "and its noise floor is 0"
    times = kl / noise_floor
    return (
        f"{f'{times:.1f}' if times < 1000 else 'more than 1000'} times its noise floor of "
        f"{nats(noise_floor)}"
    )


def _because(rows: pd.DataFrame, cause: Row | None) -> list[Sentence]:
    columns = ("value", "usual", "gain", "gain_low", "gain_high", "kl")
    if cause is not None:
        reasons = [
            Sentence(
                text=f"Main cause: {described(cause)}; {_won(cause)}.",
                table="why",
                columns=columns,
            )
        ]
        if (other := _second_cause(rows, cause)) is not None:
            reasons.append(
                Sentence(
                    text=f"A smaller part is another: {described(other)}; {_won(other)}.",
                    table="why",
                    columns=columns,
                )
            )
        return reasons
    tried = rows[rows["gain"].notna()]
    if tried.empty:
        return []
    best = tried.loc[tried["gain"].idxmax()]
    part = share(max(0.0, best["gain"] / best["kl"])) if best["kl"] > 0 else "0 %"
    text = (
        f"None of the {len(tried)} causes that were removed explains it: {removed(best)}, the best "
        f"of them, it keeps all but {part} of its KL."
    )
    return [Sentence(text=text, table="why", columns=("gain", "kl"))]


def _won(row: Row) -> str:
    won = (
        f"{removed(row)} its KL falls by {nats(row['gain'])} "
        f"nats{interval(row['gain_low'], row['gain_high'])}"
    )
    return f"{won}, {share(min(1.0, row['gain'] / row['kl']))} of it"


def _second_cause(rows: pd.DataFrame, cause: Row) -> Row | None:
    """What surely explains a further part, on the other side of the module: of its input if the
    reason is in its weight, and the other way round."""
    if "kept" not in rows or cause["cause"] in GENERAL:
        return None
    weights = cause["cause"] in SEEN_ON
    other = rows[
        rows["cause"].isin([c for c in CAUSES if c not in GENERAL and (c in SEEN_ON) != weights])
        & (rows["gain_low"] > 0)
    ]
    other = other[other["gain"] >= BESIDE * other["kl"]]
    return None if other.empty else dict(other.loc[other["gain"].idxmax()])


def calibration_finding(report: Report, tables: Tables) -> Finding | None:
    table = tables.get("mismatch")
    if table is None or table.empty:
        return None
    whole, each = table[table["language"] == EVERY].iloc[0], table[table["language"] != EVERY]
    if not whole["cost_low"] > 0:
        return None
    home = each[each["calibrated"]]
    on = (
        " and ".join(language_name(code) for code in home["language"])
        if 0 < len(home) <= 3
        else f"{len(home)} of {len(each)} languages"
    )
    text = (
        f"The ranges were calibrated on {on}, the model answers in {len(each)} languages: that "
        f"costs a KL of {nats(whole['cost'])} nats"
    )
    text += f"{interval(whole['cost_low'], whole['cost_high'])} of {nats(whole['kl'])}."
    worst = each.loc[each["cost"].idxmax()]
    clipped = (
        f"The ranges clip {share(whole['clipped'])} of all inputs, {share(worst['clipped'])} in "
        f"{language_name(worst['language'])}, which loses most "
    )
    clipped += (
        f"({nats(worst['cost'])} nats); calibrated on all languages alike they clip "
        f"{share(whole['clipped_alike'])} and the KL is {nats(whole['kl_alike'])}."
    )
    sentences = (
        Sentence(
            text=text,
            table="mismatch",
            columns=("cost", "cost_low", "cost_high", "kl", "calibrated"),
        ),
        Sentence(
            text=clipped, table="mismatch", columns=("clipped", "clipped_alike", "cost", "kl_alike")
        ),
    )
    return Finding(
        label=f"calibration on {on}",
        module="",
        cause=CALIBRATION,
        at=-1,
        source="",
        cost=float(whole["cost"]),
        gain=float(whole["cost"]),
        sentences=sentences,
        page="why",
        query={"runs": report.run},
    )
