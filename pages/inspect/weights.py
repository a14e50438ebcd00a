"""Weights."""

from __future__ import annotations

import streamlit as st

st.title("Weights", anchor=False)
