"""Commands that make runs and show them: `run`, `runs`, `show`, `compare`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from sdq.cli.output import Line, report_words, row_of, verdict_words
from sdq.recipe import load_recipe
from sdq.settings import UserError
from sdq.store import Store


def run(
    recipe: Annotated[str, typer.Argument(help="A preset (see `presets`) or a JSON file")],
    model: Annotated[
        str,
        typer.Option(
            help="'mini', 'midi', a folder with config, tokenizer and safetensors, or a "
            "Hub name; see `models`"
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
    with Line(quiet=as_json) as line:
        report = execute(wanted, model, task, Store.default(), line)
    typer.echo(report.model_dump_json() if as_json else report_words(report))


def runs() -> None:
    """List finished runs, newest first."""
    for report in Store.default().finished():
        typer.echo(row_of(report))


def show(
    run: Annotated[str, typer.Argument(help="A run id")],
    as_json: Annotated[bool, typer.Option("--json", help="Print only JSON")] = False,
) -> None:
    """Print a finished run."""
    report = Store.default().report(run)
    typer.echo(report.model_dump_json() if as_json else report_words(report))


def compare(
    runs: Annotated[
        list[str], typer.Argument(help="Two or more run ids of one task; the first is the baseline")
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Print only JSON")] = False,
) -> None:
    """Paired comparison of runs over the same test sentences: per language with Holm's correction,
    and for the means over languages."""
    from sdq.evaluate.significance import power_text
    from sdq.pipeline.comparison import compared

    store = Store.default()
    reports = [store.report(run) for run in runs]
    if len(reports) < 2:
        raise UserError(
            "compare needs at least two runs of one model and task, got "
            f"{reports[0].run} alone; name another"
        )
    base = reports[0]
    tables = {other.run: compared(base, other, store) for other in reports[1:]}
    if as_json:
        typer.echo(
            json.dumps(
                {
                    "base": base.run,
                    "metric": base.metric,
                    "runs": {
                        run: json.loads(t.to_json(orient="records")) for run, t in tables.items()
                    },
                }
            )
        )
        return
    for other in reports[1:]:
        typer.echo(verdict_words(base, other, tables[other.run]))
        typer.echo(f"{power_text(tables[other.run])}\n")
