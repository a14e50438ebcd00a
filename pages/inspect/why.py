"""Why a module breaks: what stands out in it, what removing the causes recovers, outlier units, and
what the calibrated ranges clip."""

from __future__ import annotations

import streamlit as st

from pages.components.figure import drawn, show, theme
from pages.components.glossary import say
from pages.components.inspection_tables import tables
from pages.components.layer_picker import address, follow_layer, one_layer, one_run, related_pages
from pages.components.session import readable
from sdq.figures import mismatch, outliers
from sdq.figures import why as figures
from sdq.figures.weights import Picture, find, label_of
from sdq.settings import UserError
from sdq.store import Store

TRIED = (
    "Each cause was removed from this module alone, and the same sentences were answered again "
    "with only this module quantized: what removing a cause recovers is measured, not guessed. "
    "Empty: a symptom, or not a cause here."
)
FORMATS = {
    "recovered, nats": "%.4f",
    "share of the KL, %": "%.0f",
    "low": "%.4f",
    "high": "%.4f",
    "value": "%.3g",
    "usual": "%.3g",
}


def draw(
    picture: Picture | None,
    key: str,
    title: str,
    missing: str,
    *terms: str,
    clickable: bool = False,
) -> None:
    """One figure with its sentence; `missing` replaces it where there is nothing to draw."""
    if picture is None:
        say(missing, "note")
        return
    figure, rows, text = picture
    say(text)
    show(
        figure,
        rows,
        key=f"why-{key}",
        title=title,
        text=text,
        query=address(),
        terms=terms,
        clicked=follow_layer if clickable else None,
    )


st.title("Why do layers break?", anchor=False)
store = Store.default()
try:
    report = one_run(store)
    inspected = tables(store, report, "why", "mismatch")
    why = inspected["why"]
    rows = drawn(figures.modules, why)
    sentence = st.container()
    layer = one_layer(rows, rows.iloc[0]["module"])
    name = label_of(find(rows, layer))
    with sentence:
        say(figures.reading(why, layer), "reading")

    st.subheader(f"What stands out in {name}, and what removing it recovers", anchor=False)
    columns = {
        name: st.column_config.NumberColumn(format=form, width=125)
        for name, form in FORMATS.items()
    } | {"cause": st.column_config.TextColumn(width=440)}
    st.dataframe(
        figures.causes_table(why, layer),
        hide_index=True,
        key="causes",
        column_config=columns,
        alt=figures.reading(why, layer),
    )
    say(TRIED, "note")

    st.subheader("Outlier units by layer", anchor=False)
    nothing = "This run quantizes no inputs, so no hidden unit stretches a range."
    draw(
        drawn(outliers.units_picture, why, theme()),
        "units",
        "Outlier units by layer",
        nothing,
        "hidden unit",
        "outlier dimension",
        clickable=True,
    )

    st.subheader("Clipped inputs by language", anchor=False)
    nothing = mismatch.mismatch_reading(inspected["mismatch"])
    draw(
        drawn(mismatch.clipped_picture, inspected["mismatch"], theme()),
        "clipped",
        "Inputs outside the calibrated ranges, by language",
        nothing,
        "clipped",
        "calibration",
        "KL divergence",
        "95 % interval",
    )

    st.subheader("Do LayerNorms dampen the error?", anchor=False)
    draw(
        drawn(figures.damping_picture, why, theme()),
        "damping",
        "Relative error before and after every LayerNorm",
        "This model has no LayerNorm.",
        "relative L2",
        "accumulated",
    )
    related_pages("why", name)
except UserError as error:
    st.error(readable(error), icon=":material/error:")
