"""What docs/results.md and the README say of a study, from the runs that are stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from sdq.evaluate.significance import HOME, interaction, paired_tests
from sdq.evaluate.statistics import holm, mean_interval, p_text
from sdq.io import files
from sdq.labels import language_name
from sdq.recipe import PRESETS
from sdq.reproduce.plan import Job, Scheme, Study
from sdq.reproduce.shipping import compact, ship, ship_inspections
from sdq.results import Report
from sdq.settings import ASSETS, ROOT, UserError
from sdq.store import Store

LEAST = 0.5  # points lost, below which a share of them says nothing
# with {command}, {varied} ("Seeds 0, 1, 2 vary") and {over} ("3 seeds")
ABOUT = """Made by `{command}`; one table alone by the command above it. {varied} the training of \
the students and of FP32 longer (data order; where ranges are static, the calibration sentences, \
too); PTQ is calibrated with seed 0, and the FP32 teacher is the shipped one. FP32 longer is the \
control: the FP32 model, trained on English labels for as many steps more as the students, without \
quantization. Intervals: 95 %, bootstrap over the frames that the test sentences are made from, a \
frame with all its sentences in all languages at once; over seeds by Student's t where there are \
several. p is two-sided and from the same draws, or by approximate randomisation over the frames \
where one run stands against one; those of a table are corrected for their number (Holm). \
Recovered: the share of the points that PTQ loses in the zero-shot languages; below 0, training \
lost more. Quantization is simulated (fake quantization)."""
SHOWN = "intent"  # the task in the README
SHORT = """Accuracy of intent in %, mean of the zero-shot languages with its 95 % interval; FP32 \
longer, QAT and SDQ over {over}. Made by `{command}`."""


class Runs(NamedTuple):
    """The stored runs of a preset on a task: seeds, reports, per-sentence tables."""

    seeds: list[int]
    reports: list[Report]
    tables: list[pd.DataFrame]


def publish(study: Study, store: Store, seeds: list[int], shipping: bool) -> str:
    """Write the study's tables into docs/results.md and the README, from what is stored; with
    `shipping`, copy its runs and inspections into assets/. Returns the tables of the former."""
    if shipping:
        stored = study.stored(study.jobs(seeds), store)
        ship(store, {run: study.ships_tables(job) for job, run in stored.items()})
        if study.inspected:
            ship_inspections(store, ASSETS / "inspections")
        compact(ASSETS)
    text = results(study, store, seeds)
    mark = f"results {study.model}"
    _put(ROOT / "docs" / "results.md", mark, text)
    _put(ROOT / "README.md", mark, overview(study, store, seeds))
    return text


def _put(path: Path, mark: str, made: str) -> None:
    """Put what was made between the marks in a Markdown file, and leave the rest as it is."""
    before, start, rest = path.read_text("utf-8").partition(f"<!-- {mark} -->\n")
    _, end, after = rest.partition(f"<!-- /{mark} -->")
    if not (start and end):
        raise UserError(
            f"{path} must hold the two marks of the {mark}, it does not; take them from the "
            "version of the project that came with it"
        )
    files.write_text(path, f"{before}{start}{made}\n{end}{after}")


def overview(study: Study, store: Store, seeds: list[int]) -> str:
    """The table of the README: zero-shot scores of every scheme on SHOWN, as far as runs are
    stored."""
    jobs = study.jobs(seeds, tasks=(SHOWN,))
    stored = study.stored(jobs, store)
    if not stored:
        return _none(study, seeds)
    titles = ["scheme", *_methods(study.presets(study.schemes[0], multi=False))]
    lines = [_row(titles), "|---" * len(titles) + "|"]
    for scheme in study.schemes:
        runs = _load(study, scheme, SHOWN, stored, store)
        if not {"fp32", scheme.ptq} <= runs.keys():
            continue
        cells = [scheme.name]
        for preset in study.presets(scheme, multi=False):
            score = _score(runs[preset].tables, _zero_shot(runs)) if preset in runs else ""
            cells.append(score + (_fewer(preset, runs[preset], seeds) if score else ""))
        lines.append(_row(cells))
    lines = ["", *lines] if len(lines) > 2 else []
    if len(stored) < len(jobs):
        lines += ["", f"Not complete: {len(stored)} of {len(jobs)} planned runs stored."]
    return "\n".join([_said(study, SHORT, seeds), *lines]) + "\n"


