"""The command `reproduce`: whole comparisons."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sdq.cli.output import Line
from sdq.settings import UserError, path_of
from sdq.store import Store

What = Annotated[
    str,
    typer.Argument(
        help="mini: our results; grid: the paper's comparison on the embedded tasks; xglue: "
        "the same on an XGLUE archive"
    ),
]
Model = Annotated[
    str,
    typer.Option(
        help="Of grid and xglue: what teachers are fine-tuned from; 'mini', a folder or a Hub name"
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
    typer.Option(
        min=1, max=1000, help="How many seeds, from 0; if not given 3, on the embedded tasks 1"
    ),
]
Steps = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=100_000,
        help="Of grid and xglue: training steps of a student; on the embedded tasks 100 if not "
        "given",
    ),
]
TeacherSteps = Annotated[
    int | None, typer.Option(min=1, max=100_000, help="Of xglue: training steps of a teacher")
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
Workers = Annotated[int, typer.Option(min=1, help="Of mini: runs at a time")]
Ship = Annotated[bool, typer.Option("--ship", help="Of mini: copy the results into assets/runs")]


def reproduce(
    what: What = "mini",
    model: Model = "mini",
    xglue: Xglue = None,
    tasks: Tasks = "",
    seeds: Seeds = None,
    steps: Steps = None,
    teacher_steps: TeacherSteps = None,
    limit: Limit = None,
    out: Out = None,
    workers: Workers = 2,
    ship: Ship = False,
) -> None:
    """Run a whole comparison (resumable): mini writes docs/results.md, grid and xglue write CSV,
    HTML, LaTeX and Markdown."""
    xglue, out = (None if path is None else path_of(path, "a folder") for path in (xglue, out))
    if what == "mini":
        from sdq.reproduce.mini import reproduce_mini

        typer.echo(reproduce_mini(Store.default(), range(seeds or 3), workers, ship))
    elif what in ("grid", "xglue"):
        from sdq.reproduce.compare import compare

        if what == "xglue" and xglue is None and model != "mini":
            raise UserError(
                "the XGLUE archive must be named, it is not; add --xglue DIR (the folder with NC, "
                "XNLI, ...), or take the embedded tasks with --model mini"
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
    else:
        raise UserError(f"what is reproduced must be mini, grid or xglue, got {what[:40]!r}")
