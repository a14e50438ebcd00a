"""Recipes and progress in words."""

from __future__ import annotations

from typing import Any

from sdq.figures.languages import width
from sdq.recipe import Recipe

METHODS = {
    "PTQ": "Round only, no training (PTQ)",
    "QAT": "Train with rounding (QAT)",
    "QNAT": "Train with partial rounding (QNAT)",
    "SDQ": "Train to imitate itself (SDQ)",
    "SDQ multi": "SDQ multi: our label-free extension",
    "FP32": "No quantization (FP32)",
}
TASKS = {"intent": "Intent (what the sentence wants)", "slots": "Slots (which words say what)"}
_IMITATED = {"kld": "its predictions", "attention": "its attention outputs", "hidden": "its layer outputs"}
_SCALE = {"tensor": "layer", "channel": "output channel", "group": "group of neighbours"}
_STAGE = {
    "load": "Reading the model",
    "reference": "Scoring the FP32 model",
    "calibrate": "Measuring value ranges",
    "train": "Training",
    "evaluate": "Scoring the quantized model",
    "errors": "Measuring rounding errors",
}


def preset_label(name: str, recipe: Recipe) -> str:
    """A preset in a list: its width and what sets it apart."""
    if not recipe.rules:
        return "FP32 reference"
    parts = [width(recipe.model_dump())]
    activation, weight = recipe.rules[0].activation, recipe.rules[0].weight
    if recipe.training is None:
        parts.append("ranges from each token" if activation is None or activation.dynamic else "ranges measured beforehand")
        if weight is not None and weight.observer.kind == "mse":
            parts.append("weights clipped for least error")
    elif recipe.training.distillation:
        parts.append("imitates " + " and ".join(_IMITATED[t.kind].removeprefix("its ") for t in recipe.training.distillation))
    return f"{', '.join(parts)} ({name})"


def describe(recipe: Recipe, task: str) -> str:
    """What a run of this recipe will do, in a few sentences."""
    if not recipe.rules:
        return f"The model mini is scored as it is (FP32) on the task {task}, in every language. Nothing is quantized."
    weight, activation = recipe.rules[0].weight, recipe.rules[0].activation
    text = "A copy of the model mini is made. "
    if weight is not None:
        text += f"Its weights are rounded to {weight.bits} bits, with one scale per {_SCALE[weight.granularity.kind]}"
        if len(recipe.rules) > 1 and (other := recipe.rules[-1].weight) is not None:
            text += f" (those of the {' and '.join(recipe.rules[-1].roles)} to {other.bits} bits, one scale per {_SCALE[other.granularity.kind]})"
    if activation is not None:
        text += f", and the inputs of its layers to {activation.bits} bits, with ranges " + (
            "taken from each token as it comes" if activation.dynamic else f"measured beforehand on {recipe.calibration.sentences} English training sentences"
        )
    text += " (fake quantization). "
    training = recipe.training
    if training is not None:
        text += f"Then the copy is trained for {training.steps} steps on the English sentences of {task} with the rounding switched on"
        if training.noise < 1:
            text += f" for a random {100 * training.noise:.0f} % of each weight"
        if training.distillation:
            text += " while it imitates its FP32 teacher in " + " and ".join(_IMITATED[t.kind] for t in training.distillation)
        if training.unlabelled:
            text += ", also on unlabelled sentences of the other languages"
        text += ". "
    else:
        text += "Nothing is trained. "
    return text + "Both models then answer the test sentences in every language."


def duration(seconds: float) -> str:
    """Roughly how long, for people."""
    if seconds < 10:
        return "a few seconds"
    return f"about {5 * round(seconds / 5)} s" if seconds < 90 else f"about {seconds / 60:.0f} min"


def progress(events: list[dict[str, Any]]) -> tuple[str, float | None]:
    """(what is going on, share done of this stage) of a run under way."""
    stages = [i for i, e in enumerate(events) if e.get("event") == "stage"]
    if not stages:
        return "Starting the worker", None
    stage = events[stages[-1]]
    name = _STAGE.get(stage["name"], stage.get("text", stage["name"]))
    rest = events[stages[-1] + 1 :]
    steps = [e for e in rest if e.get("event") == "step"]
    if steps:
        last, of = steps[-1], steps[-1]["of"]
        text, share = f"{name}, step {last['step']} of {of}", last["step"] / of
        spent, steps_seen = last.get("time", 0) - steps[0].get("time", 0), last["step"] - steps[0]["step"]
        if steps_seen > 0 and spent > 0:
            text += f", {duration(spent / steps_seen * (of - last['step']))} left"
        return text, min(1.0, share)
    counted = [e for e in rest if e.get("event") == "evaluate" and e.get("of")]
    if counted:
        return f"{name}, {counted[-1]['done']} of {counted[-1]['of']}", min(1.0, counted[-1]["done"] / counted[-1]["of"])
    return name, None
