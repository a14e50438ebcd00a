"""Your data: upload labelled text as a task, check it and save it."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from pages.components.glossary import say
from pages.components.models import ASK
from pages.components.session import readable, visitor
from pages.components.task_form import (
    checked,
    column_mapping,
    file_roles,
    first_rows,
    no_file_hint,
    reset_form,
    show_counts,
    split_shares,
    uploaded_files,
)
from sdq.data.kept import home, kept
from sdq.data.registry import called
from sdq.data.taskfile import read
from sdq.intake import decoding
from sdq.intake.own_tasks import Incoming, keep, missing, task_name
from sdq.io.quoting import quoted
from sdq.settings import ROOT, UserError


def described(first: pd.DataFrame) -> dict[str, Any]:
    """The fields of the task file, as the controls have them."""
    fields = column_mapping(first)
    row = st.container(horizontal=True, vertical_alignment="bottom", key="names")
    typed = row.text_input(
        "Task name",
        key="name",
        max_chars=41,
        placeholder="topics",
        help="Lowercase letters, digits, - and _.",
        width=220,
    )
    fields["name"] = task_name(typed)
    fields["training_language"] = row.text_input(
        "Training language", "en", key="training-language", width=220
    )
    fields["longest"] = int(
        row.number_input("Maximum length, subwords", 8, 512, 128, key="longest", width=200)
    )
    if typed.strip() and not fields["name"]:
        st.caption("The name must contain a Latin letter or a digit.")
    elif typed != fields["name"]:
        st.caption(
            f"It will be saved as `{fields['name']}`: names have lowercase letters, digits, - and "
            "_."
        )
    return fields


def add_task() -> None:
    """From files to a saved task."""
    files, tables, bad = uploaded_files()
    if not files and not bad:
        if not just_saved():
            st.caption(no_file_hint())
        return
    st.session_state.pop("just-kept", None)
    if not files:
        return
    fields = described(first_rows(files[0][0], tables[0]))
    incoming = file_roles(files, by_row="language" in fields["columns"])
    fields |= split_shares(incoming, fields["columns"])
    theirs = fields["name"] in kept() and not visitor().may_change(home() / fields["name"])
    replace = (
        st.toggle("Replace the task of this name", key="replace")
        if fields["name"] in kept() and not theirs
        else False
    )
    lacking = [f"a readable file instead of {quoted(name)}" for name in bad] + missing(
        fields, incoming
    )
    with st.container(horizontal=True, vertical_alignment="center", key="keeping"):
        pressed = st.button(
            "Check and save",
            type="primary",
            key="keep",
            icon=":material/save:",
            disabled=bool(lacking),
        )
        if lacking:
            st.caption(f"Still missing: {'; '.join(lacking)}.")
    if pressed and (refused := kept_or_refused(fields, incoming, replace)):
        st.error(refused, icon=":material/error:")


def kept_or_refused(fields: dict[str, Any], incoming: list[Incoming], replace: bool) -> str:
    """Save the task and rerun the page; otherwise return why it cannot be saved."""
    try:
        keep(fields, incoming, replace, visitor(), checking=decoding.checked_file)
    except UserError as error:
        return readable(error)
    reset_form(fields["name"])
    st.rerun()


def just_saved() -> bool:
    """Confirm a task that has just been saved; whether there is one."""
    name = st.session_state.get("just-kept")
    if name not in kept():
        return False
    st.success(f"Task {name} saved.", icon=":material/check:")
    return True


def formats() -> None:
    """Which files are accepted and which are refused, from the project's docs."""
    with st.expander("Supported files", icon=":material/help:"):
        if st.toggle("Show docs/files.md", key="formats"):
            lines = (ROOT / "docs" / "files.md").read_text("utf-8").splitlines()[1:]
            st.container(key="docs").markdown(
                "\n".join(line for line in lines if not line.startswith("<!--"))
            )


def task_summary(name: str) -> None:
    """The checks of a saved task, and what to do next."""
    st.subheader(f"Task {called(name)}", anchor=False)
    labelled = read(home() / name / "task.json").kind != "retrieval"
    show_counts(checked(name), labelled)
    st.page_link(
        "pages/lab/quantize.py",
        label=f"Quantize with {called(name)}",
        icon=":material/tune:",
        query_params={"on": name},
    )
    if labelled and visitor().leads:
        st.caption(
            f"A model needs a head for this task: `sdq finetune --model mini --task {name} --out "
            "DIR`. A model in the inbox that has one for these labels works unchanged."
        )
    elif labelled:
        st.caption(f"A model needs a head for this task. {ASK}")
    else:
        st.caption("Encoders do this task without a head: choose one of the larger models.")


st.title("Can your data be used here?", anchor=False)
say(
    "Upload labelled text in two or more languages: models are trained on one of them and tested "
    "on all. Files are read, checked and saved in the data folder; no code in them is executed.",
    "reading",
)
try:
    with st.expander("Add files", icon=":material/upload_file:", expanded=True):
        add_task()
    formats()
    if tasks := kept():
        task_summary(
            st.selectbox("Saved tasks", tasks, format_func=called, key="kept", bind="query-params")
            or tasks[0]
        )
    else:
        st.info(
            "You have not saved a task yet; the embedded tasks are on the page Quantize.",
            icon=":material/info:",
        )
except UserError as error:
    st.error(readable(error), icon=":material/error:")
