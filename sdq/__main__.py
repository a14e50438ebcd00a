"""The command line: `python -m sdq --help`."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import typer

from sdq.recipe import PRESETS, load_recipe
from sdq.report import Report
from sdq.settings import UserError
from sdq.store import Store

app = typer.Typer(help="Quantize multilingual Transformers and see what happened.", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
mini = typer.Typer(help="The embedded model and its data.", no_args_is_help=True)
app.add_typer(mini, name="mini")
tasks = typer.Typer(help="Tasks of your own: a JSON file that says what a folder of labelled text is.", no_args_is_help=True)
app.add_typer(tasks, name="task")


class Line:
    """Progress with ETA on stderr, for anything that takes over two seconds."""

    def __init__(self, quiet: bool) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.completed:.0f}/{task.total:.0f}"), TimeRemainingColumn()
        self.bar = Progress(*columns, console=Console(stderr=True), transient=True, disable=quiet or not sys.stderr.isatty())
        self.task = self.bar.add_task("Starting", total=1)
        self.text = ""
        self.started = time.perf_counter()

    def __call__(self, event: dict[str, Any]) -> None:
        if "number" in event:  # one of several stages; `share`: of the whole, before it
            text = f"{event['number']} of {event['of']}: {event['text']}"
            done = event["of"] * event["share"] if "share" in event else event["number"] - 1
            self.bar.update(self.task, description=text, completed=done, total=event["of"])
        elif event["event"] == "stage":
            self.text = event["text"]
            self.bar.reset(self.task, description=self.text, total=1)
        elif event["event"] in ("step", "evaluate"):
            self.bar.update(self.task, completed=event.get("step", event.get("done")), total=event["of"])
        if time.perf_counter() - self.started > 2 and not self.bar.live.is_started:
            self.bar.start()


@app.command()
def run(
    recipe: Annotated[str, typer.Argument(help="A preset (see `presets`) or a JSON file")],
    model: Annotated[str, typer.Option(help="'mini' or a folder with config, tokenizer and safetensors")] = "mini",
    task: Annotated[str, typer.Option(help="intent, slots, a task file (.json), xglue:DIR/NC or hub:ENTRY")] = "intent",
    seed: Annotated[int | None, typer.Option(help="Replaces the recipe's seed")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print only JSON")] = False,
) -> None:
    """Quantize a model by a recipe, score it in every language and store the result."""
    from sdq.run import run as execute

    wanted = load_recipe(recipe)
    if seed is not None:
        wanted = wanted.model_validate(wanted.model_dump() | {"seed": seed})
    line = Line(quiet=as_json)
    try:
        report = execute(wanted, model, task, Store.default(), line)
    finally:
        line.bar.stop()
    typer.echo(report.model_dump_json() if as_json else _words(report))


@app.command()
def presets() -> None:
    """List the recipes that have a name."""
    for name, recipe in PRESETS.items():
        typer.echo(f"{name:26} {recipe.method}")


@app.command()
def runs() -> None:
    """List finished runs, newest first."""
    for report in Store.default().finished():
        typer.echo(
            f"{report.run}  {report.recipe['name']:26} seed {report.recipe['seed']}  {report.model}  {report.task:7} {100 * report.quantized.zero_shot_mean:5.1f} % zero-shot"
        )


@app.command()
def show(run: Annotated[str, typer.Argument(help="A run id")], as_json: Annotated[bool, typer.Option("--json", help="Print only JSON")] = False) -> None:
    """Print a finished run."""
    report = Store.default().report(run)
    typer.echo(report.model_dump_json() if as_json else _words(report))


@app.command()
def compare(
    runs: Annotated[list[str], typer.Argument(help="Two or more run ids of one task; the first is the baseline")],
    as_json: Annotated[bool, typer.Option("--json", help="Print only JSON")] = False,
) -> None:
    """Paired comparison of runs over the same test sentences: per language with Holm's correction, and for the means over languages."""
    from sdq.verdicts import power_text, verdicts

    store = Store.default()
    reports = [store.report(run) for run in runs]
    if len({(r.task, r.model) for r in reports}) > 1 or len(reports) < 2:
        raise UserError(f"compare needs at least two runs of one model and task, got {', '.join(f'{r.run} ({r.model}, {r.task})' for r in reports)}")
    base, found = reports[0], {}
    for other in reports[1:]:
        try:
            found[other.run] = verdicts(store.sentences(base.run), store.sentences(other.run), list(base.quantized.by_language), (base.labelled,))
        except ValueError as error:
            raise UserError(f"{base.run} and {other.run}: {error}; run both recipes again") from error
    if as_json:
        typer.echo(json.dumps({"base": base.run, "metric": base.metric, "runs": {run: json.loads(t.to_json(orient="records")) for run, t in found.items()}}))
        return
    for other in reports[1:]:
        typer.echo(_verdicts(base, other, found[other.run]))
        typer.echo(f"{power_text(found[other.run])}\n")


