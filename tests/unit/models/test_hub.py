"""Where models come from: the local cache of the Hub, folders, and what is refused. Nothing here
reaches a network."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import huggingface_hub
import pytest
import torch
from huggingface_hub.errors import RepositoryNotFoundError
from huggingface_hub.utils import filter_repo_objects

from sdq.models import hub
from sdq.models.checkpoint import base_of, checkpoint_fingerprint, folder_of
from sdq.models.curated import CURATED
from sdq.models.loading import load
from sdq.settings import ROOT, UserError
from tests.helpers.hub import LABELS, put


def test_a_cached_model_is_a_folder_like_any_other(hub_cache: Path, xlmr_folder: Path) -> None:
    snapshot = put(hub_cache, "some-one/tiny.model_1", xlmr_folder)
    assert hub.cached("some-one/tiny.model_1") == hub.fetch("some-one/tiny.model_1") == snapshot
    assert folder_of("some-one/tiny.model_1", "intent") == snapshot
    # by content, not by where it lies or who links to it
    assert checkpoint_fingerprint(snapshot) == checkpoint_fingerprint(xlmr_folder)
    one, two = load(snapshot, "sequence", LABELS)[0], load(xlmr_folder, "sequence", LABELS)[0]
    assert all(
        torch.equal(a, b)
        for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True)
    )
    assert hub.present() == ["some-one/tiny.model_1"]


def test_a_revision_is_one_of_its_own(hub_cache: Path, xlmr_folder: Path, xlmr_copy: Path) -> None:
    (xlmr_copy / "config.json").write_text(
        (xlmr_copy / "config.json").read_text().replace("red", "rouge")
    )
    first, second = (
        put(hub_cache, "some/model", xlmr_folder),
        put(hub_cache, "some/model", xlmr_copy, "refs/pr/1"),
    )
    assert hub.cached("some/model") == first
    assert hub.cached("some/model@refs/pr/1") == second
    assert hub.cached("some/model@" + second.name) == second
    assert checkpoint_fingerprint(first) != checkpoint_fingerprint(second)
    converted = next(curated for curated in CURATED if curated.revision == "refs/pr/1")
    assert (
        hub.cached(
            put(hub_cache, converted.name, xlmr_folder, "refs/pr/1")
            .parent.parent.name.removeprefix("models--")
            .replace("--", "/", 1)
        )
        is not None
    )
    assert hub.split(converted.name) == (converted.name, "refs/pr/1")
    assert hub.split(f"{converted.name}@main") == (converted.name, "main")


def test_half_a_model_is_not_cached(hub_cache: Path, xlmr_folder: Path) -> None:
    put(hub_cache, "half/model", xlmr_folder, leave=("model.safetensors",))
    assert hub.cached("half/model") is None
    assert hub.present() == []
    with pytest.raises(
        UserError,
        match=r"not in the local cache; fetch it with `python -m sdq models fetch half/model`",
    ):
        folder_of("half/model", "intent")


def test_a_local_folder_goes_first(
    hub_cache: Path,
    xlmr_folder: Path,
    xlmr_copy: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    put(hub_cache, "here/model", xlmr_folder)
    (tmp_path / "here").mkdir()
    xlmr_copy.rename(tmp_path / "here" / "model")
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
    hub_cache: Path, xlmr_folder: Path, name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(hub_cache.parent)
    put(hub_cache, "secret/model", xlmr_folder)
    assert hub.split(name) is None
    assert hub.cached(name) is None
    with pytest.raises(
        UserError,
        match=r"must be 'mini', 'midi', a Hub name|must hold config.json|a model must be named",
    ):
        base_of(name, fetch=True)
    with pytest.raises(UserError, match="must be named owner/model"):
        hub.fetch(name)


def test_without_network_one_sentence_with_what_is_here(
    hub_cache: Path, xlmr_folder: Path, monkeypatch: pytest.MonkeyPatch
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
    put(hub_cache, "one/model", xlmr_folder)
    with pytest.raises(
        UserError,
        match=r"cannot be reached.*take one that is here \(one/model\) or give a local folder",
    ) as caught:
        base_of("not/here", fetch=True)
    assert "\n" not in str(caught.value)


def test_a_network_that_hangs_is_given_up(hub_cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_the_hub_has_a_pickle_only_or_refuses(
    hub_cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    hub_cache: Path, xlmr_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def info(self: Any, name: str, revision: str, timeout: float) -> Any:
        return SimpleNamespace(siblings=[SimpleNamespace(rfilename="model.safetensors")])

    def download(name: str, revision: str, allow_patterns: list[str], etag_timeout: float) -> str:
        asked.update(name=name, revision=revision, patterns=allow_patterns)
        return str(put(hub_cache, name, xlmr_folder))

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
