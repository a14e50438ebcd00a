"""The documents of settings name every field, and their examples are read."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from sdq import __main__ as cli
from sdq.data.taskfile import Columns, TaskFile, parse
from sdq.recipe import Recipe, load_recipe
from sdq.settings import Document
from tests.helpers.setting_places import DOCS, PLACES, RULES, TASK


def documented(page: str, model: type[BaseModel]) -> dict[str, tuple[str, str, Any]]:
    """Field -> (description, what is taken if it is left out, its example) in the table of a
    page."""
    text = (
        (DOCS / page)
        .read_text("utf-8")
        .partition(f"<!-- {model.__name__} -->")[2]
        .partition("<!-- end -->")[0]
    )
    rows = [re.split(r"(?<!\\) \| ", line.strip("| ")) for line in text.strip().splitlines()[2:]]
    return {
        name.strip("`"): (
            said,
            default,
            json.loads("{" + example.strip("`").replace("\\|", "|") + "}"),
        )
        for name, said, default, example in rows
    }


@pytest.mark.parametrize(
    ("page", "model"),
    [
        ("task-files.md", TaskFile),
        ("task-files.md", Columns),
        *(("recipes.md", model) for model in PLACES),
    ],
)
def test_every_field_is_documented_as_it_is(page: str, model: type[BaseModel]) -> None:
    rows = documented(page, model)
    fields = {
        name: field
        for name, field in model.model_fields.items()
        if name != "kind" or model is TaskFile
    }
    assert list(rows) == list(fields)
    for name, field in fields.items():
        said, default, _ = rows[name]
        assert field.description is None or said == field.description
        assert (default == "needed") == field.is_required()
        if default != "needed":
            plain = (
                field.default.model_dump(mode="json")
                if isinstance(field.default, BaseModel)
                else field.default
            )
            assert json.loads(default.strip("`")) == json.loads(json.dumps(plain))


@pytest.mark.parametrize("model", [TaskFile, Columns])
def test_every_example_of_a_task_file_is_one(model: type[BaseModel]) -> None:
    for name, (_, _, example) in documented("task-files.md", model).items():
        file = parse(json.dumps(TASK | example).encode(), name)
        assert name in (file if model is TaskFile else file.columns).model_fields_set


@pytest.mark.parametrize("model", PLACES)
def test_every_example_of_a_recipe_is_one(model: type[BaseModel]) -> None:
    for name, (_, _, example) in documented("recipes.md", model).items():
        assert Recipe.model_validate(PLACES[model](example)), name


def test_whole_examples_are_read(tmp_path: Path) -> None:
    for block in re.findall(
        r"```json\n(.*?)```", (DOCS / "task-files.md").read_text("utf-8"), re.S
    ):
        assert parse(block.encode(), "docs").name
    shown = re.findall(r"```json\n(.*?)```", (DOCS / "recipes.md").read_text("utf-8"), re.S)
    files = sorted((DOCS / "recipes").glob("*.json"))
    assert len(files) == len(shown) >= 4
    assert {path.read_text("utf-8") for path in files} == set(shown)
    methods = {load_recipe(str(path)).method for path in files}
    assert {"PTQ", "SDQ"} <= methods


@pytest.mark.parametrize(
    ("words", "model"), [(("task", "schema"), TaskFile), (("recipe", "schema"), Recipe)]
)
def test_schemas_are_printed_for_editors(
    words: tuple[str, ...],
    model: type[Document],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys, "argv", ["sdq", *words])
    with pytest.raises(SystemExit) as stop:
        cli.main()
    assert not stop.value.code
    schema = json.loads(capsys.readouterr().out)
    assert schema["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert list(schema["properties"]) == ["$schema", *model.model_fields]
    assert all("description" in part or "$ref" in part for part in schema["properties"].values())


def test_a_file_may_name_its_schema() -> None:
    plain, named = (
        Recipe.model_validate(RULES),
        Recipe.model_validate({"$schema": "recipe.schema.json"} | RULES),
    )
    assert named == plain
    assert "$schema" not in named.model_dump_json()
    assert parse(json.dumps(TASK).encode(), "x") == parse(
        json.dumps({k: v for k, v in TASK.items() if k != "$schema"}).encode(), "x"
    )
