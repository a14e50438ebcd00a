"""The figures of a report: each drawn from stored runs, with the table behind it and what it shows.

A figure is added by one line in FIGURES.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import pandas as pd
import plotly.graph_objects as go

from sdq import labels
from sdq.evaluate.drops import drop_table
from sdq.figures import depth, drops, languages, sample_size, scores, weights, zero_shot
from sdq.figures.style import Theme
from sdq.inspection.diagnosis import diagnose
from sdq.inspection.storage import missing, paths, read, read_table
from sdq.io.sealed import Damaged
from sdq.labels import run_names
from sdq.reporting import inspected
from sdq.results import EVERY, Report, against_fp32
from sdq.settings import UserError
from sdq.store import Store

MOST = 5  # runs
Drawing = tuple[go.Figure | None, pd.DataFrame, str]
Draw = Callable[[Sequence[Report], Store, Theme], Drawing]


def _sentences(reports: Sequence[Report], store: Store) -> dict[str, pd.DataFrame]:
    """Per-sentence outcomes of the runs that have them; scores stand without intervals where they
    are missing."""
    outcomes = {}
    for report in reports:
        try:
            outcomes[report.run] = store.sentences(report.run)
        except OSError:
            continue
    return outcomes


def _scores(reports: Sequence[Report], store: Store, theme: Theme) -> Drawing:
    sentences = _sentences(reports, store)
    return (
        scores.language_scores(reports, sentences, theme),
        languages.table(reports, sentences),
        languages.reading(reports),
    )


def _drops(reports: Sequence[Report], store: Store, theme: Theme) -> Drawing:
    if all(r.is_reference for r in reports):
        raise UserError("a quantized run must be among the runs for this figure, none is")
    sentences = _sentences(reports, store)
    full = next((sentences[r.run] for r in reports if r.is_reference and r.run in sentences), None)
    table = drop_table(reports, sentences, full)
    return (
        drops.drop_figure(table, reports[0].metric, theme),
        table,
        drops.reading(table, reports[0].metric),
    )


def _beside_fp32(
    reports: Sequence[Report], store: Store
) -> tuple[list[Report], dict[str, pd.DataFrame], pd.DataFrame]:
    """(quantized runs, outcomes by run, those of FP32), each of them with its sentences."""
    sentences = _sentences(reports, store)
    full = next((sentences[r.run] for r in reports if r.is_reference and r.run in sentences), None)
    quantized = [r for r in against_fp32(reports) if r.run in sentences]
    if full is None or not quantized:
        raise UserError(
            "an FP32 run and a quantized one must be among the runs for this figure, with the "
            "sentences they were tested on; they are not"
        )
    return quantized, sentences, full


def _zero_shot(reports: Sequence[Report], store: Store, theme: Theme) -> Drawing:
    quantized, sentences, full = _beside_fp32(reports, store)
    table, metric = zero_shot.table(quantized, sentences, full, "script"), reports[0].metric
    return (
        zero_shot.figure(table, drop_table(quantized, sentences, full), metric, theme),
        table,
        zero_shot.reading(table, metric, "script"),
    )


def _sample_size(reports: Sequence[Report], store: Store, theme: Theme) -> Drawing:
    quantized, sentences, full = _beside_fp32(reports, store)
    table = sample_size.needed(drop_table(quantized[:1], sentences, full))
    return (
        sample_size.figure(table, reports[0].metric, theme=theme),
        table,
        sample_size.reading(table),
    )


def _errors(reports: Sequence[Report], store: Store) -> dict[str, pd.DataFrame]:
    errors = {}
    for report in reports:
        try:
            errors[report.run] = store.table(report.run, "depth")
        except Damaged:
            raise
        except UserError:  # FP32, or made by an older version
            continue
    if not errors:
        raise UserError(
            "a run with stored errors per layer must be among the runs for this figure, none is "
            "(FP32 and older runs have none)"
        )
    return errors


def _through_depth(view: str, measure: str) -> Draw:
    def draw(reports: Sequence[Report], store: Store, theme: Theme) -> Drawing:
        errors = _errors(reports, store)
        kept = [r for r in reports if r.run in errors]
        floors = {
            r.run: read_table(files["floor"])
            for r in kept
            if "floor" in (files := paths(r.run, store))
        }
        return depth.draw(
            view, kept, errors, measure, "accumulated", EVERY, kept[0].run, theme, floors
        )

    return draw


def _teacher_gap(reports: Sequence[Report], store: Store, theme: Theme) -> Drawing:
    trained = [r for r in reports if r.recipe.get("training")]
    if not trained:
        raise UserError("a trained run (QAT, SDQ) must be among the runs for this figure, none is")
    errors = _errors(trained, store)
    kept = [r for r in trained if r.run in errors]
    figure, table, text = depth.draw(
        "Blocks", kept, errors, "relative_l2", "gap", EVERY, kept[0].run, theme
    )
    return (
        figure,
        table,
        f"{text} This is not rounding error: training has changed the student's weights, and part "
        "of the difference may be something it learned.",
    )


def _weights(reports: Sequence[Report], store: Store, theme: Theme) -> Drawing:
    report = next((r for r in reports if r.is_quantized), None)
    if report is None:
        raise UserError("a quantized run must be among the runs for this figure, none is")
    table = store.table(report.run, "weights")
    numbers = weights.table(table)
    worst = (
        numbers.loc[numbers["SQNR, dB"].idxmin(), "module"]
        if numbers["SQNR, dB"].notna().any()
        else numbers["module"].iloc[0]
    )
    figure, rows, text = weights.modules_picture(table, "SQNR", str(worst), theme)
    return (
        figure,
        rows,
        f"{weights.reading(table, f'{labels.width(report.recipe)} by {report.method}')} {text}",
    )


def _inspected(analysis: str) -> Draw:
    """The first picture of an analysis, of the first of the runs that was looked into."""

    def draw(reports: Sequence[Report], store: Store, theme: Theme) -> Drawing:
        report, tables, of = _looked_into(analysis, reports, store)
        drawn = inspected.pictures(analysis, tables, report, theme)
        if not drawn:
            raise UserError(
                f"what was found in run {report.run} must have something to draw for this figure, "
                "it has not"
            )
        figure, table, text = drawn[0]
        return figure, table, of + text

    return draw


def _looked_into(
    analysis: str, reports: Sequence[Report], store: Store
) -> tuple[Report, dict[str, pd.DataFrame], str]:
    """The first of the runs for which this analysis was made, the tables of its inspection, and
    whose they are, where that must be said."""
    quantized = [r for r in reports if r.is_quantized]
    if not quantized:
        raise UserError("a quantized run must be among the runs for this figure, none is")
    report = next((r for r in quantized if analysis not in missing(r.run, store)), None)
    if report is None:
        raise UserError(
            "a run must have been inspected for this figure, none has been; run `sdq inspect "
            f"{quantized[0].run}`"
        )
    return (
        report,
        read(report.run, store),
        f"Of the run {run_names(reports)[report.run]}: " if len(quantized) > 1 else "",
    )


def _diagnosis(reports: Sequence[Report], store: Store, theme: Theme) -> Drawing:
    report, tables, of = _looked_into("sensitivity", reports, store)
    plain = next((r.run for r in reports if r.is_reference), None)
    tables |= {"sentences": store.sentences(report.run)} | (
        {} if plain is None else {"reference": store.sentences(plain)}
    )
    said = diagnose(report, tables)
    rows = [(s.text, s.table, ", ".join(s.columns)) for s in said.sentences]
    return (
        None,
        pd.DataFrame(rows, columns=["statement", "its numbers are from", "columns"]),
        of + said.paragraph,
    )


FIGURES: list[tuple[str, Draw]] = [
    ("Scores per language", _scores),
    ("Drop per language", _drops),
    ("Drop of the zero-shot languages, by script", _zero_shot),
    ("Sentences needed to detect the drops of the first quantized run", _sample_size),
    ("Rounding error through depth", _through_depth("Blocks", "relative_l2")),
    ("Rounding error by kind of layer", _through_depth("Paper: error by layer type", "mean_abs")),
    ("Distance of the trained students from their teacher", _teacher_gap),
    ("Weights of the first quantized run, module by module", _weights),
    ("Diagnosis: what breaks the answers, why, and what helps", _diagnosis),
    ("Sensitivity: which modules break the answers", _inspected("sensitivity")),
    ("Remedies: what helps, at which size", _inspected("remedies")),
]


@dataclass(frozen=True)
class Part:
    """A figure of the document, the table behind it and what it shows (a text has only the table);
    or why it is not there (both are None)."""

    title: str
    text: str
    figure: go.Figure | None = None
    table: pd.DataFrame | None = None

    @property
    def slug(self) -> str:
        """The title as a file name."""
        return slug(self.title)


def slug(text: str) -> str:
    """Text as a file name: small letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", text.casefold()).strip("-")


def checked(reports: Sequence[Report]) -> None:
    """UserError unless these are one to MOST runs of one model and task."""
    if not 1 <= len(reports) <= MOST or len({(r.model, r.task) for r in reports}) > 1:
        got = ", ".join(f"{r.run} ({r.model}, {r.task})" for r in reports) or "none"
        raise UserError(
            f"a report must be of one to {MOST} runs of one model and task, got {got}; choose "
            "others"
        )


def parts(reports: Sequence[Report], store: Store, theme: Theme = "light") -> list[Part]:
    """Draw all of FIGURES. One that these runs have no numbers for says so in its text. UserError
    for too many runs, or unlike ones."""
    checked(reports)
    drawn = []
    for title, draw in FIGURES:
        try:
            figure, table, text = draw(reports, store, theme)
        except (UserError, ValueError, OSError) as error:
            drawn.append(Part(title, f"Left out: {error}."))
        else:
            drawn.append(Part(title, text, figure, table))
    return drawn
