"""Folders and repositories that hold no model: pickles, code, other heads, other architectures."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import XLMRobertaForMaskedLM

from sdq.models import hub
from sdq.models.checkpoint import base_of, folder_of
from sdq.models.curated import CURATED
from sdq.models.loading import load, start, tokenizer_of
from sdq.models.structure import remarks
from sdq.settings import ASSETS, UserError, data_folder
from tests.helpers.commands import run as command
from tests.helpers.hub import LABELS, config, put


class Touch:
    """A pickle that writes a file when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


def test_a_pickle_is_never_unpickled(xlmr_copy: Path, tmp_path: Path) -> None:
    """Neither beside the weights nor under their name."""
    marker = tmp_path / "executed"
    evil = pickle.dumps(Touch(marker))
    pickle.loads(evil)
    assert marker.exists()
    marker.unlink()
    (xlmr_copy / "pytorch_model.bin").write_bytes(evil)
    load(base_of(str(xlmr_copy)), "sequence", LABELS)
    (xlmr_copy / "model.safetensors").write_bytes(evil)
    with pytest.raises(UserError, match="it was refused") as caught:
        load(base_of(str(xlmr_copy)), "sequence", LABELS)
    assert str(xlmr_copy) in str(caught.value)
    (xlmr_copy / "model.safetensors").unlink()
    with pytest.raises(UserError, match="never loaded"):
        base_of(str(xlmr_copy))
    assert not marker.exists()


