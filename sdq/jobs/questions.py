"""Typed sentences, to be answered by the models of finished runs. Needs neither torch nor dask."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sdq.data.lines import spaced
from sdq.io.files import age, private, write_text
from sdq.io.limits import limits
from sdq.jobs import queue as jobs
from sdq.jobs import turns
from sdq.settings import UserError, unwritable, whole
from sdq.store import Store

KEPT = 24 * 3600.0  # seconds for which the answer to a typed sentence stays


def ask(text: str, runs: Sequence[str], store: Store, who: str = "local") -> str:
    """Have a typed sentence answered by the models of finished runs. Returns a key for `answered`.

    text: the sentence, 1 to SDQ_SENTENCE_CHARACTERS characters
    runs: ids of finished runs
    store: where they are
    who: the visitor who asks

    UserError for an empty or endless text, or if `who` has too many that are not answered yet.
    """
    text, most = " ".join(spaced(whole(text, "the sentence"))), limits()
    jobs.must_be_known(who)
    size = len(text) if text.strip() else 0
    if not 1 <= size <= most.sentence_characters:
        raise UserError(
            f"the sentence must have 1 to {most.sentence_characters} characters, got {size}"
        )
    for run in runs:
        store.home(run)  # refuses what is not a finished run
    wish = {"text": text, "runs": list(runs)}
    key = hashlib.sha256(json.dumps(wish, ensure_ascii=False).encode()).hexdigest()[:16]
    folder = store.folder.parent / "asked"
    try:
        private(folder.parent)
        folder.mkdir(exist_ok=True)
        _forget(folder)
        if not (folder / f"{key}.answer.json").exists():
            with jobs.locked_queue(store):
                if not (folder / f"{key}.json").exists():
                    open_ones = [
                        path
                        for path in folder.glob("*.json")
                        if not path.name.endswith(".answer.json")
                    ]
                    own = sum((turns.wish_of(path) or {}).get("who") == who for path in open_ones)
                    if own >= most.asked_per_visitor:
                        raise UserError(
                            f"a visitor must have at most {most.asked_per_visitor} sentences "
                            f"waiting, you have {own}; wait for an answer first"
                        )
                    write_text(
                        folder / f"{key}.json",
                        json.dumps({**wish, "who": who, "time": time.time()}, ensure_ascii=False),
                    )
            jobs.ensure(store)
    except OSError as error:
        raise unwritable(store.folder.parent, error) from error
    return key


def _forget(folder: Path) -> None:
    """Remove old answers: they would become ever more."""
    for path in folder.glob("*.answer.json"):
        if age(path) > KEPT:
            path.unlink(missing_ok=True)


def answered(key: str, store: Store) -> list[dict[str, Any]] | None:
    """What the models said, one row per run (see sdq.jobs.prediction), or None while they think.
    Restarts the cluster's process if it is gone."""
    if not re.fullmatch(r"[0-9a-f]{16}", key):
        raise UserError(f"the key of a question must be 16 hexadecimal digits, got {key[:40]!r}")
    path = store.folder.parent / "asked" / f"{key}.answer.json"
    if not path.exists():
        waits = (store.folder.parent / "asked" / f"{key}.json").exists()
        if not waits and not path.exists():  # an answer comes before its question goes
            raise UserError(
                "a question must be waiting to have an answer, this one is gone without one; ask "
                "again"
            )
        jobs.ensure(store)
        return None
    try:
        rows: list[dict[str, Any]] = json.loads(path.read_text("utf-8"))
        if not isinstance(rows, list) or any(
            not isinstance(row, dict) or not isinstance(row.get("run"), str) for row in rows
        ):
            raise ValueError
    except (OSError, ValueError, RecursionError) as error:
        path.unlink(missing_ok=True)  # it is not met again
        raise UserError(
            "the stored answer must be readable, it was damaged and is removed; ask again"
        ) from error
    return rows
