"""A typed sentence, answered by several models side by side."""

from __future__ import annotations

from html import escape
from typing import Any

import streamlit as st

from pages.components.glossary import say
from pages.components.session import me, readable
from sdq.io.limits import limits
from sdq.io.quoting import quoted
from sdq.jobs import questions
from sdq.results import Report
from sdq.settings import UserError
from sdq.store import Store


def ask_models(reports: list[Report], store: Store) -> None:
    """The section "Try your own sentence": asks the models of `reports` (FP32 first) and shows
    their answers."""
    st.subheader("Try your own sentence", anchor=False)
    with st.form("typed-form", border=False):
        left, right = st.columns([5, 1], vertical_alignment="bottom")
        text = left.text_input(
            "Sentence, in any language",
            key="typed",
            max_chars=limits().sentence_characters,
            placeholder="wake me up at seven tomorrow",
            bind="query-params",
        )
        asked = right.form_submit_button("Ask", icon=":material/send:", key="ask", width="stretch")
    if asked and text.strip():
        st.session_state["asked"] = text
    if not st.session_state.get("asked"):
        say(
            "The models answer side by side. The first answer takes a few seconds, until the "
            "models are loaded.",
            "note",
        )
        return
    try:
        key = questions.ask(st.session_state["asked"], [r.run for r in reports], store, me())
        if (rows := questions.answered(key, store)) is None:
            _wait(key, store)
        else:
            _answers(rows, reports)
    except UserError as error:
        st.error(readable(error), icon=":material/error:")


@st.fragment(run_every=1)
def _wait(key: str, store: Store) -> None:
    try:
        waits = questions.answered(key, store) is None
    except UserError as error:
        st.error(readable(error), icon=":material/error:")
        return
    if not waits:
        st.rerun()
    st.progress(0.0, text="Waiting for the models")


def _answers(rows: list[dict[str, Any]], reports: list[Report]) -> None:
    first = next((row["answers"] for row in rows if "answers" in row), [])
    by_run = {r.run: r for r in reports}
    for column, row in zip(st.columns(len(rows)), rows, strict=True):
        report = by_run[row["run"]]
        with column:
            st.html(f"<b>{report.method}</b> <small>{escape(report.recipe['name'])}</small>")
            if "missing" in row:
                st.caption(readable(row["missing"][0].upper() + row["missing"][1:] + "."))
            elif "best" in row:
                changed = "" if row["answers"] == first else " (changed)"
                st.markdown(
                    f"**{quoted(row['answers'][0])}**{changed}, {100 * row['shares'][0]:.1f} % sure"
                )
                st.dataframe(
                    [{"label": label, "share": 100 * share} for label, share in row["best"]],
                    hide_index=True,
                    column_config={
                        "share": st.column_config.ProgressColumn(
                            "share, %", format="%.1f", min_value=0, max_value=100
                        )
                    },
                )
            else:
                tags = [
                    {"word": w, "tag": a, "sure, %": None if s is None else 100 * s}
                    for w, a, s in zip(row["words"], row["answers"], row["shares"], strict=True)
                ]
                st.dataframe(
                    tags,
                    hide_index=True,
                    column_config={"sure, %": st.column_config.NumberColumn(format="%.0f")},
                )
