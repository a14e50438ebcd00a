"""What the command line shows: progress, a run as a table, a comparison of runs."""

from __future__ import annotations

import sys
import time
from typing import Any

import pandas as pd
import typer

from sdq.results import METRICS, Report
from sdq.settings import PROGRESS, visible


class Line:
    """Progress with the time left on stderr, for anything that takes over two seconds: a bar in a
    terminal; elsewhere, a log say, plain lines. As a context manager it takes the bar away at the
    end."""

    EVERY, PART, LONGEST = (
        10.0,
        0.05,
        60.0,
        # between two plain lines: seconds, and share of a stage; but never longer than so many
        # seconds
    )

    def __init__(self, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeRemainingColumn(),
        )
        self.plain = not quiet and not sys.stderr.isatty()
        self.bar = Progress(
            *columns, console=Console(stderr=True), transient=True, disable=quiet or self.plain
        )
        self.task = self.bar.add_task("Starting", total=1)
        self.text = ""
        self.started = self.stage = self.said = time.perf_counter()
        self.first: float | None = (
            None  # share that was done when the stage was first heard of: a resumed one begins late
        )
        self.share = 0.0

    def __enter__(self) -> Line:
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def __call__(self, event: dict[str, Any]) -> None:
        if event["event"] == "damaged":
            typer.echo(visible(f"note: {event['message']}"), err=True)
        elif "number" in event:  # one of several stages; `share`: of the whole, before it
            text = f"{event['number']} of {event['of']}: {event['text']}"
            done = event["of"] * event["share"] if "share" in event else event["number"] - 1
            self.bar.update(self.task, description=text, completed=done, total=event["of"])
            self._stage(text)
        elif event["event"] == "stage":
            self.bar.reset(self.task, description=event["text"], total=1)
            self._stage(event["text"])
        elif event["event"] in ("step", "evaluate"):
            done = float(event["step"] if "step" in event else event["done"])
            self.bar.update(self.task, completed=done, total=event["of"])
            self._done(done, event["of"])
        if (
            time.perf_counter() - self.started > 2
            and not self.bar.live.is_started
            and not self.plain
        ):
            self.bar.start()

    def _stage(self, text: str) -> None:
        if text != self.text:
            self.text, self.stage, self.said, self.first, self.share = (
                text,
                *[time.perf_counter()] * 2,
                None,
                0.0,
            )
            self._say(text)

    def _done(self, done: float, of: float) -> None:
        now, share = time.perf_counter(), done / max(1, of)
        if self.first is None or share < self.first:
            self.first, self.stage, self.share = share, now, share
        silent = now - self.said
        if silent < self.EVERY or (share - self.share < self.PART and silent < self.LONGEST):
            return
        left = (now - self.stage) * (1 - share) / max(1e-9, share - self.first)
        self.said, self.share = now, share
        self._say(f"{self.text}: {done:,.0f} of {of:,.0f}, {in_words(left)} left")

    def _say(self, text: str) -> None:
        if not self.plain:
            return
        try:
            print(f"{PROGRESS}{text}", file=sys.stderr, flush=True)
        except BrokenPipeError:  # nobody reads on, as after `2>&1 | head`; the work goes on
            self.plain = False


