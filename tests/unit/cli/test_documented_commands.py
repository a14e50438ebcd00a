"""docs/command-line.md lists every command and option as its help does. `python -m
tests.unit.cli.test_documented_commands` writes the list anew."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pytest
import typer

from sdq import __main__ as cli
from sdq.inspection.registry import ANALYSES
from sdq.pipeline.finetune import usual
from sdq.settings import ROOT
from tests.helpers.commands import run

DOC = ROOT / "docs" / "command-line.md"
BEGIN, END = "<!-- commands -->\n", "<!-- end of commands -->"


def commands(command: typer.core.TyperCommand | typer.core.TyperGroup, name: str) -> Iterator[str]:
    """A row of the list per command, argument and option, as they are declared."""
    text = " ".join(str(command.help or "").split())
    given = [param for param in command.params if param.name != "help"]
    arguments = "".join(f" {str(p.name).upper()}" for p in given if p.param_type_name != "option")
    yield f"| `{name}{arguments}` | | {text} |"
    for param in given:
        option = param.param_type_name == "option"
        called = param.opts[0] if option else str(param.name).upper()
        default = param.default
        shown = default is not False and default not in (None, "", ...)
        usual_value = f" (default: {default})" if shown and not param.required else ""
        needed = " (needed)" if option and param.required else ""
        yield f"| | `{called}` | {getattr(param, 'help', '') or ''}{usual_value}{needed} |"
    for child in getattr(command, "commands", {}):
        yield from commands(command.commands[child], f"{name} {child}")


def listed() -> str:
    rows = commands(typer.main.get_command(cli.app), "sdq")
    return "\n".join(["| command | argument or option | what it is |", "|---|---|---|", *rows, ""])


def test_the_docs_list_every_command_and_option() -> None:
    assert DOC.read_text("utf-8").partition(BEGIN)[2].partition(END)[0] == listed()


def _help(command: str, option: str) -> str:
    params = typer.main.get_command(cli.app).commands[command].params
    return str(next(param.help for param in params if option in param.opts))


@pytest.mark.parametrize(
    ("option", "field"),
    [("--steps", "steps"), ("--learning-rate", "learning_rate"), ("--freeze", "frozen_blocks")],
)
def test_the_help_of_finetune_says_what_is_usual(option: str, field: str) -> None:
    said = re.split(r"[\s(),;]+", _help("finetune", option))
    embedded = [(model, task) for model in ("mini", "midi") for task in ("intent", "slots")]
    for model, task in (("base", "mine"), *embedded):
        assert str(getattr(usual(model, task), field)) in said


def test_the_help_of_inspect_names_every_analysis() -> None:
    said = _help("inspect", "--only").partition(";")[0].replace(" or ", ", ").split(", ")
    assert said == list(ANALYSES)


def test_the_version_is_that_of_the_project(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = run(capsys, "--version")
    assert code == 0
    name, version = out.split()
    assert name == "sdq"
    assert f'\nversion = "{version}"\n' in (ROOT / "pyproject.toml").read_text("utf-8")


if __name__ == "__main__":
    before, _, rest = DOC.read_text("utf-8").partition(BEGIN)
    DOC.write_text(before + BEGIN + listed() + END + rest.partition(END)[2], "utf-8")
