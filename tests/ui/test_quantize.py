"""The page Quantize: presets, every setting, files, what a run will cost, and its training as it
goes."""

from __future__ import annotations

import json
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from pages.components.form import parse
from pages.components.progress import progress
from pages.components.recipe_text import changes, describe, expected, preset_difference
from sdq.figures import training
from sdq.jobs import queue as jobs
from sdq.jobs.estimate import expect
from sdq.quant.observers import KL
from sdq.quant.spec import OutlierColumns, Rule, WeightSpec
from sdq.recipe import PRESETS, Recipe
from sdq.results import Report
from sdq.store import Store
from sdq.train.settings import Training
from tests.helpers import made_up
from tests.helpers.pages import opened, text_of

PAGE = "pages/lab/quantize.py"
CUSTOM = Recipe(
    name="mine", rules=(Rule(roles=("q", "k"), weight=WeightSpec(bits=5, observer=KL())),), seed=7
)
STEPS = [
    {"step": float(s), "loss": 1.0 + 1 / s, "ce": 1 / s, "kld": 0.5, "attention": 0.05}
    for s in (10, 20, 30)
]
CHECKS = [{"step": 20.0, "dev": 0.9}, {"step": 30.0, "dev": 0.95}]


def control(app: AppTest, kind: str, path: str) -> Any:
    """The control of a field of the recipe, by its path."""
    assert not app.exception, [e.message for e in app.exception]
    found = [
        element
        for element in app.get(kind)
        if (element.key or "").startswith("recipe.") and element.key.split(".", 2)[2] == path
    ]
    assert len(found) == 1, [element.key for element in app.get(kind)]
    return found[0]


def test_a_preset_fills_the_form_and_is_submitted_as_it_is(
    store: Store, asked: list[tuple[Recipe, str, str]]
) -> None:
    app = opened(PAGE)
    app = app.selectbox(key="method").set_value("SDQ").run()
    app = app.selectbox(key="recipe-SDQ").set_value("sdq-att-kld-w3a8").run()
    assert control(app, "number_input", "rules.0.weight.bits").value == 3
    assert control(app, "number_input", "training.steps").value == 300
    assert control(app, "number_input", "training.distillation.1.attention.weight").value == 100
    assert control(app, "multiselect", "rules.1.roles").value == ["embedding"]
    assert "Custom recipe" not in text_of(app)
    app.button(key="quantize").click().run()
    assert asked == [(PRESETS["sdq-att-kld-w3a8"], "mini", "intent")]


def test_a_changed_field_makes_the_recipe_custom_and_is_named(
    store: Store, asked: list[tuple[Recipe, str, str]]
) -> None:
    app = opened(PAGE)
    app = app.selectbox(key="on").set_value("slots").run()
    app = control(app, "number_input", "rules.0.weight.bits").set_value(5).run()
    shown = text_of(app)
    assert "It differs from the preset ptq-int8-dynamic in rules 1, weight, bits: 8 → 5." in shown
    assert "weights are rounded to 5 bits" in shown
    app = app.number_input(key="seed").set_value(3).run()
    app = app.button(key="quantize").click().run()
    recipe, _, task = asked[0]
    assert (recipe.name, recipe.seed, recipe.rules[0].weight.bits, task) == (
        "custom",
        3,
        5,
        "slots",
    )
    app = app.button(key="reset").click().run()
    assert "Custom recipe" not in text_of(app)
    assert control(app, "number_input", "rules.0.weight.bits").value == 8


def test_another_preset_forgets_what_was_changed(store: Store) -> None:
    app = opened(PAGE)
    control(app, "button", "rules.add").click()
    app = app.run()
    app = control(app, "number_input", "rules.0.weight.bits").set_value(2).run()
    assert "rules 2: added" in text_of(app)
    app = app.selectbox(key="recipe-PTQ").set_value("ptq-w4a8").run()
    assert control(app, "number_input", "rules.0.weight.bits").value == 4
    assert "Custom recipe" not in text_of(app)


def test_training_switched_on_makes_a_qat_of_a_ptq(store: Store) -> None:
    app = opened(PAGE)
    app = control(app, "toggle", "training.on").set_value(True).run()
    shown = text_of(app)
    assert "Custom recipe (" in shown
    assert "training: off → on" in shown
    assert "trained for 300 steps" in shown


def test_settings_that_do_not_fit_are_one_sentence_and_nothing_can_start(store: Store) -> None:
    app = opened(PAGE)
    app = control(app, "toggle", "rules.0.activation.dynamic").set_value(False).run()
    assert len(app.error) == 1
    assert "per-token ranges must be dynamic" in app.error[0].value
    assert app.button(key="quantize").disabled
    app = control(app, "toggle", "rules.0.activation.dynamic").set_value(True).run()
    assert not app.error
    assert not app.button(key="quantize").disabled