def in_words(seconds: float) -> str:
    """A duration: 45 s, 3 min, 2 h 10 min."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60} min"


def row_of(report: Report) -> str:
    """A run in a list of runs, as one line."""
    recipe, scores = report.recipe, report.quantized
    zero_shot = scores.zero_shot_mean == scores.zero_shot_mean  # a task of one language has none
    score = scores.zero_shot_mean if zero_shot else scores.mean
    return visible(
        f"{report.run}  {recipe['name']:26} seed {recipe['seed']}  {report.model}  {report.on:7} "
        f"{100 * score:5.1f} % {'zero-shot' if zero_shot else 'mean'}"
    )


def report_words(report: Report) -> str:
    """A run as a table for people: scores by language and their means, size, time, remarks."""
    from sdq.data.languages import language
    from sdq.jobs.data_folder import in_bytes

    before, after, told = report.reference, report.quantized, report.provenance
    metric, sentences = METRICS[report.metric], told.get("test_sentences")
    recipe = report.recipe
    lines = [
        f"run {report.run}: {recipe['name']} ({report.method}), seed {recipe['seed']}",
        f"model {report.model}, task {report.on}"
        + (f", {sentences:,} test sentences" if sentences else ""),
        f"{metric.inside} in {metric.unit} ({'higher' if metric.higher_is_better else 'lower'} is "
        "better)",
        "",
    ]
    names = {code: f"{code}  {language(code).name}" for code in after.by_language}
    names[report.labelled] = f"{names.get(report.labelled, report.labelled)} (labels in training)"
    rows = [
        (names[code], before.by_language[code], score) for code, score in after.by_language.items()
    ]
    rows += [
        ("mean of all languages", before.mean, after.mean),
        ("mean of zero-shot languages", before.zero_shot_mean, after.zero_shot_mean),
    ]
    rows += [
        (f"mean {METRICS[name].inside}", old.mean, new.mean)
        for name, (old, new) in report.beside.items()
    ]
    rows = [row for row in rows if row[2] == row[2]]  # a task of one language has no zero-shot mean
    width = max(len(name) for name, *_ in rows)
    lines.append(f"{'':{width}} {'FP32':>7} {'now':>7} {'change':>7}")
    lines += [
        f"{name:{width}} {100 * a:7.1f} {100 * b:7.1f} {100 * (b - a):+7.1f}" for name, a, b in rows
    ]
    size = {name: in_bytes(size) for name, size in report.size_bytes.items()}
    lines += [
        "",
        f"size: {size['fp32']} in FP32"
        + (f", {size['quantized_simulated']} quantized (simulated)" if report.is_quantized else ""),
    ]
    stages = ", ".join(
        f"{name} {seconds:.0f} s" for name, seconds in report.seconds.items() if seconds >= 0.5
    )
    lines.append(f"time: {sum(report.seconds.values()):.0f} s" + (f" ({stages})" if stages else ""))
    if cut := told.get("test_sentences_cut"):
        lines.append(
            f"note: {cut:,} of {sentences:,} test inputs are longer than the task allows and were "
            "cut"
        )
    # not cut at "; ", which is inside many a remark
    lines += [f"note: {told['remarks']}"] if told.get("remarks") else []
    return visible("\n".join(lines))


def verdict_words(base: Report, other: Report, table: pd.DataFrame) -> str:
    """A comparison of two runs as a table for people."""
    from sdq.evaluate.statistics import p_cell

    named = [f"{r.run} {r.recipe['name']} seed {r.recipe['seed']}" for r in (base, other)]
    lines = [f"{named[1]} against {named[0]}, {base.metric} in %, change in points", ""]
    lines += [
        f"{'':9} {'base':>6} {'now':>6} {'change':>7}  {'95 %':16} {'p':>7} {'Holm':>7} "
        f"{'McNemar':>7} {'lost':>5} {'gained':>6} {'n':>6}  seen from"
    ]
    for row in table.to_dict("records"):
        bounds = f"[{row['low']:+.1f}, {row['high']:+.1f}]"
        lines.append(
            f"{row['language']:9} {row['base']:6.1f} {row['other']:6.1f} {row['change']:+7.1f}  "
            f"{bounds:16} {p_cell(row['p']):>7} {p_cell(row['p_holm']):>7} "
            f"{p_cell(row['mcnemar']):>7} {row['lost']:5} {row['gained']:6} {row['n']:6}  "
            f"{row['detectable']:.1f} points"
        )
    tests = " and ".join(
        f"{test} ({', '.join(codes)})"
        for test, codes in table.groupby("test", sort=False)["language"].agg(list).items()
    )
    clustered = table["clusters"].iloc[0] < table["n"].iloc[0]
    together = (
        f" Sentences made from one frame are one cluster: {table['clusters'].iloc[0]} clusters."
        if clustered
        else ""
    )
    said = "\n".join(
        [
            *lines,
            "",
            f"p: {tests}. Holm: p adjusted for the number of languages. McNemar: exact, every "
            f"sentence for itself.{together}",
        ]
    )
    return visible(said)
