"""What is wrong with a quantized run, why, whom it hurts and what helps: sentences made of measured
numbers. Reads tables; needs no torch.

Nothing is said without a number, and each sentence names the table and column its number is from.
"""

from __future__ import annotations

from sdq.evaluate.drops import SURE, drop_table
from sdq.evaluate.statistics import p_text
from sdq.inspection.findings import (
    WORST,
    Finding,
    Sentence,
    Tables,
    calibration_finding,
    interval,
    module_findings,
)
from sdq.inspection.reasons import ALIKE
from sdq.labels import language_name, measure, nats, share, width
from sdq.results import EVERY, Report
from sdq.settings import Settings


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
    findings = module_findings(report, tables)
    if (lost := calibration_finding(report, tables)) is not None:
        findings = [*findings, lost]
    findings.sort(key=lambda finding: -finding.cost)
    return Diagnosis(
        run=report.run,
        opening=_opening(report, tables),
        findings=tuple(findings),
        languages=_languages(report, tables),
        remedy=_remedy(report, tables),
    )


# --- the run as a whole, its languages, its remedy


def _opening(report: Report, tables: Tables) -> tuple[Sentence, ...]:
    before, after = 100 * report.reference.mean, 100 * report.quantized.mean
    name, codes = f"{width(report.recipe)} by {report.method}", list(report.quantized.by_language)
    where = f"over {len(codes)} languages" if len(codes) > 1 else f"in {language_name(codes[0])}"
    text = (
        f"{name} has a mean {measure(report.metric)} of {after:.1f} % {where}, FP32 {before:.1f} %"
    )
    sentences = [
        Sentence(text=f"{text}.", table="report", columns=("quantized.mean", "reference.mean"))
    ]
    scan = tables["sensitivity"]
    whole = scan[(scan["measure"] == "all") & (scan["language"] == EVERY)]
    if len(whole):
        row = whole.iloc[0]
        text = (
            f"On {row['sentences']} sentences its answers are a KL of {nats(row['kl'])} "
            f"nats{interval(row['kl_low'], row['kl_high'])} from those of FP32"
        )
        sentences.append(
            Sentence(
                text=f"{text}, and {share(row['flips'])} of them change.",
                table="sensitivity",
                columns=("kl", "kl_low", "kl_high", "flips"),
            )
        )
    return tuple(sentences)


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
    losses: list[str] = []
    for row in surely.sort_values("drop", ascending=False).head(WORST).to_dict("records"):
        how = (
            f"{row['drop']:.1f}"
            if losses
            else f"loses most, {row['drop']:.1f} points of {measure(report.metric)}"
        )
        losses.append(
            f"{row['language']} {how}"
            + (f" ({row['low']:.1f} to {row['high']:.1f})" if tested else "")
        )
    text = f"{losses[0]}{'; then ' if losses[1:] else ''}{', '.join(losses[1:])}."
    if tested:
        lose = "loses" if len(surely) == 1 else "lose"
        text += (
            f" Of {len(rows)} languages, {len(surely)} {lose} more than chance would give (p < "
            f"{SURE} after Holm's correction)."
        )
    return (Sentence(text=text, table=table, columns=columns),)


def _remedy(report: Report, tables: Tables) -> tuple[Sentence, ...]:
    """The smallest of the remedies that were run, surely won something, and won ALIKE of what the
    best of them did; if none won surely, the one that won most."""
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
            f"None of the {len(run)} remedies that were run wins beyond chance: the best, "
            f"“{best['what']}”, changes the score by {best['change']:+.1f} points"
        )
        return (
            Sentence(
                text=f"{text} ({best['low']:.1f} to {best['high']:.1f}).".replace("-", "−"),
                table="remedies",
                columns=columns,
            ),
        )
    alike = won[won["change"] >= ALIKE * won["change"].max()]
    best = alike.sort_values(["bytes", "change"], ascending=[True, False]).iloc[0]
    than = f" ({best['bytes'] / size:.2f} times as large as this run)" if size else ""
    text = (
        f"The cheapest remedy that recovers at least {share(ALIKE)} of what the best does, beyond "
        f"chance, is “{best['what']}”: "
        f"{best['bytes'] / 1e6:.2f} MB simulated{than}, "
    )
    text += (
        f"{best['change']:+.1f} points (95 % interval {best['low']:.1f} to {best['high']:.1f}, "
        f"{p_text(best['p'])})."
    )
    return (Sentence(text=text, table="remedies", columns=columns),)
