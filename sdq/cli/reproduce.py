"""The command `reproduce`: whole comparisons."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sdq.cli.output import Line
from sdq.models.checkpoint import EMBEDDED
from sdq.settings import UserError, path_of
from sdq.store import Store

What = Annotated[
    str,
    typer.Argument(
        help="mini, midi: our results on the embedded models; grid: the paper's comparison on the "
        "embedded tasks; xglue: the same on an XGLUE archive"
    ),
]
Model = Annotated[
    str,
    typer.Option(
        help="Of grid and xglue: what teachers are fine-tuned from; 'mini', 'midi', a folder or a "
        "Hub name"
    ),
]
Xglue = Annotated[
    Path | None, typer.Option(help="The extracted archive, the folder with NC, XNLI, ...")
]
Tasks = Annotated[
    str, typer.Option(help="Of xglue: which ones, with commas between; all of them if not given")
]
Seeds = Annotated[
    int | None,
    typer.Option(min=1, max=1000, help="How many seeds, from 0; if not given 3, of grid 1"),
]
Steps = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=100_000,
        help="Of grid and xglue: training steps of a student; of grid 100 if not given",
    ),
]
TeacherSteps = Annotated[
    int | None,
    typer.Option(min=1, max=100_000, help="Of grid and xglue: training steps of a teacher"),
]
Limit = Annotated[
    int | None,
    typer.Option(
        min=1,
        help="Of xglue: rows to take of every file, to see that all runs; scores are then not "
        "XGLUE's",
    ),
]
Out = Annotated[Path | None, typer.Option(help="Of grid and xglue: folder for the tables")]
Schemes = Annotated[
    list[str] | None,
    typer.Option(
        "--scheme",
        help="Of mini and midi: a scheme to run, by its name in the tables; may be given several "
        "times; all if not given",
    ),
]
OneTask = Annotated[
    str | None,
    typer.Option("--task", help="Of mini and midi: intent or slots; both if not given"),
]
Minutes = Annotated[
    float | None,
    typer.Option(min=0, help="Of mini and midi: start no run after so many minutes"),
]
Workers = Annotated[int, typer.Option(min=1, help="Of mini and midi: runs at a time")]
Ship = Annotated[
    bool, typer.Option("--ship", help="Of mini and midi: copy the results into assets/runs")
]

# the comparisons that read an option, of those that not all read
_READ_BY = {
    **dict.fromkeys(("scheme", "task", "minutes", "workers", "ship"), EMBEDDED),
    **dict.fromkeys(("model", "steps", "teacher_steps", "out"), ("grid", "xglue")),
    **dict.fromkeys(("xglue", "tasks", "limit"), ("xglue",)),
}


def reproduce(
    ctx: typer.Context,
    what: What = "mini",
    model: Model = "mini",
    xglue: Xglue = None,
    tasks: Tasks = "",
    seeds: Seeds = None,
    steps: Steps = None,
    teacher_steps: TeacherSteps = None,
    limit: Limit = None,
    out: Out = None,
    scheme: Schemes = None,
    task: OneTask = None,
    minutes: Minutes = None,
    workers: Workers = 2,
    ship: Ship = False,
) -> None:
    """Run a whole comparison (resumable): mini and midi write their tables in docs/results.md and
    README.md, grid and xglue write CSV, HTML, LaTeX and Markdown."""
    _refuse(what, ctx)
    xglue, out = (None if path is None else path_of(path, "a folder") for path in (xglue, out))
    if what in EMBEDDED:
        from sdq.reproduce import running
        from sdq.reproduce.plan import STUDIES

        text = running.reproduce(
            STUDIES[what],
            Store.default(),
            range(seeds or 3),
            lambda text: typer.echo(text, err=True),
            schemes=scheme or (),
            tasks=() if task is None else (task,),
            workers=workers,
            minutes=minutes,
            shipping=ship,
        )
        typer.echo(text)
    else:
        from sdq.reproduce.compare import compare

        if what == "xglue" and xglue is None:
            raise UserError(
                "the XGLUE archive must be named, it is not; add --xglue DIR (the folder with NC, "
                "XNLI, ...), or take `reproduce grid` for the embedded tasks"
            )
        with Line(quiet=False) as line:
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


def _refuse(what: str, ctx: typer.Context) -> None:
    """UserError for an unknown comparison, and for an option of another one: left unread, that
    might cost hours."""
    known = (*EMBEDDED, "grid", "xglue")
    if what not in known:
        raise UserError(
            f"what is reproduced must be {', '.join(known[:-1])} or {known[-1]}, got {what[:40]!r}"
        )
    for name, readers in _READ_BY.items():
        source = ctx.get_parameter_source(name)
        if source is not None and source.name != "DEFAULT" and what not in readers:
            raise UserError(
                f"--{name.replace('_', '-')} must be left out of `reproduce {what[:40]}`, which "
                "does not read it; `reproduce --help` says whose it is"
            )
