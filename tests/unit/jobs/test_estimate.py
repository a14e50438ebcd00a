"""What a run should cost, judged by earlier ones."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from pages.components.recipe_text import expected
from sdq.jobs.estimate import BASE, Expected, expect, memory, memory_words, parameters
from sdq.recipe import PRESETS, Calibration, Recipe
from sdq.results import Report, Scores
from sdq.settings import UserError
from sdq.store import Store, run_id

FULL = Scores(mean=0.9, zero_shot_mean=0.9, by_language={"en": 0.9, "de": 0.9})


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "runs", tmp_path / "shipped")


def put(
    folder: Path,
    recipe: Recipe,
    seconds: dict[str, float],
    steps: int | None = None,
    task: str = "intent",
    engine: int | None = None,
) -> Report:
    run = run_id(recipe, "weights", task)
    report = Report(
        run=run,
        recipe=recipe.model_dump(mode="json"),
        method=recipe.method,
        model="mini",
        task=task,
        metric="accuracy",
        labelled="en",
        reference=FULL,
        quantized=FULL,
        history=None
        if steps is None
        else {"steps": [{"step": float(steps), "loss": 1.0}], "checks": [], "kept": steps},
        seconds=seconds,
        size_bytes={"fp32": 4, "quantized_simulated": 1},
        provenance={} if engine is None else {"engine": engine},
    )
    store = Store(folder, None)
    store.begin(run, {})
    store.finish(report, pd.DataFrame({"id": ["a"]}))
    return report


def of(recipe: Recipe, store: Store, task: str = "intent") -> Expected:
    return expect(recipe, "mini", task, store)


def trained(name: str, **changed: Any) -> Recipe:
    recipe = PRESETS[name]
    assert recipe.training is not None
    return recipe.model_copy(update={"training": recipe.training.model_copy(update=changed)})


def test_nothing_is_known_without_runs(store: Store) -> None:
    found = of(PRESETS["ptq-w3a8"], store)
    assert (found.seconds, found.runs, found.here) == (None, 0, False)
    assert "is unknown" in expected(found)


def test_ptq_is_the_median_of_its_stages(store: Store) -> None:
    put(store.folder, PRESETS["fp32"], {"load": 4.0, "reference": 20.0, "evaluate": 0.0})
    for name, load, evaluate in (
        ("ptq-w3a8", 2.0, 30.0),
        ("ptq-w4a8", 3.0, 34.0),
        ("ptq-int8-dynamic", 100.0, 90.0),
    ):
        put(
            store.folder,
            PRESETS[name],
            {"load": load, "reference": 0.02, "evaluate": evaluate, "inspect": 2.0},
        )
    found = of(PRESETS["ptq-w4a8-channel"], store)
    assert found.seconds == pytest.approx(3 + 34 + 2)
    assert (found.runs, found.here) == (3, True)
    assert "about 40 s on this machine, based on 3 earlier runs." in expected(found)


def test_the_fp32_model_is_scored_too_unless_that_is_stored(store: Store) -> None:
    put(store.folder, PRESETS["ptq-w3a8"], {"load": 2.0, "reference": 20.0, "evaluate": 30.0})
    assert of(PRESETS["ptq-w4a8"], store).seconds == pytest.approx(52)
    assert of(PRESETS["fp32"], store).seconds == pytest.approx(20)
    put(store.folder, PRESETS["fp32"], {"load": 2.0, "reference": 22.0, "evaluate": 0.0}, engine=0)
    assert of(PRESETS["ptq-w4a8"], store).seconds == pytest.approx(2 + 30 + 21), (
        "scores of another engine do not count"
    )


def test_fp32_trained_longer_is_scored_itself_and_stores_no_scores_of_fp32(store: Store) -> None:
    stages = {"load": 2.0, "reference": 20.0, "train": 90.0, "evaluate": 22.0}
    put(store.folder, PRESETS["fp32-longer"], stages, steps=300)
    put(store.folder, PRESETS["ptq-w3a8"], {"load": 2.0, "evaluate": 30.0})
    assert of(PRESETS["fp32"], store).seconds == pytest.approx(2 + 20), "not both scorings"
    assert of(PRESETS["ptq-w4a8"], store).seconds == pytest.approx(2 + 30 + 20)
    assert of(PRESETS["fp32-longer"], store).seconds == pytest.approx(2 + 90 + 20 + 20)
    put(store.folder, PRESETS["fp32"], {"load": 2.0, "reference": 20.0})
    assert of(PRESETS["ptq-w4a8"], store).seconds == pytest.approx(2 + 30)
    assert of(PRESETS["fp32-longer"], store).seconds == pytest.approx(2 + 90 + 20)


def test_training_is_scaled_by_steps_and_batch_size(store: Store) -> None:
    put(store.folder, PRESETS["fp32"], {"reference": 20.0})
    put(store.folder, PRESETS["qat-w3a8"], {"train": 90.0, "evaluate": 30.0}, steps=300)
    assert of(PRESETS["qat-w4a8"], store).seconds == pytest.approx(120)
    assert of(trained("qat-w3a8", steps=600), store).seconds == pytest.approx(30 + 180)
    longer = of(trained("qat-w3a8", batch_size=64, check_every=10**6), store).seconds
    assert longer is not None
    assert 30 + 90 < longer < 30 + 180
    sdq = of(PRESETS["sdq-att-kld-w3a8"], store).seconds
    assert sdq is not None
    assert sdq > 120, "a teacher and its terms cost something"


def test_steps_really_made_count(store: Store) -> None:
    put(store.folder, PRESETS["fp32"], {"reference": 20.0})
    put(store.folder, PRESETS["qat-w3a8"], {"train": 30.0, "evaluate": 30.0}, steps=100)
    assert of(PRESETS["qat-w4a8"], store).seconds == pytest.approx(120), (
        "stopped early after a third of the steps"
    )


def test_runs_of_the_same_kind_are_preferred(store: Store) -> None:
    put(store.folder, PRESETS["fp32"], {"reference": 20.0})
    put(store.folder, PRESETS["qat-w3a8"], {"train": 30.0, "evaluate": 30.0})
    put(store.folder, PRESETS["sdq-kld-w3a8"], {"train": 200.0, "evaluate": 30.0})
    found = of(PRESETS["sdq-kld-w4a8"], store)
    assert found.seconds == pytest.approx(230)
    assert found.runs == 1


def test_shipped_runs_are_asked_only_where_there_are_none_from_here(store: Store) -> None:
    assert store.shipped is not None
    put(store.shipped, PRESETS["fp32"], {"reference": 20.0})
    put(store.shipped, PRESETS["ptq-w3a8"], {"evaluate": 30.0})
    put(store.shipped, PRESETS["qat-w3a8"], {"train": 90.0, "evaluate": 30.0})
    found = of(PRESETS["ptq-w4a8"], store)
    assert (found.seconds, found.here) == (pytest.approx(30), False)
    assert "another machine" in expected(found)
    put(store.folder, PRESETS["ptq-int8-static"], {"evaluate": 50.0})
    assert of(PRESETS["ptq-w4a8"], store) == Expected(
        pytest.approx(50), 1, True, of(PRESETS["ptq-w4a8"], store).memory
    )
    mixed = of(PRESETS["qat-w4a8"], store)
    assert (mixed.seconds, mixed.runs, mixed.here) == (pytest.approx(50 + 90), 2, False)


def test_runs_of_another_task_say_nothing(store: Store) -> None:
    put(store.folder, PRESETS["fp32"], {"reference": 20.0})
    put(store.folder, PRESETS["ptq-w3a8"], {"evaluate": 30.0})
    assert of(PRESETS["ptq-w3a8"], store, "slots").seconds is None


def test_static_ranges_take_time_by_the_sentence(store: Store) -> None:
    put(store.folder, PRESETS["fp32"], {"reference": 20.0})
    static = put(store.folder, PRESETS["ptq-int8-static"], {"evaluate": 30.0, "calibrate": 2.0})
    assert static.recipe["calibration"]["sentences"] == 256
    more = PRESETS["ptq-int8-static"].model_copy(
        update={"calibration": Calibration(sentences=2560)}
    )
    assert of(more, store).seconds == pytest.approx(50)
    assert of(PRESETS["ptq-w3a8"], store).seconds == pytest.approx(30)


def test_memory_is_parameters_times_copies_plus_the_base() -> None:
    assert memory(PRESETS["ptq-w3a8"], 1_000_000) == BASE + 2 * 4_000_000
    assert memory(PRESETS["qat-w3a8"], 1_000_000) == BASE + 5 * 4_000_000


def test_parameters_are_counted_in_the_header(tmp_path: Path) -> None:
    header = json.dumps(
        {
            "__metadata__": {"format": "pt"},
            "a": {"dtype": "F32", "shape": [3, 4], "data_offsets": [0, 48]},
            "b": {"dtype": "F32", "shape": [], "data_offsets": [48, 52]},
        }
    ).encode()
    (tmp_path / "model.safetensors").write_bytes(
        len(header).to_bytes(8, "little") + header + bytes(52)
    )
    shutil.copyfile(tmp_path / "model.safetensors", tmp_path / "older.safetensors")
    assert parameters(tmp_path) == 13  # of the file that is loaded
    assert parameters(tmp_path, without="a") == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\xff" * 20,
        b"\x02\x00\x00\x00\x00\x00\x00\x00[]",
        b'\x0b\x00\x00\x00\x00\x00\x00\x00{"a": "bc"}',
    ],
)
def test_a_broken_header_is_one_sentence(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "model.safetensors").write_bytes(data)
    with pytest.raises(UserError, match="weights must be a whole safetensors file"):
        parameters(tmp_path)


def test_an_unknown_model_has_no_memory_estimate(store: Store) -> None:
    found = expect(PRESETS["fp32"], "/nowhere", "intent", store)
    assert found.memory is None
    assert "memory" not in expected(found)


def test_the_memory_of_a_tiny_model_is_said_to_be_that_of_the_libraries() -> None:
    tiny = memory(PRESETS["ptq-w4a8"], 120_000)  # 0.5 MB in FP32
    base = f"{BASE / 1e9:.1f} GB"
    assert memory_words(tiny) == (
        f"It should need about {base} of memory (an estimate: {base} for Python and its libraries, "
        "the rest by the number of its parameters)."
    )
    assert memory_words(BASE + 10**9).startswith(f"It should need about {BASE / 1e9 + 1:.1f} GB")