def test_code_that_comes_with_a_model_never_runs(xlmr_copy: Path, tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    (xlmr_copy / "own.py").write_text(
        f"from pathlib import Path\nPath({str(marker)!r}).touch()\nclass Own: pass\n"
    )
    said = json.loads((xlmr_copy / "config.json").read_text())
    told = json.loads((xlmr_copy / "tokenizer_config.json").read_text())
    maps = {"AutoConfig": "own.Own", "AutoModelForSequenceClassification": "own.Own"}
    (xlmr_copy / "config.json").write_text(
        json.dumps(said | {"model_type": "tomorrow", "auto_map": maps})
    )
    with pytest.raises(UserError, match="no code but that of transformers"):
        load(xlmr_copy, "sequence", LABELS)
    (xlmr_copy / "config.json").write_text(json.dumps(said | {"auto_map": maps}))
    # a known kind, but another model
    with pytest.raises(UserError, match="no code but that of transformers"):
        load(xlmr_copy, "sequence", LABELS)
    (xlmr_copy / "config.json").write_text(json.dumps(said))
    (xlmr_copy / "tokenizer_config.json").write_text(
        json.dumps(
            told | {"auto_map": {"AutoTokenizer": ["own.Own", "own.Own"]}, "tokenizer_class": "Own"}
        )
    )
    with pytest.raises(UserError, match="no code but that of transformers"):
        tokenizer_of(xlmr_copy)
    assert not marker.exists()


def test_a_model_without_a_head_is_not_taken_for_one(xlmr_copy: Path) -> None:
    """Two labels are what a configuration without labels has: only the missing weights tell."""
    torch.manual_seed(0)
    XLMRobertaForMaskedLM(config()).save_pretrained(xlmr_copy)
    with pytest.raises(
        UserError,
        match=r"must have a head for sequence classification, it is a base model: its weights "
        r"lack classifier.dense.bias, .* and 1 more; do this",
    ):
        load(xlmr_copy, "sequence", ("yes", "no"), "do this")
    with pytest.raises(UserError, match=r"must have a head for token classification"):
        load(xlmr_copy, "token", ("yes", "no"))
    with pytest.raises(UserError, match=r"one output per label of the task \(3\), got 2"):
        load(xlmr_copy, "sequence", LABELS)


def test_a_head_for_something_else(xlmr_copy: Path) -> None:
    with pytest.raises(UserError, match="must have a head for token classification"):
        load(xlmr_copy, "token", LABELS)
    head: Any = load(xlmr_copy, "sequence", LABELS)[0]
    turned: Any = load(xlmr_copy, "sequence", ("blue", "green", "red"))[0]
    assert torch.equal(
        turned.classifier.out_proj.weight, head.classifier.out_proj.weight[[2, 1, 0]]
    )
    assert "put into the order" in remarks(turned)[0]
    assert remarks(head) == []
    assert "was assumed" in remarks(load(xlmr_copy, "sequence", ("0", "1", "2"))[0])[0]
    # other names say nothing of the order
    with pytest.raises(UserError, match="labels the model never learned: a, b, c"):
        load(xlmr_copy, "sequence", ("a", "b", "c"))


def test_weights_of_another_architecture(xlmr_copy: Path) -> None:
    said = json.loads((xlmr_copy / "config.json").read_text())
    (xlmr_copy / "config.json").write_text(json.dumps(said | {"model_type": "bert"}))
    with pytest.raises(
        UserError, match=r"must be those of its config.json, they lack \d+ tensors of the encoder"
    ):
        load(xlmr_copy, "sequence", LABELS)
    (xlmr_copy / "config.json").write_text(json.dumps(said | {"hidden_size": 48}))
    with pytest.raises(
        UserError, match="its hidden_size is 48, that of the weights 24: correct it"
    ):
        load(xlmr_copy, "sequence", LABELS)


def test_infinite_weights(xlmr_copy: Path) -> None:
    weights = load_file(xlmr_copy / "model.safetensors")
    name = next(n for n in weights if n.endswith("word_embeddings.weight"))
    for value in (float("nan"), float("inf"), float("-inf")):
        weights[name][77, 3] = value
        save_file(weights, xlmr_copy / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(UserError, match=f"{name} in .* holds NaN or infinity"):
            load(xlmr_copy, "sequence", LABELS)


def test_a_head_to_start_from(xlmr_copy: Path) -> None:
    """It depends on the seed alone, the encoder on the folder alone; a head of that shape is kept;
    dropout can be set."""
    torch.manual_seed(0)
    XLMRobertaForMaskedLM(config()).save_pretrained(xlmr_copy)
    torch.manual_seed(5)
    one, two, other = (
        start(xlmr_copy, "sequence", LABELS, seed, hidden_dropout_prob=0.3)[0] for seed in (1, 1, 2)
    )
    assert all(torch.equal(p, dict(two.named_parameters())[n]) for n, p in one.named_parameters())
    differ = {
        n.partition(".")[0]
        for n, p in one.named_parameters()
        if not torch.equal(p, dict(other.named_parameters())[n])
    }
    assert differ == {"classifier"}
    assert one.config.id2label == dict(enumerate(LABELS))
    assert {m.p for m in one.modules() if isinstance(m, nn.Dropout)} == {0.3, 0.1}
    kept = load_file(xlmr_copy / "model.safetensors")
    assert torch.equal(
        one.roberta.encoder.layer[0].output.dense.weight,
        kept["roberta.encoder.layer.0.output.dense.weight"],
    )
    one.save_pretrained(xlmr_copy)
    assert torch.equal(
        start(xlmr_copy, "sequence", LABELS, 9)[0].classifier.dense.weight,
        one.classifier.dense.weight,
    )
    # another shape: a new one
    assert start(xlmr_copy, "sequence", ("yes", "no"), 9)[0].classifier.out_proj.weight.shape == (
        2,
        24,
    )


def test_tokenizers(xlmr_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (xlmr_copy / "tokenizer.json").rename(xlmr_copy / "sentencepiece.bpe.model")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install sentencepiece"):
        base_of(str(xlmr_copy))
    monkeypatch.undo()
    (xlmr_copy / "sentencepiece.bpe.model").rename(xlmr_copy / "tokenizer.json")
    said = json.loads((xlmr_copy / "tokenizer_config.json").read_text())
    (xlmr_copy / "tokenizer_config.json").write_text(json.dumps(said | {"pad_token": None}))
    with pytest.raises(UserError, match="it has no padding"):
        tokenizer_of(xlmr_copy)
    (xlmr_copy / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match=r"the tokenizer in .* it was refused"):
        tokenizer_of(xlmr_copy)


@pytest.mark.parametrize("text", ["[]", "{", "\udcff"])
def test_a_config_that_is_none(xlmr_copy: Path, text: str) -> None:
    (xlmr_copy / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=r"config.json must"):
        load(xlmr_copy, "sequence", LABELS)


def test_the_embedded_model_has_two_heads() -> None:
    assert folder_of("mini", "slots").is_relative_to(data_folder() / "composed")
    assert base_of("mini") == ASSETS / "mini" / "encoder"
    for task in ("../../../etc", "my task.json", "xglue:/data/NC"):
        with pytest.raises(
            UserError,
            match=r"it has none; fine-tune it first: `python -m sdq finetune --model mini --task "
            r".* --out DIR`",
        ):
            folder_of("mini", task)


def test_models_are_listed(
    hub_cache: Path, xlmr_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    put(hub_cache, "some/model", xlmr_folder)
    put(hub_cache, "FacebookAI/xlm-roberta-base", xlmr_folder)
    code, out, _ = command(capsys, "models", "--json")
    assert code == 0
    told = json.loads(out)
    assert {row["name"]: row["here"] for row in told["curated"]} == {
        curated.name: curated.name == "FacebookAI/xlm-roberta-base" for curated in CURATED
    }
    assert told["cached"] == ["some/model"]
    shown = command(capsys, "models")[1]
    for curated in CURATED:
        assert all(
            str(part) in shown
            for part in (curated.name, curated.licence, curated.languages, curated.sources)
        )
    assert "not on this machine: `python -m sdq models fetch microsoft/infoxlm-base`" in shown
    code, out, _ = command(capsys, "models", "fetch", "some/model")
    assert (code, out.strip()) == (0, str(hub.cached("some/model")))


def test_curated_models_can_be_named() -> None:
    for curated in CURATED:
        assert hub.split(curated.name) == (curated.name, curated.revision)
        assert hub.split(f"{curated.name}@{curated.revision}") == (curated.name, curated.revision)
        assert curated.size > curated.parameters
        assert "huggingface.co/" in curated.sources
