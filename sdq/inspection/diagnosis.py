"""What is wrong with a quantized run, why, whom it hurts and what helps: sentences made of measured
numbers. Reads tables; needs no torch.

Nothing is said without a number, and each sentence names the table and column its number is from.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping

import pandas as pd
from pydantic import Field

from sdq.evaluate.drops import SURE, drop_table
from sdq.evaluate.ranking import EVERY, one_at_a_time, ranked
from sdq.evaluate.statistics import p_text
from sdq.inspection.reasons import (
    _SEEN_ON,
    BESIDE,
    CALIBRATION,
    CAUSES,
    GENERAL,
    Row,
    described,
    reason,
    removed,
)
from sdq.labels import language_name, measure, module_label, nats, share, width
from sdq.results import Report
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
        description="Code of the reason found (see sdq.analyses.removal); empty: none was"
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


class Diagnosis(Settings):
    """What was found, worst first; then the languages that suffer, and the remedy."""

    run: str
    opening: tuple[Sentence, ...]
    findings: tuple[Finding, ...]
    languages: tuple[Sentence, ...]
    remedy: tuple[Sentence, ...]

    @property
    def sentences(self) -> tuple[Sentence, ...]:
        """All of them, in order."""
        return (
            *self.opening,
            *(s for finding in self.findings for s in finding.sentences),
            *self.languages,
            *self.remedy,
        )

    @property
    def paragraph(self) -> str:
        return " ".join(sentence.text for sentence in self.sentences)


def diagnose(report: Report, tables: Tables) -> Diagnosis:
    """The diagnosis of a run from its report and the tables of its inspection
    (sdq.inspection.storage); at least "sensitivity" must be there.

    Modules are ranked above their noise floor if "floor" and "estimate" are there. Reasons come
    from "why", the calibration's languages from "mismatch", remedies from "remedies"; of what is
    missing nothing is said. "sentences" and "reference" (the per-sentence tables of the run and of
    its FP32 run) give the languages' drops their intervals. Raises ValueError if the scan has no
    measure "one".
    """
    found = _modules(report, tables)
    if (lost := _mismatch(report, tables)) is not None:
        found = [*found, lost]
    found.sort(key=lambda finding: -finding.cost)
    return Diagnosis(
        run=report.run,
        opening=_opening(report, tables),
        findings=tuple(found),
        languages=_languages(report, tables),
        remedy=_remedy(report, tables),
    )


# --- numbers in words


def _interval(low: float, high: float, show: Callable[[float], str] = nats) -> str:
    return "" if math.isnan(low) else f" (95 % interval {show(low)} to {show(high)})"


# --- the modules, and the reason of each


def _modules(report: Report, tables: Tables) -> list[Finding]:
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


def _module(report: Report, row: Row, why: pd.DataFrame | None, place: int) -> Finding:
    label = module_label(row["module"], row["role"], row["block"])
    start = f"{label[:1].upper()}{label[1:]}"
    which = (
        "breaks the answers most: alone it",
        "comes second: alone it",
        "comes third: alone it",
    )[place]
    text = (
        f"{start} {which} moves them from FP32 by a KL of {nats(row['kl'])} "
        f"nats{_interval(row['kl_low'], row['kl_high'])}"
    )
    columns: tuple[str, ...] = ("kl", "kl_low", "kl_high")
    if "floor" in row:
        text += f", {_above(row['kl'], row['floor'])}"
    sentences = [Sentence(text=f"{text}.", table="sensitivity", columns=columns)]
    cause, page = None, "why"
    if why is not None:
        mine = why[why["module"] == row["module"]]
        cause = reason(mine)
        sentences += _because(mine, cause)
        page = (
            _SEEN_ON.get(
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


def _above(kl: float, floor: float) -> str:
    if nats(floor) == "0":
        return "and its noise floor is 0"
    times = kl / floor
    return (
        f"{f'{times:.1f}' if times < 1000 else 'more than 1000'} times its noise floor of "
        f"{nats(floor)}"
    )


def _because(rows: pd.DataFrame, cause: Row | None) -> list[Sentence]:
    columns = ("value", "usual", "gain", "gain_low", "gain_high", "kl")
    if cause is not None:
        found = [
            Sentence(
                text=f"The reason found: {described(cause)}; {_won(cause)}.",
                table="why",
                columns=columns,
            )
        ]
        if (other := _beside(rows, cause)) is not None:
            found.append(
                Sentence(
                    text=f"A smaller part is another: {described(other)}; {_won(other)}.",
                    table="why",
                    columns=columns,
                )
            )
        return found
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
        f"nats{_interval(row['gain_low'], row['gain_high'])}"
    )
    return f"{won}, {share(min(1.0, row['gain'] / row['kl']))} of it"


def _beside(rows: pd.DataFrame, cause: Row) -> Row | None:
    """What surely explains a further part, on the other side of the module: of its input if the
    reason is in its weight, and the other way round."""
    if "kept" not in rows or cause["cause"] in GENERAL:
        return None
    weights = cause["cause"] in _SEEN_ON
    other = rows[
        rows["cause"].isin([c for c in CAUSES if c not in GENERAL and (c in _SEEN_ON) != weights])
        & (rows["gain_low"] > 0)
    ]
    other = other[other["gain"] >= BESIDE * other["kl"]]
    return None if other.empty else dict(other.loc[other["gain"].idxmax()])


# --- calibrated on other languages than it is used in


def _mismatch(report: Report, tables: Tables) -> Finding | None:
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
    text += f"{_interval(whole['cost_low'], whole['cost_high'])} of {nats(whole['kl'])}."
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


# --- the run as a whole, its languages, its remedy


def _opening(report: Report, tables: Tables) -> tuple[Sentence, ...]:
    before, after = 100 * report.reference.mean, 100 * report.quantized.mean
    name, codes = f"{width(report.recipe)} by {report.method}", list(report.quantized.by_language)
    where = f"over {len(codes)} languages" if len(codes) > 1 else f"in {language_name(codes[0])}"
    text = (
        f"{name} has a mean {measure(report.metric)} of {after:.1f} % {where}, FP32 {before:.1f} %"
    )
    found = [
        Sentence(text=f"{text}.", table="report", columns=("quantized.mean", "reference.mean"))
    ]
    scan = tables["sensitivity"]
    whole = scan[(scan["measure"] == "all") & (scan["language"] == EVERY)]
    if len(whole):
        row = whole.iloc[0]
        text = (
            f"On {row['sentences']} sentences its answers are a KL of {nats(row['kl'])} "
            f"nats{_interval(row['kl_low'], row['kl_high'])} from those of FP32"
        )
        found.append(
            Sentence(
                text=f"{text}, and {share(row['flips'])} of them change.",
                table="sensitivity",
                columns=("kl", "kl_low", "kl_high", "flips"),
            )
        )
    return tuple(found)


def _languages(report: Report, tables: Tables) -> tuple[Sentence, ...]:
    """The three of largest drop among those whose drop is more than chance; without the sentences'
    outcomes the three of largest drop."""
    tested = {"sentences", "reference"} <= tables.keys()
    rows = drop_table(
        [report],
        {report.run: tables["sentences"]} if "sentences" in tables else None,
        tables.get("reference") if tested else None,
    )
    columns: tuple[str, ...] = (
        ("tp", "predicted", "gold")
        if tested
        else ("quantized.by_language", "reference.by_language")
    )
    table = "sentences" if tested else "report"
    surely = (
        rows[(rows["p_holm"] < SURE) & (rows["drop"] > 0)] if tested else rows[rows["drop"] > 0]
    )
    if surely.empty:
        if not tested:
            return ()
        text = (
            "No language loses more than chance would give: after Holm's correction for "
            f"{len(rows)} languages the smallest p is {rows['p_holm'].min():.2f}."
        )
        return (Sentence(text=text, table=table, columns=columns),)
    parts: list[str] = []
    for row in surely.sort_values("drop", ascending=False).head(WORST).to_dict("records"):
        how = (
            f"{row['drop']:.1f}"
            if parts
            else f"loses most, {row['drop']:.1f} points of {measure(report.metric)}"
        )
        parts.append(
            f"{row['language']} {how}"
            + (f" ({row['low']:.1f} to {row['high']:.1f})" if tested else "")
        )
    text = f"{parts[0]}{'; then ' if parts[1:] else ''}{', '.join(parts[1:])}."
    if tested:
        lose = "loses" if len(surely) == 1 else "lose"
        text += (
            f" Of {len(rows)} languages, {len(surely)} {lose} more than chance would give (p < "
            f"{SURE} after Holm's correction)."
        )
    return (Sentence(text=text, table=table, columns=columns),)


def _remedy(report: Report, tables: Tables) -> tuple[Sentence, ...]:
    """The smallest of the remedies that were run and surely won something; if none did, the one
    that won most."""
    table = tables.get("remedies")
    if table is None:
        return ()
    run = table[table["change"].notna()]
    if run.empty:
        return ()
    columns = ("change", "low", "high", "bytes", "p")
    won = run[run["low"] > 0]
    size = report.size_bytes.get("quantized_simulated", 0)
    if won.empty:
        best = run.loc[run["change"].idxmax()]
        text = (
            f"None of the {len(run)} remedies that were run surely wins: the best, "
            f"“{best['what']}”, changes the score by {best['change']:+.1f} points"
        )
        return (
            Sentence(
                text=f"{text} ({best['low']:.1f} to {best['high']:.1f}).".replace("-", "−"),
                table="remedies",
                columns=columns,
            ),
        )
    best = won.sort_values(["bytes", "change"], ascending=[True, False]).iloc[0]
    than = f" ({best['bytes'] / size:.2f} times as large as this run)" if size else ""
    text = (
        f"The cheapest remedy that was run and surely won is “{best['what']}”: "
        f"{best['bytes'] / 1e6:.2f} MB simulated{than}, "
    )
    text += (
        f"{best['change']:+.1f} points (95 % interval {best['low']:.1f} to {best['high']:.1f}, "
        f"{p_text(best['p'])})."
    )
    return (Sentence(text=text, table="remedies", columns=columns),)
