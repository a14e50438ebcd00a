"""Activations."""

from __future__ import annotations

import streamlit as st

st.title("Activations", anchor=False)
