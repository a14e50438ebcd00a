"""Methods side by side."""

from __future__ import annotations

import streamlit as st

st.title("Methods side by side", anchor=False)
