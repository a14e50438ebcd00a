"""Where models come from: the local cache of the Hub, folders, and what is refused. Nothing here
reaches a network."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub import constants
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.utils import filter_repo_objects
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import (
    AutoTokenizer,
    XLMRobertaConfig,
    XLMRobertaForMaskedLM,
    XLMRobertaForSequenceClassification,
)

from sdq.models import hub
from sdq.models.checkpoint import base_of, fingerprint, folder_of
from sdq.models.curated import CURATED
from sdq.models.loading import load, remarks, start, tokenizer_of
from sdq.settings import ASSETS, ROOT, UserError
from tests.unit.cli.test_cli import run as command

LABELS = ("red", "green", "blue")
CONFIG = {
    "vocab_size": 16_000,
    "hidden_size": 24,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "intermediate_size": 40,
    "max_position_embeddings": 130,
}


def config(**changes: Any) -> XLMRobertaConfig:
    return XLMRobertaConfig(
        **CONFIG, type_vocab_size=1, pad_token_id=1, bos_token_id=0, eos_token_id=2, **changes
    )


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a tiny XLM-R under a head of three labels, and the embedded tokenizer."""
    folder = tmp_path_factory.mktemp("model")
    torch.manual_seed(0)
    XLMRobertaForSequenceClassification(config(id2label=dict(enumerate(LABELS)))).save_pretrained(
        folder
    )
    AutoTokenizer.from_pretrained(ASSETS / "mini" / "encoder").save_pretrained(folder)
    return folder


@pytest.fixture
def own(model: Path, tmp_path: Path) -> Path:
    """A copy of it to spoil."""
    return Path(shutil.copytree(model, tmp_path / "own"))


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache, and a network on which every look-up fails the test."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    asked = []

    def never(*_: Any, **__: Any) -> Any:
        asked.append(1)
        raise OSError("the network was asked")

    monkeypatch.setattr(socket, "getaddrinfo", never)
    monkeypatch.setattr(socket, "create_connection", never)
    yield tmp_path / "hub"
    assert not asked


def put(
    cache: Path, name: str, files: Path, revision: str = "main", leave: tuple[str, ...] = ()
) -> Path:
    """Lay files out as the Hub's client does: blobs by content, a snapshot of links to them, a ref
    that names the snapshot."""
    home = cache / f"models--{name.replace('/', '--')}"
    commit = hashlib.sha1(f"{name}{revision}".encode()).hexdigest()
    ref = home / "refs" / revision
    for folder in (home / "blobs", home / "snapshots" / commit, ref.parent):
        folder.mkdir(parents=True, exist_ok=True)
    ref.write_text(commit)
    for path in files.iterdir():
        if path.name not in leave:
            blob = home / "blobs" / hashlib.sha256(path.read_bytes()).hexdigest()
            shutil.copy(path, blob)
            (home / "snapshots" / commit / path.name).symlink_to(Path("../../blobs") / blob.name)
    return home / "snapshots" / commit


def test_a_cached_model_is_a_folder_like_any_other(cache: Path, model: Path) -> None:
    snapshot = put(cache, "some-one/tiny.model_1", model)
    assert hub.cached("some-one/tiny.model_1") == hub.fetch("some-one/tiny.model_1") == snapshot
    assert folder_of("some-one/tiny.model_1", "intent") == snapshot
    assert fingerprint(snapshot) == fingerprint(
        model
    )  # by content, not by where it lies or who links to it
    one, two = load(snapshot, "sequence", LABELS)[0], load(model, "sequence", LABELS)[0]
    assert all(
        torch.equal(a, b)
        for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    )
    assert hub.present() == ["some-one/tiny.model_1"]


def test_a_revision_is_one_of_its_own(cache: Path, model: Path, own: Path) -> None:
    (own / "config.json").write_text((own / "config.json").read_text().replace("red", "rouge"))
    first, second = put(cache, "some/model", model), put(cache, "some/model", own, "refs/pr/1")
    assert hub.cached("some/model") == first
    assert hub.cached("some/model@refs/pr/1") == second
    assert hub.cached("some/model@" + second.name) == second
    assert fingerprint(first) != fingerprint(second)
    converted = next(known for known in CURATED if known.revision == "refs/pr/1")
    assert (
        hub.cached(
            put(cache, converted.name, model, "refs/pr/1")
            .parent.parent.name.removeprefix("models--")
            .replace("--", "/", 1)
        )
        is not None
    )
    assert hub.split(converted.name) == (converted.name, "refs/pr/1")
    assert hub.split(f"{converted.name}@main") == (converted.name, "main")


