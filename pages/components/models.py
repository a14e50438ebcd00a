"""The choice of the model: embedded, fine-tuned here, in the inbox, from the Hub, or any folder
(owner only)."""

from __future__ import annotations

from pathlib import Path

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from pages.components.recipe_text import TASKS
from pages.components.session import readable, visitor
from pages.components.task_form import inbox
from sdq.data.kept import home
from sdq.data.registry import called
from sdq.data.taskfile import read
from sdq.models import hub
from sdq.models.checkpoint import ready, tuned
from sdq.models.composition import ships
from sdq.models.curated import CURATED
from sdq.service.visitors import reachable
from sdq.settings import UserError

FOLDER = "a folder"
ASK = (
    "Ask your teacher for a model that is fine-tuned on this task; it then appears under Model. "
    "Models in the inbox that have a head for it work, too."
)


def offered() -> dict[str, str]:
    """Name of a model -> its label in the list."""
    here = set(hub.present())
    curated = {
        model.name: f"{model.title} ({model.size / 1e6:,.0f} "
        f"MB{'' if model.name in here else ', not on this machine'})"
        for model in CURATED
    }
    own = {
        str(folder): f"{Path(card['base']).name} fine-tuned on "
        f"{TASKS.get(card['task'], called(card['task']))}"
        for folder, card in tuned()
    }
    in_inbox = {
        str(path.resolve()): f"{path.name} (inbox)"
        for path in sorted(inbox().glob("*"))
        if (path / "config.json").is_file() and not path.is_symlink()
    }
    every = {
        "mini": "mini",
        **({"midi": "midi (on all-MiniLM-L6-v2)"} if ships() else {}),
        **own,
        **in_inbox,
        **curated,
        **{name: name for name in sorted(here - set(curated))},
    }
    return {**every, FOLDER: "A local folder"} if visitor().at_home else every


def reach(model: str) -> str:
    """`model`, if this visitor may name it. UserError otherwise, in the same words whether there is
    such a folder on this machine or not."""
    return model if visitor().at_home else reachable(model, visitor(), offered(), "model")


def put(model: str) -> None:
    """Set the list to a model; a folder that is not in it by its path, by the owner only: for
    others the list does not change."""
    offers = offered()
    if model in offers or FOLDER in offers:
        st.session_state["model"] = model if model in offers else FOLDER
    if st.session_state.get("model") == FOLDER:
        st.session_state["model-folder"] = model


def put_named(name: str) -> None:
    """Set the list to the model of this name; any other name, and a path, changes nothing."""
    if name in offered() and name != FOLDER:
        put(name)


def pick(place: DeltaGenerator) -> str:
    """The name of the chosen model; of a folder its path, empty if none is given."""
    names = offered()
    about = (
        f"mini {'and midi ship' if ships() else 'ships'} with SDQ Lab. The others are larger, and "
        "most have no head for a task yet: they need fine-tuning first."
    )
    model: str = place.selectbox(
        "Model",
        list(names),
        format_func=lambda name: names.get(name, name),
        key="model",
        help=about,
    )
    if model != FOLDER:
        return model
    path: str = place.text_input(
        "Folder path",
        key="model-folder",
        help="On the machine that runs SDQ Lab: config.json, tokenizer and safetensors.",
    )
    return path.strip()


def _needs_head(task: str) -> bool:
    if task in TASKS or task.startswith(("hub:", "xglue:")):
        return True
    return (
        read(Path(task) if task.endswith(".json") else home() / task / "task.json").kind
        != "retrieval"
    )


def fits(model: str, task: str) -> bool:
    """Whether the model can be run on the task; otherwise a sentence says what to do."""
    if not model:
        st.info(
            "Enter the path of a folder with config.json, tokenizer and safetensors.",
            icon=":material/folder:",
        )
        return False
    try:
        ready(reach(model), task, head=_needs_head(task))
    except UserError as error:
        text, _, command = readable(error).partition("`")
        if command and not visitor().leads:  # who has no shell here
            text = f"{text.rpartition(';')[0]}. {ASK}"
        st.warning(f"{text.rstrip(' :;.')}." if command else text, icon=":material/model_training:")
        if command and visitor().leads:
            st.code(command.partition("`")[0], language="bash")
        return False
    return True
