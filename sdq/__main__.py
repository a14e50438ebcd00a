"""The command line: `python -m sdq --help`."""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from typer.exceptions import TyperException

from sdq.cli.allocator import keep_freed_memory
from sdq.cli.output import Line, report_words, row_of, verdict_words
from sdq.io import files
from sdq.io.boundary import boundary
from sdq.io.explain import of_option
from sdq.recipe import PRESETS, load_recipe
from sdq.settings import UserError, one_line, path_of
from sdq.store import Store

app = typer.Typer(
    help="Quantize multilingual Transformers and see what happened.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
mini = typer.Typer(help="The embedded model and its data.", no_args_is_help=True)
app.add_typer(mini, name="mini")
models = typer.Typer(help="Models to start from: curated ones, and what is in the local cache.")
app.add_typer(models, name="models")
tasks = typer.Typer(
    help="Tasks of your own: a JSON file that says what a folder of labelled text is.",
    no_args_is_help=True,
)
app.add_typer(tasks, name="task")
recipes = typer.Typer(
    help="Recipes of your own: a JSON file that says what is done to a model.", no_args_is_help=True
)
app.add_typer(recipes, name="recipe")


@app.command()
def run(
    recipe: Annotated[str, typer.Argument(help="A preset (see `presets`) or a JSON file")],
    model: Annotated[
        str,
        typer.Option(
            help="'mini', a folder with config, tokenizer and safetensors, or a Hub name; see "
            "`models`"
        ),
    ] = "mini",
    task: Annotated[
        str, typer.Option(help="intent, slots, a task file (.json), xglue:DIR/NC or hub:ENTRY")
    ] = "intent",
    seed: Annotated[int | None, typer.Option(help="Replaces the recipe's seed")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print only JSON")] = False,
) -> None:
    """Quantize a model by a recipe, score it in every language and store the result."""
    from sdq.pipeline.run import run as execute

    wanted = load_recipe(recipe)
    if seed is not None:
        wanted = wanted.model_validate(wanted.model_dump() | {"seed": seed})
    line = Line(quiet=as_json)
    try:
        report = execute(wanted, model, task, Store.default(), line)
    finally:
        line.bar.stop()
    typer.echo(report.model_dump_json() if as_json else report_words(report))


@app.command()
def finetune(
    out: Annotated[
        Path,
        typer.Option(
            help="A new folder for the model, or one with an unfinished fine-tuning, which goes on"
        ),
    ],
    task: Annotated[
        str, typer.Option(help="intent, slots, a task file (.json), xglue:DIR/NC or hub:ENTRY")
    ],
    model: Annotated[
        str,
        typer.Option(help="'mini' (the embedded encoder), a folder, or a Hub name; see `models`"),
    ] = "mini",
    steps: Annotated[int | None, typer.Option(help="Optimizer steps at most")] = None,
    learning_rate: Annotated[float | None, typer.Option(help="Largest learning rate")] = None,
    seed: Annotated[
        int, typer.Option(min=0, max=2**31 - 1, help="Seed of the head and of the batches")
    ] = 0,
    freeze: Annotated[
        int | None, typer.Option(help="How many of the first blocks keep their weights")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print only JSON")] = False,
) -> None:
    """Train a head and the upper blocks of an encoder on the labelled language of a task, for `run
    --model OUT`."""
    from sdq.models.checkpoint import base_of

    out = path_of(out, "the folder of the model")
    base_of(model, fetch=True)  # what is wrong with it is said before torch is imported
    from sdq.data.registry import called
    from sdq.pipeline import finetune as tuning

    line = Line(quiet=as_json)
    try:
        card = tuning.finetune(
            model, task, out, tuning.usual(model, task, steps, learning_rate, freeze), seed, line
        )
    finally:
        line.bar.stop()
    said = (
        f"{out}: {model} fine-tuned on {called(task)} ({card['language']}), "
        f"{100 * card['dev']:.1f} % on its dev split after {card['kept_step']} steps"
    )
    said += f"\nnote: {card['remarks']}" if card.get("remarks") else ""
    typer.echo(
        json.dumps(card)
        if as_json
        else f"{said}\nnext: python -m sdq run ptq-int8-dynamic --model {shlex.quote(str(out))} "
        f"--task {shlex.quote(task)}"
    )


@models.callback(invoke_without_command=True)
def list_models(
    context: typer.Context,
    as_json: Annotated[bool, typer.Option("--json", help="Print only JSON")] = False,
) -> None:
    """List models worth starting from, with size, licence, languages and whether they are on this
    machine."""
    from sdq.models import hub
    from sdq.models.curated import CURATED

    if context.invoked_subcommand is not None:
        return
    rows = [known.model_dump() | {"here": hub.cached(known.name) is not None} for known in CURATED]
    others = [name for name in hub.present() if name not in {known.name for known in CURATED}]
    if as_json:
        typer.echo(json.dumps({"curated": rows, "cached": others}))
        return
    typer.echo(
        "mini: the embedded model, 6 layers, 15 languages, with heads for intent and slots; "
        "`finetune` gives it others\n"
    )
    for row in rows:
        here = (
            "on this machine"
            if row["here"]
            else f"not on this machine: `python -m sdq models fetch {row['name']}`"
        )
        typer.echo(f"{row['name']} ({row['title']}), {here}")
        typer.echo(
            f"    {row['parameters'] / 1e6:.0f} million parameters, {row['size'] / 1e6:,.0f} MB, "
            f"licence {row['licence']}, languages: {row['languages']}"
        )
        typer.echo(f"    {row['sources']}")
    if others:
        typer.echo(f"\nalso in the local cache: {', '.join(others)}")
    typer.echo(
        "\nNone of these has a head for a task: `python -m sdq finetune --model NAME --task TASK "
        "--out DIR` first"
    )


@models.command("fetch")
def fetch_model(
    name: Annotated[str, typer.Argument(help="owner/model, or owner/model@revision")],
) -> None:
    """Bring a model of the Hub into the local cache: configuration, tokenizer and safetensors
    only."""
    from sdq.models import hub

    typer.echo(str(hub.fetch(name)))


@app.command()
def doctor(
    devices: Annotated[
        bool, typer.Option("--devices", help="Look at graphics cards too, which takes ten seconds")
    ] = False,
    offline: Annotated[bool, typer.Option("--offline", help="Do not try to reach the Hub")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print only JSON")] = False,
) -> None:
    """Say what this installation has and what must be done: versions, machine, models, data folder,
    damaged runs, limits. Exit code 1 if something must."""
    from sdq.cli import doctor as examiner

    found = examiner.examine(Store.default(), devices, not offline)
    typer.echo(examiner.as_json(found) if as_json else examiner.words(found))
    if examiner.wrong(found):
        raise typer.Exit(1)


@app.command()
def links(
    address: Annotated[
        str, typer.Option(help="The address that the server listens on")
    ] = "0.0.0.0",
    port: Annotated[int, typer.Option(help="Its port")] = 8501,
    https: Annotated[bool, typer.Option("--https", help="If it serves TLS itself")] = False,
) -> None:
    """Print the links that let somebody into a room again (docs/serving.md)."""
    from sdq.service.visitors import Room

    scheme = "https" if https else "http"
    found = Room.at(address, Store.default().folder.parent).links(address, port, scheme)
    typer.echo(f"students: {found['student']}\nteacher:  {found['teacher']}")


@app.command()
def stop() -> None:
    """End what the app computes now. Runs that wait or were under way go on when the app next looks
    for them."""
    from sdq.jobs import queue as jobs

    jobs.stop(Store.default())
    typer.echo("nothing is computed for the app any more; its runs go on when it is used again")


@app.command()
def presets() -> None:
    """List the recipes that have a name."""
    for name, recipe in PRESETS.items():
        typer.echo(f"{name:26} {recipe.method}")


@app.command()
def runs() -> None:
    """List finished runs, newest first."""
    for report in Store.default().finished():
        typer.echo(row_of(report))


@app.command()
def show(
    run: Annotated[str, typer.Argument(help="A run id")],
    as_json: Annotated[bool, typer.Option("--json", help="Print only JSON")] = False,
) -> None:
    """Print a finished run."""
    report = Store.default().report(run)
    typer.echo(report.model_dump_json() if as_json else report_words(report))


@app.command()
def compare(
    runs: Annotated[
        list[str], typer.Argument(help="Two or more run ids of one task; the first is the baseline")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print only JSON")] = False,
) -> None:
    """Paired comparison of runs over the same test sentences: per language with Holm's correction,
    and for the means over languages."""
    from sdq.evaluate.significance import power_text, verdicts

    store = Store.default()
    reports = [store.report(run) for run in runs]
    if len({(r.task, r.model) for r in reports}) > 1 or len(reports) < 2:
        raise UserError(
            "compare needs at least two runs of one model and task, got "
            f"{', '.join(f'{r.run} ({r.model}, {r.task})' for r in reports)}"
        )
    base, found = reports[0], {}
    if apart := next((r for r in reports if not store.alike(base, r)), None):
        raise UserError(
            "compare needs runs of one state of model and task, one of them was replaced between "
            f"{base.run} and {apart.run}; run both recipes again"
        )
    for other in reports[1:]:
        try:
            found[other.run] = verdicts(
                store.sentences(base.run),
                store.sentences(other.run),
                list(base.quantized.by_language),
                (base.labelled,),
            )
        except UserError as error:
            raise UserError(f"{base.run} and {other.run}: {error}") from error
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "base": base.run,
                    "metric": base.metric,
                    "runs": {
                        run: json.loads(t.to_json(orient="records")) for run, t in found.items()
                    },
                }
            )
        )
        return
    for other in reports[1:]:
        typer.echo(verdict_words(base, other, found[other.run]))
        typer.echo(f"{power_text(found[other.run])}\n")


@app.command()
def inspect(
    run: Annotated[str, typer.Argument(help="A run id (see `runs`)")],
    only: Annotated[
        list[str] | None, typer.Option(help="An analysis; may be given again. Without: all of them")
    ] = None,
    sentences: Annotated[
        int | None,
        typer.Option(
            help="Test sentences, spread evenly over the languages; 120, if the settings say "
            "nothing else"
        ),
    ] = None,
    settings: Annotated[
        Path | None,
        typer.Option(help='A JSON file with settings, such as {"repeats": 8, "batch_size": 16}'),
    ] = None,
    as_json: Annotated[
        bool,
        typer.Option(
            "--json", help="Print only JSON: every table of the run and of its inspection"
        ),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="A folder for one CSV, JSON and web page per analysis")
    ] = None,
) -> None:
    """Look into a quantized run: which modules break, why, and what to do about it. What was found
    before is not computed again."""
    from sdq.inspection.settings import Inspection, load_settings
    from sdq.inspection.storage import inspect as look
    from sdq.inspection.storage import missing
    from sdq.jobs.estimate import analyses
    from sdq.reporting import export as findings

    store, how = Store.default(), Inspection() if settings is None else load_settings(settings)
    if sentences is not None:
        how = Inspection.model_validate(how.model_dump() | {"sentences": sentences})
    report = store.report(run)
    seconds = [
        analyses([name], report, store, how) for name in missing(run, store, how, only or ())
    ]
    if out is not None:
        out = path_of(out, "the folder for what was found")
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
    typer.echo(
        json.dumps(findings.everything(report, store, how), allow_nan=False)
        if as_json
        else findings.words(report, store, how, index)
    )


@app.command()
def remedy(
    run: Annotated[str, typer.Argument(help="A run id (see `runs`)")],
    size: Annotated[
        float | None, typer.Option(help="Bytes that the model may take (simulated)")
    ] = None,
    tolerate: Annotated[
        float | None,
        typer.Option(
            help="Predicted cost that is tolerated, in nats: the KL of FP32's answers, summed "
            "over the modules"
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="Where the recipe goes; `run` takes it")] = Path(
        "recipe.json"
    ),
) -> None:
    """Choose the widths of a run's modules anew, the best of a size or the smallest of a cost, and
    write the recipe."""
    from sdq.inspection.remedies import one_limit, wanted, words
    from sdq.inspection.storage import inspect as look

    store, out = Store.default(), path_of(out, "the recipe's file")
    report = store.report(run)
    one_limit(size, tolerate)
    line = Line(quiet=False)
    try:
        costs = look(run, store, only=("costs",), progress=line)["costs"]
    finally:
        line.bar.stop()
    recipe, choice = wanted(report, costs, size, tolerate)
    try:
        files.write_text(out, recipe.model_dump_json(indent=1))
    except OSError as error:
        raise UserError(
            f"the recipe must be written to a file, {out} cannot be ({error.strerror}); choose "
            "another with --out"
        ) from error
    typer.echo(
        f"{words(report, costs, choice)}\n{out}: python -m sdq run {out} --model {report.model} "
        f"--task {report.task}"
    )


@app.command()
def reproduce(
    what: Annotated[
        str,
        typer.Argument(
            help="mini: our results; grid: the paper's comparison on the embedded tasks; xglue: "
            "the same on an XGLUE archive"
        ),
    ] = "mini",
    model: Annotated[
        str,
        typer.Option(
            help="Of grid and xglue: what teachers are fine-tuned from; 'mini', a folder or a Hub "
            "name"
        ),
    ] = "mini",
    xglue: Annotated[
        Path | None, typer.Option(help="The extracted archive, the folder with NC, XNLI, ...")
    ] = None,
    tasks: Annotated[
        str,
        typer.Option(help="Of xglue: which ones, with commas between; all of them if not given"),
    ] = "",
    seeds: Annotated[
        int | None,
        typer.Option(
            min=1, max=1000, help="How many seeds, from 0; if not given 3, on the embedded tasks 1"
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=100_000,
            help="Of grid and xglue: training steps of a student; on the embedded tasks 100 if "
            "not given",
        ),
    ] = None,
    teacher_steps: Annotated[
        int | None, typer.Option(min=1, max=100_000, help="Of xglue: training steps of a teacher")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Of xglue: rows to take of every file, to see that all runs; scores are then not "
            "XGLUE's",
        ),
    ] = None,
    out: Annotated[
        Path | None, typer.Option(help="Of grid and xglue: folder for the tables")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Of mini: runs at a time")] = 2,
    ship: Annotated[
        bool, typer.Option("--ship", help="Of mini: copy the results into assets/runs")
    ] = False,
) -> None:
    """Run a whole comparison (resumable): mini writes docs/results.md, grid and xglue write CSV,
    HTML, LaTeX and Markdown."""
    xglue, out = (None if path is None else path_of(path, "a folder") for path in (xglue, out))
    if what == "mini":
        from sdq.reproduce.mini import reproduce_mini

        typer.echo(reproduce_mini(Store.default(), range(seeds or 3), workers, ship))
    elif what in ("grid", "xglue"):
        from sdq.reproduce.grid import compare

        if what == "xglue" and xglue is None and model != "mini":
            raise UserError(
                "the XGLUE archive must be named, it is not; add --xglue DIR (the folder with NC, "
                "XNLI, ...), or take the embedded tasks with --model mini"
            )
        line = Line(quiet=False)
        try:
            typer.echo(
                compare(
                    model,
                    xglue if what == "xglue" else None,
                    tasks,
                    seeds,
                    steps,
                    teacher_steps,
                    limit,
                    out,
                    lambda text: typer.echo(text, err=True),
                    line,
                )
            )
        finally:
            line.bar.stop()
    else:
        raise UserError(f"what is reproduced must be mini, grid or xglue, got {what[:40]!r}")


@tasks.command()
def check(
    task: Annotated[str, typer.Argument(help="A task file (.json), or any other task")],
    as_json: Annotated[bool, typer.Option("--json", help="Print only JSON")] = False,
) -> None:
    """Count a task's sentences and labels per split and language, and say what may spoil a
    result."""
    from sdq.data import check as data
    from sdq.data.registry import load_task

    loaded = load_task(task)
    found = data.check(loaded)
    typer.echo(data.as_json(loaded, found) if as_json else data.words(loaded, found))


@tasks.command("schema")
def task_schema() -> None:
    """Print the JSON schema of task files, for editors (docs/task-files.md)."""
    from sdq.data.taskfile import TaskFile

    typer.echo(TaskFile.schema_text("Task file of SDQ Lab"))


@recipes.command("schema")
def recipe_schema() -> None:
    """Print the JSON schema of recipe files, for editors (docs/recipes.md)."""
    from sdq.recipe import Recipe

    typer.echo(Recipe.schema_text("Recipe of SDQ Lab"))


@recipes.command("check")
def check_recipe(recipe: Annotated[str, typer.Argument(help="A JSON file, or a preset")]) -> None:
    """Read a recipe and print it with every setting, those left out too. Nothing is computed."""
    read = load_recipe(recipe)
    typer.echo(read.model_dump_json(indent=1))
    left = [name for name in type(read).model_fields if name not in read.model_fields_set]
    usual = (
        f"; left out, so taken as usual: {', '.join(left)}"
        if left and recipe not in PRESETS
        else ""
    )
    nothing = ": it has no rules, so nothing is quantized" if not read.rules else ""
    typer.echo(f"note: this is {read.method}{nothing}{usual}", err=True)


@mini.command()
def build(
    corpus: Annotated[
        Path,
        typer.Option(
            help="Folder with ntrex, tatoeba, mediawiki_i18n, libreoffice_help, debian_ddtp"
        ),
    ],
    work: Annotated[
        Path,
        typer.Option(help="Intermediate files and checkpoints; a second call resumes from them"),
    ] = Path(".mini-build"),
    out: Annotated[Path, typer.Option(help="Where the finished model goes")] = Path("assets/mini"),
    seed: Annotated[int, typer.Option(help="Seed of everything")] = 0,
) -> None:
    """Rebuild the embedded model: tokenizer, pretraining, data, fine-tuning."""
    from sdq.mini.build import build as rebuild

    rebuild(corpus, work, out, seed)


@mini.command("finetune")
def finetune_mini(
    out: Annotated[
        Path, typer.Option(help="Folder with the encoder; data and models go there")
    ] = Path("assets/mini"),
    seed: Annotated[int, typer.Option(help="Seed of heads and batches")] = 0,
) -> None:
    """The last stage of `mini build` alone: data and fine-tuned models from the encoder that is
    there."""
    from sdq.mini.build import finish

    finish(out, seed)


@mini.command()
def ship() -> None:
    """Look into some of the shipped runs, ship what was found, and write all shipped tables as
    small as they can be."""
    from sdq.reproduce.mini import compact, ship_inspections
    from sdq.settings import ASSETS

    line = Line(quiet=False)
    try:
        ship_inspections(Store.default(), ASSETS / "inspections", line)
    finally:
        line.bar.stop()
    typer.echo(f"{compact(ASSETS) / 1e6:.1f} MB saved")


def _invoke() -> int:
    """Run the command that the arguments name; its exit code. Typer's own refusals become one
    sentence, and a reader who left is no error."""
    command = typer.main.get_command(app)
    for before, word in itertools.pairwise(sys.argv):
        if not word or (word.startswith("--") and word.endswith("=")):
            which = one_line(word, 60) or f"the word after {one_line(Path(before).name, 60)}"
            raise UserError(
                f"every word of a command must have a value, {which} is empty; write it, or leave "
                "it out, and run the command again"
            )
    try:
        with command.make_context("python -m sdq", sys.argv[1:]) as context:
            command.invoke(context)
        sys.stdout.flush()
    except typer.Exit as stop:
        return stop.exit_code  # 0; 1 of doctor, if something must be done
    except typer.Abort as error:
        raise UserError(
            "the command was stopped before its end; start it again, finished parts are kept"
        ) from error
    except TyperException as error:
        said = error.format_message()
        if not said or type(error).__name__ == "NoArgsIsHelpError":
            getattr(error, "show")()  # the help, where nothing was asked  # noqa: B009
            return 2
        if (
            isinstance(cause := error.__cause__, ValidationError)
            and (param := getattr(error, "param", None)) is not None
        ):
            said = f"{param.opts[0]} {of_option(cause)}"
        raise UserError(
            f"{said.rstrip('.')}; `python -m sdq --help` lists commands and options"
        ) from error
    except BrokenPipeError:
        os.dup2(
            os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno()
        )  # what is left to say goes nowhere, at the exit too
    return 0


def main() -> None:
    """Run the command line; whatever goes wrong becomes one sentence on stderr and exit code 2."""
    keep_freed_memory()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(
                errors="backslashreplace"
            )  # a name that the terminal cannot show is written out
    try:
        with boundary():
            code = _invoke()
    except UserError as error:
        said, code = one_line(str(error), 4000), 2
        with contextlib.suppress(OSError):
            typer.echo(f"error: {said}", err=True)
    except KeyboardInterrupt:
        with contextlib.suppress(OSError):
            typer.echo(
                "error: the command was stopped before its end; start it again, finished parts "
                "are kept",
                err=True,
            )
        code = 2
    sys.exit(code)


if __name__ == "__main__":
    main()
