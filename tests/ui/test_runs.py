"""The page Runs, and the ways on from Home."""
# ruff: noqa: F811

from __future__ import annotations

import ast
import json
import re
import shutil
import time
from pathlib import Path

import pytest
from streamlit.testing.v1 import AppTest

from pages.components.progress import ago
from sdq.jobs import data_folder, history, trash
from sdq.jobs import queue as jobs
from sdq.recipe import PRESETS, Recipe
from sdq.results import Report
from sdq.settings import ASSETS, ROOT
from sdq.store import Store, seal
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


def test_the_table_holds_the_numbers_of_the_reports(
    store: Store, reports: dict[str, Report]
) -> None:
    table = opened(PAGE).dataframe[0].value.set_index("id")
    for report in reports.values():
        row = table.loc[report.run]
        assert row["zero-shot, %"] == pytest.approx(100 * report.quantized.zero_shot_mean)
        assert (row["method"], row["task"], row["seed"], row["whose"]) == (
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
    assert app.dataframe[0].value["whose"][0] == "shipped"
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
    assert "waiting for its turn" in text_of(app)
    assert f"delete-{WAITING}" not in {b.key for b in app.button}
    app.button(key=f"delete-{RUN}").click().run()
    assert trash.in_trash(store) == {RUN: "a run without a result"}


def broken(store: Store, run: str, name: str = "sentences.parquet") -> None:
    """A file of a finished run that is not as it was written."""
    (store.folder / run / name).write_bytes((store.folder / run / name).read_bytes()[:-1] + b"?")


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Recipe, str, str]]:
    """What was submitted, with no worker started."""
    seen: list[tuple[Recipe, str, str]] = []

    def submit(recipe: Recipe, model: str, task: str, store: Store, who: str) -> str:
        seen.append((recipe, model, task))
        return RUN

    monkeypatch.setattr(jobs, "submit", submit)
    return seen


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


def own(store: Store, tmp_path: Path) -> tuple[str, str]:
    """A model's folder and a task file that are in no list."""
    for name in ("model", "topics"):
        (tmp_path / name).mkdir()
    shutil.copytree(ASSETS / "mini" / "intent", tmp_path / "model", dirs_exist_ok=True)
    splits, columns = (
        {"all": "{language}.csv"},
        {"text": "text", "label": "label", "split": "split"},
    )
    task = {
        "name": "topics",
        "kind": "sentence",
        "splits": splits,
        "columns": columns,
        "training_language": "en",
    }
    (tmp_path / "topics" / "task.json").write_text(json.dumps(task))
    return str(tmp_path / "model"), str(tmp_path / "topics" / "task.json")


@pytest.mark.parametrize("how", ["failed", "damaged", "done"])
def test_quantize_opens_with_the_runs_own_model_task_and_recipe(
    store: Store, tmp_path: Path, how: str
) -> None:
    model, task = own(store, tmp_path)
    if how == "failed":
        run = RUN
        store.begin(
            run,
            {"recipe": PRESETS["qat-w3a8"].model_dump(mode="json"), "model": model, "task": task},
        )
        store.tell(
            run, {"event": "failed", "message": "weights must be finite numbers, layer 3 holds NaN"}
        )
    else:
        run = made_up.add(store, PRESETS["qat-w3a8"]).run
        for name in ("report.json", "spec.json"):
            path = store.folder / run / name
            said = (
                json.loads(path.read_text())
                if path.exists()
                else {"recipe": PRESETS["qat-w3a8"].model_dump(mode="json")}
            )
            path.write_text(json.dumps(said | {"model": model, "task": task}))
        seal(store.folder / run)
        if how == "damaged":
            broken(store, run, "report.json")
    app = opened("pages/lab/quantize.py", run=run)
    assert (app.selectbox(key="on").value, app.selectbox(key="model").value) == (task, "a folder")
    assert app.text_input(key="model-folder").value == model
    assert (app.selectbox(key="method").value, app.selectbox(key="recipe-QAT").value) == (
        "QAT",
        "qat-w3a8",
    )
    assert "topics (yours)" in app.selectbox(key="on").options
    assert "A copy of the model model is made" in text_of(app)


