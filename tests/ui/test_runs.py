"""The page Runs, and the ways on from Home."""
# ruff: noqa: F811

from __future__ import annotations

import pytest
from streamlit.testing.v1 import AppTest

from sdq import history, jobs
from sdq.recipe import PRESETS
from sdq.report import Report
from sdq.store import Store
from tests import made_up
from tests.ui.test_pages import links, opened, store, text_of  # noqa: F401

PAGE = "pages/start/runs.py"
NAMES = ("fp32", "ptq-w3a8", "sdq-att-kld-w3a8")
RUN, WAITING = "0123456789ab", "abcdefabcdef"


def tick(app: AppTest, *runs: str) -> AppTest:
    table = app.dataframe[0]
    rows = [list(table.value["id"]).index(run) for run in runs]
    app.session_state[table.key] = {"selection": {"rows": rows}}
    app.run()
    assert not app.exception, [e.message for e in app.exception]
    return app


@pytest.fixture
def reports(store: Store) -> dict[str, Report]:
    return {name: made_up.add(store, PRESETS[name]) for name in NAMES}


def test_without_runs_it_says_what_to_do(store: Store) -> None:
    app = opened(PAGE)
    assert "No run is finished yet" in text_of(app)
    assert "Quantize the model now" in links(app)


def test_the_table_holds_the_numbers_of_the_reports(store: Store, reports: dict[str, Report]) -> None:
    table = opened(PAGE).dataframe[0].value.set_index("id")
    for report in reports.values():
        row = table.loc[report.run]
        assert row["zero-shot, %"] == pytest.approx(100 * report.quantized.zero_shot_mean)
        assert (row["method"], row["task"], row["seed"], row["whose"]) == (report.method, report.task, 0, "own")
    assert table["made"].notna().all()


def test_search_and_filters_narrow_it(store: Store, reports: dict[str, Report]) -> None:
    app = opened(PAGE)
    app.text_input(key="search").set_value("sdq intent").run()
    assert list(app.dataframe[0].value["id"]) == [reports["sdq-att-kld-w3a8"].run]
    app.text_input(key="search").set_value("nothing like it").run()
    assert "No run fits" in app.info[0].value
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
    assert f"The trash: 1 run, {history.in_bytes(history.disk(store).trash)}" in [e.label for e in app.expander]
    app.button(key="undo").click().run()
    assert store.done(run)
    assert app.dataframe[0].value["id"][0] == run
    app = tick(app, run)
    app.button(key="delete").click().run()
    app.button(key="empty").click().run()
    assert history.in_trash(store) == {}
    assert not store.done(run)


def test_a_shipped_run_says_that_it_stays(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    from sdq.store import SHIPPED

    monkeypatch.setenv("SDQ_SHIPPED", "yes")
    before = sorted(p.name for p in SHIPPED.iterdir())
    app = opened(PAGE)
    run = app.dataframe[0].value["id"][0]
    assert app.dataframe[0].value["whose"][0] == "shipped"
    assert "made" not in app.dataframe[0].value
    tick(app, run).button(key="delete").click().run()
    assert [f"{run} came with the project" in e.value for e in app.error] == [True]
    assert sorted(p.name for p in SHIPPED.iterdir()) == before


def test_runs_without_a_result_are_listed_apart(store: Store, reports: dict[str, Report], monkeypatch: pytest.MonkeyPatch) -> None:
    store.begin(RUN, {"recipe": PRESETS["qat-w3a8"].model_dump(mode="json"), "model": "mini", "task": "slots"})
    store.tell(RUN, {"event": "failed", "message": "weights must be finite numbers, layer 3 holds NaN"})
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
    assert "waiting for its turn" in text_of(app)
    assert f"delete-{WAITING}" not in {b.key for b in app.button}
    app.button(key=f"delete-{RUN}").click().run()
    assert history.in_trash(store) == {RUN: "a run without a result"}


def test_home_has_three_doors_and_the_newest_runs(store: Store, reports: dict[str, Report]) -> None:
    carried = links(opened())
    doors = [label for label in carried if label.startswith("**")]
    assert [label.strip("*").split(":")[0] for label in doors] == ["Learn", "Inspect", "Compare"]
    assert reports["ptq-w3a8"].run in carried[doors[1]]
    newest = [label for label in carried if "% zero-shot" in label]
    assert len(newest) == 3
    assert any(f"{100 * reports['sdq-att-kld-w3a8'].quantized.zero_shot_mean:.1f} %" in label for label in newest)


def test_home_without_own_runs_lists_none(store: Store) -> None:
    assert not [label for label in links(opened()) if "zero-shot" in label or label == "All runs"]
