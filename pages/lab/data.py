"""Your data: which labelled text of one's own can be worked with, and can it be used here?"""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from pages.components.bringing import (
    arrived,
    checked,
    counts,
    emptied,
    first_rows,
    held,
    mapped,
    nothing_chosen,
    shares,
)
from pages.components.glossary import say
from pages.components.models import ASK
from pages.components.session import readable, visitor
from sdq.data.kept import home, kept
from sdq.data.registry import called
from sdq.data.taskfile import read
from sdq.intake import decoding
from sdq.intake.own_tasks import Incoming, keep, missing, task_name
from sdq.io.quoting import quoted
from sdq.settings import ROOT, UserError


def described(first: pd.DataFrame) -> dict[str, Any]:
    """The fields of the task file, as the controls have them."""
    fields = mapped(first)
    row = st.container(horizontal=True, vertical_alignment="bottom", key="names")
    typed = row.text_input(
        "Name of the task",
        key="name",
        max_chars=41,
        placeholder="topics",
        help="Small letters, digits, - and _.",
        width=220,
    )
    fields["name"] = task_name(typed)
    fields["training_language"] = row.text_input(
        "Language with labels for training", "en", key="training-language", width=220
    )
    fields["longest"] = int(
        row.number_input("Longest input, subwords", 8, 512, 128, key="longest", width=200)
    )
    if typed.strip() and not fields["name"]:
        st.caption("The name must have a Latin letter or a digit in it.")
    elif typed != fields["name"]:
        st.caption(f"It is kept as `{fields['name']}`: names have small letters, digits, - and _.")
    return fields


def bring() -> None:
    """From files to a kept task."""
    files, tables, bad = arrived()
    if not files and not bad:
        if not done():
            st.caption(nothing_chosen())
        return
    st.session_state.pop("just-kept", None)
    if not files:
        return
    fields = described(first_rows(files[0][0], tables[0]))
    incoming = held(files, by_row="language" in fields["columns"])
    fields |= shares(incoming, fields["columns"])
    theirs = fields["name"] in kept() and not visitor().may_change(home() / fields["name"])
    replace = (
        st.toggle("Replace a task of this name", key="replace")
        if fields["name"] in kept() and not theirs
        else False
    )
    lacks = [f"a file that can be read instead of {quoted(name)}" for name in bad] + missing(
        fields, incoming
    )
    with st.container(horizontal=True, vertical_alignment="center", key="keeping"):
        pressed = st.button(
            "Check and keep",
            type="primary",
            key="keep",
            icon=":material/save:",
            disabled=bool(lacks),
        )
        if lacks:
            st.caption(f"Still missing: {'; '.join(lacks)}.")
    if pressed and (refused := kept_or_refused(fields, incoming, replace)):
        st.error(refused, icon=":material/error:")


def kept_or_refused(fields: dict[str, Any], incoming: list[Incoming], replace: bool) -> str:
    """Keep the task and draw the page anew, or why it cannot be kept."""
    try:
        keep(fields, incoming, replace, visitor(), checking=decoding.checked_file)
    except UserError as error:
        return readable(error)
    emptied(fields["name"])
    st.rerun()


def done() -> bool:
    """That a task was kept just now; whether one was."""
    name = st.session_state.get("just-kept")
    if name not in kept():
        return False
    st.success(f"Kept: the task {name}.", icon=":material/check:")
    return True


def formats() -> None:
    """Which files are taken and which are refused, from the docs of the project."""
    with st.expander("Which files are taken, and which are refused", icon=":material/help:"):
        if st.toggle("Show docs/files.md", key="formats"):
            lines = (ROOT / "docs" / "files.md").read_text("utf-8").splitlines()[1:]
            st.container(key="docs").markdown(
                "\n".join(line for line in lines if not line.startswith("<!--"))
            )


def stand(name: str) -> None:
    """What a kept task is like, and where it goes from here."""
    st.subheader(f"The task {called(name)}", anchor=False)
    labelled = read(home() / name / "task.json").kind != "retrieval"
    counts(checked(name), labelled)
    st.page_link(
        "pages/lab/quantize.py",
        label=f"Quantize with {called(name)}",
        icon=":material/tune:",
        query_params={"on": name},
    )
    if labelled and visitor().leads:
        st.caption(
            f"A model needs a head for it: `python -m sdq finetune --model mini --task {name} "
            "--out DIR`. A model of the inbox that has one for these labels works as it is."
        )
    elif labelled:
        st.caption(f"A model needs a head for it. {ASK}")
    else:
        st.caption(
            "An encoder answers it as it is, without a head: choose one of the larger models."
        )


st.title("Can your data be used here?", anchor=False)
say(
    "Bring labelled text in two languages or more: models are trained on one of them and tested "
    "in all. Files are read, counted and kept in the data folder; no code in them is executed.",
    "reading",
)
try:
    with st.expander("Bring files", icon=":material/upload_file:", expanded=True):
        bring()
    formats()
    if tasks := kept():
        stand(
            st.selectbox(
                "Tasks kept here", tasks, format_func=called, key="kept", bind="query-params"
            )
            or tasks[0]
        )
    else:
        st.info(
            "No task of your own is kept here yet; the embedded ones are on the page Quantize.",
            icon=":material/info:",
        )
except UserError as error:
    st.error(readable(error), icon=":material/error:")
