"""Home: where does quantization break the model, and what repairs it?"""

from __future__ import annotations

import streamlit as st

from pages.components.figure import show, theme
from pages.components.glossary import say
from pages.components.links import newest_runs, page_links
from pages.components.runs import how_made, picture, stored, unreadable_note
from sdq.figures.languages import reading
from sdq.figures.style import MARKS
from sdq.recipe import PRESETS
from sdq.reproduce.plan import MINI
from sdq.results import METRICS, Report
from sdq.store import Store

MODEL = MINI.model
WIDTHS = {scheme.name: scheme for scheme in reversed(MINI.schemes)}  # from the widest
SIGNS = {"circle": "●", "x": "✖", "square": "■", "triangle-up": "▲", "diamond": "◆", "star": "★"}
SIGNS |= {"triangle-down": "▼"}
MEANT = {
    "FP32": "The trained model, not quantized.",
    "FP32 longer": "Trained as many steps more as QAT and SDQ, not quantized.",
    "PTQ": "Rounded to few bits, without training.",
    "QAT": "Trained further with rounding switched on.",
    "SDQ": "Like QAT, and also distilled from its own FP32 model. English only, as in the paper.",
    "SDQ multi": "Our extension, not the paper's: also distilled on unlabelled text in the other "
    "languages.",
}


def key(reports: list[Report]) -> None:
    """The legend: each method with its zero-shot mean and its size."""
    metric, size = (
        METRICS[reports[0].metric],
        {
            r.run: (
                r.size_bytes["quantized_simulated"] if r.recipe["rules"] else r.size_bytes["fp32"]
            )
            / 1e6
            for r in reports
        },
    )
    for report in reports:
        mark = MARKS[report.method]
        simulated = " simulated" if report.recipe["rules"] else ""
        st.html(
            f'<div class="key"><span aria-hidden="true" '
            f'style="color:{mark.colour(theme())}">{SIGNS[mark.symbol]}</span> '
            f"<b>{report.method} {100 * report.quantized.zero_shot_mean:.1f} "
            f"{metric.unit}</b><br>{MEANT[report.method]}<br><small>{size[report.run]:.1f} "
            f"MB{simulated}</small></div>"
        )


def breaking(runs: dict[str, Report]) -> str:
    """The default width: the narrowest one whose comparison is stored."""
    return next(
        (
            width
            for width, scheme in reversed(WIDTHS.items())
            if {scheme.ptq, f"sdq-att-kld-{scheme.ending}"} <= runs.keys()
        ),
        "W3A8",
    )


def empty(task: str, width: str) -> None:
    """Nothing is stored for this choice: say what to do."""
    st.info(
        f"No finished run of the model {MODEL} on the task {task} at {width} is stored yet.",
        icon=":material/inbox:",
    )
    st.markdown(
        "Quantize it yourself: a run without training (PTQ) takes well under a minute, a trained "
        "one (QAT, SDQ) a few minutes."
    )
    to_quantize("Quantize the model now", task, WIDTHS[width].ptq)


def to_quantize(label: str, task: str, preset: str) -> None:
    """A link to the form, filled in."""
    st.page_link(
        "pages/lab/quantize.py",
        label=label,
        icon=":material/tune:",
        query_params={"on": task, "preset": preset},
    )


store = Store.default()
st.title("Where does quantization break a multilingual model, and what repairs it?", anchor=False)
sentence = st.container()
with st.container(horizontal=True, vertical_alignment="bottom", key="choice"):
    task = st.segmented_control(
        "Task",
        ["intent", "slots"],
        default="intent",
        required=True,
        key="task",
        bind="query-params",
        help="Intent: one label per sentence. Slots: one tag per word.",
    )
    width = st.segmented_control(
        "Width",
        list(WIDTHS),
        default=breaking(stored(store, MODEL, st.query_params.get("task", "intent"))),
        required=True,
        key="width",
        bind="query-params",
        help="INT8: 8-bit weights and activations. W4A8: 4-bit weights, 8-bit activations. W3A8, "
        "W2A8: 3- and 2-bit weights, but an 8-bit embedding.",
    )
    multi = st.toggle(
        "SDQ multi (ours)",
        key="multi",
        bind="query-params",
        help="Our label-free multilingual extension. It is not the paper's setting, which trains "
        "on English only.",
    )

task, width = task or "intent", width or "W3A8"  # an empty value in the address

by_preset = stored(store, MODEL, task)
names = [
    name for name in MINI.presets(WIDTHS[width]) if multi or PRESETS[name].method != "SDQ multi"
]
reports = [by_preset[name] for name in names if name in by_preset]

if all(report.is_reference for report in reports):
    empty(task, width)
else:
    text = reading(reports)
    with sentence:
        say(text, "reading")
    figure, table = picture(str(store.folder), tuple(report.run for report in reports), theme())
    left, right = st.columns([4, 1.25], gap="medium")
    with left:
        query = {"task": task, "width": width, **({"multi": "true"} if multi else {})}
        terms = (
            "FP32",
            "PTQ",
            "QAT",
            "SDQ",
            *(("SDQ multi",) if multi else ()),
            "zero-shot",
            width,
            "fake quantization",
            "simulated",
            "95 % interval",
        )
        show(
            figure,
            table,
            key=f"{task}-{width.lower()}",
            title=f"{width} on the task {task}",
            text=text,
            query=query,
            terms=terms,
        )
        how_made(reports)
    with right:
        key(reports)
        missing = [name for name in names if name not in by_preset]
        if missing:
            st.caption("Not run yet:")
            for name in missing:
                to_quantize(name, task, name)
        say(
            "Thin lines: 95 % interval. Scores are measured with fake quantization; sizes are "
            "simulated.",
            "note",
        )

page_links([report.run for report in reports])
newest_runs(store)
unreadable_note(store)
