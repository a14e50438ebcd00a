"""Your data: which labelled text of one's own can be worked with, and is it fit for it?"""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from pages.components.bringing import arrived, checked, counts, emptied, first_rows, held, inbox_named, mapped, shares
from pages.components.glossary import say
from pages.components.session import readable, visitor
from sdq import decoding
from sdq.data.intake import keep, missing
from sdq.data.kept import home, kept
from sdq.data.taskfile import read
from sdq.data.tasks import called
from sdq.quoting import quoted
from sdq.settings import ROOT, UserError


def described(first: pd.DataFrame) -> dict[str, Any]:
    """The fields of the task file, as the controls have them."""
    fields = mapped(first)
    row = st.container(horizontal=True, vertical_alignment="bottom", key="names")
    fields["name"] = row.text_input("Name of the task", key="name", max_chars=41, placeholder="topics", help="Small letters, digits, - and _.", width=220)
    fields["training_language"] = row.text_input("Language with labels for training", "en", key="training-language", width=220)
    fields["longest"] = int(row.number_input("Longest input, subwords", 8, 512, 128, key="longest", width=200))
    return fields


def bring() -> None:
    """From files to a kept task."""
    files = arrived()
    if files:
        st.session_state.pop("just-kept", None)
    else:
        done()
        st.caption(
            f"Nothing is chosen yet. Files of this machine can also be put into {quoted(inbox_named())}; a task file (JSON) of one's own needs no page: `python -m sdq task check task.json`."
        )
        return
    fields = described(first_rows(files[0][1], files[0][0]))
    incoming = held(files, by_row="language" in fields["columns"])
    fields |= shares(incoming, fields["columns"])
    theirs = fields["name"] in kept() and not visitor().may_change(home() / fields["name"])
    replace = st.toggle("Replace a task of this name", key="replace") if fields["name"] in kept() and not theirs else False
    lacks = missing(fields, incoming)
    with st.container(horizontal=True, vertical_alignment="center", key="keeping"):
        if st.button("Check and keep", type="primary", key="keep", icon=":material/save:", disabled=bool(lacks)):
            keep(fields, incoming, replace, visitor(), checking=decoding.checked_file)
            emptied(fields["name"])
            st.rerun()
        if lacks:
            st.caption(f"Still missing: {'; '.join(lacks)}.")


def done() -> None:
    """That a task was kept just now, and where it goes from here."""
    name = st.session_state.get("just-kept")
    if name not in kept():
        return
    with st.container(horizontal=True, vertical_alignment="center", key="done"):
        st.success(f"Kept: the task {name}.", icon=":material/check:", width=420)
        st.page_link("pages/lab/quantize.py", label=f"Quantize with {name}", icon=":material/tune:", query_params={"on": name})


def formats() -> None:
    """Which files are taken and which are refused, from the docs of the project."""
    with st.expander("Which files are taken, and which are refused", icon=":material/help:"):
        if st.toggle("Show docs/files.md", key="formats"):
            lines = (ROOT / "docs" / "files.md").read_text("utf-8").splitlines()[1:]
            st.container(key="docs").markdown("\n".join(line for line in lines if not line.startswith("<!--")))


def stand(name: str) -> None:
    """What a kept task is like, and where it goes from here."""
    st.subheader(f"The task {called(name)}", anchor=False)
    labelled = read(home() / name / "task.json").kind != "retrieval"
    counts(checked(name), labelled)
    st.page_link("pages/lab/quantize.py", label="Quantize with this task", icon=":material/tune:", query_params={"on": name})
    if labelled:
        st.caption(f"A model needs a head for it first: `python -m sdq finetune --model mini --task {name} --out DIR`")
    else:
        st.caption("An encoder answers it as it is, without a head: choose one of the larger models.")


st.title("Is your data fit for it?", anchor=False)
say(
    "Bring labelled text in two languages or more: models are trained on one of them and tested in all. Files are read, counted and kept in the data folder; nothing in them is run.",
    "reading",
)
try:
    with st.expander("Bring files", icon=":material/upload_file:", expanded=True):
        bring()
    formats()
    if tasks := kept():
        stand(st.selectbox("Tasks kept here", tasks, format_func=called, key="kept", bind="query-params") or tasks[0])
    else:
        st.info("No task of your own is kept here yet; the embedded ones are on the page Quantize.", icon=":material/info:")
except UserError as error:
    st.error(readable(error), icon=":material/error:")
