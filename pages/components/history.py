"""The list of runs as its page needs it: changes with their undo, runs without a result, the trash
and the disk."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import streamlit as st

from pages.components import models, recipe, session
from pages.components.progress import ago
from sdq.io.quoting import quoted
from sdq.jobs import queue as jobs
from sdq.jobs import trash
from sdq.jobs.data_folder import disk, in_bytes
from sdq.jobs.unfinished import unfinished
from sdq.jobs.wanted import Wanted, wanted
from sdq.settings import UserError
from sdq.store import Store

LISTED = 20
STATUS = {
    "queued": ":material/hourglass_empty: waiting for its turn",
    "running": ":material/play_circle: under way",
    "elsewhere": ":material/terminal: under way in a terminal, or just stopped",
    "failed": ":material/error: failed",
    "stopped": ":material/stop_circle: stopped without a result",
}


def act(
    change: Callable[..., Any], store: Store, *arguments: Any, undo: Sequence[str] = ()
) -> None:
    """Make a change, then run the page again; a refusal is told there in one sentence. `undo`: the
    runs it moved to the trash."""
    try:
        change(store, *arguments, who=session.visitor())
        st.session_state["deleted"] = list(undo)
    except UserError as error:
        st.session_state["refused"] = session.readable(error)
    st.rerun()


def again(run: str, store: Store) -> None:
    """A button that asks once more for what a run was to do, of its own model and task; Quantize
    shows how it goes. Nothing if nobody knows."""
    if (was := wanted(run, store)) is None:
        return
    if st.button(
        "Run it again",
        key=f"again-{run}",
        icon=":material/replay:",
        help=quoted(session.told(f"{was.what}: {was.how}")),
    ):
        try:
            model, task = models.reach(was.model), recipe.reach(was.task)
            new = jobs.submit(was.recipe, model, task, store, session.me())
        except UserError as error:
            st.session_state["refused"] = session.readable(error)
            st.rerun()
        st.switch_page("pages/lab/quantize.py", query_params={"run": new})


def about(was: Wanted | None) -> str:
    """What of a run, in Markdown: its recipe and model; empty if nothing tells."""
    return quoted(session.told(was.how)) if was else ""


def told(store: Store) -> None:
    """What the last change did, and the way back."""
    if refused := st.session_state.pop("refused", None):
        st.error(refused, icon=":material/error:")
    if deleted := st.session_state.get("deleted"):
        with st.container(horizontal=True, vertical_alignment="center", key="told"):
            st.success(
                f"Moved to the trash: {', '.join(deleted)}.", icon=":material/delete:", width=520
            )
            if st.button("Undo", key="undo", icon=":material/undo:"):
                act(trash.restore, store, deleted)


def without_result(store: Store) -> None:
    """Runs under way and those that ended without a result; looks again every three seconds while
    one is under way."""
    waiting = any(u.active for u in unfinished(store))
    st.fragment(_without_result, run_every=3 if waiting else None)(store)


def _without_result(store: Store) -> None:
    found = unfinished(store)
    active = sum(u.active for u in found)
    before, st.session_state["active-runs"] = st.session_state.get("active-runs", 0), active
    if active < before:
        st.rerun()  # one has ended: the table above has a new row
    if found:
        st.subheader("Under way, or ended without a result", anchor=False)
    for u in found[:LISTED]:
        with st.container(horizontal=True, vertical_alignment="center", key=f"unfinished-{u.run}"):
            lines = (
                f"**{quoted(u.what)}**",
                about(u.wanted),
                f"{STATUS[u.status]}, {ago(u.heard, st.context.timezone)}",
            )
            st.markdown("  \n".join(line for line in lines if line), width=460)
            st.page_link(
                "pages/lab/quantize.py",
                label=f"Open {u.run}",
                icon=":material/open_in_new:",
                query_params={"run": u.run},
            )
            if (
                not u.active
                and trash.may_delete(store, u.run, session.visitor())
                and st.button("Delete", key=f"delete-{u.run}", icon=":material/delete:")
            ):
                act(trash.delete, store, [u.run], undo=[u.run])
            if not u.active:
                again(u.run, store)
        if u.failure:
            st.caption(session.readable(u.failure))
    if len(found) > LISTED:
        st.caption(f"And {len(found) - LISTED} more.")


def space(store: Store) -> None:
    """Where the runs are, what they take, and the trash."""
    who = session.visitor()
    used, kept = disk(store), trash.in_trash(store, who)
    st.subheader(
        "Where they are, and what they take" if who.at_home else "What they take", anchor=False
    )
    if who.at_home:
        st.caption("Your own runs are in this folder:")
        st.code(str(store.folder.resolve()), language=None, wrap_lines=True)
    with st.container(horizontal=True, key="disk"):
        for label, size in (
            ("Own runs", used.own),
            ("Trash", used.trash),
            ("Shipped runs", used.shipped),
            ("Free", used.free),
        ):
            st.metric(label, in_bytes(size), width=150)
    if not kept:
        return
    size = f", {in_bytes(used.trash)}" if who.leads else ""
    with st.expander(
        f"{'The trash' if who.leads else 'Your runs in the trash'}: {len(kept)} "
        f"run{'s' if len(kept) > 1 else ''}{size}"
    ):
        for run in list(kept)[:LISTED]:
            with st.container(horizontal=True, vertical_alignment="center", key=f"trashed-{run}"):
                st.markdown(f"{quoted(kept[run])}  \n{run}", width=320)
                if st.button("Bring back", key=f"back-{run}", icon=":material/undo:"):
                    act(trash.restore, store, [run])
        if len(kept) > LISTED:
            st.caption(f"And {len(kept) - LISTED} more.")
        if not who.leads:
            return
        with st.popover(
            f"Empty the trash ({in_bytes(used.trash)})",
            icon=":material/delete_forever:",
        ):
            st.caption(
                "The runs in the trash are removed for good. They can be had again only by "
                "running their recipes."
            )
            if st.button(f"Remove {in_bytes(used.trash)} for good", key="empty"):
                act(trash.empty_trash, store)
