"""Who is looking: one name per browser session, so that a shared run goes on until nobody wants it."""

from __future__ import annotations

from uuid import uuid4

import streamlit as st


def me() -> str:
    """This session's name: 32 hex digits, never shown."""
    return str(st.session_state.setdefault("who", uuid4().hex))
