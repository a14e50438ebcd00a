"""Languages."""

from __future__ import annotations

import streamlit as st

st.title("Languages", anchor=False)