@app.command()
def inspect(
    run: Annotated[str, typer.Argument(help="A run id (see `runs`)")],
    only: Annotated[list[str] | None, typer.Option(help="An analysis; may be given again. Without: all of them")] = None,
    sentences: Annotated[int | None, typer.Option(help="Test sentences, spread evenly over the languages; 120, if the settings say nothing else")] = None,
    settings: Annotated[Path | None, typer.Option(help='A JSON file with settings, such as {"repeats": 8, "batch_size": 16}')] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print only JSON: every table of the run and of its inspection")] = False,
    out: Annotated[Path | None, typer.Option(help="A folder for one CSV, JSON and web page per analysis")] = None,
) -> None:
    """Look into a quantized run: which modules break, why, and what to do about it. What was found before is not computed again."""
    from sdq import findings
    from sdq.estimate import analyses
    from sdq.inspection import Inspection, load_settings, missing
    from sdq.inspection import inspect as look

    store, how = Store.default(), Inspection() if settings is None else load_settings(settings)
    if sentences is not None:
        how = Inspection.model_validate(how.model_dump() | {"sentences": sentences})
    report = store.report(run)
    seconds = [analyses([name], report, store, how) for name in missing(run, store, how, only or ())]
    if out is not None:
        findings.writable(out)
    line = Line(quiet=as_json)

    def told(event: dict[str, Any]) -> None:
        known = [each for each in seconds if each is not None]
        if "number" in event and len(known) == len(seconds) and sum(known) > 0:
            event = event | {"share": sum(known[: event["number"] - 1]) / sum(known)}
        line(event)

    try:
        look(run, store, how, only or (), told)
        index = None if out is None else findings.write(out, report, store, how, line)
    finally:
        line.bar.stop()
    typer.echo(json.dumps(findings.everything(report, store, how), allow_nan=False) if as_json else findings.words(report, store, how, index))


@app.command()
def reproduce(
    what: Annotated[str, typer.Argument(help="mini")] = "mini",
    seeds: Annotated[int, typer.Option(min=1, help="How many seeds, from 0")] = 3,
    workers: Annotated[int, typer.Option(min=1, help="Runs at a time")] = 2,
    ship: Annotated[bool, typer.Option("--ship", help="Copy the results into assets/runs")] = False,
) -> None:
    """Run the whole comparison on the embedded tasks and write docs/results.md (resumable)."""
    from sdq.reproduce import reproduce_mini

    if what != "mini":
        raise UserError(f"reproduce knows only 'mini' so far, got {what!r}")
    typer.echo(reproduce_mini(Store.default(), range(seeds), workers, ship))


@tasks.command()
def check(
    task: Annotated[str, typer.Argument(help="A task file (.json), or any other task")],
    as_json: Annotated[bool, typer.Option("--json", help="Print only JSON")] = False,
) -> None:
    """Count a task's sentences and labels per split and language, and say what may spoil a result."""
    from sdq.data import check as data
    from sdq.data.tasks import load_task

    loaded = load_task(task)
    found = data.check(loaded)
    typer.echo(data.as_json(loaded, found) if as_json else data.words(loaded, found))


