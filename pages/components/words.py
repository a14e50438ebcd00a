"""Recipes and estimates in words."""

from __future__ import annotations

from collections import Counter
from typing import Any

from pages.components.progress import duration
from sdq.data.registry import called
from sdq.jobs.estimate import Expected
from sdq.labels import ROLE_LABELS, language_name, width
from sdq.quant.mixed_precision import FP
from sdq.quant.spec import Rule
from sdq.recipe import Calibration, Recipe
from sdq.train.settings import Training

METHODS = {
    "PTQ": "Round only, no training (PTQ)",
    "QAT": "Train with rounding (QAT)",
    "QNAT": "Train with partial rounding (QNAT)",
    "SDQ": "Train to imitate itself (SDQ)",
    "SDQ multi": "SDQ multi: our label-free extension",
    "FP32": "No quantization (FP32)",
}
TASKS = {"intent": "Intent (what the sentence wants)", "slots": "Slots (which words say what)"}
_IMITATED = {
    "kld": "its predictions",
    "attention": "its attention outputs",
    "hidden": "its layer outputs",
}
_SCALE = {"tensor": "layer", "channel": "output channel", "group": "group of neighbours"}
_NAMED = 6  # differences to a preset that are named; more are counted


def _imitated(training: Training) -> str:
    return " and ".join(
        _IMITATED.get(t.kind, f"its {t.kind.replace('_', ' ')}") for t in training.distillation
    )


def preset_label(name: str, recipe: Recipe) -> str:
    """A preset in a list: its width and what sets it apart."""
    if not recipe.rules:
        return "FP32 reference"
    parts = [width(recipe.model_dump())]
    activation, weight = recipe.rules[0].activation, recipe.rules[0].weight
    if recipe.training is None:
        parts.append(
            "ranges from each token"
            if activation is None or activation.dynamic
            else "ranges measured beforehand"
        )
        if weight is not None and weight.observer.kind == "mse":
            parts.append("weights clipped for least error")
        if recipe.migration is not None:
            parts.append("outliers moved into the weights")
    elif recipe.training.distillation:
        parts.append("imitates " + _imitated(recipe.training).replace("its ", ""))
    return f"{', '.join(parts)} ({name})"


def _which(rule: Rule) -> str:
    """The modules of a rule that is not for all: "embedding", "query and key", "modules called
    *.3.*"; empty if it is for all."""
    roles = " and ".join(ROLE_LABELS.get(role, role) for role in rule.roles)
    named = "" if rule.name == "*" else f"modules called {rule.name}"
    return " among the ".join(part for part in (named, roles) if part)


def _weights(rule: Rule) -> str:
    """Of a rule's weights: "to 3 bits, one scale per layer"."""
    if rule.weight is None:
        return "not at all"
    return (
        f"to {rule.weight.bits} bits, one scale per "
        f"{_SCALE.get(rule.weight.granularity.kind, rule.weight.granularity.kind)}"
    )


def _inputs(rule: Rule, calibration: Calibration) -> str:
    """Of a rule's activations: "8 bits, with ranges taken from each token as it comes"."""
    if rule.activation is None:
        return "FP32"
    each = "token" if rule.activation.granularity.kind == "token" else "batch"
    named = {"labelled": "English training sentences", "all": "training sentences of all languages"}
    codes = calibration.languages
    seen = (
        named[codes]
        if isinstance(codes, str)
        else f"training sentences in {', '.join(language_name(code) for code in codes)}"
    )
    taken = (
        f"taken from each {each} as it comes"
        if rule.activation.dynamic
        else f"measured beforehand on {calibration.sentences} {seen}"
    )
    return f"{rule.activation.bits} bits, with ranges {taken}"


def _rounded(recipe: Recipe) -> str:
    """What the rules of a recipe round."""
    own = [rule for rule in recipe.rules if rule.name != "*" and not rule.roles]
    own = own if len(own) > _NAMED else []
    first, *others = (rule for rule in recipe.rules if rule not in own)
    of = _which(first)
    text = ""
    if first.weight is not None:
        other = "; ".join(
            f"those of the {_which(rule) or 'whole model'} {_weights(rule)}"
            for rule in others
            if rule.weight != first.weight
        )
        whose = f"The weights of the {of}" if of else "Its weights"
        text = f"{whose} are rounded {_weights(first).replace(', one', ', with one')}" + (
            f" ({other})" if other else ""
        )
    if first.activation is not None:
        text += (
            f"{', and the' if text else 'The'} inputs of "
            f"{f'the {of}' if of else 'its layers'}{'' if text else ' are rounded'} to "
            f"{_inputs(first, recipe.calibration)}"
        )
    text = (
        f"{text} (fake quantization). "
        if text
        else f"The first rule leaves {f'the {of}' if of else 'everything'} in FP32. "
    )
    for rule in others:
        if first.weight is None and rule.weight is not None:
            text += (
                f"The weights of the {_which(rule) or 'whole model'} are rounded {_weights(rule)} "
                "(fake quantization). "
            )
        if rule.activation not in (None, first.activation):
            text += (
                f"The inputs of the {_which(rule) or 'whole model'} are rounded to "
                f"{_inputs(rule, recipe.calibration)}. "
            )
    if own:
        widths = Counter(rule.weight.bits if rule.weight else FP for rule in own)
        each = ", ".join(
            f"{count} {'in FP32' if bits == FP else f'of {bits} bits'}"
            for bits, count in sorted(widths.items())
        )
        text += f"{len(own)} modules have a width or ranges of their own: {each}. "
    return text


