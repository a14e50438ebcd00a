"""The button that takes a job back: for those who asked for it, and for whoever leads."""

from __future__ import annotations

import streamlit as st

from pages.components.session import visitor
from sdq.jobs import queue as jobs
from sdq.service.visitors import askers
from sdq.store import Store


def cancel_button(job: str, store: Store, key: str) -> None:
    """The button, and, after it was pressed, whether the job continues for somebody else.

    job: a run, or an inspection
    store: where it is kept
    key: of the button
    """
    who = visitor()
    if (who.leads or who.name in askers(store.folder / job)) and st.button(
        "Cancel", key=key, icon=":material/stop_circle:"
    ):
        if not jobs.cancel(job, store, who.name, who.role):
            st.session_state["goes-on"] = job
        st.rerun()
    if st.session_state.get("goes-on") == job:
        st.caption("It continues: somebody else, or another window of yours, requested it too.")
