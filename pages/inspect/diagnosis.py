"""The diagnosis of a run from its measurements: what breaks it, why, which languages it hurts, and
what helps."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import streamlit as st

from pages.components.glossary import glossary_button, say
from pages.components.inspection_tables import tables, when_made
from pages.components.layer_picker import address, one_run
from pages.components.session import readable
from sdq.inspection.diagnosis import Diagnosis, diagnose
from sdq.inspection.findings import Finding
from sdq.inspection.reasons import CAUSES
from sdq.io.quoting import quoted
from sdq.labels import nats
from sdq.reporting.export import tables as stored
from sdq.settings import UserError
from sdq.store import Store

TERMS = (
    "FP32",
    "KL divergence",
    "noise floor",
    "95 % interval",
    "hidden unit",
    "calibration",
    "zero-shot",
    "simulated",
)
NEEDED = ("sensitivity", "estimate", "floor", "why", "mismatch", "remedies")


@st.cache_resource(max_entries=32, show_spinner="Writing the diagnosis")
def diagnosed(folder: str, run: str, made: tuple[int, ...]) -> Diagnosis:
    """The diagnosis of a run from all its stored tables; `made`: when its inspection was made."""
    kept = Store(Path(folder))
    report = kept.report(run)
    return diagnose(report, stored(report, kept))


def row(place: int, finding: Finding) -> None:
    """One finding in short, and a link to the page that shows it."""
    with st.container(
        border=True, horizontal=True, vertical_alignment="center", key=f"finding-{place}"
    ):
        recovered = (
            ""
            if finding.gain is None
            else f", {nats(finding.gain)} nats less {CAUSES[finding.cause][1]}"
        )
        st.markdown(
            f"**{place}. {quoted(finding.label[:1].upper() + finding.label[1:])}**: "
            f"{nats(finding.cost)} nats{recovered}"
        )
        st.page_link(
            f"pages/inspect/{finding.page}.py",
            label="Show it",
            icon=":material/arrow_forward:",
            query_params=finding.query,
        )


st.title("What breaks this run, why, and what helps?", anchor=False)
store = Store.default()
try:
    report = one_run(store)
    tables(store, report, *NEEDED)
    diagnosis = diagnosed(str(store.folder), report.run, when_made(store, report))
    say(diagnosis.paragraph, "reading")
    for place, finding in enumerate(diagnosis.findings, 1):
        row(place, finding)
    st.subheader("Findings", anchor=False)
    listed = pd.DataFrame(
        [
            {
                "module": f.label,
                "change tested": CAUSES[f.cause][1] if f.cause else "none",
                "unit, row or position": f"{f.at}" if f.at >= 0 else None,
                "made by": f.source or None,
                "cost, nats": f.cost,
                "recovered, nats": f.gain,
            }
            for f in diagnosis.findings
        ]
    ).dropna(axis=1, how="all")
    st.dataframe(listed, hide_index=True, key="findings", alt=diagnosis.paragraph)
    with st.container(horizontal=True, key="diagnosis-tools"):
        data = json.dumps(
            diagnosis.model_dump(mode="json") | {"paragraph": diagnosis.paragraph},
            ensure_ascii=False,
            indent=1,
        )
        st.download_button(
            "Diagnosis (JSON)",
            data,
            f"diagnosis-{report.run}.json",
            "application/json",
            icon=":material/download:",
            on_click="ignore",
        )
        glossary_button(*TERMS)
    st.subheader("Sources of the numbers", anchor=False)
    sources = [
        {"sentence": s.text, "table": s.table, "columns": ", ".join(s.columns)}
        for s in diagnosis.sentences
    ]
    st.dataframe(
        pd.DataFrame(sources),
        hide_index=True,
        key="sources",
        alt="Every sentence with its table and columns",
    )
    say(
        "The command sdq inspect and the page Report export these tables.",
        "note",
    )
    st.page_link(
        "pages/inspect/remedies.py",
        label="Remedies that were tried",
        icon=":material/healing:",
        query_params=address(),
    )
except UserError as error:
    st.error(readable(error), icon=":material/error:")
