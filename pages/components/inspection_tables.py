"""The tables of a run's inspection on a page; if they are missing, a button that computes them, or
the progress."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import streamlit as st

from pages.components import selection
from pages.components.cancel import cancel_button
from pages.components.glossary import say
from pages.components.progress import duration, inspection_progress
from pages.components.runs import finished
from pages.components.session import me, readable
from sdq.inspection.registry import ANALYSES
from sdq.inspection.settings import Inspection
from sdq.inspection.storage import damage, inspectable, inspection_id, missing, paths, read_table
from sdq.jobs import queue as jobs
from sdq.jobs.estimate import analyses
from sdq.results import Report
from sdq.settings import UserError
from sdq.store import Store

OTHERS = 6  # runs offered instead of one that cannot be inspected


def tables(store: Store, report: Report, *names: str) -> dict[str, pd.DataFrame]:
    """The named tables of the run's inspection (see sdq.inspection.storage). If one is missing,
    offers to compute it or shows the progress, and stops the page."""
    available = paths(report.run, store)
    if not set(names) <= available.keys():
        try:
            inspectable(report, store)
            _missing(store, report, names)
        except UserError as error:
            st.info(_sentence(readable(error)), icon=":material/inbox:")
            _others(store, report)
        st.stop()
    return {
        name: _table(str(available[name]), available[name].stat().st_mtime_ns) for name in names
    }


def when_made(store: Store, *reports: Report) -> tuple[int, ...]:
    """When the tables of the runs' inspections were made, as a cache key."""
    return tuple(
        path.stat().st_mtime_ns for report in reports for path in paths(report.run, store).values()
    )


@st.cache_resource(max_entries=64, show_spinner=False)
def _table(path: str, made: int) -> pd.DataFrame:
    """A table of an inspection; `made` is the time of its file, so that a new file is read."""
    return read_table(Path(path))


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "."


def _missing(store: Store, report: Report, names: tuple[str, ...]) -> None:
    """Instead of the tables: the button, the progress, or the cause of the failure."""
    kept, home = store.inspections(), inspection_id(report.run, Inspection())
    state = jobs.state(home, kept)
    if state.active:
        _watch(store, report, names)
        return
    if state.failure:
        st.error(
            f"The inspection of run {report.run} failed: {readable(state.failure)}",
            icon=":material/error:",
        )
    else:
        st.info(
            f"Run {report.run} has not been inspected yet"
            f"{' for what this page shows' if paths(report.run, store) else ''}.",
            icon=":material/inbox:",
        )
    for sentence in damage(report.run, store).values():
        st.warning(readable(sentence), icon=":material/broken_image:")
    left = missing(report.run, store)
    seconds = analyses(left, report, store, Inspection())
    time = (
        "How long it takes is unknown: no run of this model has been inspected yet."
        if seconds is None
        else f"It should take {duration(seconds)}."
    )
    count = f"{len(left)} analyses" if len(left) > 1 else "One analysis"
    say(
        f"{count} on {Inspection().sentences} test sentences in all languages, one after the "
        f"other. {time} Each page shows its result as soon as it is ready."
    )
    if st.button("Inspect this run", type="primary", key="look-into", icon=":material/search:"):
        jobs.look_into(report.run, store, who=me())
        st.rerun()
    with st.expander("What is measured", icon=":material/checklist:"):
        st.markdown("\n".join(f"- {ANALYSES[name].title}" for name in left))


@st.fragment(run_every=2)
def _watch(store: Store, report: Report, names: tuple[str, ...]) -> None:
    """The progress, refreshed every two seconds while it is on the page, until the tables are
    ready."""
    kept, home = store.inspections(), inspection_id(report.run, Inspection())
    state = jobs.state(home, kept, me())
    if not state.active or set(names) <= paths(report.run, store).keys():
        st.rerun()
    text, share = inspection_progress(
        state.events,
        analyses(missing(report.run, store), report, store, Inspection()),
        jobs.position(home, kept),
    )
    st.progress(share, text=text)
    st.caption("This page shows its result as soon as it is ready. You can leave and come back.")
    cancel_button(home, kept, "cancel-inspection")


def _others(store: Store, report: Report) -> None:
    """Buttons of runs of the same model and task that can be inspected."""
    alternatives = []
    for other in finished(store):
        if store.alike(other, report) and other.run != report.run:
            try:
                inspectable(other, store)
            except UserError:
                continue
            alternatives.append(other)
    if not alternatives:
        selection.empty("No other stored run of this model and task can be inspected.", report)
    st.markdown("**Runs that can be inspected:**")
    with st.container(horizontal=True, key="inspectable"):
        for other in sorted(alternatives, key=lambda r: not paths(r.run, store))[:OTHERS]:
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
