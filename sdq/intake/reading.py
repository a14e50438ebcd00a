"""The process that decodes what visitors bring: `python -m sdq.intake.reading`, started by
sdq.intake.decoding. Bounds are set before anything is read."""

from __future__ import annotations

import contextlib
import errno
import json
import resource
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sdq.io.limits import Limits, limits
from sdq.settings import UserError

REASONS = {"memory": 3, "answer": 4}  # how this process ends if it may not have more


def bound(most: Limits) -> None:
    """From now on this process gets no more memory, time and room for its answer than the limits
    allow, whatever becomes of the one that started it."""
    memory = most.decode_memory_mb * 10**6
    for kind, value in (
        (resource.RLIMIT_DATA, memory),
        # also what is mapped and never filled, as libraries and files are
        (resource.RLIMIT_AS, 4 * memory),
        (resource.RLIMIT_CPU, most.decode_seconds + 1),
        (resource.RLIMIT_FSIZE, most.answer_mb * 10**6),
        (resource.RLIMIT_CORE, 0),
    ):
        # a system without this bound, or with a smaller one
        with contextlib.suppress(ValueError, OSError):
            resource.setrlimit(kind, (value, value))


def _previews(paths: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    from sdq.intake.preview import preview

    wrong, rows = {}, {}
    for number, path in enumerate(paths):
        try:
            rows[str(number)] = preview(Path(path))
        except UserError as error:
            wrong[str(number)] = str(error)
    return {"wrong": wrong}, rows


def _check(task: str) -> tuple[dict[str, Any], dict[str, Any]]:
    from sdq.data.assemble import load
    from sdq.data.check import check
    from sdq.data.registry import load_task

    path = Path(task)
    fields = dict(
        vars(check(load(path, path.parent.name) if path.suffix == ".json" else load_task(task)))
    )
    tables = {name: fields.pop(name) for name in ("counts", "sentences")}
    return fields, tables


def rows(task: str) -> Any:
    """Test sentences of a task: id, language, text, gold (a label, or tags joined by spaces), words
    (joined by tabs; empty for tasks with one label a sentence).

    The second text of a pair follows the first after an arrow; of a ranking there is one row per
    query, with its documents by number.
    """
    import pandas as pd

    from sdq.data.registry import load_task
    from sdq.data.task import joined
    from sdq.evaluate.metrics import units

    data = load_task(task, "test")
    token, examples = data.kind == "token", data.examples("test")
    records = []
    for id, at in units(examples, data.metric):
        unit = [examples[i] for i in at]
        seconds = [e.second for e in unit if e.second is not None]
        numbered = (
            [f"{i}. {second}" for i, second in enumerate(seconds, 1)] if len(at) > 1 else seconds
        )
        gold = " ".join(label for e in unit for label in e.targets)
        records.append(
            (
                id,
                unit[0].language,
                " → ".join([unit[0].text, *numbered]),
                gold,
                joined(unit[0].words) if token else "",
            )
        )
    return pd.DataFrame(records, columns=["id", "language", "text", "gold", "words"])


def _sentences(task: str) -> tuple[dict[str, Any], dict[str, Any]]:
    return {}, {"sentences": rows(task)}


def _trained(task: str) -> tuple[dict[str, Any], dict[str, Any]]:
    from sdq.data.registry import load_task

    return {"languages": sorted({e.language for e in load_task(task).splits["train"]})}, {}


# what may be asked; a question is one line
QUESTIONS: dict[str, Callable[..., tuple[dict[str, Any], dict[str, Any]]]] = {
    "previews": _previews,
    "check": _check,
    "sentences": _sentences,
    "trained": _trained,
}


def answer(wish: dict[str, Any]) -> None:
    """Answer one question on stdout."""
    import pyarrow

    try:
        fields, tables = QUESTIONS[wish["question"]](**wish["given"])
    except UserError as error:
        sys.stdout.buffer.write(json.dumps({"error": str(error)}).encode() + b"\n")
        return
    sys.stdout.buffer.write(
        json.dumps(
            {"fields": fields, "tables": {name: table.attrs for name, table in tables.items()}}
        ).encode()
        + b"\n"
    )
    for table in tables.values():
        content = pyarrow.Table.from_pandas(table, preserve_index=False)
        with pyarrow.ipc.new_stream(sys.stdout.buffer, content.schema) as stream:
            stream.write_table(content)
    sys.stdout.buffer.flush()


def main() -> None:
    """One question on stdin, as JSON. Ends with one of REASONS if it may not have more memory or
    write a longer answer."""
    try:
        bound(limits())
        answer(json.loads(sys.stdin.buffer.read()))
    except MemoryError:  # ArrowMemoryError is one
        sys.exit(REASONS["memory"])
    except OSError as error:
        sys.exit(REASONS["answer"] if error.errno == errno.EFBIG else REASONS["memory"])


if __name__ == "__main__":
    main()
