"""The selection (runs, layer, language, sentence), shared by all pages and kept in the address."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import streamlit as st

from pages.components.runs import finished, unreadable_note
from pages.components.session import redacted
from sdq.io.quoting import quoted
from sdq.labels import width
from sdq.recipe import preset_of
from sdq.results import Report
from sdq.store import Store

T = TypeVar("T")
KEYS = ("runs", "layer", "language", "example")
FIRST = tuple(
    ("fp32", f"ptq-{w}", f"qat-{w}", f"sdq-att-kld-{w}") for w in ("w2a8", "w3a8")
)  # what a first visitor sees: where PTQ breaks and SDQ repairs
_UNLIKE = (
    "Runs can be compared if they are of one model and one task, and neither was replaced in "
    "between"
)


def get(name: str) -> str | None:
    """The selected value: from the address, or else from another page of this session."""
    if name not in KEYS:
        raise KeyError(name)
    value = st.query_params.get(name)
    kept = st.session_state.setdefault("selection", {})
    if value:
        kept[name] = value
    elif kept.get(name):
        st.query_params[name] = kept[name]
    return kept.get(name)


def put(name: str, value: str | None) -> None:
    """Select; the address follows. None forgets."""
    kept = st.session_state.setdefault("selection", {})
    kept[name] = value
    if value:
        st.query_params[name] = value
    else:
        st.query_params.pop(name, None)


def query(*names: str) -> dict[str, str]:
    """The parameters of a link to this view."""
    return {name: value for name in names or KEYS if (value := get(name))}


def choose(
    name: str,
    label: str,
    options: Sequence[T],
    *,
    of: Callable[[T], str] = str,
    show: Callable[[T], str] = str,
    help: str | None = None,
    where: Any = st,
) -> T:
    """A select box whose value is the selection `name`: a click elsewhere moves it, and it moves
    every page. `of` gives the value in the address."""
    codes = [of(option) for option in options]
    now = get(name)
    key = f"pick-{name}"
    st.session_state[key] = now if now in codes else codes[0]
    if st.session_state[key] != now:
        put(name, st.session_state[key])
    shown = dict(zip(codes, (show(option) for option in options), strict=True))
    chosen = where.selectbox(
        label,
        codes,
        format_func=shown.get,
        key=key,
        help=help,
        on_change=lambda: put(name, st.session_state[key]),
    )
    return options[codes.index(chosen)]


def run_label(report: Report) -> str:
    """A run in a list."""
    seed = report.recipe["seed"]
    preset = preset_of(report.recipe)
    bits = f" {width(report.recipe)}" if report.is_quantized else ""
    # of presets of one width the usual one has no name here
    plain = preset is not None and (
        preset.endswith(bits.strip().lower()) or preset == "ptq-int8-dynamic"
    )
    name = "" if plain else f" · {report.recipe['name']}"
    model = "" if report.model == "mini" else f"{Path(report.model).name} · "
    terms = report.recipe["training"]["distillation"] if report.recipe.get("training") else ()
    losses = f" ({' + '.join(t['kind'] for t in terms)})" if terms else ""
    return (
        f"{report.method}{bits}{losses} · {model}{report.on}{name}"
        + (f" · seed {seed}" if seed else "")
        + f" · {report.run[:4]}"
    )


def default_runs(reports: list[Report]) -> list[str]:
    """The default selection: FP32, PTQ, QAT and SDQ at the width of the home page, or the newest
    run."""
    best: dict[str, str] = {}
    for report in reports:
        if (report.model, report.task, report.recipe["seed"]) == ("mini", "intent", 0) and (
            name := preset_of(report.recipe)
        ):
            best.setdefault(name, report.run)
    names = next((names for names in FIRST if names[-1] in best), FIRST[-1])
    return [best[name] for name in names if name in best] or [r.run for r in reports[:1]]


def runs(store: Store, most: int = 5, quantized: bool = False) -> list[Report]:
    """Multiselect of finished runs, as in the address (`runs=id,id`); all of one model and task.
    `quantized` leaves FP32 out.

    Stops the page with what to do if there is nothing to choose from.
    """
    known = {r.run: r for r in finished(store)}
    by_id = {run: r for run, r in known.items() if r.is_quantized or not quantized}
    every = list(by_id.values())
    if not every:
        empty("No finished run is stored yet.")
    wanted = [run for run in (get("runs") or "").split(",") if run]
    unknown = [run for run in wanted if run not in known]
    chosen = (
        [run for run in wanted if run in by_id]
        or [run for run in default_runs(every) if run in by_id]
        or [every[0].run]
    )
    first = by_id[chosen[0]]
    comparable = [r.run for r in every if store.alike(r, first)]
    alike = [run for run in chosen if run in comparable]
    unlike = [run for run in chosen if run not in alike]
    chosen, beyond = alike[:most], alike[most:]
    st.session_state["pick-runs"] = chosen
    if not wanted:
        put("runs", ",".join(chosen))  # a link to this view shows the same runs tomorrow

    def changed() -> None:
        put("runs", ",".join(st.session_state["pick-runs"]) or None)

    left, right = st.columns([5, 1], vertical_alignment="bottom")
    picked = left.multiselect(
        "Runs",
        comparable,
        format_func=lambda run: run_label(by_id[run]),
        key="pick-runs",
        max_selections=most,
        on_change=changed,
        help=f"Up to {most} finished runs of one model and task.",
    )
    _task_of_runs(every, [by_id[run] for run in chosen], right)
    if unknown:
        st.warning(
            f"No finished run has the id {quoted(', '.join(unknown))}; showing the others.",
            icon=":material/search_off:",
        )
    if wanted:
        _left_out(
            known,
            [run for run in wanted if run in known and run not in by_id],
            {_UNLIKE: unlike, f"No more than {most} runs fit beside one another": beyond},
        )
    unreadable_note(store)
    if not picked:
        picked = chosen
    return [by_id[run] for run in picked]


def _left_out(
    every: Mapping[str, Report], plain: Sequence[str], because: Mapping[str, Sequence[str]]
) -> None:
    """Say which runs of a link the page does not show, and why.

    every: run -> report, of all that are stored
    plain: runs of the link that quantize nothing, on a page that shows what quantization does
    because: why others are left out -> which
    """

    def names(runs: Sequence[str]) -> str:
        return "; ".join(run_label(every[run]) for run in runs)

    if plain:
        st.caption(f"Not shown, as nothing is quantized there: {names(plain)}.")
    for why, runs in because.items():
        if runs:
            st.warning(f"{why}. Left out: {names(runs)}.", icon=":material/filter_alt_off:")


def _task_of_runs(every: list[Report], chosen: list[Report], where: Any) -> None:
    """Select box of the models and tasks of all runs; another one selects the runs of it that are
    most like the chosen ones."""
    tasks = sorted({(r.model, r.task) for r in every})

    def other() -> None:
        of_task = [r for r in every if (r.model, r.task) == st.session_state["pick-task"]]
        put("runs", ",".join(_twins(of_task, chosen) or [of_task[0].run]))

    st.session_state["pick-task"] = (chosen[0].model, chosen[0].task)
    names = {r.task: r.on for r in every}
    twice = [name for name, n in Counter(names.values()).items() if n > 1]

    def named(of: tuple[str, str]) -> str:
        model, task = of
        name = f"{names[task]} ({redacted(task)})" if names[task] in twice else names[task]
        return name if model == "mini" else f"{name} ({Path(model).name})"

    where.selectbox("Task", tasks, format_func=named, key="pick-task", on_change=other)


def _twins(of: list[Report], like: list[Report]) -> list[str]:
    """The runs with the same recipes, for another task."""
    by_recipe = {(r.recipe["name"], r.recipe["seed"]): r.run for r in reversed(of)}
    return [run for r in like if (run := by_recipe.get((r.recipe["name"], r.recipe["seed"])))]


def to_quantize(label: str, like: Report | None = None, preset: str = "") -> None:
    """A link to the form, filled in with the model and the task of a run and with a preset."""
    asked = {"like": like.run if like else "", "preset": preset}
    query = {name: value for name, value in asked.items() if value}
    st.page_link(
        "pages/lab/quantize.py", label=label, icon=":material/tune:", query_params=query or None
    )


def without_fp32(purpose: str, report: Report) -> None:
    """The FP32 run is missing: say why it is needed, link to it, and stop the page."""
    empty(
        f"{purpose}, but no FP32 run of this model on the task {report.on} is stored yet. Run FP32 "
        "once.",
        report,
        "fp32",
    )


def empty(text: str, like: Report | None = None, preset: str = "") -> None:
    """Nothing to show: say so, say what to do (with the model and the task of a run, if one is
    given), and stop the page."""
    st.info(text, icon=":material/inbox:")
    to_quantize("Run FP32" if preset == "fp32" else "Quantize the model now", like, preset)
    st.stop()
