"""The inspection of a run as pages need it: its tables, or the offer to compute them, and how far
that is."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import streamlit as st

from pages.components import selection
from pages.components.glossary import say
from pages.components.progress import duration, looking
from pages.components.runs import finished
from pages.components.session import me, readable, visitor
from sdq.inspection.registry import ANALYSES
from sdq.inspection.settings import Inspection
from sdq.inspection.storage import damage, inspectable, inspection_id, missing, paths, read_table
from sdq.jobs import queue as jobs
from sdq.jobs.estimate import analyses
from sdq.results import Report
from sdq.service.visitors import askers
from sdq.settings import UserError
from sdq.store import Store

OTHERS = 6  # runs that are named where one cannot be looked into


def tables(store: Store, report: Report, *names: str) -> dict[str, pd.DataFrame]:
    """The named tables of the run's inspection (see sdq.inspection.storage). If one is missing,
    offers to compute it or shows how far that is, and ends the page."""
    found = paths(report.run, store)
    if not set(names) <= found.keys():
        try:
            inspectable(report, store)
            _missing(store, report, names)
        except UserError as error:
            st.info(_sentence(readable(error)), icon=":material/inbox:")
            _others(store, report)
        st.stop()
    return {name: _table(str(found[name]), found[name].stat().st_mtime_ns) for name in names}


def when_made(store: Store, *reports: Report) -> tuple[int, ...]:
    """When the tables of the runs' inspections were made: what is cached of them holds as long as
    that stays the same."""
    return tuple(
        path.stat().st_mtime_ns for report in reports for path in paths(report.run, store).values()
    )


@st.cache_resource(max_entries=64, show_spinner=False)
def _table(path: str, made: int) -> pd.DataFrame:
    """A table of an inspection; `made` is the time of its file, so that one made anew is read
    anew."""
    return read_table(Path(path))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _missing(store: Store, report: Report, names: tuple[str, ...]) -> None:
    """What there is to see instead of the tables: the offer, the progress, or why they could not be
    made."""
    kept, home = store.inspections(), inspection_id(report.run, Inspection())
    state = jobs.state(home, kept)
    if state.active:
        _watch(store, report, names)
        return
    if state.failure:
        st.error(
            f"Looking into run {report.run} came to nothing: {readable(state.failure)}",
            icon=":material/error:",
        )
    else:
        st.info(
            f"Run {report.run} was not looked into "
            f"yet{' as this page needs it' if paths(report.run, store) else ''}.",
            icon=":material/inbox:",
        )
    for sentence in damage(report.run, store).values():
        st.warning(readable(sentence), icon=":material/broken_image:")
    left = missing(report.run, store)
    seconds = analyses(left, report, store, Inspection())
    time = (
        "How long that takes is unknown yet: no run of this model was looked into."
        if seconds is None
        else f"That should take {duration(seconds)}."
    )
    count = f"{len(left)} analyses" if len(left) > 1 else "One analysis"
    say(
        f"{count} on {Inspection().sentences} test sentences of all languages, one after the "
        f"other. {time} Each page shows its result as soon as it is there."
    )
    if st.button("Look into this run", type="primary", key="look-into", icon=":material/search:"):
        jobs.look_into(report.run, store, who=me())
        st.rerun()
    with st.expander("What is measured", icon=":material/checklist:"):
        st.markdown("\n".join(f"- {ANALYSES[name].title}" for name in left))


@st.fragment(run_every=2)
def _watch(store: Store, report: Report, names: tuple[str, ...]) -> None:
    """How far it is; asks every two seconds until these tables are there, and only while this is on
    the page."""
    kept, home = store.inspections(), inspection_id(report.run, Inspection())
    state = jobs.state(home, kept, me())
    if not state.active or set(names) <= paths(report.run, store).keys():
        st.rerun()
    text, share = looking(
        state.events,
        analyses(missing(report.run, store), report, store, Inspection()),
        jobs.position(home, kept),
    )
    st.progress(share, text=text)
    st.caption("This page shows its result as soon as it is there, also if you come back later.")
    who = visitor()
    if (who.leads or who.name in askers(kept.folder / home)) and st.button(
        "Cancel", key="cancel-inspection", icon=":material/stop_circle:"
    ):
        if not jobs.cancel(home, kept, who.name, who.role):
            st.session_state["goes-on"] = home
        st.rerun()
    if st.session_state.get("goes-on") == home:
        st.caption("It goes on: somebody else asked for it too, or another window of yours.")


def _others(store: Store, report: Report) -> None:
    """Runs of the same model and task that can be looked into, each behind a button."""
    found = []
    for other in finished(store):
        if store.alike(other, report) and other.run != report.run:
            try:
                inspectable(other, store)
            except UserError:
                continue
            found.append(other)
    if not found:
        selection.empty(
            "No other run of this model and task is stored that can be looked into.", report
        )
    st.markdown("**Runs that can be looked into:**")
    with st.container(horizontal=True, key="inspectable"):
        for other in sorted(found, key=lambda r: not paths(r.run, store))[:OTHERS]:
            st.button(
                selection.run_label(other),
                key=f"look-at-{other.run}",
                on_click=_show,
                args=(other.run,),
            )


def _show(run: str) -> None:
    selection.put("runs", run)
    st.query_params.pop("shown", None)
    st.session_state.pop("shown-run", None)
