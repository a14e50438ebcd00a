"""Models in the layout of the Hub's cache."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path
from typing import Any

from transformers import XLMRobertaConfig

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


def put(
    hub_cache: Path, name: str, files: Path, revision: str = "main", leave: tuple[str, ...] = ()
) -> Path:
    """Lay files out as the Hub's client does: blobs by content, a snapshot of links to them, a ref
    that names the snapshot."""
    home = hub_cache / f"models--{name.replace('/', '--')}"
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
