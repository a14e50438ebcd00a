"""Report: the selected runs as a web page or a ZIP."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import streamlit as st

from pages.components.glossary import TERMS, say
from pages.components.inspection_tables import when_made
from pages.components.selection import runs
from pages.components.session import readable, redacted_report
from sdq.io.quoting import quoted
from sdq.reporting import archive
from sdq.reporting import html as document
from sdq.reporting.sections import MOST, Part, parts
from sdq.settings import UserError
from sdq.store import Store


@st.cache_resource(max_entries=8, show_spinner="Drawing the figures")
def drawn(folder: str, chosen: tuple[str, ...], made: tuple[int, ...]) -> list[Part]:
    """The figures of these runs in the light theme, for print. `made`: when their inspections were
    made."""
    store = Store(Path(folder))
    return parts([store.report(run) for run in chosen], store)


st.title("Report", anchor=False)
say(
    "Choose the runs. Their figures, numbers, recipes, seeds and commands are exported as one web "
    "page that works offline, or as a ZIP with everything."
)
store = Store.default()
try:
    reports = runs(store, most=MOST)
    made = when_made(store, *reports)
    sections = drawn(str(store.folder), tuple(report.run for report in reports), made)
    reports = [redacted_report(report) for report in reports]
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
        help="If empty, the grey text is used.",
    )
    or ""
)
name = document.stem(reports)
with st.container(horizontal=True, key="take"):
    for ending, export in archive.EXPORTS.items():
        st.download_button(
            export.label,
            partial(export.made, title, reports, sections, TERMS),
            f"{name}.{ending}",
            export.media,
            key=ending,
            on_click="ignore",
            type="primary" if ending == "html" else "secondary",
            icon=":material/folder_zip:" if ending == "zip" else ":material/download:",
        )
if cause := archive.no_pictures():
    st.caption(
        f"The ZIP will contain no SVG files: {cause}. Its README says how to get them. On the web "
        "page, the camera icon of each figure saves it as SVG."
    )

st.subheader("Contents of the web page", anchor=False)
st.dataframe(
    document.summary(reports),
    hide_index=True,
    alt="The runs with their scores, simulated sizes and times",
)
for part in sections:
    size = (
        ""
        if part.table is None
        else f" · {'a figure and ' if part.figure is not None else ''}{len(part.table)} rows"
    )
    st.markdown(f"**{quoted(part.title)}**{size}")
    say(part.text, "note")
st.subheader("Commands that reproduce it", anchor=False)
st.code(document.commands(reports), language="bash", wrap_lines=True)
st.subheader("Contents of the ZIP", anchor=False)
st.dataframe(archive.contents(reports, sections), hide_index=True, alt="The files of the ZIP")
