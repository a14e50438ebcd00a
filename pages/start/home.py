"""Home: where does quantization break the model, and what repairs it?"""

from __future__ import annotations

import streamlit as st

from pages.components.figure import show, theme
from pages.components.glossary import TERMS, say
from pages.components.links import newest_runs, page_links
from pages.components.runs import finished, how_made, picture, stored, unreadable_note
from pages.components.scheme_costs import scheme_costs
from sdq.figures.languages import over_seeds, reading
from sdq.figures.style import MARKS
from sdq.labels import scheme_title
from sdq.reproduce.plan import MIDI, MINI, Scheme, Study
from sdq.results import METRICS, Report
from sdq.store import Store

TASKS = ("intent", "slots")
SIGNS = {
    "circle": "●",
    "x": "✖",
    "square": "■",
    "triangle-up": "▲",
    "triangle-down": "▼",
    "diamond": "◆",
    "star": "★",
}
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
    metric = METRICS[reports[0].metric]
    for report in reports:
        mark = MARKS[report.method]
        simulated = " simulated" if report.is_quantized else ""
        st.html(
            f'<div class="key"><span aria-hidden="true" '
            f'style="color:{mark.colour(theme())}">{SIGNS[mark.symbol]}</span> '
            f"<b>{report.method} {100 * report.quantized.zero_shot_mean:.1f} "
            f"{metric.unit}</b><br>{MEANT[report.method]}<br><small>{report.size / 1e6:.1f} "
            f"MB{simulated}</small></div>"
        )


def studies(store: Store) -> list[Study]:
    """What can be shown: of midi, which INT8 breaks, if a quantized run of it is stored; of mini
    always."""
    any_run = any(
        report.is_quantized for task in TASKS for report in stored(store, MIDI.model, task).values()
    )
    return [MIDI, MINI] if any_run else [MINI]


def schemes(study: Study) -> dict[str, Scheme]:
    """The schemes of a study by name: bits from the most to the fewest, others the most telling
    first."""
    order = reversed(study.schemes) if study is MINI else study.schemes
    return {scheme.name: scheme for scheme in order}


def telling(study: Study, runs: dict[str, Report]) -> str:
    """The default scheme: the most telling one whose comparison is stored."""
    return next(
        (
            scheme.name
            for scheme in study.schemes
            if {scheme.ptq, f"sdq-att-kld-{scheme.ending}"} <= runs.keys()
        ),
        "W3A8" if study is MINI else study.schemes[0].name,
    )


def choose_scheme(study: Study, runs: dict[str, Report]) -> str:
    """The control that chooses a scheme, and its choice."""
    is_width = study is MINI
    default, offered = telling(study, runs), schemes(study)
    chosen = st.segmented_control(
        "Width" if is_width else "Scheme",
        list(offered),
        default=default,
        format_func=scheme_title,
        required=True,
        key="width" if is_width else "scheme",
        bind="query-params",
        help="\n".join(
            f"- {scheme_title(name)}: {scheme.what}" for name, scheme in offered.items()
        ),
    )
    return chosen or default  # an empty value in the address


def empty(model: str, task: str, scheme: Scheme) -> None:
    """Nothing is stored for this choice: say what to do."""
    st.info(
        f"No finished run of the model {model} on the task {task} at {scheme.name} is stored yet.",
        icon=":material/inbox:",
    )
    st.markdown(
        "Quantize it yourself: a run without training (PTQ) takes a minute or two, a trained one "
        "(QAT, SDQ) a few more."
    )
    to_quantize("Quantize the model now", model, task, scheme.ptq)


def to_quantize(label: str, model: str, task: str, preset: str) -> None:
    """A link to the form, filled in; it begins with mini."""
    named = {} if model == MINI.model else {"model": model}
    st.page_link(
        "pages/lab/quantize.py",
        label=label,
        icon=":material/tune:",
        query_params={**named, "on": task, "preset": preset},
    )


store = Store.default()
st.title("Where does quantization break a multilingual model, and what repairs it?", anchor=False)
sentence = st.container()
with st.container(horizontal=True, vertical_alignment="bottom", key="choice"):
    offered = {study.model: study for study in studies(store)}
    study = next(iter(offered.values()))
    if len(offered) > 1:
        name = st.segmented_control(
            "Model",
            list(offered),
            default=study.model,
            required=True,
            key="model",
            bind="query-params",
            help="midi has a published body with outliers of its own, which INT8 breaks; mini was "
            "trained from scratch, and needs fewer bits to break.",
        )
        study = offered.get(name or study.model, study)
    task = st.segmented_control(
        "Task",
        TASKS,
        default="intent",
        required=True,
        key="task",
        bind="query-params",
        help="Intent: one label per sentence. Slots: one tag per word.",
    )
    task = task or "intent"  # an empty value in the address
    by_preset = stored(store, study.model, task)
    scheme = schemes(study)[choose_scheme(study, by_preset)]
    multi = scheme in study.extended and st.toggle(
        "SDQ multi (ours)",
        key="multi",
        bind="query-params",
        help="Our label-free multilingual extension. It is not the paper's setting, which trains "
        "on English only.",
    )

names = study.presets(scheme, multi=bool(multi))
reports = [by_preset[name] for name in names if name in by_preset]

if not any(report.is_quantized for report in reports):
    empty(study.model, task, scheme)
else:
    comparable = [report for report in finished(store) if store.alike(report, reports[0])]
    text = f"{reading(reports)} {over_seeds(reports, comparable)}".rstrip()
    with sentence:
        say(text, "reading")
    figure, table = picture(str(store.folder), tuple(report.run for report in reports), theme())
    left, right = st.columns([4, 1.25], gap="medium")
    with left:
        query = {"task": task, "width" if study is MINI else "scheme": scheme.name}
        query |= {"multi": "true"} if multi else {}
        query |= {"model": study.model} if len(offered) > 1 else {}
        terms = (
            "FP32",
            "FP32 longer",
            "PTQ",
            "QAT",
            "SDQ",
            *(("SDQ multi",) if multi else ()),
            "zero-shot",
            scheme.name if scheme.name in TERMS else "INT8",
            "fake quantization",
            "simulated",
            "95 % interval",
        )
        show(
            figure,
            table,
            key=f"{task}-{scheme.name.lower()}",
            title=f"{scheme_title(scheme.name)} on the task {task}",
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
                to_quantize(name, study.model, task, name)
        say(
            "Thin lines: 95 % interval. Scores are measured with fake quantization; sizes are "
            "simulated.",
            "note",
        )

by_scheme = {
    name: [by_preset[one] for one in study.presets(each, multi=bool(multi)) if one in by_preset]
    for name, each in schemes(study).items()
    if each.ptq in by_preset
}
scheme_costs(by_scheme, study.model, task)
page_links([report.run for report in reports])
newest_runs(store)
unreadable_note(store)
