"""Parts of the page Runs: changes with undo, runs without a result, the trash and disk usage."""

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
    "queued": ":material/hourglass_empty: queued",
    "running": ":material/play_circle: running",
    "elsewhere": ":material/terminal: running in a terminal, or just stopped",
    "failed": ":material/error: failed",
    "stopped": ":material/stop_circle: stopped without a result",
}


def act(
    change: Callable[..., Any], store: Store, *arguments: Any, undo: Sequence[str] = ()
) -> None:
    """Make a change and rerun the page, which reports a refusal. `undo`: the runs moved to the
    trash."""
    try:
        change(store, *arguments, who=session.visitor())
        st.session_state["deleted"] = list(undo)
    except UserError as error:
        st.session_state["refused"] = session.readable(error)
    st.rerun()


def rerun_button(run: str, store: Store) -> None:
    """A button that submits a run's recipe again with its model and task and opens Quantize.
    Nothing if the request is unknown."""
    if (was := wanted(run, store)) is None:
        return
    if st.button(
        "Run again",
        key=f"again-{run}",
        icon=":material/replay:",
        help=quoted(session.redacted(f"{was.what}: {was.how}")),
    ):
        try:
            model, task = models.reach(was.model), recipe.reach(was.task)
            new = jobs.submit(was.recipe, model, task, store, session.me())
        except UserError as error:
            st.session_state["refused"] = session.readable(error)
            st.rerun()
        st.switch_page("pages/lab/quantize.py", query_params={"run": new})


def recipe_of(was: Wanted | None) -> str:
    """A run's recipe and model in Markdown; empty if unknown."""
    return quoted(session.redacted(was.how)) if was else ""


def last_change(store: Store) -> None:
    """What the last change did, with an undo button."""
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
    """Runs in progress and those that ended without a result; refreshed every three seconds while
    one is in progress."""
    waiting = any(u.active for u in unfinished(store))
    st.fragment(_without_result, run_every=3 if waiting else None)(store)


def _without_result(store: Store) -> None:
    runs = unfinished(store)
    active = sum(u.active for u in runs)
    before, st.session_state["active-runs"] = st.session_state.get("active-runs", 0), active
    if active < before:
        st.rerun()  # one has finished: the table above has a new row
    if runs:
        st.subheader("Runs without a result", anchor=False)
    for u in runs[:LISTED]:
        with st.container(horizontal=True, vertical_alignment="center", key=f"unfinished-{u.run}"):
            lines = (
                f"**{quoted(u.what)}**",
                recipe_of(u.wanted),
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
                rerun_button(u.run, store)
        if u.failure:
            st.caption(session.readable(u.failure))
    if len(runs) > LISTED:
        st.caption(f"And {len(runs) - LISTED} more.")


def disk_usage(store: Store) -> None:
    """Where the runs are stored, their disk space, and the trash."""
    who = session.visitor()
    used, kept = disk(store), trash.in_trash(store, who)
    st.subheader("Location and disk space" if who.at_home else "Disk space", anchor=False)
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
                if st.button("Restore", key=f"back-{run}", icon=":material/undo:"):
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
                "The runs in the trash are deleted permanently. The only way to get them back is "
                "to run their recipes again."
            )
            if st.button(f"Delete {in_bytes(used.trash)} permanently", key="empty"):
                act(trash.empty_trash, store)
