"""The form of the page Quantize: model, task, preset, all settings, or a recipe from a file.

The form starts at the recipe in session_state["recipe-base"], or else at the chosen preset;
session_state["recipe-round"] counts its restarts and is part of the keys of its controls.
"""

from __future__ import annotations

import streamlit as st
from pydantic import ValidationError

from pages.components import models, session
from pages.components.fields import fitting
from pages.components.form import form, parse
from pages.components.glossary import say
from pages.components.recipe_text import METHODS, TASKS, changes, preset_difference, preset_label
from pages.components.uploads import path_of
from sdq.data.kept import kept
from sdq.data.registry import called
from sdq.io.explain import explain
from sdq.io.quoting import quoted_sentence
from sdq.jobs.wanted import wanted
from sdq.recipe import PRESETS, Recipe
from sdq.service.visitors import reachable
from sdq.settings import UserError
from sdq.store import Store


def tasks() -> list[str]:
    """The tasks that can be chosen: the embedded ones, and those kept in the data folder."""
    return [*TASKS, *kept()]


def offered() -> list[str]:
    """The same, and the task of the run that the form was filled in with, if that is another one:
    of a file, of the Hub or of XGLUE."""
    own = st.session_state.get("own-task")
    return [*tasks(), *([own] if own is not None and own not in tasks() else [])]


def reach(task: str) -> str:
    """`task`, if this visitor may name it. UserError otherwise, in the same words whether there is
    such a file on this machine or not."""
    return reachable(task, session.visitor(), tasks(), "task")


def restart(base: Recipe | None = None) -> None:
    """Restart the form at `base` or at the chosen preset."""
    st.session_state["recipe-base"] = base
    st.session_state["recipe-round"] = st.session_state.get("recipe-round", 0) + 1
    st.session_state.pop("recipe-refused", None)


def nearest(recipe: Recipe) -> str:
    """The preset of the same method that a recipe differs from in the fewest fields."""
    return min(
        (name for name, preset in PRESETS.items() if preset.method == recipe.method),
        key=lambda name: len(changes(recipe, PRESETS[name])),
    )


def put(recipe: Recipe) -> None:
    """Set the form to a recipe. UserError if the form cannot hold it."""
    name, method = nearest(fitting(recipe)), recipe.method
    st.session_state.update({"method": method, f"recipe-{method}": name, "seed": recipe.seed})
    restart(recipe)


def fill_in(run: str | None, store: Store) -> None:
    """Set the form to what the address names (a model, a task, a preset) or to the request of a
    run: once per link, and again after a visit to another page."""
    if "on" not in st.session_state:  # the controls of this page were not drawn just before
        st.session_state["filled_in"] = None
        restart()
        if like := st.query_params.get("like"):
            _like(like, store)
        else:
            if (task := st.query_params.get("on")) in tasks():
                st.session_state["on"] = task
            models.put_named(st.query_params.get("model", ""))
        if (preset := PRESETS.get(st.query_params.get("preset", ""))) is not None:
            put(preset)
    if run is None or st.session_state["filled_in"] == run:
        return
    st.session_state["filled_in"] = run
    _like(run, store, with_recipe=True)


def _like(run: str, store: Store, with_recipe: bool = False) -> None:
    """Set the form to the model and the task of a run, and to its recipe if requested; if that
    fails, leave the form and keep the error."""
    st.session_state.pop("not-filled", None)
    try:
        if (was := wanted(run, store)) is None:
            return
        model, task = models.reach(was.model), reach(was.task)
        if with_recipe:
            put(was.recipe)
        models.put(model)
        st.session_state["on"] = st.session_state["own-task"] = task
    except UserError as error:
        st.session_state["not-filled"] = (
            f"The form could not be filled in from run {run[:12]}: {error}."
        )


def _uploaded() -> None:
    """Set the form to the file just chosen, or keep the error."""
    file = st.session_state["upload"]
    st.session_state.pop("recipe-refused", None)
    if file is None:
        return
    try:
        put(parse(Recipe, path_of(file).read_bytes()))
    except UserError as error:
        st.session_state["recipe-refused"] = str(error)


def choice() -> tuple[str, str, Recipe | None]:
    """(model, task, recipe) of the form; the recipe is None, and the page says why, if its settings
    or its model are unsuitable."""
    first, second, third = st.columns(3)
    model = models.pick(first)
    task = second.selectbox(
        "Task",
        offered(),
        format_func=lambda name: TASKS.get(name, f"{called(name)} (yours)"),
        key="on",
    )
    method = third.selectbox(
        "Method", list(METHODS), format_func=METHODS.get, key="method", on_change=restart
    )
    names = [name for name, recipe in PRESETS.items() if recipe.method == method]
    left, right = st.columns([3, 1])
    name = left.selectbox(
        "Preset",
        names,
        format_func=lambda n: preset_label(n, PRESETS[n]),
        key=f"recipe-{method}",
        on_change=restart,
    )
    seed = right.number_input(
        "Seed", 0, 2**31 - 1, key="seed", help=Recipe.model_fields["seed"].description
    )
    base = st.session_state["recipe-base"] or PRESETS[name]
    with st.expander("All settings", icon=":material/tune:"):
        try:
            recipe = form(
                Recipe,
                base.model_copy(update={"seed": seed}),
                f"recipe.{st.session_state['recipe-round']}",
                leave=("seed",),
            )
        except ValidationError as error:
            recipe, problem = None, explain(error)
    if unfilled := st.session_state.get("not-filled"):
        st.info(session.readable(unfilled), icon=":material/info:")
    if refused := st.session_state.get("recipe-refused"):
        st.error(quoted_sentence(refused), icon=":material/error:")
    if recipe is None:
        st.error(
            f"These settings are incompatible: {quoted_sentence(problem)}",
            icon=":material/error:",
        )
        st.button("Reset to preset", key="reset", icon=":material/undo:", on_click=restart)
    elif sentence := preset_difference(recipe, name, PRESETS[name]):
        say(sentence)
        st.button("Reset to preset", key="reset", icon=":material/undo:", on_click=restart)
        recipe = recipe.model_copy(update={"name": "custom"}) if recipe.name == name else recipe
    return model, task, recipe if models.fits(model, task) else None


def files(recipe: Recipe | None) -> None:
    """Buttons that save the recipe as a file, and open one."""
    if recipe is not None:
        name, data = f"{recipe.name}.json", recipe.model_dump_json(indent=1)
        st.download_button(
            "Save recipe",
            data,
            name,
            "application/json",
            icon=":material/download:",
            on_click="ignore",
            key="save",
        )
    with st.popover("Open recipe", icon=":material/upload_file:"):
        st.file_uploader(
            "Recipe (JSON, at most 100 kB)",
            type="json",
            key="upload",
            max_upload_size=1,
            on_change=_uploaded,
        )
