"""The frame of the app: page settings and navigation. Imports no torch.

The pages are in pages/<section>/.
"""

from __future__ import annotations

import gc
import importlib
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import streamlit as st
from PIL import Image
from starlette.middleware import Middleware
from streamlit.navigation.page import StreamlitPage
from streamlit.runtime import get_instance
from streamlit.runtime.pages_manager import PagesManager

from pages.components import session, uploads
from pages.components.preload import preload
from pages.components.render_slots import RENDER_SLOTS
from sdq.service.guard import Guard
from sdq.service.visitors import Room
from sdq.settings import UserError

# drawn here: a named Material icon or an emoji as page icon may be fetched from the network
BLUE, ORANGE, CLEAR = (0, 114, 178, 255), (213, 94, 0, 255), (0, 0, 0, 0)
PIXELS = np.array(
    [
        [ORANGE if column == row else BLUE if column > row else CLEAR for column in range(4)]
        for row in (3, 2, 1, 0)
    ],
    dtype=np.uint8,
)
ICON = Image.fromarray(PIXELS.repeat(16, 0).repeat(16, 1))
STYLE = (
    "<style>.stMainBlockContainer{max-width:80rem;padding-top:3.2rem;padding-bottom:3rem} "
    ".reading{font-size:1.15rem;line-height:1.5;max-width:62rem} "
    ".key{line-height:1.4;margin-bottom:.2rem} .note,.key small{font-size:.875rem;opacity:.8} "
    "[data-testid=stCaptionContainer],[data-testid=stCaptionContainer] "
    "p{color:inherit;opacity:.9} .st-key-docs{overflow-x:auto} "
    "@media(max-width:600px){.stMainBlockContainer "
    ":is(.stTextInput,.stNumberInput,.stSelectbox,.stMultiSelect),.stMainBlockContainer "
    ".stElementContainer:has(>:is(.stTextInput,.stNumberInput,.stSelectbox,.stMultiSelect)){width:"
    "100%!important;flex-basis:100%!important}} "
    "[data-selected=true] [data-testid=stMarkdownContainer] "
    "p{color:light-dark(#1a1f2b,#f2f4f8)}</style>"
)

# engine modules that pages import and that take time to load
PRELOADED = (
    "sdq.figures.depth",
    "sdq.figures.languages",
    "sdq.jobs.estimate",
    "sdq.jobs.history",
    "sdq.jobs.queue",
    "sdq.reporting.html",
    "sdq.reporting.sections",
    "sdq.reproduce.plan",
)


def page(file: str, title: str, icon: str) -> StreamlitPage:
    """A page in pages/<section>/; its file's name is its address."""
    return st.Page(
        f"pages/{file}.py", title=title, icon=f":material/{icon}:", url_path=file.split("/")[1]
    )


def frame() -> None:
    """Draw the requested page."""
    st.set_page_config(
        page_title="SDQ Lab", page_icon=ICON, layout="wide", initial_sidebar_state="auto"
    )
    st.html(STYLE)
    session.visitor()  # stops the page for a visitor whom the guard did not admit
    preload()
    chosen = st.navigation(
        {
            "Start": [
                st.Page("pages/start/home.py", title="Home", icon=":material/home:", default=True),
                page("start/runs", "Runs", "history"),
            ],
            "Lab": [
                page("lab/quantize", "Quantize", "tune"),
                page("lab/data", "Your data", "dataset"),
            ],
            "Inspect": [
                page("inspect/diagnosis", "Diagnosis", "stethoscope"),
                page("inspect/depth", "Error through depth", "stacked_line_chart"),
                page("inspect/sensitivity", "Sensitivity", "sort"),
                page("inspect/why", "Why", "troubleshoot"),
                page("inspect/weights", "Weights", "bar_chart"),
                page("inspect/activations", "Activations", "ssid_chart"),
                page("inspect/examples", "Examples", "swap_vert"),
                page("inspect/flips", "Flips", "grid_on"),
                page("inspect/attribution", "Attribution", "format_ink_highlighter"),
                page("inspect/remedies", "Remedies", "healing"),
            ],
            "Compare": [
                page("compare/languages", "Languages", "translate"),
                page("compare/zero_shot", "Zero-shot", "travel_explore"),
                page("compare/methods", "Methods side by side", "view_column"),
                page("compare/report", "Report", "description"),
            ],
        }
    )
    if role_note := session.role():
        st.sidebar.caption(role_note)
    with RENDER_SLOTS:
        try:
            chosen.run()
        except UserError as error:
            # such as a damaged table: one sentence that says what to do
            st.error(session.readable(error), icon=":material/error:")


@asynccontextmanager
async def warm(app: st.App) -> AsyncIterator[dict[str, Any]]:
    """Import what pages need before the first visitor is served, so that no page waits for it."""
    for name in PRELOADED:
        importlib.import_module(name)
    for path in sorted((Path(__file__).parent / "pages" / "components").glob("*.py")):
        importlib.import_module(f"pages.components.{path.stem}")
    pa.set_memory_pool(
        pa.system_memory_pool()
    )  # the other pools keep the memory of earlier pages' tables
    gc.collect()
    gc.freeze()  # the imported modules stay: later collections need not traverse them
    announce(ROOM)
    async with uploads.sweeping(get_instance()):
        yield {}


def announce(room: Room) -> None:
    """Print the app's address, or the two links of a room, where an address without a token gives
    no access."""
    scheme = "https" if st.get_option("server.sslCertFile") else "http"
    address, port = st.get_option("server.address"), st.get_option("server.port")
    if room.open:
        links = room.links(address, port, scheme)
        message = (
            f"SDQ Lab is open to the network. Only these links give access:\n  students: "
            f"{links['student']}\n  teacher:  {links['teacher']}"
        )
    else:
        host = f"[{address}]" if ":" in address else address
        message = f"SDQ Lab is open to this machine only: {scheme}://{host}:{port}/"
    print(message, flush=True)


if (
    __name__ == "app"
):  # the server imports this file once, before it serves; each visit runs it as a script
    try:
        ROOM = session.room()
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    if ROOM.open:
        st.config.set_option(
            "client.showErrorDetails", "none"
        )  # a traceback names folders of this machine; it is in the server's log
    uploads.install()
    PagesManager.uses_pages_directory = (
        False  # pages/ is not Streamlit's automatic pages folder, even before st.navigation runs
    )
    app = st.App(
        __file__,
        lifespan=warm,
        middleware=[Middleware(Guard, room=ROOM), Middleware(uploads.UploadLimiter)],
    )
else:
    frame()
