"""The parts of `mini` that ship, joined, are to the byte the folders that its runs were made of."""

from __future__ import annotations

import multiprocessing
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import (
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
)

from sdq.data.registry import load_task
from sdq.io.sealed import SEAL, Damaged, seal_embedded
from sdq.models import composition
from sdq.models.checkpoint import base_of, checkpoint_fingerprint, folder_of
from sdq.models.loading import tokenizer_of
from sdq.models.parts import save_task
from sdq.models.retrieval import load_for
from sdq.models.structure import remarks
from sdq.pipeline.finetune import MINI
from sdq.settings import ASSETS, ROOT, UserError
from tests.helpers.joining import join, sums

TOKENIZER = {
    "tokenizer.json": "517e71bac6dcc255380627c040fa79fcb431d41b98194fea3b868b1af646a267",
    "tokenizer_config.json": "7447b7570e2ff381acb17db9b1c41680d10868a0d4c3d6dd529885552cb43e6d",
}
RECORDED = {  # SHA-256 of the whole folders, as `mini build` wrote them
    "intent": TOKENIZER
    | {
        "config.json": "0bc8289114403b82d399375082e3cb88d27461aabfc8d1784434e1e89e25e3e8",
        "model.safetensors": "1def4e95eaad8b25e1d0060cf1b0594a3c01ed6fc19cd0eb30c334933887b84e",
    },
    "slots": TOKENIZER
    | {
        "config.json": "1bc32523240de421a99b3f1954d0428ca9f81680cfa19dba5a5767d63d278b8a",
        "model.safetensors": "111a35d1f8d9aa1f9e8f53809c863130edc1ea9bafc5ecd4731e377a68d8feb0",
    },
}
FINGERPRINTS = {"intent": "300f902864f54fc0", "slots": "de09e4215978f655"}
CLASSES = {"intent": AutoModelForSequenceClassification, "slots": AutoModelForTokenClassification}
TASKS = pytest.mark.parametrize("task", RECORDED)


@pytest.fixture(autouse=True)
def _own_data(data: Path) -> None:
    """Nothing is joined yet."""


@pytest.fixture
def shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of what ships, to be damaged."""
    folder = tmp_path / "mini"
    shutil.copytree(ASSETS / "mini", folder, ignore=shutil.ignore_patterns("data", "*.md"))
    (folder / "data").mkdir()
    seal_embedded(folder)
    monkeypatch.setattr(composition, "MINI", folder)
    return folder


@TASKS
def test_the_joined_folder_is_the_recorded_one_to_the_byte(task: str) -> None:
    folder = folder_of("mini", task)
    assert sums(folder) == RECORDED[task]
    assert checkpoint_fingerprint(folder) == FINGERPRINTS[task]


@TASKS
def test_a_model_saved_again_is_what_ships(task: str, tmp_path: Path) -> None:
    """`mini build` writes these parts: head, top blocks, configuration, truncation."""
    folder = folder_of("mini", task)
    model = CLASSES[task].from_pretrained(folder).float()
    subwords = tokenizer_of(base_of("mini"))
    subwords("a", truncation=True, max_length=128)  # as training does, which leaves it set
    out = tmp_path / "out"
    save_task(model, base_of("mini"), out, MINI[task].frozen_blocks, subwords)
    assert sums(out) == sums(ASSETS / "mini" / task)


def test_a_model_that_changed_what_is_shared_cannot_ship(tmp_path: Path) -> None:
    folder = folder_of("mini", "slots")
    model = CLASSES["slots"].from_pretrained(folder).float()
    with pytest.raises(ValueError, match=r"lower 4 blocks, roberta\.encoder\.layer\.2\."):
        save_task(model, base_of("mini"), tmp_path / "out", frozen=4)


def test_nothing_is_said_of_how_the_embedded_model_is_stored() -> None:
    task = load_task("intent")
    model, _ = load_for(task, folder_of("mini", "intent"))
    assert not remarks(model)


@pytest.mark.parametrize(
    "name", ["intent/ours.safetensors", "intent/ours.json", "encoder/model.safetensors"]
)
@pytest.mark.parametrize("joined", [False, True])
def test_a_flipped_byte_is_refused(shipped: Path, name: str, joined: bool) -> None:
    if joined:
        folder_of("mini", "intent")
    path = shipped / name
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with pytest.raises(Damaged, match=rf"^{path.name} of the embedded model must be as it was"):
        folder_of("mini", "intent")


def test_a_part_cut_short_is_refused_without_a_seal(shipped: Path) -> None:
    (shipped / SEAL).unlink()
    path = shipped / "intent" / composition.PART
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(Damaged, match=r"^ours\.safetensors of mini for intent must be"):
        folder_of("mini", "intent")


@pytest.mark.parametrize("name", ["intent/ours.safetensors", "encoder/model.safetensors"])
def test_a_part_that_is_not_there_is_named(shipped: Path, name: str) -> None:
    (shipped / name).unlink()
    with pytest.raises(UserError, match=rf"must have its {name.split('/')[0]} in .*mini build"):
        folder_of("mini", "intent")


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json", "config.json"])
def test_a_joined_folder_that_was_changed_is_joined_again(name: str) -> None:
    folder = folder_of("mini", "slots")
    content = (folder / name).read_bytes()
    (folder / name).write_bytes(content[:-2] + b"x" + content[-1:])
    assert folder_of("mini", "slots") == folder
    assert sums(folder) == RECORDED["slots"]


def test_two_processes_at_once_join_once() -> None:
    context = multiprocessing.get_context("spawn")
    barrier, said = context.Barrier(2), context.Queue()
    both = [context.Process(target=join, args=(barrier, said)) for _ in range(2)]
    for process in both:
        process.start()
    told = [said.get(timeout=60) for _ in both]
    for process in both:
        process.join()
    assert [process.exitcode for process in both] == [0, 0]
    assert [there for there, _ in told] == [RECORDED["intent"]] * 2
    assert sorted(times for _, times in told) == [0, 1]


def test_nobody_else_may_look_into_a_data_folder_made_by_a_join(data: Path) -> None:
    folder_of("mini", "intent")
    assert data.stat().st_mode & 0o777 == 0o700


def test_joining_needs_no_torch() -> None:
    code = (
        "import sys\nfrom sdq.models.checkpoint import folder_of\nfolder_of('mini', 'intent')\n"
        "sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0
