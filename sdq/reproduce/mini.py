"""The whole comparison by one command: every method, every width, both tasks, several seeds ->
docs/results.md and the README."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from sdq.evaluate.significance import verdicts
from sdq.evaluate.statistics import mean_interval, p_text
from sdq.inspection.registry import ANALYSES
from sdq.inspection.settings import Inspection
from sdq.inspection.storage import Progress, inspect, inspection_id, paths
from sdq.io import events, files, sealed
from sdq.io.sealed import SEAL, as_shipped, seal_embedded
from sdq.recipe import PRESETS, Recipe, preset_of
from sdq.results import Report
from sdq.settings import ASSETS, ROOT, UserError
from sdq.store import SHIPPED, TABLES, Store, seal, write
from sdq.store.identity import identify

WIDTHS = {"INT8": "int8", "W4A8": "w4a8", "W3A8": "w3a8", "W2A8": "w2a8"}
TRAINED = ("qat", "sdq-att-kld", "sdq-att-kld-multi")
# presets whose students of intent are shipped: with two bits a weight they are small
PACKED = tuple(f"{name}-w2a8" for name in TRAINED)
# presets whose intent runs at seed 0 are shipped with their inspection
INSPECTED = ("ptq-w4a8", "ptq-w2a8")
# task and width, the most telling first; a run that is stopped early has the tables so far
TABLES_OF = (
    ("intent", "W2A8"),
    ("intent", "W3A8"),
    ("intent", "W4A8"),
    ("intent", "INT8"),
    ("slots", "W2A8"),
    ("slots", "W4A8"),
    ("slots", "INT8"),
)


def plan(width: str) -> list[str]:
    """Presets compared at one width, baseline first."""
    ptq = "ptq-int8-dynamic" if width == "int8" else f"ptq-{width}"
    return [ptq, *(f"{name}-{width}" for name in TRAINED)]


def jobs(task: str, width: str, seeds: Iterable[int]) -> list[tuple[str, str, int]]:
    """(preset, task, seed) of everything one table needs."""
    wanted = [("fp32", task, 0), (plan(WIDTHS[width])[0], task, 0)]
    return wanted + [(preset, task, seed) for seed in seeds for preset in plan(WIDTHS[width])[1:]]


def seeded(preset: str, seed: int) -> Recipe:
    """The preset with this seed; what nothing random enters (FP32, dynamic PTQ) keeps seed 0."""
    recipe = PRESETS[preset]
    return recipe if recipe.training is None else recipe.model_copy(update={"seed": seed})


def ship(store: Store, runs: Iterable[str]) -> None:
    """Copy what a finished run is read from into assets/runs, so that it comes with the project.

    Of repetitions with other seeds only the scores go along: what a look inside showed takes ten
    times their space. The weights of the packed students go along as codes, so that they can be
    asked.
    """
    for run in runs:
        if (sentence := store.damage(run, weights=True)) is not None:
            raise UserError(sentence)
        report = store.report(run)
        inside = TABLES if report.recipe["seed"] == 0 else ()
        home, place = store.home(run), SHIPPED / run
        if home != place:
            place.mkdir(parents=True, exist_ok=True)
            for name in (
                "spec.json",
                "report.json",
                "sentences.parquet",
                *(f"{table}.parquet" for table in inside),
            ):
                if (home / name).exists():
                    shutil.copyfile(home / name, place / name)
            if inside and report.task == "intent" and preset_of(report.recipe) in PACKED:
                _pack(report, home, place)
            seal(place)


def _pack(report: Report, home: Path, place: Path) -> None:
    from safetensors.torch import save_file

    from sdq.data.registry import load_task
    from sdq.models.checkpoint import folder_of
    from sdq.models.loading import load
    from sdq.pipeline.student import build_student
    from sdq.quant.packed import pack

    task = load_task(report.task)
    teacher, _ = load(folder_of(report.model, report.task), task.kind, task.labels)
    recipe = Recipe.model_validate(report.recipe)
    student = build_student(recipe, teacher, weights=home / "model.safetensors")
    save_file(pack(student, teacher), place / "packed.safetensors")


def ship_inspections(store: Store, place: Path, progress: Progress = lambda event: None) -> None:
    """Look into the runs of INSPECTED, as far as that was not done yet, and copy what was found to
    `place` in the stead of what is there.

    Without the marker `done`: an analysis that is added later can then be computed for a shipped
    run. UserError if a run or its weights are missing.
    """
    fresh = {}
    for preset in INSPECTED:
        run = identify(seeded(preset, 0), "mini", "intent")
        inspect(run, store, progress=progress)
        files = paths(run, store)
        made = [
            e
            for folder in {path.parent for path in files.values()}
            for e in _analysed(folder / "events.jsonl")
        ]
        tables = {
            table: files[table].read_bytes()
            for analysis in ANALYSES.values()
            for table in analysis.tables
        }
        spec = {"inspects": run, "settings": Inspection().model_dump(mode="json")}
        fresh[inspection_id(run, Inspection())] = tables, spec, made
    if place.exists():
        shutil.rmtree(place)
    for home, (tables, spec, made) in fresh.items():
        (place / home).mkdir(parents=True)
        for name, content in tables.items():
            (place / home / f"{name}.parquet").write_bytes(content)
        (place / home / "spec.json").write_text(json.dumps(spec, indent=1))
        (place / home / "events.jsonl").write_text("".join(json.dumps(e) + "\n" for e in made))
        _seal(place / home)


def _seal(home: Path) -> None:
    """Seal a shipped inspection: its tables, what it is of, and the times in its log."""
    sealed.write(home / SEAL, [path.name for path in sorted(home.iterdir()) if path.name != SEAL])


def _analysed(log: Path) -> list[dict[str, Any]]:
    """What a log says about how long each analysis took, the last time."""
    return list({e["name"]: e for e in events.read(log) if e["event"] == "analysed"}.values())


def compact(assets: Path) -> int:
    """Write the tables of shipped runs and inspections, and the encoder's tokenizer, as small as
    they can be; returns the bytes saved.

    Every table is read back and must be the same, number by number, before it takes the place of
    the other.
    """
    saved, mini = 0, assets / "mini"
    _whole(assets)
    for path in sorted([*assets.glob("runs/*/*.parquet"), *assets.glob("inspections/*/*.parquet")]):
        table, other = pd.read_parquet(path), path.with_suffix(".smaller")
        write(table, other)
        pd.testing.assert_frame_equal(pd.read_parquet(other), table, check_exact=True)
        saved += _take(other, path)
    # the tokenizers beside the fine-tuned models are part of the run ids, and stay as they are
    path = mini / "encoder" / "tokenizer.json"
    other = path.with_suffix(".smaller")
    other.write_text(
        json.dumps(json.loads(path.read_text("utf-8")), ensure_ascii=False, separators=(",", ":")),
        "utf-8",
    )
    saved += _take(other, path)
    for home in sorted(assets.glob("runs/*")):
        seal(home)
    for home in sorted(assets.glob("inspections/*")):
        _seal(home)
    seal_embedded(mini)
    return saved


def _whole(assets: Path) -> None:
    """UserError if something that ships is not as it was written: sealing it again would hide
    that."""
    for kept in (Store(assets / "runs", None), Store(assets / "inspections", None)):
        for path in sorted(kept.folder.glob("*/*.parquet")):
            marker = path.with_name("done" if (path.parent / "done").is_file() else SEAL)
            try:
                why = sealed.fault(path, sealed.read(marker))
            except FileNotFoundError:
                why = None
            if why is not None:
                raise sealed.damaged(path, path.parent.name, why, "have it made again")
    for part in ("data", "encoder", "intent", "slots"):
        as_shipped(assets / "mini" / part)


def _take(other: Path, path: Path) -> int:
    """Put the smaller one of two files at `path`; returns the bytes that saves."""
    saved = path.stat().st_size - other.stat().st_size
    if saved > 0:
        other.replace(path)
    other.unlink(missing_ok=True)
    return max(0, saved)


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
    damage = verdicts(fp32, ptq, zero).iloc[-1]
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
        gain = verdicts(ptq, tables, zero).iloc[-1]
        cells.append(
            ""
            if name in names[:2]
            else f"{100 * gain['change'] / -lost:.0f}"
            if lost < -0.5
            else "loss under 0.5 points"
        )
        cells.append("" if name in names[:2] else _difference(gain))
        cells.append("" if name in names[:3] else _difference(verdicts(qat, tables, zero).iloc[-1]))
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
