"""The command line: `python -m sdq --help`."""

from __future__ import annotations

import contextlib
import gc
import io
import itertools
import os
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError
from typer.exceptions import TyperException

from sdq.cli import inspections, installation, midi, mini, models, own_files, reproduce, runs
from sdq.cli.allocator import keep_freed_memory
from sdq.io.boundary import boundary
from sdq.io.explain import of_option
from sdq.settings import ROOT, UserError, one_line

app = typer.Typer(
    help="Quantize multilingual Transformers and see what happened.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
MINI = typer.Typer(help="The embedded model and its data.", no_args_is_help=True)
MIDI = typer.Typer(help="The second embedded model, on a published body.", no_args_is_help=True)
MODELS = typer.Typer(help="Models to start from: curated ones, and what is in the local cache.")
TASKS = typer.Typer(
    help="Tasks of your own: a JSON file that says what a folder of labelled text is.",
    no_args_is_help=True,
)
RECIPES = typer.Typer(
    help="Recipes of your own: a JSON file that says what is done to a model.", no_args_is_help=True
)


def _version(wanted: bool) -> None:
    if wanted:
        project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
        typer.echo(f"sdq {project['version']}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version")
    ] = False,
) -> None:
    """Quantize multilingual Transformers and see what happened."""


# in the order in which the help lists them: the group, the name if it is not the function's
COMMANDS: tuple[tuple[typer.Typer, Callable[..., None], str | None], ...] = (
    (app, runs.run, None),
    (app, models.finetune, None),
    (app, installation.doctor, None),
    (app, installation.links, None),
    (app, installation.stop, None),
    (app, own_files.presets, None),
    (app, runs.runs, None),
    (app, runs.show, None),
    (app, runs.compare, None),
    (app, inspections.inspect, None),
    (app, inspections.remedy, None),
    (app, reproduce.reproduce, None),
    (MINI, mini.build, None),
    (MINI, mini.finetune_mini, "finetune"),
    (MINI, mini.ship, None),
    (MIDI, midi.build_midi, "build"),
    (MIDI, midi.finetune_midi, "finetune"),
    (MODELS, models.fetch_model, "fetch"),
    (TASKS, own_files.check, None),
    (TASKS, own_files.delete, None),
    (TASKS, own_files.task_schema, "schema"),
    (RECIPES, own_files.recipe_schema, "schema"),
    (RECIPES, own_files.check_recipe, "check"),
)
for group, function, called in COMMANDS:
    # a list of commands shows each docstring as one line
    group.command(called, short_help=" ".join(str(function.__doc__).split()))(function)
MODELS.callback(invoke_without_command=True)(models.list_models)
for name, group in (
    ("mini", MINI),
    ("midi", MIDI),
    ("models", MODELS),
    ("task", TASKS),
    ("recipe", RECIPES),
):
    app.add_typer(group, name=name)


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
        # what is left to say goes nowhere, at the exit too
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 0


def main() -> None:
    """Run the command line; whatever goes wrong becomes one sentence on stderr and exit code 2."""
    keep_freed_memory()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # a name that the terminal cannot show is written out
            stream.reconfigure(errors="backslashreplace")
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
    gc.freeze()  # on its way out Python need not look through all that is loaded: 1.1 s
    sys.exit(code)


if __name__ == "__main__":
    main()