def test_a_recipe_is_opened_from_a_file(store: Store, asked: list[tuple[Recipe, str, str]]) -> None:
    app = opened(PAGE)
    assert app.get("download_button")[0].label == "Save recipe"
    app = (
        app.file_uploader(key="upload")
        .set_value(("mine.json", CUSTOM.model_dump_json().encode(), "application/json"))
        .run()
    )
    assert app.selectbox(key="method").value == "PTQ"
    assert app.number_input(key="seed").value == 7
    assert control(app, "selectbox", "rules.0.weight.observer").value == "kl"
    assert "Custom recipe" in text_of(app)
    app.button(key="quantize").click().run()
    assert asked[0][0] == CUSTOM


@pytest.mark.parametrize(
    ("data", "sentence"),
    [(b"{", "must be JSON text"), (b'{"seed": -1}', "seed: "), (b" " * 200_000, "at most 100 kB")],
)
def test_a_wrong_file_is_explained_and_changes_nothing(
    store: Store, data: bytes, sentence: str
) -> None:
    app = opened(PAGE)
    app = app.file_uploader(key="upload").set_value(("wrong.json", data, "application/json")).run()
    assert [sentence in e.value for e in app.error] == [True]
    assert not app.button(key="quantize").disabled
    assert control(app, "number_input", "rules.0.weight.bits").value == 8


def test_a_link_to_a_custom_run_fills_every_setting(store: Store) -> None:
    report = made_up.add(store, CUSTOM, keep=0.9)
    app = opened(PAGE, run=report.run)
    assert (app.selectbox(key="method").value, app.number_input(key="seed").value) == ("PTQ", 7)
    assert control(app, "number_input", "rules.0.weight.bits").value == 5
    assert control(app, "text_input", "name").value == "mine"


def test_the_page_says_what_a_run_will_cost(store: Store) -> None:
    preset = PRESETS["ptq-int8-dynamic"]
    assert "How long it takes is unknown" in text_of(opened(PAGE))
    made_up.fill(store, ("fp32", "ptq-w3a8"), ("intent",))
    found = expect(preset, "mini", "intent", store)
    assert (found.seconds, found.runs, found.here) == (12.0, 1, True)
    shown = text_of(opened(PAGE))
    assert expected(found) in shown
    assert "about 10 s on this machine, based on 1 earlier run." in shown


