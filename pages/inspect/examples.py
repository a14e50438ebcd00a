"""Examples."""

from __future__ import annotations

import streamlit as st

st.title("Examples", anchor=False)
