"""Text about recipes: what a run does, how a recipe differs from its preset, how long it takes."""

from __future__ import annotations

from collections import Counter
from typing import Any

from pages.components.progress import duration
from sdq.data.registry import called
from sdq.jobs.estimate import Expected, memory_words
from sdq.labels import ROLE_LABELS, language_name, width
from sdq.models.families import SITE_ROLES
from sdq.quant.mixed_precision import FP
from sdq.quant.spec import OutlierColumns, Rule
from sdq.recipe import Calibration, Recipe
from sdq.train.settings import Training

METHODS = {
    "PTQ": "Post-training quantization (PTQ)",
    "QAT": "Training with rounding (QAT)",
    "QNAT": "Training with partial rounding (QNAT)",
    "SDQ": "Self-distilled quantization (SDQ)",
    "SDQ multi": "SDQ multi: our label-free extension",
    "FP32": "No quantization (FP32)",
    "FP32 longer": "No quantization, trained longer (FP32)",
}
TASKS = {"intent": "Intent (one label per sentence)", "slots": "Slots (one tag per word)"}
_DISTILLED = {
    "kld": "predictions",
    "attention": "attention outputs",
    "hidden": "layer outputs",
}
_SCALE = {"tensor": "layer", "channel": "output channel", "group": "group of weights"}
_NAMED = 6  # differences to a preset that are named; more are counted


def _distilled(training: Training) -> str:
    """What the student imitates: "predictions and attention outputs"."""
    return " and ".join(
        _DISTILLED.get(t.kind, t.kind.replace("_", " ")) for t in training.distillation
    )


def preset_label(name: str, recipe: Recipe) -> str:
    """A preset in a list: its width and what distinguishes it."""
    if not recipe.rules:
        return "FP32 reference" if recipe.training is None else f"FP32, trained longer ({name})"
    parts = [width(recipe.model_dump())]
    activation, weight = recipe.rules[0].activation, recipe.rules[0].weight
    if recipe.training is None:
        parts.append(
            "dynamic ranges" if activation is None or activation.dynamic else "static ranges"
        )
        if weight is not None and weight.observer.kind == "mse":
            parts.append("weights clipped for least squared error")
        if recipe.migration is not None:
            parts.append("SmoothQuant")
        if any(_of_sites(rule) for rule in recipe.rules):
            parts.append("activations rounded everywhere")
    elif recipe.training.distillation:
        parts.append(f"distils {_distilled(recipe.training)}")
    return f"{', '.join(parts)} ({name})"


def _which(rule: Rule) -> str:
    """The modules of a rule that does not apply to all: "embedding", "query and key", "modules
    matching *.3.*"; empty if it applies to all."""
    *most, last = [ROLE_LABELS.get(role, role) for role in rule.roles] or [""]
    roles = f"{', '.join(most)} and {last}" if most else last
    named = "" if rule.name == "*" else f"modules matching {rule.name}"
    return " among the ".join(part for part in (named, roles) if part)


def _of_sites(rule: Rule) -> bool:
    """Whether a rule is for activations that are no inputs of layers, and for nothing else."""
    return bool(rule.roles) and set(rule.roles) <= set(SITE_ROLES)


def _weights(rule: Rule) -> str:
    """How a rule rounds weights: "to 3 bits, one scale per layer"."""
    if rule.weight is None:
        return "not at all"
    return (
        f"to {rule.weight.bits} bits, one scale per "
        f"{_SCALE.get(rule.weight.granularity.kind, rule.weight.granularity.kind)}"
    )


def _inputs(rule: Rule, calibration: Calibration, labelled: str) -> str:
    """How a rule rounds activations: "8 bits, with a dynamic range per token". `labelled` names the
    sentences of the training language."""
    if rule.activation is None:
        return "FP32"
    if rule.activation.dynamic:
        each = "token" if rule.activation.granularity.kind == "token" else "batch"
        return f"{rule.activation.bits} bits, with a dynamic range per {each}"
    codes = calibration.languages
    sentences = (
        {
            "labelled": f"{labelled} training sentences",
            "all": "training sentences of all languages",
        }[codes]
        if isinstance(codes, str)
        else f"training sentences in {', '.join(language_name(code) for code in codes)}"
    )
    return (
        f"{rule.activation.bits} bits, with static ranges calibrated on {calibration.sentences} "
        f"{sentences}"
    )


def _apart(outliers: OutlierColumns) -> str:
    """What is done with outlier columns: "columns 3 and 7 stay in 16 bits"."""
    *most, last = map(str, outliers.columns)
    one = not most
    which = f"column {last}" if one else f"columns {', '.join(most)} and {last}"
    if outliers.how == "keep":
        return f"{which} of the weight and of the input {'stays' if one else 'stay'} in 16 bits"
    halved = "weights" if outliers.how == "split_weight" else "inputs"
    return f"{which} {'is' if one else 'are'} held twice, with {halved} half as large"


