"""Models of the Hugging Face Hub: found in the local cache, or fetched into it. Needs no torch.

A name is `owner/model`, or `owner/model@revision`. Only configuration, tokenizer and safetensors
are ever fetched: no pickle, no code.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sdq.models.curated import CURATED
from sdq.settings import UserError, listed

SECONDS = 5.0  # within which the Hub must answer the first question
FILES = (
    "config.json",
    "adapter_config.json",
    "*.safetensors",
    "*.safetensors.index.json",
    "tokenizer*",
    "special_tokens_map.json",
    "*.model",
    "vocab*",
    "merges.txt",
)
_NAME = re.compile(
    r"(?P<id>[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95})(?:@(?P<revision>[A-Za-z0-9][\w./-]{0"
    r",95}))?"
)


def split(name: str) -> tuple[str, str] | None:
    """(id, revision) of a Hub name; None for what is none. Nothing that could leave the cache
    folder is a name."""
    match = _NAME.fullmatch(name)
    if match is None or ".." in name or "--" in match["id"]:
        return None
    return match["id"], match["revision"] or next(
        (curated.revision for curated in CURATED if curated.name == match["id"]), "main"
    )


def cached(name: str) -> Path | None:
    """The folder of a model in the local cache, if its configuration and safetensors are there."""
    from huggingface_hub import try_to_load_from_cache

    repository_revision = split(name)
    if repository_revision is None:
        return None
    config = try_to_load_from_cache(
        repository_revision[0], "config.json", revision=repository_revision[1]
    )
    folder = Path(config).parent if isinstance(config, str) else None
    return folder if folder is not None and any(folder.glob("*.safetensors")) else None


def present() -> list[str]:
    """Names of the models in the local cache that could be loaded, in alphabetical order."""
    from huggingface_hub import constants

    names = [
        path.name.removeprefix("models--").replace("--", "/", 1)
        for path in Path(constants.HF_HUB_CACHE).glob("models--*--*")
    ]
    return sorted(name for name in names if cached(name) is not None)


def fetch(name: str) -> Path:
    """The folder of a model in the local cache, fetched from the Hub if it is not there. UserError
    with one sentence if it cannot be."""
    if (folder := cached(name)) is not None:
        return folder
    repository_revision = split(name)
    if repository_revision is None:
        raise UserError(f"a Hub model must be named owner/model, got {name[:80]!r}")
    repository, revision = repository_revision
    from huggingface_hub import HfApi, constants, snapshot_download

    if constants.HF_HUB_OFFLINE:
        raise UserError(f"{absent(name)}, and HF_HUB_OFFLINE forbids fetching it; {elsewhere()}")
    info = _asked(
        name, lambda: HfApi().model_info(repository, revision=revision, timeout=SECONDS), SECONDS
    )
    if not any(file.rfilename.endswith(".safetensors") for file in info.siblings or ()):
        raise UserError(
            f"the model {name} must have safetensors weights, at the Hub it has none; pickled "
            "weights (.bin, .pt) are never loaded: name a revision that has them "
            f"({repository}@refs/pr/1, say), or {elsewhere()}"
        )
    return Path(
        _asked(
            name,
            lambda: snapshot_download(
                repository, revision=revision, allow_patterns=list(FILES), etag_timeout=SECONDS
            ),
        )
    )


def absent(name: str) -> str:
    """The beginning of a sentence about a model that is not here."""
    return f"the model {name} must be on this machine, it is not in the local cache"


def elsewhere() -> str:
    """What can be used instead: models in the cache, or a folder."""
    names = present()
    here = (
        f"take one that is here ({listed(names, 6)})"
        if names
        else "no model is cached here: take mini"
    )
    return f"{here} or give a local folder with config.json, tokenizer and safetensors"


def _asked(name: str, work: Callable[[], Any], seconds: float | None = None) -> Any:
    """What work() gives. UserError if the Hub refuses, cannot be reached, or does not answer in
    time.

    The time is kept here: looking up a host name heeds no timeout of its own.
    """
    from huggingface_hub.errors import HfHubHTTPError

    results: list[Any] = []
    failure: list[Exception] = [TimeoutError("no answer in time")]

    def run() -> None:
        try:
            results.append(work())
        # the client's own kinds, which change with the library it is built on
        except Exception as error:
            failure[0] = error

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(seconds)
    if results:
        return results[0]
    said = (str(failure[0]).strip().splitlines() or [type(failure[0]).__name__])[0][:160]
    if isinstance(failure[0], HfHubHTTPError):
        raise UserError(
            f"the Hub must give the model {name}, it refused ({said}); check the name, or "
            f"{elsewhere()}"
        ) from failure[0]
    raise UserError(
        f"{absent(name)}, and the Hub cannot be reached ({said}); {elsewhere()}"
    ) from failure[0]