def describe(recipe: Recipe, task: str, model: str) -> str:
    """What a run of this recipe will do, in a few sentences."""
    whose, task = "English" if task in TASKS else "labelled", called(task)
    if not recipe.rules:
        return (
            f"The model {model} is scored as it is (FP32) on the task {task}, in every language. "
            "Nothing is quantized."
        )
    text = f"A copy of the model {model} is made. "
    if recipe.migration is not None:
        text += (
            "Outliers move from its activations into the weights that read them (SmoothQuant, "
            f"strength {recipe.migration:g}). "
        )
    text += _rounded(recipe)
    training = recipe.training
    if training is not None:
        text += (
            f"Then the copy is trained for {training.steps} steps on the {whose} sentences of "
            f"{task} with the rounding switched on"
        )
        if training.noise < 1:
            text += f" for a random {100 * training.noise:.0f} % of each weight"
        if training.distillation:
            text += f" while it imitates its FP32 teacher in {_imitated(training)}"
        if training.unlabelled:
            text += ", also on unlabelled sentences of the other languages"
        text += ". "
    else:
        text += "Nothing is trained. "
    return text + "Both models then answer the test sentences in every language."


def changes(recipe: Recipe, preset: Recipe) -> list[str]:
    """In which fields a recipe differs from a preset ("rules 1, weight, bits: 3 → 4"); name and
    seed do not count."""
    found: list[str] = []
    old, new = (r.model_dump(mode="json", exclude={"name", "seed"}) for r in (preset, recipe))
    _compare(old, new, (), found)
    return found


def _compare(old: Any, new: Any, path: tuple[str, ...], found: list[str]) -> None:
    if isinstance(old, dict) and isinstance(new, dict) and old.get("kind") == new.get("kind"):
        for name in {**old, **new}:
            _compare(old.get(name), new.get(name), (*path, name.replace("_", " ")), found)
    elif (
        isinstance(old, list)
        and isinstance(new, list)
        and all(isinstance(entry, dict) for entry in (*old, *new))
    ):
        for i in range(max(len(old), len(new))):
            here = (*path[:-1], f"{path[-1]} {i + 1}")
            if i >= len(new) or i >= len(old):
                found.append(f"{', '.join(here)}: {'removed' if i >= len(new) else 'added'}")
            else:
                _compare(old[i], new[i], here, found)
    elif old != new:
        found.append(f"{', '.join(path)}: {_short(old)} → {_short(new)}")


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return str(value.get("kind", "on")).replace("_", " ")
    if isinstance(value, list):
        return " and ".join(ROLE_LABELS.get(part, str(part)) for part in value) or "none"
    return (
        {None: "off", True: "on", False: "off"}[value]
        if value is None or isinstance(value, bool)
        else f"{value}"
    )


def unlike(recipe: Recipe, name: str, preset: Recipe) -> str | None:
    """A sentence on how a recipe differs from the preset it was made from; None if it does not."""
    found = changes(recipe, preset)
    if not found:
        return None
    rest = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return (
        f"Custom recipe ({recipe.method}). It differs from the preset {name} in "
        f"{'; '.join(found[:_NAMED])}{rest}."
    )


def expected(of: Expected) -> str:
    """How long a run should take and what memory it should need, and what that is judged by."""
    memory = (
        ""
        if of.memory is None
        else f" It should need about {of.memory / 1e9:.1f} GB of memory (an estimate from the "
        f"number of its parameters)."
    )
    if of.seconds is None:
        return (
            "How long it takes is unknown yet: no run like it is stored for this model and "
            f"task.{memory}"
        )
    runs = f"{of.runs} earlier run{'' if of.runs == 1 else 's'}"
    judged = (
        f"on this machine, judged by {runs}"
        if of.here
        else f"judged by {runs} that came with SDQ Lab and were made on another machine"
    )
    return f"It should take {duration(of.seconds)} {judged}.{memory}"
