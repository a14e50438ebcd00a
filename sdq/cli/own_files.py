"""Commands about recipes and task files: `presets`, `recipe check`, `recipe schema`, `task check`,
`task schema`."""

from __future__ import annotations

from typing import Annotated

import typer

from sdq.recipe import PRESETS, load_recipe


def presets() -> None:
    """List the recipes that have a name."""
    for name, recipe in PRESETS.items():
        typer.echo(f"{name:26} {recipe.method}")


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


def recipe_schema() -> None:
    """Print the JSON schema of recipe files, for editors (docs/recipes.md)."""
    from sdq.recipe import Recipe

    typer.echo(Recipe.schema_text("Recipe of SDQ Lab"))


def check(
    task: Annotated[str, typer.Argument(help="A task file (.json), or any other task")],
    as_json: Annotated[bool, typer.Option("--json", help="Print only JSON")] = False,
) -> None:
    """Count a task's sentences and labels per split and language, and say what may spoil a
    result."""
    from sdq.data import check as data
    from sdq.data.registry import load_task

    loaded = load_task(task)
    counts = data.check(loaded)
    typer.echo(data.as_json(loaded, counts) if as_json else data.summary(loaded, counts))


def task_schema() -> None:
    """Print the JSON schema of task files, for editors (docs/task-files.md)."""
    from sdq.data.taskfile import TaskFile

    typer.echo(TaskFile.schema_text("Task file of SDQ Lab"))
