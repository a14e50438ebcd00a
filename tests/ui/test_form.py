"""A form shows every field of a settings class, also of classes that did not exist when it was
written."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Annotated, Any, Literal, get_args, get_origin

import pytest
from pydantic import BaseModel, Field
from streamlit.testing.v1 import AppTest

from pages.components.fields import field_label, fitting
from pages.components.form import form, parse
from sdq.recipe import PRESETS, Calibration, Recipe
from sdq.settings import Settings, UserError


class Round(Settings):
    """To the nearest value."""

    kind: Literal["round"] = "round"


class Dither(Settings):
    """With noise before rounding."""

    kind: Literal["dither"] = "dither"
    amount: float = Field(0.5, ge=0, lt=2, description="Steps of noise")
    shape: Literal["flat", "bell"] = "flat"


class Tiny(Settings):
    """A new settings class whose union has a new member."""

    how: Annotated[Round | Dither, Field(discriminator="kind")] = Field(
        Round(), description="How values are rounded"
    )
    times: int = Field(3, gt=0, le=9)
    careful: bool = False
    note: str = Field("x", pattern="^[a-z]+$")
    limit: float | None = Field(None, gt=0, description="Empty: no limit")
    steps: tuple[Annotated[Round | Dither, Field(discriminator="kind")], ...] = ()
    colours: tuple[Literal["red", "green"], ...] = ()
    places: Literal["here", "everywhere"] | tuple[str, ...] = Field(
        "here", description="Where it holds"
    )


def show(name: str) -> None:
    """A page with one form; what it says is written out as JSON, or the number of problems."""
    import streamlit as st
    from pydantic import ValidationError

    from tests.ui import test_form as here

    model = here.CLASSES[name]
    try:
        st.code(here.form(model, model(), "f").model_dump_json())
    except ValidationError as error:
        st.error(f"{error.error_count()} problem: {error.errors()[0]['loc'][-1]}")


def classes(model: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """A settings class and all that its fields can hold."""
    yield model
    for info in model.model_fields.values():
        found = [info.annotation]
        while found:
            part = found.pop()
            if isinstance(part, type) and issubclass(part, BaseModel):
                yield from classes(part)
            found += get_args(part)


class OnTwo(Calibration):
    """Calibrated on two languages."""

    languages: Literal["labelled", "all"] | tuple[str, ...] = ("th", "de")


CLASSES: dict[str, Any] = {c.__name__: c for c in (*classes(Recipe), *classes(Tiny), OnTwo)}


def opened(name: str) -> AppTest:
    app = AppTest.from_function(show, args=(name,), default_timeout=30).run()
    assert not app.exception, [e.message for e in app.exception]
    return app


def value(app: AppTest) -> dict[str, Any]:
    assert not app.exception, [e.message for e in app.exception]
    return json.loads(app.code[0].value)


def controls(app: AppTest) -> dict[str, Any]:
    kinds = ("toggle", "selectbox", "multiselect", "number_input", "text_input", "button")
    return {element.key: element for kind in kinds for element in app.get(kind)}


@pytest.mark.parametrize("name", CLASSES)
def test_every_field_of_every_class_of_a_recipe_has_a_labelled_control(name: str) -> None:
    app = opened(name)
    shown = controls(app)
    for field, info in CLASSES[name].model_fields.items():
        mine = [
            c for key, c in shown.items() if key == f"f.{field}" or key.startswith(f"f.{field}.")
        ]
        constant = get_origin(info.annotation) is Literal and len(get_args(info.annotation)) == 1
        assert bool(mine) != constant, f"{name}.{field}"
        assert all(control.label.strip() for control in mine)
        direct = shown.get(f"f.{field}")
        if direct is not None and info.description:
            assert info.description in direct.help
    assert value(app) == json.loads(CLASSES[name]().model_dump_json()), (
        "untouched, a form says what it was given"
    )


def test_a_recipe_holds_the_classes_it_should() -> None:
    assert {
        "Training",
        "Rule",
        "OutlierColumns",
        "WeightSpec",
        "ActivationSpec",
        "Percentile",
        "PerGroup",
        "Attention",
        "Calibration",
    } <= set(CLASSES)


def test_a_new_member_of_a_union_appears_with_its_own_fields() -> None:
    app = opened("Tiny")
    how = app.selectbox(key="f.how")
    assert how.options == ["Round", "Dither"]
    assert "With noise before rounding." in how.help
    app = how.set_value("dither").run()
    amount = app.number_input(key="f.how.dither.amount")
    assert (amount.label, amount.value, amount.min, amount.max, amount.help) == (
        "Amount",
        0.5,
        0,
        2,
        "Steps of noise",
    )
    app = amount.set_value(1.25).run()
    assert value(app)["how"] == {"kind": "dither", "amount": 1.25, "shape": "flat"}


def test_limits_come_from_the_field() -> None:
    app = opened("Tiny")
    times = app.number_input(key="f.times")
    assert (times.min, times.max) == (1, 9)
    assert value(times.set_value(9).run())["times"] == 9


def test_what_is_optional_is_switched_on() -> None:
    app = opened("Tiny")
    app = app.toggle(key="f.limit.on").set_value(True).run()
    app = app.number_input(key="f.limit").set_value(2.5).run()
    assert value(app)["limit"] == 2.5
    assert value(app.toggle(key="f.limit.on").set_value(False).run())["limit"] is None


def test_entries_are_added_moved_and_removed() -> None:
    app = opened("Tiny")
    for _ in range(2):
        app = app.button(key="f.steps.add").click().run()
    app = app.selectbox(key="f.steps.1").set_value("dither").run()
    assert [s["kind"] for s in value(app)["steps"]] == ["round", "dither"]
    app = app.button(key="f.steps.1.up").click().run()
    assert [s["kind"] for s in value(app)["steps"]] == ["dither", "round"]
    app = app.button(key="f.steps.1.remove").click().run()
    assert [s["kind"] for s in value(app)["steps"]] == ["round"]


def test_several_choices_and_text() -> None:
    app = opened("Tiny")
    app = app.multiselect(key="f.colours").set_value(["green", "red"]).run()
    app = app.text_input(key="f.note").set_value("abc").run()
    assert (value(app)["colours"], value(app)["note"]) == (["green", "red"], "abc")


def test_a_name_or_a_list_of_ones_own() -> None:
    app = opened("Tiny")
    assert app.selectbox(key="f.places").options == ["here", "everywhere", "my own list"]
    app = app.selectbox(key="f.places").set_value("everywhere").run()
    assert value(app)["places"] == "everywhere"
    app = app.selectbox(key="f.places").set_value("my own list").run()
    assert (value(app)["places"], app.multiselect(key="f.places.own").label) == (
        [],
        "Places, one by one",
    )


def test_a_recipe_calibrated_on_chosen_languages_is_shown_as_it_is_and_an_empty_list_refused() -> (
    None
):
    app = AppTest.from_function(show, args=("OnTwo",), default_timeout=30).run()
    assert value(app)["languages"] == ["de", "th"]
    assert app.multiselect(key="f.languages.own").value == ["de", "th"]
    app = app.multiselect(key="f.languages.own").set_value([]).run()
    assert app.error[0].value == "1 problem: languages"


@pytest.mark.parametrize(
    ("key", "wrong", "field"), [("f.note", "A B", "note"), ("f.limit", 0.0, "limit")]
)
def test_what_the_class_refuses_is_left_to_the_page(key: str, wrong: Any, field: str) -> None:
    app = opened("Tiny")
    if field == "limit":
        app = app.toggle(key="f.limit.on").set_value(True).run()
    control = app.text_input(key=key) if field == "note" else app.number_input(key=key)
    app = control.set_value(wrong).run()
    assert app.error[0].value == f"1 problem: {field}"


def test_a_type_without_a_control_is_named() -> None:
    class Odd(Settings):
        thing: dict[str, int] = Field(default_factory=dict)

    with pytest.raises(TypeError, match="a form can show numbers"):
        form(Odd, Odd(), "odd")


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("learning_rate", "Learning rate"),
        ("MinMax", "Min max"),
        ("KLD", "KLD"),
        ("KL", "KL"),
        ("PerToken", "Per token"),
        ("Mse", "Mse"),
    ],
)
def test_names_in_words(name: str, expected: str) -> None:
    assert field_label(name) == expected


def test_a_saved_recipe_is_read_back() -> None:
    recipe = PRESETS["sdq-att-kld-w3a8"]
    assert parse(Recipe, recipe.model_dump_json().encode()) == recipe


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"not json", "must be JSON text"),
        (b"\xff\xfe", "must be UTF-8 text"),
        (b'{"seed": 1, "seed": 2}', "has the name 'seed' twice"),
        (b'{"migration": NaN}', "holds NaN"),
        (b'{"nme": 1}', "nme: unknown field"),
        (
            b'{"rules": [{"weight": {"bits": 9}}]}',
            "rules.0.weight.bits: must be a whole number from 2 to 8, got 9; correct it",
        ),
        (b" " * 100_001, "at most 100 kB"),
        (b'{"rules": [' + b"{}," * 30 + b"{}]}", "at most 20 entries, got 31"),
        (
            b'{"rules": [{}], "training": {"patience": 1000000000000000000000}}',
            "numbers must be finite",
        ),
    ],
)
def test_a_wrong_file_is_one_short_sentence(data: bytes, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence) as error:
        parse(Recipe, data)
    assert len(str(error.value)) <= 300


def test_every_preset_fits_the_form() -> None:
    for recipe in PRESETS.values():
        assert fitting(recipe) == recipe