def results(study: Study, store: Store, seeds: list[int]) -> str:
    """The tables of docs/results.md: means with 95 % intervals, share recovered, paired tests; as
    far as runs are stored."""
    stored = study.stored(study.jobs(seeds), store)
    if not stored:
        return _none(study, seeds)
    lines = [_said(study, ABOUT, seeds), "", *_schemes(study)]
    for scheme, task in study.tables:
        lines += ["", f"## {study.model}, {task}, {scheme.name}", ""]
        alone = f"{study.command(len(seeds))} --scheme {scheme.name} --task {task}"
        lines += [f"`{alone}`", ""]
        runs = _load(study, scheme, task, stored, store)
        if {"fp32", scheme.ptq} <= runs.keys():
            lines += _table(study, scheme, runs, seeds)
        lines += _unfinished(study.jobs(seeds, [scheme.name], [task]), stored, bool(lines[-1]))
    return "\n".join(lines) + "\n"


def _schemes(study: Study) -> list[str]:
    """What each scheme rounds."""
    rows = [_row([scheme.name, f"`{scheme.ptq}`", scheme.what]) for scheme in study.schemes]
    return [_row(["scheme", "preset of PTQ", "what is rounded"]), "|---|---|---|", *rows]


def _said(study: Study, words: str, seeds: list[int]) -> str:
    over = f"{len(seeds)} seed{'' if len(seeds) == 1 else 's'}"
    varied = f"{_numbered(seeds).capitalize()} var{'ies' if len(seeds) == 1 else 'y'}"
    return words.format(command=study.command(len(seeds)), varied=varied, over=over)


def _none(study: Study, seeds: list[int]) -> str:
    return (
        f"No run of `{study.model}` is stored yet: `{study.command(len(seeds))}` makes them and "
        "writes the tables here.\n"
    )


def _unfinished(jobs: list[Job], stored: Mapping[Job, str], table: bool) -> list[str]:
    """Which of the runs of a table are missing, if any; after a `table` with a line between."""
    missing: dict[str, list[int]] = {}
    for job in jobs:
        if job not in stored:
            missing.setdefault(job.preset, []).append(job.seed)
    if not missing:
        return []
    count = len(jobs) - sum(map(len, missing.values()))
    named = "; ".join(f"{preset}, {_numbered(of)}" for preset, of in missing.items())
    return [
        *([""] if table else []),
        f"Not complete: {count} of {len(jobs)} planned runs stored. Missing: {named}. The command "
        "above goes on where it was.",
    ]


def _numbered(seeds: Sequence[int]) -> str:
    return f"seed{'' if len(seeds) == 1 else 's'} {', '.join(map(str, seeds))}"


def _load(
    study: Study, scheme: Scheme, task: str, stored: Mapping[Job, str], store: Store
) -> dict[str, Runs]:
    """Preset -> its runs on a task, of those that have any."""
    runs = {}
    for preset in study.presets(scheme):
        those = {j.seed: run for j, run in stored.items() if (j.preset, j.task) == (preset, task)}
        if those:
            reports = [store.report(run) for run in those.values()]
            runs[preset] = Runs(
                list(those), reports, [store.sentences(run) for run in those.values()]
            )
    return runs


def _zero_shot(runs: Mapping[str, Runs]) -> list[str]:
    report = runs["fp32"].reports[0]
    return [code for code in report.quantized.by_language if code != report.labelled]


def _methods(presets: Sequence[str]) -> list[str]:
    return [PRESETS[preset].method for preset in presets]


