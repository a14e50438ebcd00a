"""The Python face: `import sdq` is light, and quantizes any encoder of transformers."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import sdq
from sdq.data.batches import Encoded
from sdq.pipeline.student import build_student
from sdq.quant.rewrite import quantized_modules
from sdq.quant.spec import PerGroup, Rule, WeightSpec

ROOT = Path(__file__).parents[2]
BATCH = {
    "input_ids": torch.tensor([[2, 7, 9, 3], [2, 11, 3, 0]]),
    "attention_mask": torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]),
}


def pickle_copy(model: nn.Module) -> Any:
    return pickle.loads(pickle.dumps(model))


def test_import_is_light() -> None:
    code = (
        "import sys, time; t = time.perf_counter(); import sdq; t = time.perf_counter() - t; "
        "print(t, len({'torch', 'pandas', 'numpy', 'transformers'} & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    seconds, heavy = done.stdout.split()
    assert float(seconds) < 0.3
    assert heavy == "0"


def test_every_name_is_there() -> None:
    assert all(getattr(sdq, name) is not None for name in sdq.__all__)
    assert set(sdq.__all__) <= set(dir(sdq))
    with pytest.raises(AttributeError, match="sdq has no 'quantise'; it has Recipe, Store"):
        sdq.quantise  # noqa: B018


@pytest.mark.parametrize("preset", ["ptq-int8-dynamic", "ptq-w4a8", "ptq-int8-migrated"])
def test_quantize_gives_a_copy_that_rounds(tiny: Callable[..., nn.Module], preset: str) -> None:
    model: Any = tiny("bert")
    model.train()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    student: Any = sdq.quantize(model, preset, calibration=[BATCH])
    assert model.training
    assert not student.training
    assert quantized_modules(student)
    assert not quantized_modules(model)
    assert all(torch.equal(tensor, before[k]) for k, tensor in model.state_dict().items())
    with torch.inference_mode():
        rounded = student(**BATCH).logits
        exact = model.eval()(**BATCH).logits
    assert not torch.equal(rounded, exact)
    assert (rounded - exact).norm() < exact.norm()


@pytest.mark.parametrize(
    "preset", ["ptq-int8-dynamic", "ptq-int8-static", "ptq-int8-migrated", "ptq-w4a8"]
)
def test_quantize_is_what_a_run_does(tiny: Callable[..., nn.Module], preset: str) -> None:
    """A run gives the same sentences encoded; its student may share memory with the teacher."""
    model: Any = tiny("xlmr")
    recipe = sdq.presets[preset]
    ids = [[2, 7, 9, 3], [2, 11, 3]]
    sentences = Encoded(ids, [[0], [0]], False, 0, names=["one", "two"])
    one = sdq.quantize(model, recipe, calibration=[BATCH])
    other = build_student(recipe, model, sentences)
    with torch.inference_mode():
        assert torch.equal(one(**BATCH).logits, other(**BATCH).logits)
    theirs = {p.data_ptr() for p in model.parameters()}
    assert not theirs & {p.data_ptr() for p in one.parameters()}, "the copy can be written to"


def test_quantize_refuses_in_one_sentence(tiny: Callable[..., nn.Module]) -> None:
    with pytest.raises(sdq.UserError, match="a recipe without training, sdq-att-kld-w4a8 trains"):
        sdq.quantize(tiny("bert"), "sdq-att-kld-w4a8")
    static = sdq.presets["ptq-w4a8"].model_copy(update={"name": "static", "migration": 0.5})
    with pytest.raises(sdq.UserError, match="at least one batch of inputs for static"):
        sdq.quantize(tiny("bert"), static)
    with pytest.raises(sdq.UserError, match="encoder"):
        sdq.quantize(nn.Linear(3, 4), "ptq-w4a8")
    with pytest.raises(sdq.UserError, match="do you mean ptq-w4a8"):
        sdq.quantize(tiny("bert"), "ptq-w4a88")


MODEL = nn.Linear(2, 2)
WRONG: dict[str, Callable[[], Any]] = {
    "no recipe": lambda: sdq.run(None),  # type: ignore[arg-type]
    "a recipe as an object": lambda: sdq.run({"name": "x"}),  # type: ignore[arg-type]
    "no model": lambda: sdq.run("fp32", None),  # type: ignore[arg-type]
    "a model for its folder": lambda: sdq.run("fp32", MODEL),  # type: ignore[arg-type]
    "no task": lambda: sdq.run("fp32", "mini", 5),  # type: ignore[arg-type]
    "a folder for a store": lambda: sdq.run("fp32", store=Path("x")),  # type: ignore[arg-type]
    "bytes for a task": lambda: sdq.load_task(b"intent"),  # type: ignore[arg-type]
    "no run": lambda: sdq.inspect(None),  # type: ignore[arg-type]
    "no runs": lambda: sdq.compare(None, 5),  # type: ignore[arg-type]
    "no path": lambda: sdq.report(["0" * 12], None),  # type: ignore[arg-type]
    "an empty path": lambda: sdq.report(["0" * 12], ""),
    "a path with a NUL": lambda: sdq.report(["0" * 12], "\0"),
    "a folder to quantize": lambda: sdq.quantize("mini", "fp32"),  # type: ignore[arg-type]
    "half precision": lambda: sdq.quantize(MODEL.half(), "ptq-int8-dynamic"),
    "one batch": lambda: sdq.quantize(nn.Linear(2, 2), "fp32", calibration=BATCH),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("case", WRONG)
def test_values_of_another_type_are_refused_in_a_sentence(case: str) -> None:
    with pytest.raises(sdq.UserError) as error:
        WRONG[case]()
    assert "fault of the program" not in str(error.value)
    assert "; " in str(error.value)


IDS, MASK = BATCH["input_ids"], BATCH["attention_mask"]
NO_BATCH: dict[str, tuple[Any, str]] = {
    "without inputs": ([{}], "batch 1 has none; tokenize"),
    "lists": ([{"input_ids": [[1, 2]]}], "a value of the type list"),
    "no sentence": ([BATCH, {"input_ids": IDS[:0]}], "batch 2 has one of shape"),
    "one sentence": ([{"input_ids": IDS[0]}], r"one of shape \[4\]"),
    "float ids": ([{"input_ids": IDS.float()}], "whole numbers.*float32; call"),
    "ids too large": ([{"input_ids": IDS + 10**6}], "from 0 to .* has 1000011; take"),
    "ids below 0": ([{"input_ids": -IDS}], "has -11; take"),
    "a mask of another shape": ([BATCH | {"attention_mask": MASK[:, :2]}], "the shape of input_id"),
    "no token": ([BATCH | {"attention_mask": MASK * 0}], "no padding"),
    "too long": ([{"input_ids": IDS.repeat(1, 5000)}], "does not take batch 1"),
    "a number": (5, "a list of batches"),
    "nothing": (None, "a list of batches"),
}


@pytest.mark.parametrize(("batches", "said"), NO_BATCH.values(), ids=NO_BATCH.keys())
def test_calibration_that_the_model_cannot_take_is_refused(
    tiny: Callable[..., nn.Module], batches: Any, said: str
) -> None:
    with pytest.raises(sdq.UserError, match=said) as error:
        sdq.quantize(tiny("bert"), "ptq-int8-static", calibration=batches)
    assert "fault of the program" not in str(error.value)


def test_batches_may_be_made_one_after_another(tiny: Callable[..., nn.Module]) -> None:
    batches: Any = (batch for batch in [BATCH])
    assert quantized_modules(sdq.quantize(tiny("bert"), "ptq-int8-static", calibration=batches))


@pytest.mark.parametrize("preset", ["ptq-int8-dynamic", "ptq-int8-migrated", "fp32"])
def test_a_model_that_is_quantized_or_no_numbers_is_refused(
    tiny: Callable[..., nn.Module], preset: str
) -> None:
    for first in ("ptq-w4a8", "ptq-int8-migrated"):
        twice = sdq.quantize(tiny("bert"), first, calibration=[BATCH])
        with pytest.raises(sdq.UserError, match="quantized already; give"):
            sdq.quantize(twice, preset, calibration=[BATCH])
    model = tiny("bert")
    next(model.parameters()).data[3, 1] = float("nan")
    with pytest.raises(sdq.UserError, match="holds NaN or infinity; "):
        sdq.quantize(model, preset, calibration=[BATCH])


def test_rules_that_do_not_fit_the_model_are_refused(tiny: Callable[..., nn.Module]) -> None:
    group = WeightSpec(granularity=PerGroup(size=7))
    for rules, said in (
        ((Rule(weight=group),), "group size must divide the row length"),
        ((Rule(name="nothing", weight=WeightSpec()),), "match none of .*; correct them"),
        ((Rule(),), "rule 1 of custom does neither; "),
    ):
        with pytest.raises(sdq.UserError, match=said):
            sdq.quantize(tiny("bert"), sdq.Recipe(rules=rules))


def test_paths_may_be_paths() -> None:
    with pytest.raises(sdq.UserError, match="recipe file must exist"):
        sdq.run(Path("nowhere.json"))
    with pytest.raises(sdq.UserError, match=r"task file|nowhere"):
        sdq.load_task(Path("nowhere.json"))
    with pytest.raises(sdq.UserError, match=r"nowhere"):
        sdq.run("fp32", Path("nowhere/model"), "intent")


@pytest.mark.parametrize("copied", [lambda m: m, copy.copy, copy.deepcopy, pickle_copy])
def test_a_quantized_copy_refuses_to_be_saved_as_what_would_be_read_as_fp32(
    tiny: Callable[..., nn.Module], tmp_path: Path, copied: Callable[[Any], Any]
) -> None:
    model: Any = tiny("bert")
    student = copied(sdq.quantize(model, "ptq-w4a8"))
    out = tmp_path / "exported"
    for part in (student, student.base_model):
        for save in (part.save_pretrained, part.push_to_hub):
            with pytest.raises(sdq.UserError, match="would read it as the FP32 model; save the FP"):
                save(out)
    assert not out.exists()
    model.save_pretrained(out)  # the model that was quantized can be saved as before
    assert (out / "model.safetensors").is_file()


def test_a_copy_in_which_nothing_is_quantized_can_be_saved(
    tiny: Callable[..., nn.Module], tmp_path: Path
) -> None:
    same: Any = sdq.quantize(tiny("bert"), "fp32")
    same.save_pretrained(tmp_path / "fp32")
    assert (tmp_path / "fp32" / "model.safetensors").is_file()


def test_run_takes_a_seed_as_the_command_does(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SDQ_SHIPPED")
    assert sdq.run("ptq-w4a8", seed=0).run == sdq.run("ptq-w4a8").run
    asked: list[int] = []
    monkeypatch.setattr("sdq.pipeline.run.run", lambda recipe, *_: asked.append(recipe.seed))
    sdq.run("ptq-w4a8", seed=3)
    sdq.run("ptq-w4a8")
    assert asked == [3, 0]
    for wrong in (-1, 2**31, 1.0, True):
        with pytest.raises(sdq.UserError, match="seed must be a whole number from 0 to 2147483647"):
            sdq.run("ptq-w4a8", seed=wrong)  # type: ignore[arg-type]


def test_compare_takes_two_runs_or_more(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SDQ_SHIPPED")
    fp32, *others = (sdq.run(name) for name in ("fp32", "ptq-w4a8", "ptq-w2a8"))
    both = sdq.compare(fp32, *others)
    assert list(dict.fromkeys(both["run"])) == [run.run for run in others]
    for other in others:
        alone = sdq.compare(fp32.run, other.run)
        assert both[both["run"] == other.run].reset_index(drop=True).equals(alone)
    with pytest.raises(sdq.UserError, match="at least two runs, got one"):
        sdq.compare(fp32)