def _rounded(recipe: Recipe, labelled: str) -> str:
    """What the rules of a recipe round. `labelled`: see `_inputs`."""
    own = [rule for rule in recipe.rules if rule.name != "*" and not rule.roles]
    own = own if len(own) > _NAMED else []
    sites = [rule for rule in recipe.rules if _of_sites(rule)]
    first, *others = [r for r in recipe.rules if r not in own and r not in sites] or [Rule()]
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
            f"{_inputs(first, recipe.calibration, labelled)}"
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
                f"{_inputs(rule, recipe.calibration, labelled)}. "
            )
    if own:
        widths = Counter(rule.weight.bits if rule.weight else FP for rule in own)
        each = ", ".join(
            f"{count} {'in FP32' if bits == FP else f'at {bits} bits'}"
            for bits, count in sorted(widths.items())
        )
        text += f"{len(own)} modules have their own bit width or ranges: {each}. "
    for rule in recipe.rules:
        if rule.outliers is not None:
            text += f"Of {_which(rule) or 'every layer'}, {_apart(rule.outliers)}. "
    for rule in sites:
        text += (
            f"Of the activations between the layers, {_which(rule)} "
            f"{'stay in' if rule.activation is None else 'are rounded to'} "
            f"{_inputs(rule, recipe.calibration, labelled)}. "
        )
    return text


def _until(training: Training) -> str:
    """What a training of no fixed length ends with."""
    if training.cooldown is None:
        return ""
    return f" at most, until {training.patience} looks at dev in a row were no better,"


def describe(recipe: Recipe, task: str, model: str) -> str:
    """What a run of this recipe does, in a few sentences."""
    labelled, task = "English" if task in TASKS else "labelled", called(task)
    if not recipe.rules and recipe.training is None:
        return (
            f"The unquantized model {model} (FP32) is scored on the task {task} in every language."
        )
    text = f"A copy of the model {model} is made. "
    if recipe.migration is not None:
        text += (
            f"SmoothQuant (strength {recipe.migration:g}) moves outliers from its activations into "
            "the weights that read them. "
        )
    text += _rounded(recipe, labelled) if recipe.rules else "Nothing is rounded (FP32). "
    training = recipe.training
    if training is not None:
        text += (
            f"The copy is then trained for {training.steps} steps{_until(training)} on the "
            f"{labelled} sentences of {task}{' with rounding switched on' if recipe.rules else ''}"
        )
        if training.noise < 1:
            text += f" for a random {100 * training.noise:.0f} % of each weight"
        if training.distillation:
            text += f" and imitates the {_distilled(training)} of its FP32 teacher"
        if training.unlabelled:
            text += ", also on unlabelled sentences in the other languages"
        text += ". "
    else:
        text += "Nothing is trained. "
    return text + "Both models then answer the test sentences in every language."


def changes(recipe: Recipe, preset: Recipe) -> list[str]:
    """The fields in which a recipe differs from a preset ("rules 1, weight, bits: 3 → 4"), except
    name and seed."""
    differences: list[str] = []
    old, new = (r.model_dump(mode="json", exclude={"name", "seed"}) for r in (preset, recipe))
    _compare(old, new, (), differences)
    return differences


def _compare(old: Any, new: Any, path: tuple[str, ...], differences: list[str]) -> None:
    if isinstance(old, dict) and isinstance(new, dict) and old.get("kind") == new.get("kind"):
        for name in {**old, **new}:
            _compare(old.get(name), new.get(name), (*path, name.replace("_", " ")), differences)
    elif (
        isinstance(old, list)
        and isinstance(new, list)
        and all(isinstance(entry, dict) for entry in (*old, *new))
    ):
        for i in range(max(len(old), len(new))):
            here = (*path[:-1], f"{path[-1]} {i + 1}")
            if i >= len(new) or i >= len(old):
                differences.append(f"{', '.join(here)}: {'removed' if i >= len(new) else 'added'}")
            else:
                _compare(old[i], new[i], here, differences)
    elif old != new:
        differences.append(f"{', '.join(path)}: {_short(old)} → {_short(new)}")


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


def preset_difference(recipe: Recipe, name: str, preset: Recipe) -> str | None:
    """How a recipe differs from the preset it was made from; None if it does not."""
    differences = changes(recipe, preset)
    if not differences:
        return None
    rest = f"; and {len(differences) - _NAMED} more" if len(differences) > _NAMED else ""
    return (
        f"Custom recipe ({recipe.method}). It differs from the preset {name} in "
        f"{'; '.join(differences[:_NAMED])}{rest}."
    )


def expected(of: Expected) -> str:
    """The estimated time and memory of a run, and what the estimate is based on."""
    memory = "" if of.memory is None else f" {memory_words(of.memory)}"
    if of.seconds is None:
        return (
            "How long it takes is unknown: no similar run is stored for this model and "
            f"task.{memory}"
        )
    runs = f"{of.runs} earlier run{'' if of.runs == 1 else 's'}"
    basis = (
        f" on this machine, based on {runs}"
        if of.here
        else f", based on {runs} that came with SDQ Lab, made on another machine"
    )
    return f"It should take {duration(of.seconds)}{basis}.{memory}"
