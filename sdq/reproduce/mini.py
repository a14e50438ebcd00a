"""The whole comparison by one command: every method, every width, both tasks, several seeds ->
docs/results.md and the README."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from sdq.evaluate.significance import paired_tests
from sdq.evaluate.statistics import mean_interval, p_text
from sdq.io import files
from sdq.recipe import PRESETS
from sdq.reproduce.plan import TABLES_OF, WIDTHS, jobs, plan, seeded
from sdq.reproduce.shipping import compact, ship, ship_inspections
from sdq.results import Report
from sdq.settings import ASSETS, ROOT, UserError
from sdq.store import Store
from sdq.store.identity import identify


def reproduce_mini(store: Store, seeds: Iterable[int], workers: int, shipping: bool = False) -> str:
    """Run what is not stored yet, each run in a process of its own, and return the Markdown that
    was written."""
    seeds = list(seeds)
    wanted = list(
        dict.fromkeys(job for task, width in TABLES_OF for job in jobs(task, width, seeds))
    )
    missing = [job for job in wanted if not _there(store, job)]
    print(f"{len(wanted)} runs, {len(missing)} to do", flush=True)
    first = [job for job in missing if job[0] == "fp32"]
    with ThreadPoolExecutor(workers) as pool:
        each = partial(_in_process, threads=max(1, (os.cpu_count() or 1) // workers))
        list(pool.map(each, first))
        for i, _ in enumerate(pool.map(each, [job for job in missing if job not in first]), 1):
            print(f"{i} of {len(missing) - len(first)} done", flush=True)
    return publish(store, seeds, shipping)


def publish(store: Store, seeds: list[int], shipping: bool) -> str:
    """Write the tables of docs/results.md and the one of the README from what is stored; with
    `shipping`, copy its runs and inspections into assets/."""
    if shipping:
        wanted = dict.fromkeys(
            job
            for task, width in TABLES_OF
            for job in jobs(task, width, seeds)
            if _there(store, job)
        )
        ship(store, (identify(seeded(preset, seed), "mini", task) for preset, task, seed in wanted))
        ship_inspections(store, ASSETS / "inspections")
        compact(ASSETS)
    text = results(store, seeds)
    _put(ROOT / "docs" / "results.md", text)
    _put(ROOT / "README.md", overview(store, seeds))
    return text


def _put(path: Path, made: str) -> None:
    """Put what was made between the marks in a Markdown file, and leave the rest as it is."""
    before, start, rest = path.read_text("utf-8").partition("<!-- results -->\n")
    _, end, after = rest.partition("<!-- /results -->")
    if not (start and end):
        raise UserError(
            f"{path} must hold the two marks of the results, it does not; take them from the "
            "version of the project that came with it"
        )
    files.write_text(path, f"{before}{start}{made}\n{end}{after}")


def _in_process(job: tuple[str, str, int], threads: int) -> None:
    preset, task, seed = job
    command = [
        sys.executable,
        "-m",
        "sdq",
        "run",
        preset,
        "--task",
        task,
        "--json",
        *([] if PRESETS[preset].training is None else ["--seed", str(seed)]),
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": str(threads)},
    )
    if done.returncode:
        raise UserError(
            f"{' '.join(command[2:])} failed: "
            f"{done.stderr.strip().splitlines()[-1] if done.stderr.strip() else done.returncode}"
        )


def overview(store: Store, seeds: list[int]) -> str:
    """The table of the README: zero-shot scores of intent at every width."""
    widths = [width for task, width in TABLES_OF if task == "intent"]
    wanted = dict.fromkeys(job for width in widths for job in jobs("intent", width, seeds))
    missing = [job for job in wanted if not _there(store, job)]
    about = (
        "Accuracy in %, mean of the zero-shot languages with its 95 % interval; task intent; QAT "
        f"and SDQ over {len(seeds)} seeds. Made by `python -m sdq reproduce mini "
        f"--seeds {len(seeds)}`."
    )
    lines = ["| bits | FP32 | PTQ | QAT | SDQ |", "|---" * 5 + "|"]
    for width in widths if not missing else ():
        cells = []
        for preset in ("fp32", *plan(WIDTHS[width])[:3]):
            (report, *_), tables = _load(store, preset, "intent", seeds)
            languages = report.quantized.by_language
            cells.append(_score(tables, [c for c in languages if c != report.labelled]))
        lines.append(f"| {width} | " + " | ".join(cells) + " |")
    return "\n".join([about, "", *(_unfinished(missing) if missing else lines)]) + "\n"


def results(store: Store, seeds: list[int]) -> str:
    """The tables of docs/results.md: means with 95 % intervals, share recovered, paired tests."""
    lines = [
        f"Made by `python -m sdq reproduce mini --seeds {len(seeds)}`. Seeds "
        f"{', '.join(map(str, seeds))} vary the training of the student (data order, initial "
        "noise); the FP32 teacher is the shipped one. Intervals: 95 %, bootstrap over the 140 "
        "frames that the 700 test sentences per language are made from, a frame with all its "
        "sentences in all languages at once; over the seeds of trained students by Student's t. "
        "p is two-sided and from the same draws (FP32 against PTQ: approximate randomisation "
        "over the frames). Recovered: the share of the points that PTQ loses in the zero-shot "
        "languages; below 0, training lost more. Quantization is simulated (fake quantization); "
        "activations are 8 bits, dynamic, per token.",
    ]
    for task, width in TABLES_OF:
        missing = [job for job in jobs(task, width, seeds) if not _there(store, job)]
        lines += [
            "",
            f"## {task}, {width}",
            "",
            *(_unfinished(missing) if missing else _table(store, seeds, task, WIDTHS[width])),
        ]
    return "\n".join(lines) + "\n"


def _there(store: Store, job: tuple[str, str, int]) -> bool:
    preset, task, seed = job
    return store.done(identify(seeded(preset, seed), "mini", task))


def _unfinished(missing: list[tuple[str, str, int]]) -> list[str]:
    return [
        f"Not complete: {len(missing)} runs are missing "
        f"({', '.join(f'{preset} seed {seed}' for preset, _, seed in missing)}). The command above "
        "goes on where it was."
    ]


def _load(
    store: Store, preset: str, task: str, seeds: list[int]
) -> tuple[list[Report], list[pd.DataFrame]]:
    ids = dict.fromkeys(identify(seeded(preset, seed), "mini", task) for seed in seeds)
    return [store.report(run) for run in ids], [store.sentences(run) for run in ids]


def _table(store: Store, seeds: list[int], task: str, tag: str) -> list[str]:
    names = ["fp32", *plan(tag)]
    loaded = {name: _load(store, name, task, seeds) for name in names}
    fp32, ptq, qat = (loaded[names[i]][1] for i in range(3))
    report = loaded["fp32"][0][0]
    every = list(report.quantized.by_language)
    zero = [code for code in every if code != report.labelled]
    damage = paired_tests(fp32, ptq, zero).iloc[-1]
    lost = damage["change"]
    head = (
        f"| method | {report.labelled} | mean of 15 | mean of {len(zero)} zero-shot [95 %] | "
        "recovered, % | against PTQ, points [95 %], p | against QAT, points [95 %], p |"
    )
    lines = [head, "|" + "---|" * 7]
    for name in names:
        reports, tables = loaded[name]
        overall = mean_interval(tables, every)[0]
        english = sum(r.quantized.by_language[report.labelled] for r in reports) / len(reports)
        cells = [
            f"{100 * english:.1f}",
            f"{100 * overall:.1f}",
            _score(tables, zero),
        ]
        gain = paired_tests(ptq, tables, zero).iloc[-1]
        cells.append(
            ""
            if name in names[:2]
            else f"{100 * gain['change'] / -lost:.0f}"
            if lost < -0.5
            else "loss under 0.5 points"
        )
        cells.append("" if name in names[:2] else _difference(gain))
        cells.append(
            "" if name in names[:3] else _difference(paired_tests(qat, tables, zero).iloc[-1])
        )
        label = name + (
            " (our extension: unlabelled text in all languages)" if "multi" in name else ""
        )
        lines.append(f"| {label} | " + " | ".join(cells) + " |")
    lines += [
        "",
        f"PTQ loses {round(-lost, 1) + 0:.1f} points of mean zero-shot score "
        f"{_bounds(-damage['high'], -damage['low'])}; n = {damage['n']} sentences in "
        f"{damage['clusters']} clusters.",
    ]
    return lines


def _score(tables: list[pd.DataFrame], languages: list[str]) -> str:
    mean, low, high = mean_interval(tables, languages)
    return f"{100 * mean:.1f} [{100 * low:.1f}, {100 * high:.1f}]"


def _bounds(low: float, high: float) -> str:
    return f"[{low:+.2f}, {high:+.2f}]"


def _difference(verdict: pd.Series[Any]) -> str:
    return (
        f"{verdict['change']:+.2f} {_bounds(verdict['low'], verdict['high'])}, "
        f"{p_text(verdict['p'])}"
    )
