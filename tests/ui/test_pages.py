"""Pages opened without a browser: what they show is what the reports say."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

from sdq.jobs import queue as jobs
from sdq.recipe import PRESETS
from sdq.reproduce.plan import seeded
from sdq.results import Report
from sdq.settings import UserError
from sdq.store import Store
from tests.helpers import made_up
from tests.helpers.pages import ROOT, links, opened, percent, text_of


def test_home_without_runs_says_what_to_do(store: Store) -> None:
    app = opened()
    assert "No finished run" in app.info[0].value
    assert not app.get("plotly_chart")


def test_home_shows_the_numbers_of_the_reports(store: Store) -> None:
    reports = {r.recipe["name"]: r for r in made_up.fill(store) if r.task == "intent"}
    app = opened()
    shown = text_of(app)
    for name in ("fp32", "ptq-w3a8", "qat-w3a8", "sdq-att-kld-w3a8"):
        assert percent(reports[name].quantized.zero_shot_mean) in shown
    ptq, full = (
        reports["ptq-w3a8"].quantized.zero_shot_mean,
        reports["fp32"].quantized.zero_shot_mean,
    )
    assert f"{100 * (full - ptq):.1f} points" in shown
    assert "★" not in shown
    assert len(app.get("plotly_chart")) == 2, "the languages, and below them the schemes"
    costs = next(frame.value for frame in app.dataframe if "scheme" in frame.value)
    assert set(costs["method"]) == {"PTQ", "QAT", "SDQ"}
    lost = costs.set_index(["scheme", "method"])["zero-shot"]
    assert lost["W3A8", "PTQ"] == pytest.approx(100 * (full - ptq))
    table = app.dataframe[0].value
    assert len(table) == 15
    assert dict(zip(table["code"], table["SDQ"] / 100, strict=True)) == pytest.approx(
        reports["sdq-att-kld-w3a8"].quantized.by_language
    )


def test_home_follows_its_controls(store: Store) -> None:
    reports = {(r.recipe["name"], r.task): r for r in made_up.fill(store)}
    app = opened()
    app.segmented_control(key="task").set_value("slots")
    app.segmented_control(key="width").set_value("INT8")
    app.toggle(key="multi").set_value(True)
    app.run()
    assert not app.exception
    shown = text_of(app)
    assert percent(reports["ptq-int8-dynamic", "slots"].quantized.zero_shot_mean) in shown
    assert percent(reports["sdq-att-kld-multi-int8", "slots"].quantized.zero_shot_mean) in shown
    assert "not the paper" in shown


def test_home_with_some_runs_names_the_missing_ones(store: Store) -> None:
    made_up.add(store, PRESETS["ptq-w3a8"])
    app = opened()
    assert "Not run yet:" in text_of(app)
    assert list(links(app).items())[:3] == [
        (name, f"on=intent&preset={name}") for name in ("fp32", "fp32-longer", "qat-w3a8")
    ]


def test_home_says_how_its_seed_stands_among_the_others(store: Store) -> None:
    names = ("fp32", "ptq-w4a8", "sdq-att-kld-w4a8")
    for name in names:
        made_up.add(store, PRESETS[name])
    assert "On average over the seeds" not in text_of(opened(width="W4A8"))
    for seed, kept in ((1, 0.9), (2, 0.95)):
        made_up.add(store, seeded("sdq-att-kld-w4a8", seed), keep=kept)
        made_up.add(store, seeded("sdq-att-kld-w4a8", seed), "slots", keep=0.1)  # another task
    shown = re.sub("<[^>]+>", "", text_of(opened(width="W4A8")))
    assert "This is seed 0. On average over the seeds 0, 1 and 2, SDQ recovers" in shown


def test_home_begins_with_the_model_that_int8_breaks(store: Store) -> None:
    """Once runs of midi are stored; the schemes are its own, and mini is a press away."""
    made_up.fill(store)
    assert not [c for c in opened().segmented_control if c.key == "model"]
    names = ("fp32", "fp32-longer", "ptq-int8-full", "sdq-att-kld-int8-full")
    reports = {name: made_up.add(store, PRESETS[name], model="midi") for name in names}
    app = opened()
    assert app.segmented_control(key="model").value == "midi"
    assert app.segmented_control(key="scheme").value == "full-integer"
    shown = text_of(app)
    for report in reports.values():
        assert percent(report.quantized.zero_shot_mean) in shown
    of_midi = "model=midi&on={}&preset={}"
    assert of_midi.format("intent", "qat-int8-full") in links(app).values()
    assert "SDQ multi (ours)" not in [toggle.label for toggle in app.toggle]
    app.segmented_control(key="model").set_value("mini").run()
    assert not app.exception
    assert app.segmented_control(key="width").value == "W3A8"
    app.segmented_control(key="model").set_value("midi").run()
    app.segmented_control(key="task").set_value("slots").run()
    assert "No finished run of the model midi on the task slots at full-integer" in text_of(app)
    assert links(app)["Quantize the model now"] == of_midi.format("slots", "ptq-int8-full")
    direct = opened(model="mini", width="INT8", task="slots")
    assert direct.segmented_control(key="width").value == "INT8"


def test_home_shows_midi_once_a_quantized_run_of_it_is_stored(store: Store) -> None:
    """FP32 trained longer is not quantized, and shows no damage by itself."""
    for name in ("fp32", "fp32-longer"):
        made_up.add(store, PRESETS[name], model="midi")
    app = opened()
    assert not [c for c in app.segmented_control if c.key == "model"]
    made_up.add(store, PRESETS["ptq-int8-full"], task="slots", model="midi")
    app = opened()
    assert app.segmented_control(key="model").value == "midi"
    assert "No finished run of the model midi on the task intent" in text_of(app)


def test_home_without_runs_leads_to_a_form_that_is_filled_in(store: Store) -> None:
    app = opened(task="slots", width="INT8")
    assert next(iter(links(app).items())) == (
        "Quantize the model now",
        "on=slots&preset=ptq-int8-dynamic",
    )
    form = opened("pages/lab/quantize.py", on="slots", preset="ptq-int8-dynamic")
    assert (form.selectbox(key="on").value, form.selectbox(key="method").value) == ("slots", "PTQ")
    assert form.selectbox(key="recipe-PTQ").value == "ptq-int8-dynamic"
    assert (
        form.run()
        .selectbox(key="recipe-PTQ")
        .set_value("ptq-w2a8")
        .run()
        .selectbox(key="recipe-PTQ")
        .value
        == "ptq-w2a8"
    )


def test_an_unknown_preset_in_the_address_leaves_the_form_alone(store: Store) -> None:
    assert (
        opened("pages/lab/quantize.py", preset="ptq-w9a9").selectbox(key="method").value
        == opened("pages/lab/quantize.py").selectbox(key="method").value
    )


def test_home_ignores_other_seeds_and_custom_recipes(store: Store) -> None:
    made_up.add(store, PRESETS["ptq-w3a8"].model_copy(update={"seed": 3}))
    made_up.add(store, PRESETS["ptq-w4a8-channel"].model_copy(update={"name": "ptq-w3a8"}))
    assert "No finished run" in text_of(opened())


def test_a_link_opens_a_run_and_fills_the_form(store: Store) -> None:
    report: Report = made_up.add(
        store, PRESETS["sdq-att-kld-w3a8"].model_copy(update={"seed": 4}), "slots"
    )
    app = opened("pages/lab/quantize.py", run=report.run)
    assert (
        app.selectbox(key="on").value,
        app.selectbox(key="method").value,
        app.number_input(key="seed").value,
    ) == ("slots", "SDQ", 4)
    assert app.selectbox(key="recipe-SDQ").value == "sdq-att-kld-w3a8"
    values = {m.label: m.value for m in app.metric}
    assert values["F1, all languages"] == percent(report.quantized.mean)
    assert values["F1, zero-shot"] == percent(report.quantized.zero_shot_mean)
    assert values["Size (simulated)"] == "6.40 MB"
    assert values["Run time"] == "52 s"
    assert report.run in text_of(app)


def test_quantize_opens_a_stored_result_without_a_worker(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = made_up.add(store, PRESETS["ptq-int8-dynamic"])
    monkeypatch.setattr(jobs, "identify", lambda recipe, model, task: report.run)
    monkeypatch.setattr(jobs, "ensure", lambda store: pytest.fail("a worker was started"))
    app = opened("pages/lab/quantize.py")
    app.button(key="quantize").click().run()
    assert not app.exception
    assert app.metric[0].value == percent(report.quantized.mean)


def test_quantize_lists_finished_runs(store: Store) -> None:
    made_up.fill(store, ("fp32", "ptq-w3a8"), ("intent",))
    assert set(opened("pages/lab/quantize.py").dataframe[0].value["recipe"]) == {"fp32", "ptq-w3a8"}


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_is_offered_and_described(store: Store, name: str) -> None:
    from pages.components.recipe_text import METHODS, describe, preset_label

    recipe = PRESETS[name]
    assert recipe.method in METHODS
    assert name in preset_label(name, recipe) or not recipe.rules
    text = describe(recipe, "intent", "mini")
    assert ("trained for 300 steps" in text) == (recipe.training is not None)


def test_progress_is_said_in_words(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    run = "0123456789ab"
    store.begin(run, {})
    store.tell(run, {"event": "stage", "name": "train", "text": "Training the quantized student"})
    for step, when in ((1, 0.0), (40, 39.0)):
        store.tell(run, {"event": "step", "step": step, "of": 160, "loss": 1.0, "time": when})
    monkeypatch.setattr(
        jobs, "state", lambda run, store, who="": jobs.State("running", store.events(run))
    )
    app = opened("pages/lab/quantize.py", run=run)
    assert app.get("progress")[0].proto.text == "Training, step 40 of 160, about 2 min left"


def test_a_failure_is_one_sentence(store: Store) -> None:
    run = "0123456789ab"
    store.begin(run, {})
    store.tell(
        run, {"event": "failed", "message": "weights must be finite numbers, layer 3 holds NaN"}
    )
    (store.folder / run / "worker.pid").write_text("999999 1.0")
    app = opened("pages/lab/quantize.py", run=run)
    assert [e.value for e in app.error] == ["weights must be finite numbers, layer 3 holds NaN"]


@pytest.mark.parametrize(
    ("run", "sentence"),
    [("ffffffffffff", "No run with the id"), ("../../x", "12 hexadecimal digits")],
)
def test_a_wrong_link_is_explained(store: Store, run: str, sentence: str) -> None:
    assert sentence in text_of(opened("pages/lab/quantize.py", run=run))


def test_a_refused_request_is_one_sentence(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> str:
        raise UserError("the data folder must be writable, it is not")

    monkeypatch.setattr(jobs, "submit", refuse)
    app = opened("pages/lab/quantize.py")
    app.button(key="quantize").click().run()
    assert [e.value for e in app.error] == ["the data folder must be writable, it is not"]


def test_the_web_process_has_no_torch(store: Store) -> None:
    made_up.fill(store, ("fp32", "ptq-w3a8"), ("intent",))
    code = (
        "import sys; from streamlit.testing.v1 import AppTest\n"
        "for page in ('', 'pages/lab/quantize.py'):\n"
        "    app = AppTest.from_file('app.py', default_timeout=60)\n"
        "    app = app.switch_page(page) if page else app\n"
        "    app.run(); assert not app.exception, app.exception\n"
        "heavy = {'torch', 'transformers', 'datasets'} & set(sys.modules); assert not heavy, "
        "heavy\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]


def test_pages_stay_thin() -> None:
    for path in (p for p in (ROOT / "pages").glob("*/*.py") if p.parent.name != "components"):
        assert len(path.read_text().splitlines()) <= 230, path
