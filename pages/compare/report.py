"""Report: how do I take this away?"""

from __future__ import annotations

from functools import partial
from pathlib import Path

import streamlit as st

from pages.components.glossary import TERMS, say
from pages.components.inspecting import when_made
from pages.components.selection import runs
from pages.components.session import discreet, readable
from sdq.io.quoting import quoted
from sdq.reporting import archive
from sdq.reporting import html as document
from sdq.reporting.sections import MOST, Part, parts
from sdq.settings import UserError
from sdq.store import Store


@st.cache_resource(max_entries=8, show_spinner="Drawing the figures")
def drawn(folder: str, chosen: tuple[str, ...], made: tuple[int, ...]) -> list[Part]:
    """The figures of these runs, as they are printed: in the light theme. `made`: when their
    inspections were."""
    store = Store(Path(folder))
    return parts([store.report(run) for run in chosen], store)


st.title("How do I take this away?", anchor=False)
say(
    "Choose the runs. Their pictures, numbers, recipes, seeds and commands then come as one web "
    "page that needs no network, or as a zip with everything."
)
store = Store.default()
try:
    reports = runs(store, most=MOST)
    made = when_made(store, *reports)
    found = drawn(str(store.folder), tuple(report.run for report in reports), made)
    reports = [discreet(report) for report in reports]
except UserError as error:
    st.error(readable(error), icon=":material/error:")
    st.stop()
title = (
    st.text_input(
        "Title",
        key="title",
        bind="query-params",
        placeholder=document.heading(reports),
        max_chars=200,
        help="Without one, the text in grey is taken.",
    )
    or ""
)
name = document.stem(reports)
with st.container(horizontal=True, key="take"):
    for ending, export in archive.EXPORTS.items():
        st.download_button(
            export.label,
            partial(export.made, title, reports, found, TERMS),
            f"{name}.{ending}",
            export.media,
            key=ending,
            on_click="ignore",
            type="primary" if ending == "html" else "secondary",
            icon=":material/folder_zip:" if ending == "zip" else ":material/download:",
        )
if why := archive.no_pictures():
    st.caption(
        f"The zip will hold no SVG pictures: {why}. Its README says how to have them. The camera "
        "at each picture of the web page saves that picture as SVG."
    )

st.subheader("What the web page will show", anchor=False)
st.dataframe(
    document.summary(reports),
    hide_index=True,
    alt="The runs with their scores, simulated sizes and times",
)
for part in found:
    there = (
        ""
        if part.table is None
        else f" · {'a picture and ' if part.figure is not None else ''}{len(part.table)} rows"
    )
    st.markdown(f"**{quoted(part.title)}**{there}")
    say(part.text, "note")
st.subheader("The commands that make it again", anchor=False)
st.code(document.commands(reports), language="bash", wrap_lines=True)
st.subheader("What the zip will hold", anchor=False)
st.dataframe(archive.contents(reports, found), hide_index=True, alt="The files of the zip")
