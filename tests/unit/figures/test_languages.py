"""The language figure, its table and its sentence."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from sdq import labels
from sdq.figures import languages, scores, style
from sdq.recipe import PRESETS
from sdq.results import Report, Scores
from sdq.store import Store
from tests.helpers import made_up

FOUR = ("fp32", "ptq-w4a8", "qat-w4a8", "sdq-att-kld-w4a8")


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Store:
    store = Store(tmp_path_factory.mktemp("data") / "runs")
    made_up.fill(store, FOUR)
    return store


def chosen(store: Store, task: str = "intent", names: tuple[str, ...] = FOUR) -> list[Report]:
    by_name = {r.recipe["name"]: r for r in store.finished() if r.task == task}
    return [by_name[name] for name in names]


def simple(name: str, method: str, sw: float, de: float, en: float = 0.95) -> Report:
    """A report on three languages with scores one can do sums with."""
    full = Scores(mean=0.9, zero_shot_mean=0.9, by_language={"en": 0.95, "sw": 0.9, "de": 0.9})
    mine = Scores(
        mean=(sw + de + en) / 3,
        zero_shot_mean=(sw + de) / 2,
        by_language={"en": en, "sw": sw, "de": de},
    )
    return Report(
        run=f"{abs(hash(name)):x}"[:12],
        recipe=PRESETS[name].model_dump(mode="json"),
        method=method,
        model="mini",
        task="intent",
        metric="accuracy",
        labelled="en",
        reference=full,
        quantized=mine,
        layers=(),
        seconds={},
        size_bytes={"fp32": 4, "quantized_simulated": 1},
        provenance={},
    )


def test_the_sentence_says_drop_share_and_worst_language() -> None:
    text = languages.reading(
        [simple("ptq-w4a8", "PTQ", 0.6, 0.8, 0.93), simple("sdq-att-kld-w4a8", "SDQ", 0.84, 0.86)]
    )
    assert (
        "W4A8 by PTQ costs 20.0 points of accuracy on average over the 2 zero-shot languages "
        "(90.0 → 70.0 %)" in text
    )
    assert "2.0 in English" in text
    assert "SDQ recovers 75 %" in text
    assert "Hit hardest: Swahili, 90.0 → 60.0 %, and 84.0 % with SDQ." in text


@pytest.mark.parametrize(
    ("ptq", "sdq", "expected"),
    [
        (0.70, 0.60, "SDQ recovers nothing (10.0 points below PTQ)"),
        (0.70, 0.92, "SDQ recovers all"),
        (0.898, 0.899, "There is little to recover"),
        (0.91, 0.90, "costs nothing"),
    ],
)
def test_the_sentence_stays_true_at_the_edges(ptq: float, sdq: float, expected: str) -> None:
    assert expected in languages.reading(
        [simple("ptq-w4a8", "PTQ", ptq, ptq), simple("sdq-att-kld-w4a8", "SDQ", sdq, sdq)]
    )


def test_the_sentence_of_one_run_and_of_none() -> None:
    assert languages.reading([simple("sdq-att-kld-w4a8", "SDQ", 0.8, 0.8)]).startswith(
        "W4A8 by SDQ costs 10.0 points"
    )
    assert "90.0 % accuracy" in languages.reading([simple("fp32", "FP32", 0.9, 0.9)])
    with pytest.raises(ValueError, match="at least one report"):
        languages.reading([])


def seeds_of(report: Report, *scores: float) -> list[Report]:
    """The run with the seeds 1, 2, ... and these scores in every language but English."""
    return [
        report.model_copy(
            update={
                "run": f"{seed:012x}",
                "recipe": report.recipe | {"seed": seed},
                "quantized": simple("fp32", "FP32", score, score).quantized,
            }
        )
        for seed, score in enumerate(scores, 1)
    ]


def test_one_seed_stands_beside_the_mean_of_all() -> None:
    fp32, longer = simple("fp32", "FP32", 0.9, 0.9), simple("fp32-longer", "FP32 longer", 0.6, 0.6)
    ptq, sdq = simple("ptq-w4a8", "PTQ", 0.7, 0.7), simple("sdq-att-kld-w4a8", "SDQ", 0.8, 0.8)
    qat, multi = (
        simple("qat-w4a8", "QAT", 0.75, 0.75),
        simple("sdq-att-kld-multi-w4a8", "SDQ multi", 0.86, 0.86),
    )
    other = simple("sdq-att-kld-w3a8", "SDQ", 0.1, 0.1)
    every = [*seeds_of(sdq, 0.9, 0.82), *seeds_of(qat, 0.6), *seeds_of(other, 0.1, 0.1)]
    older = sdq.model_copy(update={"quantized": other.quantized})  # by an engine before this one
    shown = [fp32, longer, ptq, qat, sdq]
    say = languages.over_seeds
    assert say(shown, [*shown, *every, older]) == (  # seed 2 is one of SDQ alone
        "This is seed 0. On average over the seeds 0 and 1, SDQ recovers 75 % (single seeds: 50 to "
        "100 %), QAT recovers nothing (2.5 points below PTQ; single seeds: −50 to 25 %)."
    )
    assert say([ptq, sdq], every) == (
        "This is seed 0. On average over the seeds 0, 1 and 2, SDQ recovers 70 % (single seeds: 50 "
        "to 100 %)."
    )
    assert say([ptq, sdq, multi], [*every, *seeds_of(multi, 0.95)]) == (
        "This is seed 0. On average over the seeds 0 and 1, SDQ recovers 75 % (single seeds: 50 to "
        "100 %), SDQ multi recovers all (single seeds: 80 to 125 %)."
    )


def test_nothing_is_said_of_seeds_that_are_not_there() -> None:
    ptq, sdq = simple("ptq-w4a8", "PTQ", 0.7, 0.7), simple("sdq-att-kld-w4a8", "SDQ", 0.8, 0.8)
    qat = simple("qat-w4a8", "QAT", 0.75, 0.75)
    every = [*seeds_of(sdq, 0.9, 0.82), ptq]
    say = languages.over_seeds
    assert say([ptq, sdq], []) == ""
    assert say([sdq], every) == ""  # no PTQ, which it would have to recover from
    assert say([ptq], every) == ""
    assert say([ptq, sdq, qat], every) == ""  # QAT has one seed
    harmless = ptq.model_copy(update={"quantized": simple("fp32", "FP32", 0.897, 0.897).quantized})
    assert say([harmless, sdq], every) == ""
    own = sdq.model_copy(update={"recipe": sdq.recipe | {"rules": []}})
    assert say([ptq, own], every) == ""  # of no preset: which runs repeat it is not known


def test_the_sentence_never_takes_fp32_trained_longer_for_a_quantized_run() -> None:
    longer = simple("fp32-longer", "FP32 longer", 0.85, 0.85)
    assert languages.reading([longer]).startswith("FP32 longer costs 5.0 points of accuracy")
    ptq, qat, sdq = (
        simple("ptq-w4a8", "PTQ", 0.7, 0.7),
        simple("qat-w4a8", "QAT", 0.75, 0.75),
        simple("sdq-att-kld-w4a8", "SDQ", 0.8, 0.8),
    )
    text = languages.reading([longer, ptq, qat, sdq])
    assert text.startswith("W4A8 by PTQ costs 20.0 points")
    assert (
        "SDQ recovers 50 %, QAT recovers 25 %. FP32 longer, which is not quantized, reaches 85.0 %."
        in text
    )


def test_no_run_takes_the_place_of_another() -> None:
    """Repetitions with other seeds have the method and the recipe in common."""
    same = simple("qat-w4a8", "QAT", 0.7, 0.7)
    repeated = [
        same.model_copy(update={"run": f"{n:012x}", "recipe": same.recipe | {"seed": seed}})
        for n, seed in enumerate((0, 1, 2, 2))
    ]
    assert {label: run for label, (_, run) in languages.series(repeated).items()} == {
        "FP32": None,
        "QAT": "000000000000",
        "QAT qat-w4a8": "000000000001",
        "QAT qat-w4a8, seed 2": "000000000002",
        "QAT qat-w4a8 000000000003": "000000000003",
    }


@pytest.mark.parametrize("task", ["intent", "slots"])
def test_the_table_agrees_with_the_reports_and_brackets_them(store: Store, task: str) -> None:
    reports = chosen(store, task)
    table = languages.table(reports, {r.run: store.sentences(r.run) for r in reports})
    assert table["code"].iloc[-1] == "en"
    assert table["lost by PTQ"].iloc[:-1].is_monotonic_decreasing
    for report in reports:
        method = report.method
        assert dict(zip(table["code"], table[method] / 100, strict=True)) == pytest.approx(
            report.quantized.by_language
        )
        assert (table[f"{method} low"] <= table[method]).all()
        assert (table[method] <= table[f"{method} high"]).all()


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_figure_draws_every_method_with_its_own_symbol_dash_and_colour(
    store: Store, theme: style.Theme
) -> None:
    reports = chosen(store)
    figure = scores.language_scores(
        reports, {r.run: store.sentences(r.run) for r in reports}, theme
    )
    marks = {
        trace.name: trace
        for trace in figure.data
        if trace.type == "scatter" and trace.mode == "markers"
    }
    assert list(marks) == ["FP32", "PTQ", "QAT", "SDQ"]
    assert (
        len({trace.marker.symbol for trace in marks.values()})
        == len({trace.marker.color for trace in marks.values()})
        == 4
    )
    assert (
        len(
            {
                trace.line.dash
                for trace in figure.select_traces({"type": "scatter", "mode": "lines"})
            }
        )
        == 4
    )
    assert all(len(trace.x) == 15 for trace in marks.values())
    assert figure.layout.paper_bgcolor is None
    assert figure.layout.template.layout.paper_bgcolor == style.INK[theme].paper


def test_the_bands_add_up_to_the_loss() -> None:
    figure = scores.language_scores(
        [simple("ptq-w4a8", "PTQ", 0.6, 0.8), simple("sdq-att-kld-w4a8", "SDQ", 0.84, 0.95)]
    )
    lost, recovered = (
        next(t for t in figure.data if t.name == name)
        for name in ("still lost", "recovered by SDQ")
    )
    assert sorted(recovered.x) == pytest.approx(
        [10, 19.5, 24]
    )  # German (capped at FP32), the mean, Swahili
    assert sorted(lost.x) == pytest.approx([0.5, 6])


def test_marks_and_numbers_at_nothing_are_drawn_whole() -> None:
    figure = scores.language_scores(
        [simple("ptq-w2a8", "PTQ", 0.0, 0.08), simple("sdq-att-kld-w2a8", "SDQ", 0.8, 0.9)]
    )
    places = {
        trace.text[0].strip(): trace.textposition
        for trace in figure.select_traces({"type": "scatter", "mode": "markers+text"})
    }
    assert places == {
        "<b>90.0</b>": "middle left",
        "<b>4.0</b>": "middle right",
        "<b>85.0</b>": "middle left",
    }
    assert figure.layout.xaxis.range[0] == pytest.approx(-2)
    assert scores.language_scores([simple("ptq-w4a8", "PTQ", 0.6, 0.8)]).layout.xaxis.range[0] == 55


def test_without_sentences_there_are_scores_but_no_intervals() -> None:
    figure = scores.language_scores([simple("ptq-w4a8", "PTQ", 0.6, 0.8)])
    assert not list(figure.select_traces({"type": "scatter", "mode": "lines"}))


def test_fp32_alone_can_be_drawn() -> None:
    assert scores.language_scores([simple("fp32", "FP32", 0.9, 0.9)]).data


def test_the_exported_page_needs_no_network_and_escapes(store: Store) -> None:
    html = style.to_html(scores.language_scores(chosen(store)), "a <b> title", "3 < 4")
    assert "a &lt;b&gt; title" in html
    assert "3 &lt; 4" in html
    assert '<script src="http' not in html


def test_figures_need_neither_streamlit_nor_torch() -> None:
    code = (
        "import sys, sdq.figures.languages, sdq.jobs.queue; sys.exit(bool({'streamlit', 'torch', "
        "'transformers'} & set(sys.modules)))"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], cwd=Path(__file__).parents[3], check=False
        ).returncode
        == 0
    )


def test_width_in_letters() -> None:
    assert [
        labels.width(PRESETS[n].model_dump()) for n in ("fp32", "ptq-int8-static", "sdq-kld-w4a8")
    ] == ["FP32", "INT8", "W4A8"]
