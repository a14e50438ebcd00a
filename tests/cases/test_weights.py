"""What a checkpoint holds is used, or named in a refusal: nothing is dropped or cast in silence
(cases 13, 15, 16, 17, 20)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.cases.build import WIDTH, State, edit_json, edit_weights
from tests.cases.doors import Doors
from tests.helpers.placeless import LAYER, PLACELESS


def renamed(old: str, new: str) -> Callable[[State], State]:
    return lambda state: {name.replace(old, new): tensor for name, tensor in state.items()}


def with_tensors(**shapes: tuple[int, ...]) -> Callable[[State], State]:
    return lambda state: (
        state | {name.replace("__", "."): torch.ones(shape) for name, shape in shapes.items()}
    )


def cast(dtype: torch.dtype, only: str = "") -> Callable[[State], State]:
    return lambda state: {
        name: tensor.to(dtype) if only in name else tensor for name, tensor in state.items()
    }


# what is well known and harmless, or another way to write the same
FINE: dict[str, Callable[[State], State]] = {
    "as transformers writes it": lambda state: state,
    "gamma and beta": lambda state: {
        n.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): t
        for n, t in state.items()
    },
    "position ids": lambda state: state | {"bert.embeddings.position_ids": torch.arange(64)[None]},
    "a language model's head": with_tensors(
        cls__predictions__bias=(7,),
        cls__predictions__transform__dense__weight=(WIDTH, WIDTH),
        cls__seq_relationship__weight=(2, WIDTH),
    ),
}


@pytest.mark.parametrize("case", FINE)
def test_what_is_harmless_is_silent(doors: Doors, model: Path, task: Path, case: str) -> None:
    of_the_data = doors.run(model, task).remarks
    found = doors.run(edit_weights(model, FINE[case]), task)
    assert (found.mean, found.remarks) == (1, of_the_data)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_floats_are_read_and_remarked_on(
    doors: Doors, model: Path, task: Path, dtype: str
) -> None:
    of_the_data = doors.run(model, task).remarks
    found = doors.run(edit_weights(model, cast(getattr(torch, dtype))), task)
    assert found.mean == 1
    assert found.remarks.startswith(
        f"{of_the_data}; the weights are stored in {dtype}: computations are done in float32"
    )


def test_no_metadata_is_no_fault(doors: Doors, model: Path, task: Path) -> None:
    save_file(load_file(model / "model.safetensors"), model / "model.safetensors")
    assert doors.run(model, task).mean == 1


@pytest.mark.parametrize(
    "prefix",
    [
        "module.",
        "_orig_mod.",
        "_orig_mod.module.",
        "module._orig_mod.",
        "model.",
        "model.bert.|bert.",
    ],
)
def test_prefixes_are_mended_or_named(doors: Doors, model: Path, task: Path, prefix: str) -> None:
    new, _, old = prefix.partition("|")
    edit_weights(
        model,
        renamed(old, new)
        if old
        else lambda state: {new + name: tensor for name, tensor in state.items()},
    )
    code, _, _ = doors.call("run", "fp32", "--model", str(model), "--task", str(task), "--json")
    if code:
        doors.refused(model, task, new.partition(".")[0] + ".", "prefix")
    else:
        assert doors.run(model, task).mean == 1


@pytest.mark.parametrize(
    "change",
    [{"return_dict": False}, {"chunk_size_feed_forward": 3}, {"output_hidden_states": True}],
)
def test_how_a_model_is_called_is_not_what_it_is(
    doors: Doors, model: Path, task: Path, change: dict[str, Any]
) -> None:
    edit_json(model / "config.json", **change)
    assert doors.run(model, task).mean == 1


def test_a_decoder_is_no_encoder(doors: Doors, model: Path, task: Path) -> None:
    edit_json(model / "config.json", is_decoder=True)
    doors.refused(model, task, "is_decoder", "config.json")


def test_two_tensors_for_one_place_are_refused(doors: Doors, model: Path, task: Path) -> None:
    norm = f"{LAYER}.output.LayerNorm"
    doors.refused(
        edit_weights(model, lambda state: state | {f"{norm}.gamma": torch.zeros(WIDTH)}),
        task,
        f"{norm}.gamma",
    )


@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("classifier.weight", "bert.classifier.weight"),
        ("bert.embeddings.word_embeddings.weight", "embeddings.word_embeddings.weight"),
    ],
)
def test_a_tensor_with_and_without_the_prefix_is_refused(
    doors: Doors, model: Path, task: Path, name: str, other: str
) -> None:
    """Which of the two transformers takes is chance: a head turned round would be scored."""
    said = doors.refused(edit_weights(model, lambda s: s | {other: -s[name]}), task, other)
    assert "one tensor" in said


@pytest.mark.parametrize("case", PLACELESS)
def test_what_has_no_place_is_named(doors: Doors, model: Path, task: Path, case: str) -> None:
    change, named = PLACELESS[case]
    assert "copy the folder again" not in doors.refused(edit_weights(model, change), task, named)


@pytest.mark.parametrize("kind", ["relative_key", "relative_key_query"])
def test_another_kind_of_positions_is_refused(
    doors: Doors, model: Path, task: Path, kind: str
) -> None:
    """As transformers wrote BERT with relative positions before version 5."""
    edit_weights(model, PLACELESS["relative positions"][0])
    edit_json(model / "config.json", position_embedding_type=kind)
    doors.refused(model, task, "distance_embedding")


@pytest.mark.parametrize(
    ("dtype", "only"),
    [
        ("int8", ""),
        ("int8", "query.weight"),
        ("uint8", "word_embeddings"),
        ("int32", "classifier.weight"),
        ("bool", "value.weight"),
    ],
)
def test_integers_are_no_weights(
    doors: Doors, model: Path, task: Path, dtype: str, only: str
) -> None:
    edit_weights(model, cast(getattr(torch, dtype), only))
    doors.refused(model, task, only or "weight", dtype)


def test_eight_bit_floats_are_read_or_refused(doors: Doors, model: Path, task: Path) -> None:
    edit_weights(model, cast(torch.float8_e4m3fn, "word_embeddings"))
    code, _, _ = doors.call("run", "fp32", "--model", str(model), "--task", str(task), "--json")
    if code:
        doors.refused(model, task, "word_embeddings", "float8")
    else:
        assert doors.run(model, task).mean == 1


@pytest.mark.parametrize("method", ["bitsandbytes", "gptq", "awq", "fp8", "nonsense"])
def test_a_checkpoint_that_is_quantized_already_is_refused(
    doors: Doors, model: Path, task: Path, method: str
) -> None:
    edit_json(
        model / "config.json",
        quantization_config={
            "quant_method": method,
            "load_in_8bit": True,
            "bits": 4,
            "group_size": 32,
        },
    )
    doors.refused(model, task, "quanti")