def test_the_same_settings_again_open_the_stored_result_and_say_so(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    report = made_up.add(store, PRESETS["ptq-int8-dynamic"])
    monkeypatch.setattr(jobs, "identify", lambda recipe, model, task: report.run)
    monkeypatch.setattr(jobs, "ensure", lambda store: pytest.fail("a worker was started"))
    app = opened(PAGE)
    app = app.button(key="quantize").click().run()
    assert "These settings were run before" in app.info[0].value
    assert "These settings were run before" not in text_of(opened(PAGE, run=report.run)), (
        "a link is not a repetition"
    )


def test_a_training_under_way_shows_its_curves(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, recipe = "0123456789ab", PRESETS["sdq-att-kld-w3a8"]
    store.begin(run, {})
    (store.folder / run / "request.json").write_text(recipe.model_dump_json())
    (store.folder / run / "job.json").write_text(json.dumps({"model": "mini", "task": "intent"}))
    store.tell(run, {"event": "stage", "name": "train", "text": "Training"})
    monkeypatch.setattr(
        jobs, "state", lambda run, store, who="": jobs.State("running", store.events(run))
    )
    assert not opened(PAGE, run=run).get("plotly_chart"), "nothing to draw before the first step"
    for row in STEPS:
        store.tell(run, {"event": "step", "of": 300, **row, "step": int(row["step"])})
    for row in CHECKS:
        store.tell(run, {"event": "check", "of": 300, **row})
    app = opened(PAGE, run=run)
    assert app.get("progress")[0].proto.text.startswith("Training, step 30 of 300")
    assert len(app.get("plotly_chart")) == 1
    assert "After 30 of 300 steps the loss of a batch is 1.03" in text_of(app)
    assert "5 from attention outputs" in text_of(app)
    assert app.button(key="cancel").label == "Cancel"
    table = app.dataframe[0].value
    assert list(table["step"]) == [10, 20, 30]
    assert list(table["attention outputs, weighted"]) == pytest.approx([5.0] * 3)


def test_a_finished_training_shows_its_curves_and_the_kept_step(store: Store) -> None:
    report: Report = made_up.add(store, PRESETS["sdq-att-kld-w3a8"])
    report = report.model_copy(update={"history": {"steps": STEPS, "checks": CHECKS, "kept": 30}})
    store.finish(report, store.sentences(report.run))
    app = opened(PAGE, run=report.run)
    assert len(app.get("plotly_chart")) == 2
    factors = training.weights(report.recipe["training"])
    text = training.reading({"of": 300, **(report.history or {})}, factors, "English")
    assert "the weights of step 30 were kept" in text
    assert text.replace(" %", "&nbsp;%") in text_of(app)


def test_differences_are_counted_when_there_are_many() -> None:
    preset = PRESETS["qat-w3a8"]
    assert preset.training is not None
    many = {
        "steps": 5,
        "batch_size": 4,
        "learning_rate": 0.01,
        "warmup": 0.5,
        "noise": 0.5,
        "refresh": 3,
        "patience": 2,
        "check_every": 7,
    }
    other = preset.model_copy(
        update={"training": preset.training.model_copy(update=many), "seed": 9, "name": "other"}
    )
    assert len(changes(other, preset)) == 8
    assert "; and 2 more." in (preset_difference(other, "qat-w3a8", preset) or "")
    assert preset_difference(preset.model_copy(update={"seed": 3}), "qat-w3a8", preset) is None


@pytest.mark.parametrize(
    ("rules", "expected_words"),
    [
        ((Rule(),), "The first rule leaves everything in FP32."),
        (
            (Rule(roles=("q",), weight=WeightSpec()),),
            "The weights of the query are rounded to 8 bits, with one scale per output channel "
            "(fake quantization).",
        ),
        ((Rule(weight=WeightSpec()), Rule(roles=("head",))), "(those of the head not at all)"),
        (
            PRESETS["qat-w3a8"].rules,
            "Its weights are rounded to 3 bits, with one scale per layer (those of the embedding "
            "to 8 bits, one scale per output channel)",
        ),
        (
            (
                Rule(weight=WeightSpec()),
                Rule(name="*.0.*", weight=WeightSpec(), outliers=OutlierColumns(columns=(7, 3))),
            ),
            "Of modules matching *.0.*, columns 3 and 7 of the weight and of the input stay in 16 "
            "bits.",
        ),
        (
            (
                Rule(
                    roles=("q",),
                    weight=WeightSpec(),
                    outliers=OutlierColumns(columns=(7,), how="split_weight"),
                ),
            ),
            "Of query, column 7 is held twice, with weights half as large.",
        ),
    ],
)
def test_any_rules_are_described(rules: tuple[Rule, ...], expected_words: str) -> None:
    assert expected_words in describe(Recipe(rules=rules), "intent", "mini")


def test_activations_between_layers_are_described_by_name() -> None:
    full, mixed = PRESETS["ptq-int8-full"], Rule(roles=("residual", "layernorm"))
    said = describe(full, "intent", "mini")
    assert "the inputs of its layers to 8 bits" in said
    assert "residual sum and LayerNorm output are rounded to 8 bits, with static ranges" in said
    left = describe(full.model_copy(update={"rules": (*full.rules, mixed)}), "intent", "mini")
    assert "residual sum and LayerNorm output stay in FP32" in left
    alone = describe(Recipe(rules=full.rules[1:]), "intent", "mini")
    assert "leaves everything in FP32. Of the activations between the layers, query in" in alone


def test_a_saved_recipe_opens_as_the_same_run() -> None:
    assert (
        parse(Recipe, CUSTOM.model_dump_json(indent=1).encode()).canonical() == CUSTOM.canonical()
    )


def test_a_run_that_waits_says_so() -> None:
    before = [{"event": "stage", "name": "train"}, {"event": "failed", "message": "no"}]
    assert progress([*before, {"event": "queued"}]) == ("Queued", None)
    assert progress([{"event": "queued"}, {"event": "stage", "name": "inspect"}]) == (
        "Measuring weights and activations",
        None,
    )


def test_cancelling_a_run_that_others_want_lets_it_go_on(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = "0123456789ab"
    store.begin(run, {})
    seen: list[str] = []
    monkeypatch.setattr(
        jobs, "state", lambda run, store, who="": jobs.State("running", store.events(run))
    )
    monkeypatch.setattr(jobs, "cancel", lambda run, store, who, role: bool(seen.append(who)))
    app = opened(PAGE, run=run)
    app = app.button(key="cancel").click().run()
    assert len(seen) == 1
    assert "It continues" in text_of(app)


def test_a_link_names_the_model_of_the_form(store: Store) -> None:
    """One that the list has; a path in an address is not read."""
    app = opened("pages/lab/quantize.py", model="FacebookAI/xlm-roberta-base", preset="fp32")
    assert app.selectbox(key="model").value == "FacebookAI/xlm-roberta-base"
    app = opened("pages/lab/quantize.py", model="/tmp", preset="fp32")
    assert app.selectbox(key="model").value == "mini"


def test_the_words_of_a_training_of_no_fixed_length() -> None:
    recipe = PRESETS["qat-w3a8"]
    assert "trained for 300 steps on the English sentences" in describe(recipe, "intent", "mini")
    open_ended = Training(cooldown=0.25, patience=8)
    said = describe(recipe.model_copy(update={"training": open_ended}), "intent", "mini")
    assert "for 300 steps at most, until 8 looks at dev in a row were no better, on the" in said
