"""The page "Methods side by side": its numbers are those of the reports and of the paired
statistics."""

from __future__ import annotations

import pytest

from pages.components.depth_figures import missing_note
from sdq.evaluate.significance import paired_tests
from sdq.recipe import PRESETS
from sdq.reproduce.plan import seeded
from sdq.results import Report
from sdq.store import Store
from tests.helpers import made_up, made_up_tables
from tests.helpers.pages import opened, text_of

PAGE = "pages/compare/methods.py"
FOUR = ("fp32", "ptq-w3a8", "qat-w3a8", "sdq-att-kld-w3a8")


def filled(store: Store) -> dict[str, Report]:
    return {r.recipe["name"]: r for r in made_up.fill(store, FOUR, ("intent",))}


def test_the_table_shows_reports_and_paired_differences(store: Store) -> None:
    reports = filled(store)
    app = opened(PAGE)
    shown = app.dataframe[0].value
    assert shown["run"].tolist() == ["FP32", "PTQ", "QAT", "SDQ"]
    ptq, full = reports["ptq-w3a8"], reports["fp32"]
    assert shown.iloc[1]["zero-shot mean, % [95 %]"].startswith(
        f"{100 * ptq.quantized.zero_shot_mean:.1f} ["
    )
    codes = [code for code in made_up_tables.LANGUAGES if code != "en"]
    against = paired_tests(store.sentences(full.run), store.sentences(ptq.run), codes).iloc[-1]
    written = f"{against['change']:+.1f} [{against['low']:+.1f}, {against['high']:+.1f}]".replace(
        "-", "−"
    )
    assert shown.iloc[1]["zero-shot against FP32, points [95 %]"] == written
    text = text_of(app)
    assert "latency" in text
    assert "simulated" in text
    assert len(app.get("plotly_chart")) == 3


def test_a_link_says_which_of_its_runs_are_left_out(store: Store) -> None:
    reports = filled(store)
    slots = made_up.add(store, PRESETS["ptq-w3a8"], "slots").run
    mixed = opened(PAGE, runs=",".join([reports["ptq-w3a8"].run, slots, reports["fp32"].run]))
    assert mixed.dataframe[0].value["run"].tolist() == ["PTQ", "FP32"]
    (told,) = [warning.value for warning in mixed.warning]
    assert "of one model and one task" in told
    assert "PTQ W3A8 · slots" in told
    seeds = [made_up.add(store, seeded("qat-w3a8", seed)).run for seed in range(1, 9)]
    many = opened(PAGE, runs=",".join([reports["fp32"].run, *seeds]))
    (told,) = [warning.value for warning in many.warning]
    shown = len(many.dataframe[0].value)
    assert f"No more than {shown} runs fit" in told
    assert told.count("seed") == 9 - shown > 0


def test_price_layer_and_first_run_follow_the_choices(store: Store) -> None:
    reports = filled(store)
    layer = "roberta.encoder.layer.2.output.dense"
    app = opened(
        PAGE,
        price="Time to make the run",
        layer=layer,
        runs=",".join(reports[n].run for n in ("ptq-w3a8", "fp32")),
    )
    assert app.segmented_control(key="price").value == "Time to make the run"
    assert app.selectbox(key="pick-layer").value == layer
    assert app.dataframe[0].value["run"].tolist() == ["PTQ", "FP32"]
    text = text_of(app)
    assert "Weights of block 2 · feed-forward out" in text
    assert "3 bits" in text
    assert "not rounded" in text


def test_one_run_is_told_what_to_do(store: Store) -> None:
    reports = filled(store)
    app = opened(PAGE, runs=reports["ptq-w3a8"].run)
    assert "at least two runs" in app.info[0].value
    assert not app.get("plotly_chart")
    app.button(key="suggest").click().run()
    assert not app.exception
    assert len(app.dataframe[0].value) == 4


def test_the_only_run_there_is(store: Store) -> None:
    made_up.add(store, PRESETS["ptq-w3a8"])
    app = opened(PAGE)
    assert "at least two runs" in app.info[0].value
    assert any("create one" in e.proto.label for e in app.get("page_link"))


def test_without_runs_it_says_what_to_do(store: Store) -> None:
    assert "No finished run" in opened(PAGE).info[0].value


@pytest.mark.parametrize("names", [FOUR[1:], ("fp32", "ptq-w3a8")])
def test_old_runs_without_layers_keep_their_scores(store: Store, names: tuple[str, ...]) -> None:
    reports = filled(store)
    made_up.without(store, reports["ptq-w3a8"], "depth", "weights")
    app = opened(PAGE, runs=",".join(reports[n].run for n in names))
    assert len(app.dataframe[0].value) == len(names)
    assert "older version" in text_of(app)


def test_of_runs_that_came_with_the_project_no_older_version_is_blamed(store: Store) -> None:
    own = made_up.add(store, PRESETS["ptq-w3a8"]).run
    many = ["0e16b6a1c9d9", "792a03480897"]  # not in the data folder
    assert missing_note(store, [], "its layers") == ""
    assert (
        missing_note(store, many, "its layers")
        == "2 of these runs came with the project, without its layers."
    )
    assert missing_note(store, [own], "its layers").startswith(
        "1 of these runs lacks its layers: an older version made it;"
    )
