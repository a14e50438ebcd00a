"""The page Runs, and the ways on from Home."""

from __future__ import annotations

import json

import pytest

from sdq.jobs import data_folder, history, trash
from sdq.jobs import queue as jobs
from sdq.recipe import PRESETS, Recipe
from sdq.results import Report
from sdq.store import Store, seal
from tests.helpers.pages import links, opened, text_of
from tests.helpers.run_page import broken, tick

PAGE = "pages/start/runs.py"
RUN, WAITING = "0123456789ab", "abcdefabcdef"


def test_without_runs_it_says_what_to_do(store: Store) -> None:
    app = opened(PAGE)
    assert "No run is finished yet" in text_of(app)
    assert "Quantize the model now" in links(app)


def test_the_table_holds_the_numbers_of_the_reports(
    store: Store, reports: dict[str, Report]
) -> None:
    table = opened(PAGE).dataframe[0].value.set_index("id")
    for report in reports.values():
        row = table.loc[report.run]
        assert row["zero-shot, %"] == pytest.approx(100 * report.quantized.zero_shot_mean)
        assert (row["method"], row["task"], row["seed"], row["origin"]) == (
            report.method,
            report.task,
            0,
            "own",
        )
    assert table["made"].notna().all()


def test_search_and_filters_narrow_it(store: Store, reports: dict[str, Report]) -> None:
    app = opened(PAGE)
    app.text_input(key="search").set_value("sdq intent").run()
    assert list(app.dataframe[0].value["id"]) == [reports["sdq-att-kld-w3a8"].run]
    app.text_input(key="search").set_value("nothing like it").run()
    assert "No run matches" in app.info[0].value
    app.text_input(key="search").set_value("")
    app.multiselect(key="only-method").set_value(["PTQ"]).run()
    assert list(app.dataframe[0].value["method"]) == ["PTQ"]


def test_ticked_runs_go_to_the_other_pages(store: Store, reports: dict[str, Report]) -> None:
    first, second = reports["ptq-w3a8"].run, reports["sdq-att-kld-w3a8"].run
    carried = links(tick(opened(PAGE), first, second))
    for label in ("Compare", "Languages", "Error through depth", "Report"):
        assert first in carried[label]
        assert second in carried[label]
        assert carried[label].startswith("runs=")


def test_pin_delete_and_undo(store: Store, reports: dict[str, Report]) -> None:
    run = reports["fp32"].run
    app = tick(opened(PAGE), run)
    app.button(key="pin").click().run()
    assert history.pinned(store) == (run,)
    assert app.dataframe[0].value["id"][0] == run
    app = tick(app, run)
    app.button(key="delete").click().run()
    assert not store.done(run)
    assert run not in set(app.dataframe[0].value["id"])
    assert f"The trash: 1 run, {data_folder.in_bytes(data_folder.disk(store).trash)}" in [
        e.label for e in app.expander
    ]
    app.button(key="undo").click().run()
    assert store.done(run)
    assert app.dataframe[0].value["id"][0] == run
    app = tick(app, run)
    app.button(key="delete").click().run()
    app.button(key="empty").click().run()
    assert trash.in_trash(store) == {}
    assert not store.done(run)


def test_a_shipped_run_says_that_it_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from sdq.store import SHIPPED

    monkeypatch.setenv("SDQ_SHIPPED", "yes")
    before = sorted(p.name for p in SHIPPED.iterdir())
    app = opened(PAGE)
    run = app.dataframe[0].value["id"][0]
    assert app.dataframe[0].value["origin"][0] == "shipped"
    assert "made" not in app.dataframe[0].value
    tick(app, run).button(key="delete").click().run()
    assert [f"{run} came with the project" in e.value for e in app.error] == [True]
    assert sorted(p.name for p in SHIPPED.iterdir()) == before


def test_runs_without_a_result_are_listed_apart(
    store: Store, reports: dict[str, Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.begin(
        RUN,
        {"recipe": PRESETS["qat-w3a8"].model_dump(mode="json"), "model": "mini", "task": "slots"},
    )
    store.tell(
        RUN, {"event": "failed", "message": "weights must be finite numbers, layer 3 holds NaN"}
    )
    app = opened(PAGE)
    shown = text_of(app)
    assert "QAT W3A8 on slots, seed 0" in shown
    assert "layer 3 holds NaN" in shown
    assert links(app)[f"Open {RUN}"] == f"run={RUN}"
    monkeypatch.setattr(jobs, "ensure", lambda store: None)
    store.begin(WAITING, {})
    store.tell(WAITING, {"event": "queued"})
    jobs.queue(store).mkdir()
    (jobs.queue(store) / WAITING).touch()
    app.run()
    assert "queued" in text_of(app)
    assert f"delete-{WAITING}" not in {b.key for b in app.button}
    app.button(key=f"delete-{RUN}").click().run()
    assert trash.in_trash(store) == {RUN: "a run without a result"}


@pytest.mark.parametrize("name", ["sentences.parquet", "report.json", "depth.parquet"])
def test_a_damaged_run_is_marked_and_can_be_run_again(
    store: Store, reports: dict[str, Report], asked: list[tuple[Recipe, str, str]], name: str
) -> None:
    assert "state" not in opened(PAGE).dataframe[0].value
    run = reports["sdq-att-kld-w3a8"].run
    spec = {
        "recipe": PRESETS["sdq-att-kld-w3a8"].model_dump(mode="json"),
        "model": "mini",
        "task": "intent",
    }
    (store.folder / run / "spec.json").write_text(json.dumps(spec))
    seal(store.folder / run)
    broken(store, run, name)
    app = opened(PAGE)
    table = app.dataframe[0].value.set_index("id")
    if name != "report.json":  # without its report it is in no table
        assert table["state"].to_dict() == {
            r.run: "damaged" if r.run == run else "whole" for r in reports.values()
        }
        assert "1 of them is damaged" in text_of(app)
    (warning,) = app.warning
    assert (
        "SDQ W3A8 on intent, seed 0, recipe sdq-att-kld-w3a8, model mini:"
        in warning.value.replace("\\", "")
    )
    app.button(key=f"again-{run}").click().run()
    assert asked == [(PRESETS["sdq-att-kld-w3a8"], "mini", "intent")]


def test_the_list_on_quantize_and_home_mark_it_too(
    store: Store, reports: dict[str, Report]
) -> None:
    run = reports["ptq-w3a8"].run
    broken(store, run)
    table = opened("pages/lab/quantize.py").dataframe[0].value.set_index("run")
    assert table["state"].to_dict()[run] == "damaged"
    assert [label for label in links(opened()) if "(damaged)" in label] == [
        label for label in links(opened()) if label.startswith("PTQ W3A8") and "zero-shot" in label
    ]
