"""Commands that look into a run: `inspect`, `remedy`."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from sdq.cli.output import Line
from sdq.io import files
from sdq.settings import UserError, path_of, visible
from sdq.store import Store


def _with_share(event: dict[str, Any], seconds: Sequence[float | None]) -> dict[str, Any]:
    """An event of an inspection, with the share of its work that is done, if it begins an analysis
    and it is known what each takes. `seconds`: of each analysis that is to be made, in order."""
    times = [each for each in seconds if each is not None]
    if "number" not in event or len(times) < len(seconds) or sum(times) <= 0:
        return event
    return event | {"share": sum(times[: event["number"] - 1]) / sum(times)}


def inspect(
    run: Annotated[str, typer.Argument(help="A run id (see `runs`)")],
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="sensitivity, estimate, parts, floor, why, costs, remedies, attribution or "
            "conductance; may be given again. Without: all of them"
        ),
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
    wanted = missing(run, store, how, only or ())
    seconds = [analyses([name], report, store, how) for name in wanted]
    if out is not None:
        out = path_of(out, "the folder for what was found")
        findings.writable(out)
    with Line(quiet=as_json) as line:
        look(run, store, how, only or (), lambda event: line(_with_share(event, seconds)))
        index = None if out is None else findings.write(out, report, store, how, line)
    typer.echo(
        json.dumps(findings.everything(report, store, how), allow_nan=False)
        if as_json
        else visible(findings.words(report, store, how, index))
    )


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
    from sdq.inspection.remedies import choice_summary, one_limit, recipe_within
    from sdq.inspection.storage import inspect as look

    store, out = Store.default(), path_of(out, "the recipe's file")
    report = store.report(run)
    one_limit(size, tolerate)
    with Line(quiet=False) as line:
        costs = look(run, store, only=("costs",), progress=line)["costs"]
    recipe, choice = recipe_within(report, costs, size, tolerate)
    try:
        files.write_text(out, recipe.model_dump_json(indent=1))
    except OSError as error:
        raise UserError(
            f"the recipe must be written to a file, {out} cannot be ({error.strerror}); choose "
            "another with --out"
        ) from error
    said = (
        f"{choice_summary(report, costs, choice)}\n{out}: python -m sdq run {out} "
        f"--model {report.model} --task {report.task}"
    )
    typer.echo(visible(said))
