"""The languages a recipe calibrates on: a name or a list, one run for one set, and known to the
task."""

from __future__ import annotations

import hashlib
import json

import pytest
from pydantic import ValidationError

from sdq.data.task import Example, Task
from sdq.io.explain import explain
from sdq.pipeline.student import calibration_examples, calibration_languages
from sdq.quant.spec import Rule, WeightSpec
from sdq.recipe import PRESETS, Calibration, Recipe, no_idle_rule, parse
from sdq.settings import UserError
from sdq.store import run_id
from sdq.store.identity import identify


def task() -> Task:
    """Forty train sentences in each of three languages; English has labels."""
    train = [
        Example(f"{code}.{i}", code, f"{code} {i}", (), ("yes",))
        for code in ("en", "de", "th")
        for i in range(40)
    ]
    return Task(
        "made-up",
        "sequence",
        ("yes", "no"),
        ("en", "de", "th"),
        "en",
        "accuracy",
        "0",
        {"train": train, "dev": [], "test": []},
    )


def on(*languages: str, sentences: int = 30) -> Recipe:
    return Recipe(calibration=Calibration(languages=languages, sentences=sentences))


@pytest.mark.parametrize("languages", ["labelled", "all", ("de",), ("de", "th")])
def test_json_is_the_identity(languages: str | tuple[str, ...]) -> None:
    recipe = Recipe(calibration=Calibration(languages=languages))
    assert Recipe.model_validate_json(recipe.model_dump_json()) == recipe
    assert Recipe.model_validate(recipe.model_dump(mode="json")) == recipe


def test_what_was_written_before_keeps_its_id() -> None:
    """The calibration of a recipe stands in its JSON as it always did."""
    assert json.loads(PRESETS["ptq-int8-static"].canonical())["calibration"] == {
        "batch_size": 32,
        "languages": "labelled",
        "sentences": 256,
    }


def test_recipes_from_before_activation_sites_keep_their_ids() -> None:
    """The 43 presets that there were, as their run ids are made of them."""
    later = ("int8-full", "paper-int8", "static-tensor", "longer")
    before = [
        recipe.canonical()
        for name, recipe in sorted(PRESETS.items())
        if not any(part in name for part in later)
        and (name == "ptq-int8-tensor" or not name.endswith("-int8-tensor"))
    ]
    assert len(before) == 43
    assert hashlib.sha256("\n".join(before).encode()).hexdigest().startswith("2c7a0e6d2bd7288d")


def test_the_same_languages_are_the_same_run() -> None:
    assert (
        run_id(on("th", "de", "th"), "m", "t")
        == run_id(on("de", "th"), "m", "t")
        != run_id(on("de"), "m", "t")
    )


@pytest.mark.parametrize("wrong", ["de", [], ["de", ""], ["de", 3], 4, None])
def test_anything_else_is_refused_in_one_sentence(wrong: object) -> None:
    with pytest.raises(ValidationError) as caught:
        Recipe.model_validate({"calibration": {"languages": wrong}})
    assert explain(caught.value).startswith("calibration.languages: ")
    assert "'labelled', 'all' or a list of at least one language code" in explain(caught.value)


def test_the_sentences_are_in_the_languages_chosen() -> None:
    found = {
        name: {e.language for e in calibration_examples(recipe, task())}
        for name, recipe in {"labelled": Recipe(), "two": on("th", "en")}.items()
    }
    assert found == {"labelled": {"en"}, "two": {"en", "th"}}
    every = Recipe(calibration=Calibration(languages="all"))
    assert calibration_languages(every, task()) == ("en", "de", "th")
    assert len(calibration_examples(on("th", sentences=1000), task())) == 40


def test_a_language_the_task_does_not_have_is_named() -> None:
    with pytest.raises(
        UserError, match=r"must be among en, de, th, those of task made-up; got 'xx'"
    ):
        calibration_examples(on("de", "xx"), task())


WEIGHT = {"weight": {"bits": 8}}
IDLE = {
    "nothing": ([{}], "rule 1 of r does neither"),
    "only roles": ([{"roles": ["q"]}, {"name": "*k*"}], "rule 1 of r does neither"),
    "before it is needed": ([{"roles": ["q"]}, WEIGHT], "rule 1 of r does neither"),
    "takes all back": ([WEIGHT, {}], "rule 2 of r is for every module"),
    "takes all back by name": ([WEIGHT, {"name": "**"}, WEIGHT], "rule 2 of r is for every module"),
}


@pytest.mark.parametrize(("rules", "said"), IDLE.values(), ids=IDLE.keys())
def test_a_rule_that_does_nothing_is_refused(rules: list[dict[str, object]], said: str) -> None:
    """Else a run is called PTQ, and its numbers are those of FP32."""
    text = json.dumps({"name": "r", "rules": rules})
    with pytest.raises(UserError, match=said):
        parse(text.encode(), "r.json")
    with pytest.raises(UserError, match=said):
        identify(Recipe.model_validate_json(text), "mini", "intent")


def test_a_rule_may_keep_in_fp32_what_an_earlier_one_quantizes() -> None:
    for recipe in PRESETS.values():
        no_idle_rule(recipe)
    no_idle_rule(Recipe(rules=(Rule(weight=WeightSpec()), Rule(name="*.0.*"))))
