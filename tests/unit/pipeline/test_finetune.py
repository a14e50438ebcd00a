"""Fine-tuning: an encoder becomes a model with a head, on the labelled language alone; an
interrupted one goes on to the same end."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import XLMRobertaConfig, XLMRobertaForMaskedLM

from sdq.cli.models import steps_words
from sdq.data import registry as tasks
from sdq.data import task
from sdq.models.checkpoint import CARD, folder_of
from sdq.models.loading import load
from sdq.pipeline import finetune as tuning
from sdq.pipeline.finetune import DROPOUT, MIDI, MINI, finetune, teacher, train, usual
from sdq.pipeline.run import run
from sdq.recipe import PRESETS
from sdq.settings import ASSETS, UserError
from sdq.store import Store
from sdq.train.settings import Training
from tests.helpers.commands import run as command
from tests.helpers.tokenizers import word_tokenizer

SHORT = Training(steps=6, batch_size=4, check_every=2, learning_rate=1e-3, dropout=True)


@pytest.fixture(scope="module")
def small() -> task.Task:
    """Of the task intent a few sentences of every split in two languages."""
    whole = tasks.TASKS["intent"]("intent")
    few = {
        s: [e for code in ("en", "ru") for e in [e for e in found if e.language == code][:20]]
        for s, found in whole.splits.items()
    }
    return replace(whole, splits=few, languages=("en", "ru"))


@pytest.fixture(autouse=True)
def data(small: task.Task, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDQ_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SDQ_SHIPPED", "no")
    monkeypatch.setitem(tasks.TASKS, "intent", lambda name: small)


@pytest.fixture(scope="module")
def base(small: task.Task, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random encoder without a head for any task."""
    folder = tmp_path_factory.mktemp("base")
    tokenizer = word_tokenizer(example.text for split in small.splits.values() for example in split)
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    config = XLMRobertaConfig(
        vocab_size=len(tokenizer),
        hidden_size=24,
        num_hidden_layers=2,
        num_attention_heads=3,
        intermediate_size=32,
        max_position_embeddings=130,
        type_vocab_size=1,
        pad_token_id=1,
        bos_token_id=0,
        eos_token_id=2,
    )
    XLMRobertaForMaskedLM(config).save_pretrained(folder)
    return folder


def weights(folder: Path) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = load_file(folder / "model.safetensors")
    return found


