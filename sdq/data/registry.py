"""Task: languages, labels, splits, metric. Reading one needs no torch.

One door for all of them, `load_task(name)`. A name is an embedded task, a task file kept in the
data folder, the path of a task file, `xglue:DIR/NC` (an extracted XGLUE archive) or `hub:ENTRY` (a
declared dataset of the Hugging Face Hub).
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Literal

from pyarrow import compute
from pyarrow.parquet import ParquetFile

from sdq.data import assemble
from sdq.data.kept import KEPT, home, kept
from sdq.data.tagging import CONLLEVAL
from sdq.data.task import SPLITS, Example, Task
from sdq.io.garbage import uncollected
from sdq.io.sealed import as_shipped, state
from sdq.results import title
from sdq.settings import ASSETS, UserError, one_line, path_of


def _embedded(name: str, only: str | None = None) -> Task:
    folder = ASSETS / "mini" / "data"
    card = json.loads((folder / "tasks.json").read_text())
    kind: Literal["sequence", "token"] = card[name]["kind"]
    splits: dict[str, list[Example]] = {s: [] for s in SPLITS}
    label = "intent" if kind == "sequence" else "tags"
    columns = ["id", "language", "split", "text", "tokens", label]
    # a piece at a time: the file's columns at once would take three times what the examples of one
    # split do
    for piece in ParquetFile(folder / "sentences.parquet").iter_batches(
        4096, columns=columns, use_threads=False
    ):
        wanted = piece if only is None else piece.filter(compute.equal(piece["split"], only))
        for row in wanted.to_pylist():
            targets = (row[label],) if kind == "sequence" else tuple(row[label])
            splits[row["split"]].append(
                Example(row["id"], row["language"], row["text"], tuple(row["tokens"]), targets)
            )
    return Task(
        name,
        kind,
        tuple(card[name]["labels"]),
        tuple(card["languages"]),
        "en",
        card[name]["metric"],
        task_fingerprint(name),
        splits,
        tagging=CONLLEVAL if kind == "token" else None,
    )


# name -> loader; a new embedded task is one line
TASKS: dict[str, Callable[..., Task]] = {"intent": _embedded, "slots": _embedded}


def canonical_name(name: str) -> str:
    """The name under which a task is remembered: the same from every working directory. UserError
    for an unknown task."""
    if name in TASKS or (
        KEPT.fullmatch(name) and ((home() / name / "task.json").is_file() or name in kept())
    ):
        return name
    kind, colon, rest = name.partition(":")
    if colon and kind == "xglue":
        return f"xglue:{path_of(rest, 'the folder of an XGLUE task').resolve()}"
    if colon and kind == "hub":
        return name
    if name.endswith(".json"):
        return str(path_of(name, "a task file").resolve())
    if name.strip() and (folder := path_of(name, "a task")).is_dir():
        if not (folder / "task.json").is_file():
            raise UserError(
                f"the folder of a task must hold task.json, {one_line(str(folder), 300)} does not; "
                "name the task file itself, or write one (docs/task-files.md)"
            )
        return str((folder / "task.json").resolve())
    others = f" ({', '.join(kept())})" if kept() else ""
    raise UserError(
        f"task must be one of {', '.join(TASKS)}, a task kept in the data folder{others}, a task "
        f"file (.json), xglue:DIR/NC or hub:ENTRY, got {name[:80]!r}"
    )


def called(name: str) -> str:
    """What readers call the task that is remembered by this name: as its task file says."""
    path = Path(name)
    if KEPT.fullmatch(name) and name not in TASKS:
        path = home() / name / "task.json"
    if path.suffix == ".json":
        from sdq.data.taskfile import read

        with contextlib.suppress(UserError):  # it is gone, or no task file any more
            return read(path).name
    return title(name)


def task_fingerprint(name: str, fetch: bool = False) -> str:
    """16 hex digits that name the content of a task, without reading its examples. UserError for an
    unknown task, and for one of the Hub that is not in the data folder: with `fetch` it is fetched
    first."""
    name = canonical_name(name)
    if fetch and name.startswith("hub:"):
        from sdq.data import hub

        hub.fetch(name.removeprefix("hub:"))
    if name not in TASKS:
        return _source(name)[0]()
    path = ASSETS / "mini" / "data" / "sentences.parquet"
    if not path.is_file():
        raise UserError(
            f"the embedded data must be in {path}, it is not there; clone the project again or run "
            "`python -m sdq mini build`"
        )
    as_shipped(path.parent)
    return _hash_of(state(path), name)


@lru_cache(maxsize=8)
def _hash_of(file: tuple[str, int, int, int], name: str) -> str:
    return hashlib.sha256(Path(file[0]).read_bytes() + name.encode()).hexdigest()[:16]


def load_task(name: str, only: str | None = None) -> Task:
    """The task of that name; of an embedded one the split `only` alone, if one is named: the whole
    takes 150 MB. One of the Hub is fetched if it is not here. Raises UserError for one that is
    unknown or cannot be read as it says."""
    name = canonical_name(name)
    with uncollected():
        if name in TASKS:
            task_fingerprint(name)
            return TASKS[name](name) if only is None else TASKS[name](name, only)
        return _source(name)[1]()


def _source(name: str) -> tuple[Callable[[], str], Callable[[], Task]]:
    """(fingerprint, load) of a task that is not embedded. Its room is imported here: who uses
    embedded tasks needs none of it."""
    kind, _, rest = name.partition(":")
    if kind == "xglue":
        from sdq.data import xglue

        return lambda: xglue.content_hash(Path(rest)), lambda: xglue.load(Path(rest))
    from sdq.data import taskfile

    if kind == "hub":
        from sdq.data import hub

        return (
            lambda: taskfile.content_hash(hub.fetched(rest)),
            lambda: assemble.load(hub.fetch(rest), name),
        )
    path = Path(name) if name.endswith(".json") else home() / name / "task.json"
    return lambda: taskfile.content_hash(path), lambda: assemble.load(path, name)
