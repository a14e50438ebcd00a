"""The visitor: one name and one role per browser, from the cookie set by the server's guard."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import streamlit as st

from sdq.io.quoting import quoted_sentence
from sdq.results import Report
from sdq.service import visitors
from sdq.service.guard import LINK
from sdq.service.visitors import COOKIE, Role, Room, Visitor, is_open, new_name
from sdq.store import Store

ROLES: dict[Role, str] = {
    "student": "You are a student here: you can run recipes, add data, and stop, replace or "
    "delete what only you started.",
    "teacher": "You are the teacher here: you can stop, replace and delete what anyone started, "
    "pin runs and empty the trash.",
}


@lru_cache(maxsize=1)
def _room(address: str | None, data: Path) -> Room:
    return Room.at(address, data)


def room() -> Room:
    """The room of this server. UserError for tokens or a file of secrets that do not do."""
    return _room(st.get_option("server.address"), Store.default().folder.parent)


def _known() -> Visitor | None:
    """The visitor whose cookie came with the page."""
    cookies = st.context.cookies.to_dict()
    return room().read(cookies) if any(name.startswith(COOKIE) for name in cookies) else None


def visitor() -> Visitor:
    """The visitor; stops the page for somebody who needs a link and has none. Without cookies, a
    visitor is known for as long as the page stays open."""
    if current := _known():
        return current
    if is_open(
        st.get_option("server.address")
    ):  # a page was served past the guard: as a script of its own
        st.error(LINK, icon=":material/lock:")
        st.stop()
    return Visitor(str(st.session_state.setdefault("who", new_name())), "owner")


def me() -> str:
    """This visitor's name: 32 hex digits, never shown."""
    return visitor().name


def role() -> str:
    """What this visitor is and may do, in one line; empty while the server is open to its own
    machine alone."""
    return ROLES.get(visitor().role, "") if is_open(st.get_option("server.address")) else ""


def redacted(text: object) -> str:
    """A text as this visitor may read it: without the paths of the machine, unless it is the
    owner."""
    return visitors.told(str(text), visitor())


def readable(text: object) -> str:
    """An error as this visitor may read it, in Markdown: without the paths of the machine, unless
    it is the owner."""
    return quoted_sentence(redacted(text))


def redacted_report(report: Report) -> Report:
    """A report as this visitor may read it: model and task without the paths of the machine, unless
    it is the owner."""
    return report.model_copy(
        update={"model": redacted(report.model), "task": redacted(report.task)}
    )