def test_half_a_model_is_not_cached(cache: Path, model: Path) -> None:
    put(cache, "half/model", model, leave=("model.safetensors",))
    assert hub.cached("half/model") is None
    assert hub.present() == []
    with pytest.raises(
        UserError,
        match=r"not in the local cache; fetch it with `python -m sdq models fetch half/model`",
    ):
        folder_of("half/model", "intent")


def test_a_local_folder_goes_first(
    cache: Path, model: Path, own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(cache, "here/model", model)
    (tmp_path / "here").mkdir()
    own.rename(tmp_path / "here" / "model")
    monkeypatch.chdir(tmp_path)
    assert base_of("here/model") == Path("here/model")


@pytest.mark.parametrize(
    "name",
    [
        "../secret",
        "a/../../secret",
        "a/..",
        "a/b/c",
        "/etc/passwd",
        "a/b@../../x",
        "a/b@x/../../y",
        "a/b..c",
        "a/b@/etc",
        ".hidden/x",
        "a/.b",
        "a--b/c",
        "a b/c",
        "",
        "a",
        "a/b\n",
        "мир/модель!",
    ],
)
def test_what_is_no_name_never_reaches_the_cache(
    cache: Path, model: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(cache.parent)
    put(cache, "secret/model", model)
    assert hub.split(name) is None
    assert hub.cached(name) is None
    with pytest.raises(
        UserError, match=r"must be 'mini', a Hub name|must hold config.json|a model must be named"
    ):
        base_of(name, fetch=True)
    with pytest.raises(UserError, match="must be named owner/model"):
        hub.fetch(name)


def test_without_network_one_sentence_with_what_is_here(
    cache: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "create_connection", down)
    with pytest.raises(
        UserError,
        match=r"must be on this machine.*cannot be reached.*no model is cached here: take mini or "
        r"give a local folder",
    ):
        hub.fetch("not/here")
    put(cache, "one/model", model)
    with pytest.raises(
        UserError,
        match=r"cannot be reached.*take one that is here \(one/model\) or give a local folder",
    ) as caught:
        base_of("not/here", fetch=True)
    assert "\n" not in str(caught.value)


def test_a_network_that_hangs_is_given_up(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hub, "SECONDS", 0.3)
    monkeypatch.setattr(socket, "create_connection", lambda *_, **__: time.sleep(20))
    started = time.perf_counter()
    with pytest.raises(UserError, match=r"cannot be reached \(no answer in time\)"):
        hub.fetch("not/here")
    assert time.perf_counter() - started < 15


def test_offline_is_said_at_once(tmp_path: Path) -> None:
    env = {
        **os.environ,
        "HF_HUB_OFFLINE": "1",
        "HF_HUB_CACHE": str(tmp_path),
        "SDQ_DATA": str(tmp_path / "data"),
    }
    for words in (
        ["run", "ptq-int8-dynamic", "--model", "not/here"],
        ["finetune", "--model", "not/here", "--task", "intent", "--out", str(tmp_path / "out")],
    ):
        done = subprocess.run(
            [sys.executable, "-m", "sdq", *words],
            cwd=ROOT,
            env=env,
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
        assert done.returncode == 2
        assert done.stdout == ""
        assert len(done.stderr.strip().splitlines()) == 1, done.stderr
        assert "HF_HUB_OFFLINE forbids fetching it" in done.stderr


def test_the_hub_has_a_pickle_only_or_refuses(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def pickled(self: Any, name: str, **_: Any) -> Any:
        return SimpleNamespace(
            siblings=[
                SimpleNamespace(rfilename="pytorch_model.bin"),
                SimpleNamespace(rfilename="config.json"),
            ]
        )

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", pickled)
    with pytest.raises(
        UserError, match=r"must have safetensors.*never loaded.*some/model@refs/pr/1"
    ):
        hub.fetch("some/model")

    def unknown(self: Any, name: str, **_: Any) -> Any:
        raise RepositoryNotFoundError(
            "401 Client Error: no such repository",
            response=SimpleNamespace(headers={}, request=None),
        )  # type: ignore[arg-type]

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", unknown)
    with pytest.raises(
        UserError, match=r"must give the model some/model, it refused \(.*no such repository"
    ):
        hub.fetch("some/model")


def test_only_weights_config_and_tokenizer_are_fetched(
    cache: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def info(self: Any, name: str, revision: str, timeout: float) -> Any:
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename="model.safetensors")])

    def download(name: str, revision: str, allow_patterns: list[str], etag_timeout: float) -> str:
        asked.update(name=name, revision=revision, patterns=allow_patterns)
        return str(put(cache, name, model))

    monkeypatch.setattr(huggingface_hub.HfApi, "model_info", info)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    assert base_of("some/model", fetch=True) == hub.cached("some/model")
    assert (asked["name"], asked["revision"]) == ("some/model", "main")
    wanted = [
        "config.json",
        "model.safetensors",
        "model-00001-of-00002.safetensors",
        "model.safetensors.index.json",
        "tokenizer.json",
        "tokenizer_config.json",
        "sentencepiece.bpe.model",
        "spm.model",
        "vocab.txt",
        "vocab.json",
        "merges.txt",
        "special_tokens_map.json",
    ]
    never = [
        "pytorch_model.bin",
        "model.pt",
        "tf_model.h5",
        "flax_model.msgpack",
        "model.onnx",
        "modeling_own.py",
        "training_args.bin",
        "onnx/model.onnx",
        "README.md",
    ]
    assert list(filter_repo_objects(wanted + never, allow_patterns=asked["patterns"])) == wanted


# --- folders


class Touch:
    """A pickle that writes a file when it is loaded."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


def test_a_pickle_is_never_unpickled(own: Path, tmp_path: Path) -> None:
    """Neither beside the weights nor under their name."""
    marker = tmp_path / "executed"
    evil = pickle.dumps(Touch(marker))
    pickle.loads(evil)
    assert marker.exists()
    marker.unlink()
    (own / "pytorch_model.bin").write_bytes(evil)
    load(base_of(str(own)), "sequence", LABELS)
    (own / "model.safetensors").write_bytes(evil)
    with pytest.raises(UserError, match="it was refused") as caught:
        load(base_of(str(own)), "sequence", LABELS)
    assert str(own) in str(caught.value)
    (own / "model.safetensors").unlink()
    with pytest.raises(UserError, match="never loaded"):
        base_of(str(own))
    assert not marker.exists()


def test_code_that_comes_with_a_model_never_runs(own: Path, tmp_path: Path) -> None:
    marker = tmp_path / "executed"
    (own / "own.py").write_text(
        f"from pathlib import Path\nPath({str(marker)!r}).touch()\nclass Own: pass\n"
    )
    said = json.loads((own / "config.json").read_text())
    told = json.loads((own / "tokenizer_config.json").read_text())
    maps = {"AutoConfig": "own.Own", "AutoModelForSequenceClassification": "own.Own"}
    (own / "config.json").write_text(
        json.dumps(said | {"model_type": "tomorrow", "auto_map": maps})
    )
    with pytest.raises(UserError, match="no code but that of transformers"):
        load(own, "sequence", LABELS)
    (own / "config.json").write_text(json.dumps(said | {"auto_map": maps}))
    with pytest.raises(
        UserError, match="no code but that of transformers"
    ):  # a known kind, but another model
        load(own, "sequence", LABELS)
    (own / "config.json").write_text(json.dumps(said))
    (own / "tokenizer_config.json").write_text(
        json.dumps(
            told | {"auto_map": {"AutoTokenizer": ["own.Own", "own.Own"]}, "tokenizer_class": "Own"}
        )
    )
    with pytest.raises(UserError, match="no code but that of transformers"):
        tokenizer_of(own)
    assert not marker.exists()


def test_a_model_without_a_head_is_not_taken_for_one(own: Path) -> None:
    """Two labels are what a configuration without labels has: only the missing weights tell."""
    torch.manual_seed(0)
    XLMRobertaForMaskedLM(config()).save_pretrained(own)
    with pytest.raises(
        UserError,
        match=r"must have a head for sequence classification, it is a base model: its weights "
        r"lack classifier.dense.bias, .* and 1 more; do this",
    ):
        load(own, "sequence", ("yes", "no"), "do this")
    with pytest.raises(UserError, match=r"must have a head for token classification"):
        load(own, "token", ("yes", "no"))
    with pytest.raises(UserError, match=r"one output per label of the task \(3\), got 2"):
        load(own, "sequence", LABELS)


def test_a_head_for_something_else(own: Path) -> None:
    with pytest.raises(UserError, match="must have a head for token classification"):
        load(own, "token", LABELS)
    head: Any = load(own, "sequence", LABELS)[0]
    turned: Any = load(own, "sequence", ("blue", "green", "red"))[0]
    assert torch.equal(
        turned.classifier.out_proj.weight, head.classifier.out_proj.weight[[2, 1, 0]]
    )
    assert "put into the order" in remarks(turned)[0]
    assert remarks(head) == []
    assert "was assumed" in remarks(load(own, "sequence", ("0", "1", "2"))[0])[0]
    with pytest.raises(
        UserError, match="labels the model never learned: a, b, c"
    ):  # other names say nothing of the order
        load(own, "sequence", ("a", "b", "c"))


def test_weights_of_another_architecture(own: Path) -> None:
    said = json.loads((own / "config.json").read_text())
    (own / "config.json").write_text(json.dumps(said | {"model_type": "bert"}))
    with pytest.raises(
        UserError, match=r"must be those of its config.json, they lack \d+ tensors of the encoder"
    ):
        load(own, "sequence", LABELS)
    (own / "config.json").write_text(json.dumps(said | {"hidden_size": 48}))
    with pytest.raises(
        UserError, match="its hidden_size is 48, that of the weights 24: correct it"
    ):
        load(own, "sequence", LABELS)


def test_infinite_weights(own: Path) -> None:
    weights = load_file(own / "model.safetensors")
    name = next(n for n in weights if n.endswith("word_embeddings.weight"))
    for value in (float("nan"), float("inf"), float("-inf")):
        weights[name][77, 3] = value
        save_file(weights, own / "model.safetensors", metadata={"format": "pt"})
        with pytest.raises(UserError, match=f"{name} in .* holds NaN or infinity"):
            load(own, "sequence", LABELS)


def test_a_head_to_start_from(own: Path) -> None:
    """It depends on the seed alone, the encoder on the folder alone; a head of that shape is kept;
    dropout can be set."""
    torch.manual_seed(0)
    XLMRobertaForMaskedLM(config()).save_pretrained(own)
    torch.manual_seed(5)
    one, two, other = (
        start(own, "sequence", LABELS, seed, hidden_dropout_prob=0.3)[0] for seed in (1, 1, 2)
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
    kept = load_file(own / "model.safetensors")
    assert torch.equal(
        one.roberta.encoder.layer[0].output.dense.weight,
        kept["roberta.encoder.layer.0.output.dense.weight"],
    )
    one.save_pretrained(own)
    assert torch.equal(
        start(own, "sequence", LABELS, 9)[0].classifier.dense.weight, one.classifier.dense.weight
    )
    assert start(own, "sequence", ("yes", "no"), 9)[0].classifier.out_proj.weight.shape == (
        2,
        24,
    )  # another shape: a new one


def test_tokenizers(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (own / "tokenizer.json").rename(own / "sentencepiece.bpe.model")
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UserError, match="pip install sentencepiece"):
        base_of(str(own))
    monkeypatch.undo()
    (own / "sentencepiece.bpe.model").rename(own / "tokenizer.json")
    said = json.loads((own / "tokenizer_config.json").read_text())
    (own / "tokenizer_config.json").write_text(json.dumps(said | {"pad_token": None}))
    with pytest.raises(UserError, match="it has no padding"):
        tokenizer_of(own)
    (own / "tokenizer.json").write_text("{")
    with pytest.raises(UserError, match=r"the tokenizer in .* it was refused"):
        tokenizer_of(own)


@pytest.mark.parametrize("text", ["[]", "{", "\udcff"])
def test_a_config_that_is_none(own: Path, text: str) -> None:
    (own / "config.json").write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(UserError, match=r"config.json must"):
        load(own, "sequence", LABELS)


def test_the_embedded_model_has_two_heads() -> None:
    assert folder_of("mini", "slots") == ASSETS / "mini" / "slots"
    assert base_of("mini") == ASSETS / "mini" / "encoder"
    for task in ("../../../etc", "my task.json", "xglue:/data/NC"):
        with pytest.raises(
            UserError,
            match=r"it has none; fine-tune it first: `python -m sdq finetune --model mini --task "
            r".* --out DIR`",
        ):
            folder_of("mini", task)


def test_models_are_listed(cache: Path, model: Path, capsys: pytest.CaptureFixture[str]) -> None:
    put(cache, "some/model", model)
    put(cache, "FacebookAI/xlm-roberta-base", model)
    code, out, _ = command(capsys, "models", "--json")
    assert code == 0
    told = json.loads(out)
    assert {row["name"]: row["here"] for row in told["curated"]} == {
        known.name: known.name == "FacebookAI/xlm-roberta-base" for known in CURATED
    }
    assert told["cached"] == ["some/model"]
    shown = command(capsys, "models")[1]
    for known in CURATED:
        assert all(
            str(part) in shown
            for part in (known.name, known.licence, known.languages, known.sources)
        )
    assert "not on this machine: `python -m sdq models fetch microsoft/infoxlm-base`" in shown
    code, out, _ = command(capsys, "models", "fetch", "some/model")
    assert (code, out.strip()) == (0, str(hub.cached("some/model")))


def test_curated_models_can_be_named() -> None:
    for known in CURATED:
        assert hub.split(known.name) == (known.name, known.revision)
        assert hub.split(f"{known.name}@{known.revision}") == (known.name, known.revision)
        assert known.size > known.parameters
        assert "huggingface.co/" in known.sources
