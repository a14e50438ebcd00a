"""The Python face: what `import sdq` gives, with a store and a task by name or by value."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from sdq.data import registry
from sdq.io.boundary import boundary
from sdq.recipe import PRESETS, Recipe, load_recipe, no_idle_rule
from sdq.results import Report
from sdq.settings import UserError, path_of
from sdq.store import Store

if TYPE_CHECKING:
    import pandas as pd
    from torch import Tensor, nn

    from sdq.data.task import Task

__all__ = ["compare", "inspect", "load_task", "presets", "quantize", "report", "run"]

presets: Mapping[str, Recipe] = MappingProxyType(PRESETS)
"""The recipes that have a name, such as "ptq-w4a8" and "sdq-att-kld-w4a8"."""


def recipe_of(recipe: Recipe | str | Path) -> Recipe:
    """A recipe itself, the preset of that name, or what a recipe file says. UserError for none."""
    return recipe if isinstance(recipe, Recipe) else load_recipe(_named(recipe, "a recipe"))


def load_task(name: str | Path, only: str | None = None) -> Task:
    """An embedded task, or the one that a task file describes (see `sdq.data.registry`). UserError
    for one that is unknown or cannot be read as it says."""
    return registry.load_task(_named(name, "a task"), only)


def seeded(recipe: Recipe, seed: int | None) -> Recipe:
    """A recipe with another seed, if one is given. UserError for one that no recipe can have."""
    if seed is None:
        return recipe
    if type(seed) is not int or not 0 <= seed < 2**31:
        raise UserError(
            f"seed must be a whole number from 0 to {2**31 - 1}, got {str(seed)[:40]!r}; choose one"
        )
    return recipe.model_copy(update={"seed": seed})


def run(
    recipe: Recipe | str | Path,
    model: str | Path = "mini",
    task: str | Path = "intent",
    *,
    seed: int | None = None,
    store: Store | None = None,
    progress: Callable[[dict[str, Any]], None] = lambda event: None,
) -> Report:
    """Quantize a model by a recipe, score it in every language, and store the result.

    Scores of the report are shares from 0 to 1, whatever the metric; sizes are bytes, times
    seconds.

    recipe: a recipe, the name of a preset, or the path of a recipe file.
    model: "mini", "midi", the folder of a checkpoint, or a name of the Hugging Face Hub.
    task: an embedded task, a task file, `xglue:DIR/NC` or `hub:ENTRY`.
    seed: replaces the recipe's.
    store: where runs are kept; by default the data folder. What is stored is not computed again.
    progress: is told what happens, an event at a time.
    UserError, one sentence, for whatever cannot be read or computed.
    """
    from sdq.pipeline.run import run as compute

    names = _named(model, "a model"), _named(task, "a task")
    return compute(seeded(recipe_of(recipe), seed), *names, _store(store), progress)


@boundary()
def quantize(
    model: nn.Module,
    recipe: Recipe | str | Path,
    *,
    calibration: Sequence[Mapping[str, Tensor]] = (),
) -> nn.Module:
    """A quantized copy (simulated) of a transformers encoder, in eval mode; the model stays as is.

    model: an encoder of transformers in FP32, with or without a head.
    recipe: as of `run`; a recipe that trains needs a task, see `run`.
    calibration: inputs of the model (input_ids [B, T], attention_mask [B, T], ...), a batch each;
        needed where ranges of activations are static or outliers are migrated.
    UserError for a model whose modules have no roles or that is not in FP32 (quantized already,
    too), for a recipe that cannot be followed, and for inputs that the model cannot take.
    """
    import torch

    from sdq.pipeline.calibration import calibration_batches, quantizable
    from sdq.pipeline.student import build_student

    wanted = recipe_of(recipe)
    if wanted.training is not None:
        raise UserError(
            f"quantize must have a recipe without training, {wanted.name} trains; use sdq.run, "
            "which knows the task it is trained on"
        )
    if not isinstance(model, torch.nn.Module):
        raise UserError(
            f"model must be an encoder of transformers, got {_kind(model)}; load it first "
            "(from_pretrained), or give its folder to sdq.run"
        )
    no_idle_rule(wanted)
    quantizable(model)
    batches = calibration_batches(model, calibration, wanted)
    before = model.training
    model.eval()
    try:
        return build_student(wanted, model, batches, share=False)
    finally:
        model.train(before)


def inspect(
    run: Report | str,
    *,
    only: Sequence[str] = (),
    store: Store | None = None,
) -> dict[str, pd.DataFrame]:
    """Which modules of a quantized run break, why, and what helps: tables by name.

    run: a finished run, or its id.
    only: names of analyses; all if empty. What was computed before is read.
    Units: docs/python.md. Costs and divergences are nats, flips and accuracy shares of 0 to 1.
    UserError for a run that cannot be looked into.
    """
    from sdq.inspection.storage import inspect as look

    return look(_id(run), _store(store), only=(only,) if isinstance(only, str) else only)


def compare(
    base: Report | str,
    *others: Report | str,
    store: Store | None = None,
) -> pd.DataFrame:
    """How runs differ from the first on the same sentences, see `sdq.evaluate.significance`.

    For each of the others, called `run`, a row per language, one for their mean ("all") and one for
    the languages without labels ("zero-shot"): score of both in percent (unlike those of a report,
    which are shares from 0 to 1), change in points with its 95 % interval, p, and p after Holm.
    UserError for fewer than two runs, and for runs on other sentences.
    """
    import pandas as pd

    from sdq.pipeline.comparison import compared

    if not others:
        raise UserError("compare must have at least two runs, got one; name the others after it")
    kept = _store(store)
    first, tables = kept.report(_id(base)), []
    for other in map(kept.report, map(_id, others)):
        tables.append(compared(first, other, kept))
        tables[-1].insert(0, "run", other.run)
    return pd.concat(tables, ignore_index=True)


def report(
    runs: Sequence[Report | str],
    path: str | Path,
    *,
    store: Store | None = None,
) -> Path:
    """Write a report of one or more runs of a model and task, with all figures: a web page that
    needs no network, or, to a path that ends in .zip, that page with tables, recipes and pictures.

    UserError for runs that do not belong together, and a path that cannot be written.
    """
    from sdq.io import files
    from sdq.reporting.archive import EXPORTS
    from sdq.reporting.sections import parts

    kept, out = _store(store), path_of(_named(path, "a report"), "a report")
    asked = [runs] if isinstance(runs, Report | str) else runs
    reports = [kept.report(_id(run)) for run in asked]
    export = EXPORTS.get(out.suffix.removeprefix(".").lower(), EXPORTS["html"])
    content = export.made("", reports, parts(reports, kept), None)
    data = content if isinstance(content, bytes) else content.encode()
    try:
        files.write_bytes(out, data)
    except OSError as error:
        raise UserError(
            f"the report must be written to a file, {out} cannot be ({error.strerror}); choose "
            "another path"
        ) from error
    return out


def _id(run: Report | str) -> str:
    if not isinstance(run, Report | str):
        raise UserError(f"a run must be a report or a run id, got {_kind(run)}; give one of them")
    return run.run if isinstance(run, Report) else run


def _named(given: str | Path, what: str) -> str:
    """The name or path of something. UserError for what is neither, such as None."""
    if not isinstance(given, str | os.PathLike):
        raise UserError(f"{what} must be named by text or a path, got {_kind(given)}; name it")
    return os.fspath(given)


def _store(store: Store | None) -> Store:
    if not isinstance(store, Store | None):
        raise UserError(f"store must be an sdq.Store, got {_kind(store)}; use sdq.Store(folder)")
    return Store.default() if store is None else store


def _kind(value: object) -> str:
    return f"a value of the type {type(value).__name__}"