def _table(study: Study, scheme: Scheme, runs: Mapping[str, Runs], seeds: list[int]) -> list[str]:
    """A row per preset that has runs, and what PTQ loses. Both FP32 and PTQ must have some."""
    labelled, zero = runs["fp32"].reports[0].labelled, _zero_shot(runs)
    against = study.against(scheme)
    differences = _differences(study, scheme, runs, zero)
    means = {name: mean_interval(those.tables, zero)[0] for name, those in runs.items()}
    lost = means["fp32"] - means[scheme.ptq]
    titles = [
        "method",
        f"{labelled} [95 %]",
        f"mean of {len(zero)} zero-shot [95 %]",
        "recovered, %",
        *(f"against {method}, points [95 %], p" for method in _methods(against)),
    ]
    lines = [_row(titles), "|" + "---|" * len(titles)]
    for preset, (_, _, tables) in runs.items():
        recovered = ""
        if PRESETS[preset].rules and preset != scheme.ptq:
            share = 100 * (means[preset] - means[scheme.ptq])
            recovered = (
                f"{share / lost:.0f}" if 100 * lost > LEAST else f"loss under {LEAST} points"
            )
        cells = [_label(preset) + _fewer(preset, runs[preset], seeds), _score(tables, [labelled])]
        cells += [_score(tables, zero), recovered]
        lines.append(_row([*cells, *(differences.get((preset, base), "") for base in against)]))
    return [*lines, "", _loss(runs["fp32"], runs[scheme.ptq], labelled, zero)]


def _differences(
    study: Study, scheme: Scheme, runs: Mapping[str, Runs], zero: list[str]
) -> dict[tuple[str, str], str]:
    """(preset, baseline) -> how their zero-shot means differ, of all pairs that are tested."""
    verdicts = {
        (preset, base): paired_tests(runs[base].tables, runs[preset].tables, zero).iloc[-1]
        for name in study.tested
        if (preset := f"{name}-{scheme.ending}") in runs
        for base in study.against(scheme)
        if base in runs and base != preset
    }
    p = [verdict["p"] for verdict in verdicts.values()]
    return {
        pair: f"{v['change']:+.2f} {_bounds(v['low'], v['high'])}, {p_text(chance)}"
        for (pair, v), chance in zip(verdicts.items(), holm(p), strict=True)
    }


def _loss(fp32: Runs, ptq: Runs, labelled: str, zero: list[str]) -> str:
    """What PTQ loses in the zero-shot languages and in the labelled one, and whether the former is
    more."""
    damage = paired_tests(fp32.tables, ptq.tables, zero).iloc[-1]
    said = (
        f"PTQ loses {round(-damage['change'], 1) + 0:.1f} points of mean zero-shot score "
        f"{_bounds(-damage['high'], -damage['low'])}; n = {damage['n']} sentences in "
        f"{damage['clusters']} clusters."
    )
    lost = interaction(fp32.tables, ptq.tables, {"zero-shot": zero}, [labelled]).set_index("group")
    home, away, language = lost.loc[HOME], lost.loc["zero-shot"], language_name(labelled)
    return (
        f"{said} In {language} it loses {round(home['drop'], 1) + 0:.1f} points "
        f"{_bounds(home['low'], home['high'])}. The zero-shot loss minus that of {language}: "
        f"{away['extra']:+.2f} points {_bounds(away['extra_low'], away['extra_high'])}, "
        f"{p_text(away['p'])}."
    )


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _label(preset: str) -> str:
    """A preset in a table, with what a reader must not take it for."""
    notes = {
        "SDQ multi": " (our extension: unlabelled text in all languages)",
        "FP32 longer": " (control: FP32 longer)",
    }
    return preset + notes.get(PRESETS[preset].method, "")


def _fewer(preset: str, runs: Runs, seeds: list[int]) -> str:
    """The seeds that a trained preset has, if not all that are planned."""
    if PRESETS[preset].training is None or runs.seeds == seeds:
        return ""
    return f" ({_numbered(runs.seeds)})"


def _score(tables: list[pd.DataFrame], languages: list[str]) -> str:
    mean, low, high = mean_interval(tables, languages)
    low, high = max(0.0, low), min(1.0, high)  # few seeds make Student's t wider than scores can be
    return f"{100 * mean:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def _bounds(low: float, high: float) -> str:
    return f"[{low:+.2f}, {high:+.2f}]"
