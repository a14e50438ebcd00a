"""What each scheme costs a model, beside one another."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import streamlit as st

from pages.components.figure import show, theme
from pages.components.glossary import say
from sdq.figures import schemes
from sdq.results import Report


def scheme_costs(runs: Mapping[str, Sequence[Report]], model: str, task: str) -> None:
    """A picture of what the schemes cost that have runs; nothing for a single one.

    runs: scheme -> its runs, those of models that are not quantized are left out
    model, task: of the runs
    """
    if len(runs) < 2:
        return
    rows = schemes.table(
        {name: [run for run in some if run.is_quantized] for name, some in runs.items()}
    )
    text = schemes.reading(rows)
    st.subheader("Which schemes break it?", anchor=False)
    say(text, "reading")
    show(
        schemes.picture(rows, theme()),
        rows,
        key=f"{model}-{task}-schemes",
        title=f"Points lost by scheme: {model} on the task {task}",
        text=text,
        query={"model": model, "task": task},
        terms=("PTQ", "QAT", "SDQ", "zero-shot"),
    )
    say(
        "Filled marks: mean of the zero-shot languages; open marks: the language with labels. One "
        "seed (0); the mean over seeds, with intervals, is in docs/results.md.",
        "note",
    )