@mini.command()
def build(
    corpus: Annotated[Path, typer.Option(help="Folder with ntrex, tatoeba, mediawiki_i18n, libreoffice_help, debian_ddtp")],
    work: Annotated[Path, typer.Option(help="Intermediate files and checkpoints; a second call resumes from them")] = Path(".mini-build"),
    out: Annotated[Path, typer.Option(help="Where the finished model goes")] = Path("assets/mini"),
    seed: Annotated[int, typer.Option(help="Seed of everything")] = 0,
) -> None:
    """Rebuild the embedded model: tokenizer, pretraining, data, fine-tuning."""
    from sdq.mini.build import build as rebuild

    rebuild(corpus, work, out, seed)


@mini.command()
def finetune(
    out: Annotated[Path, typer.Option(help="Folder with the encoder; data and models go there")] = Path("assets/mini"),
    seed: Annotated[int, typer.Option(help="Seed of heads and batches")] = 0,
) -> None:
    """The last stage of `mini build` alone: data and fine-tuned models from the encoder that is there."""
    from sdq.mini.build import finish

    finish(out, seed)


def _words(report: Report) -> str:
    lines = [f"run {report.run}: {report.recipe['name']} ({report.method}) on {report.model}, task {report.task}, {report.metric} in %", ""]
    lines += [f"{'':4} {'FP32':>7} {'now':>7} {'change':>7}"]
    rows = [(code, report.reference.by_language[code], score) for code, score in report.quantized.by_language.items()]
    rows += [("mean", report.reference.mean, report.quantized.mean), ("zero", report.reference.zero_shot_mean, report.quantized.zero_shot_mean)]
    lines += [f"{code:4} {100 * a:7.1f} {100 * b:7.1f} {100 * (b - a):+7.1f}" for code, a, b in rows]
    lines += ["", "mean: all languages; zero: languages without labels in training", f"seconds {json.dumps(report.seconds)}"]
    lines += [f"bytes {json.dumps(report.size_bytes)} (quantized size is simulated)"]
    return "\n".join(lines)


def _verdicts(base: Report, other: Report, table: pd.DataFrame) -> str:
    from sdq.statistics import p_cell

    named = [f"{r.run} {r.recipe['name']} seed {r.recipe['seed']}" for r in (base, other)]
    lines = [f"{named[1]} against {named[0]}, {base.metric} in %, change in points", ""]
    lines += [f"{'':9} {'base':>6} {'now':>6} {'change':>7}  {'95 %':16} {'p':>7} {'Holm':>7} {'McNemar':>7} {'lost':>5} {'gained':>6} {'n':>6}  seen from"]
    for row in table.to_dict("records"):
        bounds = f"[{row['low']:+.1f}, {row['high']:+.1f}]"
        lines.append(
            f"{row['language']:9} {row['base']:6.1f} {row['other']:6.1f} {row['change']:+7.1f}  {bounds:16} {p_cell(row['p']):>7} {p_cell(row['p_holm']):>7} "
            f"{p_cell(row['mcnemar']):>7} {row['lost']:5} {row['gained']:6} {row['n']:6}  {row['detectable']:.1f} points"
        )
    tests = " and ".join(f"{test} ({', '.join(codes)})" for test, codes in table.groupby("test", sort=False)["language"].agg(list).items())
    alike = table["clusters"].iloc[0] < table["n"].iloc[0]
    together = f" Sentences made from one frame are one cluster: {table['clusters'].iloc[0]} clusters." if alike else ""
    return "\n".join([*lines, "", f"p: {tests}. Holm: p adjusted for the number of languages. McNemar: exact, every sentence for itself.{together}"])


def main() -> None:
    """Run the command line; a UserError becomes one sentence on stderr and exit code 2."""
    try:
        app()
    except UserError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(2)
    except ValueError as error:  # pydantic's and our own checks of values
        from pydantic import ValidationError

        from sdq.settings import explain

        typer.echo(f"error: {explain(error) if isinstance(error, ValidationError) else error}", err=True)
        sys.exit(2)


if __name__ == "__main__":
    main()