def test_what_run_asks_for_is_what_helps(
    base: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The sentence about a base model is the command that gives it a head; then the same run goes
    through."""
    code, out, err = command(capsys, "run", "ptq-int8-dynamic", "--model", str(base))
    assert (code, out) == (2, "")
    asked = f"python -m sdq finetune --model {base} --task intent --out DIR"
    assert f"`{asked}`" in err
    words = asked.replace("DIR", str(tmp_path / "tuned")).split()[3:]
    code, out, err = command(capsys, *words, "--steps", "6", "--json")
    assert code == 0, err
    card = json.loads(out)
    assert (card["language"], card["training"]["steps"], card["training"]["check_every"]) == (
        "en",
        6,
        10,
    )
    assert (
        command(capsys, *words, "--steps", "6")[1].splitlines()[-1]
        == f"next: python -m sdq run ptq-int8-dynamic --model {tmp_path / 'tuned'} --task intent"
    )
    code, out, err = command(
        capsys, "run", "ptq-int8-dynamic", "--model", str(tmp_path / "tuned"), "--json"
    )
    assert code == 0, err
    assert set(json.loads(out)["quantized"]["by_language"]) == {"en", "ru"}


def test_what_is_written(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Label names, a card of what it was made of; trained on English alone, the best look at
    English dev is kept; frozen tables stay."""
    seen: dict[str, Any] = {}
    real = tuning.train_

    def spy(model: Any, data: Any, settings: Any, check: Any, **more: Any) -> Any:
        seen.update(sentences=len(data), score=check(model))
        return real(model, data, settings, check, **more)

    monkeypatch.setattr(tuning, "train_", spy)
    card = finetune(str(base), "intent", tmp_path / "out", SHORT, seed=3)
    assert seen["sentences"] == 20
    assert 0 <= seen["score"] <= 1
    assert json.loads((tmp_path / "out" / CARD).read_text()) == card
    assert (card["base"], card["task"], card["language"], card["seed"]) == (
        str(base),
        "intent",
        "en",
        3,
    )
    assert card["labels"] == list(tasks.load_task("intent").labels)
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == sorted(
        ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json", CARD]
    )
    model, _ = load(tmp_path / "out", "sequence", tasks.load_task("intent").labels)
    before = weights(base)
    assert torch.equal(
        model.get_parameter("roberta.embeddings.word_embeddings.weight"),
        before["roberta.embeddings.word_embeddings.weight"],
    )
    assert not torch.equal(
        model.get_parameter("roberta.encoder.layer.0.output.dense.weight"),
        before["roberta.encoder.layer.0.output.dense.weight"],
    )


def test_made_once(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same again reads the card; anything else in the folder is not written over."""
    out = tmp_path / "out"
    card = finetune(str(base), "intent", out, SHORT)
    monkeypatch.setattr(tuning, "start", None)
    assert finetune(str(base), "intent", out, SHORT) == card
    for other in (
        SHORT.model_copy(update={"steps": 7}),
        SHORT.model_copy(update={"frozen_blocks": 1}),
    ):
        with pytest.raises(UserError, match="it has another"):
            finetune(str(base), "intent", out, other)
    with pytest.raises(UserError, match="it has another"):
        finetune(str(base), "intent", out, SHORT, seed=1)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    with pytest.raises(UserError, match="must be an empty folder"):
        finetune(str(base), "intent", tmp_path / "mine", SHORT)
    assert [p.name for p in (tmp_path / "mine").iterdir()] == ["thesis.txt"]
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="must fit into"):
        finetune(str(base), "intent", tmp_path / "file" / "out", SHORT)


def test_a_refused_setting_leaves_the_folder_free(base: Path, tmp_path: Path) -> None:
    """What it was refused for is known only once the model is read; the next one may be right."""
    with pytest.raises(UserError, match="frozen blocks must be at most 2"):
        finetune(str(base), "intent", tmp_path, SHORT.model_copy(update={"frozen_blocks": 99}))
    card = finetune(str(base), "intent", tmp_path, SHORT)
    assert card["training"]["frozen_blocks"] == 0


@pytest.mark.parametrize("stop", ["training", "saving"])
def test_an_interrupted_one_goes_on_to_the_same_end(
    base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: str
) -> None:
    settings = SHORT.model_copy(update={"steps": 20, "check_every": 5})
    whole = finetune(str(base), "intent", tmp_path / "whole", settings)
    out, events = tmp_path / "broken", []

    def killed(event: dict[str, Any]) -> None:
        if event["event"] == "check" and event["step"] == 15 and stop == "training":
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        if stop == "saving":
            patch.setattr(
                Path,
                "replace",
                lambda self, target: (
                    (_ for _ in ()).throw(KeyboardInterrupt())
                    if self.name == "model.safetensors"
                    else self.rename(target)
                ),
            )
        with pytest.raises(KeyboardInterrupt):
            finetune(str(base), "intent", out, settings, progress=killed)
    assert not (out / CARD).exists()
    again = finetune(str(base), "intent", out, settings, progress=events.append)
    assert [event["step"] for event in events if event["event"] == "resumed"] == [
        10 if stop == "training" else 20
    ]
    assert again == whole
    one, two = weights(tmp_path / "whole"), weights(out)
    assert all(torch.equal(one[name], two[name]) for name in one)


def test_settings_that_suit(base: Path) -> None:
    assert usual("mini", "intent") == MINI["intent"]
    assert usual("mini", "intent", steps=7, freeze=0) == MINI["intent"].model_copy(
        update={"steps": 7, "frozen_blocks": 0}
    )
    other = usual(str(base), "intent")
    assert (
        other.learning_rate,
        other.patience,
        other.check_every,
        other.frozen_embedding,
        other.dropout,
    ) == (2e-5, 8, 50, True, True)
    assert (other.steps, other.cooldown) == (6000, 0.25)
    short = usual(str(base), "intent", steps=300)
    assert (short.steps, short.check_every, short.warmup) == (300, 15, 0.1)
    assert usual("mini", "topics.json").learning_rate == 3e-4
    assert usual("midi", "intent") == MIDI["intent"]
    much = usual("midi", "intent", steps=10_000)
    assert much.warmup * much.steps == pytest.approx(100), "steps are the most, not the course"
    assert usual("mini", "topics.json", learning_rate=0.01).learning_rate == 0.01
    with pytest.raises(ValueError, match="learning_rate"):
        usual("mini", "intent", learning_rate=2.0)


def test_stops_early(base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After so many looks at dev without a better score; the best weights are kept."""
    marks = iter([0.5, 0.9, 0.3, 0.2, 0.1, 0.1])
    monkeypatch.setattr(
        tuning, "scores", lambda table, task: type("", (), {"by_language": {"en": next(marks)}})
    )
    card = finetune(
        str(base), "intent", tmp_path / "out", SHORT.model_copy(update={"steps": 40, "patience": 2})
    )
    assert (card["dev"], card["kept_step"], card["last_step"]) == (0.9, 4, 8)
    assert steps_words(card) == (
        "4 steps, where it scored best (training stopped early after 8 of at most 40 steps; the "
        "weights of step 4 were kept)"
    )
    assert steps_words(card | {"last_step": 4}) == "4 steps"
    assert "(training ended after 40 of" in steps_words(card | {"last_step": 40})
    del card["last_step"]  # as older versions wrote it
    assert steps_words(card) == "4 steps"


@pytest.mark.parametrize(("patience", "unfinished"), [(1, False), (100, True)])
def test_a_training_that_is_cut_off_is_remarked_on(
    base: Path, tmp_path: Path, patience: int, unfinished: bool
) -> None:
    training = SHORT.model_copy(update={"steps": 8, "patience": patience, "cooldown": 0.5})
    card = finetune(str(base), "intent", tmp_path / "out", training)
    said = (
        "the dev score had not stopped rising (100 looks in a row without a better one) at step "
        "5, where the learning rate had to begin to decay to end at step 8"
    )
    assert (said in card.get("remarks", "")) is unfinished


def test_a_teacher_is_kept_in_the_data_folder(base: Path, tmp_path: Path) -> None:
    store = Store.default()
    assert teacher(str(base), "intent", store, SHORT) is None
    folder = teacher(str(base), "intent", store, SHORT, lambda event: None)
    assert folder is not None
    assert Path(folder).parent == tmp_path / "data" / "models"
    assert teacher(str(base), "intent", store, SHORT) == folder
    assert teacher(str(base), "intent", store, SHORT.model_copy(update={"steps": 8})) is None
    report = run(PRESETS["ptq-int8-dynamic"], folder, "intent", store)
    assert set(report.quantized.by_language) == {"en", "ru"}


def test_the_embedded_encoder_has_its_dropout_back(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    card = finetune("mini", "intent", tmp_path / "out", SHORT.model_copy(update={"steps": 1}))
    said = json.loads((tmp_path / "out" / "config.json").read_text())
    assert {name: said[name] for name in DROPOUT} == DROPOUT
    assert card["base"] == "mini"


@pytest.mark.slow
def test_the_shipped_model_is_what_finetune_makes(monkeypatch: pytest.MonkeyPatch) -> None:
    """`mini build` and `finetune` are one: the embedded model for intent, but for the order in
    which other machines add (about two minutes)."""
    monkeypatch.undo()
    task = tasks.load_task("intent")
    model, _, history = train(ASSETS / "mini" / "encoder", task, MINI["intent"], seed=0, **DROPOUT)
    shipped = weights(folder_of("mini", "intent"))
    assert history.kept == 450
    assert (
        max(
            float((tensor - shipped[name].float()).abs().max())
            for name, tensor in model.state_dict().items()
            if name in shipped
        )
        < 2e-3
    )


@pytest.mark.parametrize("spoil", ["flip", "gone"])
def test_damaged_weights_are_no_finished_fine_tuning(
    base: Path, tmp_path: Path, spoil: str
) -> None:
    store = Store.default()
    folder = Path(teacher(str(base), "intent", store, SHORT, lambda event: None) or "")
    path = folder / "model.safetensors"
    whole = path.read_bytes()
    if spoil == "flip":
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    else:
        path.unlink()
    assert teacher(str(base), "intent", store, SHORT) is None
    told: list[dict[str, Any]] = []
    assert teacher(str(base), "intent", store, SHORT, told.append) == str(folder)
    assert path.read_bytes() == whole
    assert "model.safetensors" in next(
        event["message"] for event in told if event["event"] == "damaged"
    )
    assert (folder / "damaged" / CARD).is_file()
    assert teacher(str(base), "intent", store, SHORT) == str(folder)
