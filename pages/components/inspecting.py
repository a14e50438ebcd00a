"""The inspection of a run as pages need it: its tables, or the offer to compute them."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from sdq.inspection import read
from sdq.report import Report
from sdq.store import Store


def tables(store: Store, report: Report, *names: str) -> dict[str, pd.DataFrame]:
    """The named tables of the run's inspection (see sdq.inspection). If one is missing, offers to compute it and ends the page."""
    found = read(report.run, store)
    missing = [name for name in names if name not in found]
    if missing:
        st.info(f"Run {report.run} was not looked into yet: python -m sdq inspect {report.run}", icon=":material/inbox:")
        st.stop()
    return {name: found[name] for name in names}
