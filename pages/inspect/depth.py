"""Error through depth."""

from __future__ import annotations

import streamlit as st

st.title("Error through depth", anchor=False)
