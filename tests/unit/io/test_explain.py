"""Whatever is wrong in settings that people write is said in our own words, never in pydantic's."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from sdq.data.taskfile import TaskFile, parse
from sdq.io.explain import explain
from sdq.recipe import Recipe, load_recipe
from sdq.settings import UserError, Words
from tests.helpers.setting_places import DOCS, PLACES, TASK

# what pydantic, and nobody else, says
FOREIGN = re.compile(
    r"input should|unable to parse|valid "
    r"(?:integer|string|tuple|list|dictionary|boolean|number)|value "
    r"error|pydantic|discriminator|extra inputs|field required|str_|int_",
    re.I,
)
ODD: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    3,
    10**30,
    2.5,
    -1e308,
    1e400,
    float("nan"),
    "",
    "x",
    "tensor",
    "\ud800",
    "a\nb",
    "\0",
    "x" * 10_000,
    [],
    ["x"],
    [1],
    [[]],
    [None],
    {},
    {"kind": "x"},
    {"kind": 5},
    {"kind": "kld", "weight": "x"},
    {"x": 1},
    {"": {}},
)


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    yield path
    for key, part in (
        value.items()
        if isinstance(value, dict)
        else enumerate(value)
        if isinstance(value, list | tuple)
        else ()
    ):
        yield from places(part, (*path, key))


def changed(value: Any, path: tuple[str | int, ...], to: Any) -> Any:
    if not path:
        return to
    if isinstance(value, dict):
        return value | {path[0]: changed(value.get(path[0]), path[1:], to)}
    return [changed(part, path[1:], to) if i == path[0] else part for i, part in enumerate(value)]


def full(model: type[BaseModel]) -> Any:
    """Settings in which every part is there, so that every part can be spoiled."""
    if model is TaskFile:
        return json.loads(json.dumps(TASK)) | {
            "labels": {"a": "b"},
            "languages": ["en"],
            "names": ["headline", "topic"],
            "beside": ["accuracy"],
            "longest": 128,
        }
    whole = [
        json.loads(path.read_text("utf-8")) for path in sorted((DOCS / "recipes").glob("*.json"))
    ]
    recipe = next(r for r in whole if "training" in r) | {
        "calibration": {"sentences": 3, "languages": ["en"]},
        "migration": 0.5,
    }
    return recipe | {
        "rules": [*recipe["rules"], next(r for r in whole if "groups" in r["name"])["rules"][0]]
    }


@pytest.mark.parametrize("model", [TaskFile, Recipe])
def test_whatever_is_wrong_is_said_in_our_own_words(model: type[BaseModel]) -> None:
    value, types = full(model), set()
    for path in places(value):
        for odd in (
            *ODD,
            *({"speed": 1} | part for part in [_part(value, path)] if isinstance(part, dict)),
        ):
            try:
                model.model_validate(changed(value, path, odd))
            except ValidationError as error:
                types |= {problem["type"] for problem in error.errors()}
                said = explain(error)
                assert not FOREIGN.search(said), said
                assert ";" in said, said
                assert not set("\n\0") & set(said), said
                assert len(said) < 1000, said
                assert said.encode(errors="strict"), said
    assert len(types) >= 11, types


def _part(value: Any, path: tuple[str | int, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (
            {"rules": [{"weight": {"granularity": "tensor"}}]},
            'rules.0.weight.granularity: must be an object whose "kind" is one of "tensor", '
            '"channel", "group", got \'tensor\'; write {"kind": "tensor"}',
        ),
        (
            {"rules": [{"weight": {"granularity": {"kind": "row"}}}]},
            'got "kind": "row"; correct it',
        ),
        (
            {"rules": [{"weight": {"bitz": 4}}]},
            "rules.0.weight.bitz: unknown field; write `bits` or remove it: the fields here are "
            "bits, symmetric, observer, granularity",
        ),
        (
            {"rules": [{"weight": {"granularity": {"kind": "group", "sice": 4}}}]},
            "rules.0.weight.granularity.sice: unknown field; write `size`",
        ),
        (
            {"rules": [{"weight": {"bits": 16}}]},
            "rules.0.weight.bits: must be a whole number from 2 to 8, got 16; correct it, or "
            "leave it out",
        ),
        (
            {"rules": [{"roles": "q"}]},
            "rules.0.roles: must be a list of which every entry is one of",
        ),
        ({"training": 300}, "training: must be an object with the fields steps, batch_size,"),
        (
            {"training": {"distillation": [{"kind": "kld"}]}},
            "a training with distillation must come with at least one quantization rule; ",
        ),
        (
            {"seed": -1},
            "seed: must be a whole number of at least 0 and below 2147483648, got -1; correct "
            "it, or leave it out",
        ),
    ],
)
def test_a_wrong_recipe_says_what_must_be_there(
    wrong: dict[str, Any], said: str, tmp_path: Path
) -> None:
    (tmp_path / "mine.json").write_text(json.dumps(wrong))
    with pytest.raises(UserError, match=re.escape(said)):
        load_recipe(str(tmp_path / "mine.json"))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"labels": 5}, "labels: must be a list of text or an object, each value text, got 5; "),
        ({"labels": [1]}, 'labels.0: must be text, got 1; write it as text, "1"'),
        (
            {"columns": {"text": "a", "lable": "b"}},
            "columns.lable: unknown field; write `label` or remove it",
        ),
        (
            {"splits": {"training": "x"}},
            'splits.training: must be one of "train", "dev", "test", "all", got \'training\'; '
            "correct it",
        ),
        (
            {"kind": "pairs"},
            'kind: must be one of "sentence", "pair", "token", "ranking", "retrieval", got '
            "'pairs'; correct it",
        ),
        ({"names": "a"}, "names: must be a list of text, got 'a'; write it as a list, [\"a\"]"),
        ({"kind": None}, "kind: must be one of"),
    ],
)
def test_a_wrong_task_file_says_what_must_be_there(changes: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError, match=re.escape(said)):
        parse(json.dumps(TASK | changes).encode(), "task.json")


@pytest.mark.parametrize(
    ("gone", "there", "said"),
    [
        (
            "training_language",
            "traning_language",
            "training_language: must be given (text of letters, digits, '_' and '-', at most 24, "
            "beginning with a letter, such as en or deu_Latn), it is missing, but "
            "'traning_language' is there; did you mean training_language?",
        ),
        (
            "splits",
            "split",
            "splits: must be given (an object with names among train, dev, test, all, each value "
            "text), it is missing, but 'split' is there; did you mean splits?",
        ),
        ("columns", "colums", "it is missing, but 'colums' is there; did you mean columns?"),
        ("name", "zzz", "name: must be given (text of lower-case letters, digits,"),
    ],
)
def test_a_misspelt_field_is_named_beside_the_missing_one(gone: str, there: str, said: str) -> None:
    value = {(there if key == gone else key): part for key, part in TASK.items()}
    with pytest.raises(UserError, match=re.escape(said)):
        parse(json.dumps(value).encode(), "task.json")


@pytest.mark.parametrize(
    ("model", "wrong"),
    [
        (TaskFile, {"name": "A b"}),
        (TaskFile, {"training_language": "?"}),
        (Recipe, {"name": "A b"}),
    ],
)
def test_what_a_text_must_be_is_said_in_words(
    model: type[BaseModel], wrong: dict[str, str]
) -> None:
    with pytest.raises(ValidationError) as caught:
        model.model_validate((TASK if model is TaskFile else {}) | wrong)
    said = explain(caught.value)
    assert f"must be text of {'lower-case ' if 'name' in wrong else ''}letters, digits" in said
    assert not set("^[]{}$\\") & set(said)


def test_every_pattern_has_its_words() -> None:
    for model in (TaskFile, *PLACES):
        for name, field in model.model_fields.items():
            if any(getattr(part, "pattern", None) for part in field.metadata):
                assert any(isinstance(part, Words) for part in field.metadata), name


@pytest.mark.parametrize(
    "text",
    [
        '{"name": "a", "name": "b"}',
        '{"longest": NaN}',
        '{"name": "\\ud800"}',
        "[" * 5000,
        "{",
        "[1]",
        "",
        "\udcff",
    ],
)
def test_json_that_is_not_sure_to_be_read_rightly_is_refused(text: str, tmp_path: Path) -> None:
    data = text.encode(errors="surrogateescape")
    (tmp_path / "r.json").write_bytes(data)
    for read in (lambda: parse(data, "t.json"), lambda: load_recipe(str(tmp_path / "r.json"))):
        with pytest.raises(
            UserError, match=r"must be (JSON text|UTF-8 text|a JSON object|given)|JSON"
        ) as error:
            read()
        assert "\n" not in str(error.value)


def test_a_recipe_that_never_ends_is_not_read(tmp_path: Path) -> None:
    import os

    os.mkfifo(tmp_path / "r.json")
    with pytest.raises(UserError, match="must be a regular file"):
        load_recipe(str(tmp_path / "r.json"))
    (tmp_path / "zero.json").symlink_to("/dev/zero")
    with pytest.raises(UserError, match="must be a regular file"):
        load_recipe(str(tmp_path / "zero.json"))
    for name in ("x\0.json", "y" * 5000 + ".json", str(tmp_path) + "/none.json"):
        with pytest.raises(UserError, match="recipe file"):
            load_recipe(name)


def test_random_recipes_and_task_files_leave_no_traceback() -> None:
    chance = random.Random(0)
    for model in (TaskFile, Recipe):
        value = full(model)
        where = list(places(value))
        for _ in range(300):
            other = value
            for _ in range(chance.randint(1, 3)):
                path = chance.choice(where)
                try:
                    other = changed(other, path, chance.choice(ODD))
                except (AttributeError, TypeError):  # the place is gone
                    continue
            said = ""
            try:
                model.model_validate(other)
            except ValidationError as error:
                said = explain(error)
            assert not FOREIGN.search(said)