def test_a_link_to_the_form_carries_model_and_task_of_its_run(store: Store, tmp_path: Path) -> None:
    model, task = own(store, tmp_path)
    store.begin(
        RUN, {"recipe": PRESETS["qat-w3a8"].model_dump(mode="json"), "model": model, "task": task}
    )
    app = opened("pages/lab/quantize.py", like=RUN, preset="fp32")
    assert (app.selectbox(key="on").value, app.text_input(key="model-folder").value) == (
        task,
        model,
    )
    assert app.selectbox(key="method").value == "FP32"


def test_pages_without_an_fp32_run_link_to_one_of_the_same_model_and_task(store: Store) -> None:
    report = made_up.add(store, PRESETS["ptq-w3a8"], "slots")
    for page in ("compare/languages", "compare/zero_shot", "inspect/examples", "inspect/flips"):
        assert (
            links(opened(f"pages/{page}.py", runs=report.run))["Run FP32"]
            == f"like={report.run}&preset=fp32"
        ), page


def test_every_link_to_the_form_says_of_what() -> None:
    """A bare link opens the form on mini, whatever it was beside: only where nothing is chosen
    yet."""
    bare = {"pages/components/doors.py", "pages/start/runs.py"}
    for path in sorted((ROOT / "pages").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            to = isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
                ("page_link", "switch_page")
            )
            if to and node.args and ast.unparse(node.args[0]) == "'pages/lab/quantize.py'":  # type: ignore[attr-defined]
                named = {keyword.arg for keyword in node.keywords}  # type: ignore[attr-defined]
                assert "query_params" in named or str(path.relative_to(ROOT)) in bare, (
                    f"{path}:{node.lineno}"
                )  # type: ignore[attr-defined]


def test_failed_runs_say_what_of_and_when(store: Store) -> None:
    for run, name, task in ((RUN, "qat-w3a8", "slots"), (WAITING, "ptq-w2a8", "intent")):
        store.begin(
            run, {"recipe": PRESETS[name].model_dump(mode="json"), "model": "mini", "task": task}
        )
        store.tell(run, {"event": "failed", "message": f"layer of {name} holds NaN"})
    shown = text_of(opened(PAGE)).replace("\\", "")
    for name, what in (
        ("qat-w3a8", "QAT W3A8 on slots, seed 0"),
        ("ptq-w2a8", "PTQ W2A8 on intent, seed 0"),
    ):
        assert f"**{what}**" in shown
        assert f"recipe {name}, model mini" in shown
        assert f"layer of {name} holds NaN" in shown
    assert len(re.findall(r"failed, \d{4}-\d\d-\d\d \d\d:\d\d \(\d+ s ago\)", shown)) == 2
    page = text_of(opened("pages/lab/quantize.py", run=RUN)).replace("\\", "")
    assert "QAT W3A8 on slots, seed 0, recipe qat-w3a8, model mini" in page


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(5, "5 s ago"), (90, "2 min ago"), (7200, "2 h ago"), (200_000, "2 d ago")],
)
def test_when_something_was_is_said_in_the_time_of_the_reader(
    monkeypatch: pytest.MonkeyPatch, seconds: float, said: str
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_000_000_000 + seconds)
    assert ago(seconds, "Asia/Tokyo") == f"2001-09-09 10:46 ({said})"
    assert ago(seconds, None) == f"2001-09-09 01:46 ({said})"


def test_home_has_three_doors_and_the_newest_runs(store: Store, reports: dict[str, Report]) -> None:
    carried = links(opened())
    doors = [label for label in carried if label.startswith("**")]
    assert [label.strip("*").split(":")[0] for label in doors] == ["Learn", "Inspect", "Compare"]
    assert reports["ptq-w3a8"].run in carried[doors[1]]
    newest = [label for label in carried if "% zero-shot" in label]
    assert len(newest) == 3
    assert any(
        f"{100 * reports['sdq-att-kld-w3a8'].quantized.zero_shot_mean:.1f} %" in label
        for label in newest
    )


def test_home_without_own_runs_lists_none(store: Store) -> None:
    assert not [label for label in links(opened()) if "zero-shot" in label or label == "All runs"]
