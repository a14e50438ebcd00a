"""Files that somebody brings: taking them in, what each holds, and which column is what."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from pages.components.session import readable, visitor
from pages.components.uploads import forget, path_of
from sdq.data.check import Checked
from sdq.data.kept import home
from sdq.data.recognise import CALLED
from sdq.data.registry import task_fingerprint
from sdq.data.task import SPLITS
from sdq.intake import decoding
from sdq.intake.own_tasks import Incoming, accepted, called_as_brought
from sdq.intake.preview import guess, metrics
from sdq.io.limits import limits
from sdq.io.quoting import quoted, quoted_sentence
from sdq.results import METRICS
from sdq.settings import UserError

KINDS = {
    "sentence": "One label for a sentence",
    "pair": "One label for a pair of texts",
    "token": "One tag for every word",
    "ranking": "How well a document answers a query",
    "retrieval": "Which sentence is its translation (no labels)",
}
ROLES = {
    "sentence": ("text", "label"),
    "pair": ("text", "second", "label"),
    "token": ("tokens", "tags"),
    "ranking": ("text", "second", "label", "group"),
    "retrieval": ("text", "id"),
}
LABELS = {
    "text": "Text",
    "second": "Second text",
    "label": "Label",
    "tokens": "Words",
    "tags": "Tags",
    "group": "Query id (none: neighbours with the same text)",
    "id": "Id (none: the row number)",
    "language": "Language",
    "split": "Split",
}
NONE = "none"


def inbox() -> Path:
    """The folder whose files the page offers beside uploads: in the data folder, so that no address
    can reach others."""
    return home().parent / "inbox"


def inbox_named() -> str:
    """The inbox as this visitor may read it: by its path, unless that is of another's machine."""
    return str(inbox()) if visitor().at_home else "the inbox of the data folder"


def nothing_chosen() -> str:
    """What can be done before a file is chosen, by whoever is here."""
    said = (
        "Nothing is chosen yet. Files of this machine can also be put into "
        f"{quoted(inbox_named())}."
    )
    if visitor().leads:
        return (
            f"{said} If you already have a task file, use the command line: `python -m sdq task "
            "check task.json`."
        )
    return f"{said} Ask your teacher to put them there."


def anew(name: str) -> str:
    """The key of a control that is empty again after a task was kept; the others go with the
    files."""
    round = st.session_state.get("tasks-kept", 0)
    return f"{name}-{round}" if round else name


def emptied(name: str) -> None:
    """Let the form be empty, as a task of this name was kept of what was in it."""
    forget(st.session_state.get(anew("files")) or ())
    st.session_state["tasks-kept"] = st.session_state.get("tasks-kept", 0) + 1
    st.session_state["kept"] = st.session_state["just-kept"] = name


def arrived() -> tuple[list[tuple[str, Path]], list[pd.DataFrame], list[str]]:
    """Of the files that were uploaded or ticked: (name, where its bytes are) and the first rows of
    each that can be read, and the names of the others; about those a sentence is on the page."""
    brought = st.file_uploader(
        f"Files ({', '.join(name.partition(' (')[0] for name in CALLED.values())}; at most "
        f"{limits().upload_mb} MB each)",
        accept_multiple_files=True,
        key=anew("files"),
        max_upload_size=limits().upload_mb,
        help="One file for everything, or one for each language and split. "
        "What is in a file says what it is, whatever its name ends in.",
    )
    found = [(file.name, path_of(file)) for file in brought or ()]
    there = {
        path.name: path
        for path in sorted(inbox().glob("*"))
        if path.is_file() and not path.is_symlink() and path.name[0] != "."
    }
    if there:
        chosen = st.multiselect(f"Files in {inbox_named()}", list(there), key=anew("inbox"))
        found += [(name, there[name]) for name in chosen]
    if len(found) > limits().uploads:
        raise UserError(
            f"a task can have at most {limits().uploads} files, got {len(found)}; join some, or "
            "write a task file by hand"
        )
    if not found:
        return [], [], []
    files, tables, bad = list[tuple[str, Path]](), list[pd.DataFrame](), list[str]()
    for (name, path), table in zip(
        found, _first(tuple((str(path), path.stat().st_mtime) for _, path in found)), strict=True
    ):
        try:
            with called_as_brought({path.name: name}):
                accepted(name)
                if isinstance(table, UserError):
                    raise table
            files.append((name, path))
            tables.append(table)
        except UserError as error:
            st.error(readable(error), icon=":material/error:")
            bad.append(name)
    return files, tables, bad


def held(files: Sequence[tuple[str, Path]], by_row: bool) -> list[Incoming]:
    """What each file holds, as its name tells and the controls say. `by_row`: a column says the
    language."""
    found = []
    with st.expander(
        "What each file holds", icon=":material/folder_open:", expanded=len(files) <= 3
    ):
        for number, (name, path) in enumerate(files):
            split, language = guess(name)
            row = st.container(horizontal=True, vertical_alignment="bottom", key=f"file-{number}")
            row.markdown(f"`{name}`", width=280)
            key = f"{path.parent.name}-{path.name}"
            split = row.selectbox(
                "Split",
                [*SPLITS, "all"],
                [*SPLITS, "all"].index(split),
                key=f"split-{key}",
                width=120,
            )
            code = (
                None
                if by_row
                else row.text_input(
                    "Language code", language, key=f"language-{key}", width=140, placeholder="en"
                ).strip()
                or None
            )
            found.append(Incoming(name, path, split, code))
    return found


@st.cache_resource(max_entries=32, show_spinner="Reading the files")
def _first(files: tuple[tuple[str, float], ...]) -> list[pd.DataFrame | UserError]:
    return decoding.previews([Path(path) for path, _ in files])


def first_rows(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """The first rows of a file, shown with what it was recognised as, before anything is stored."""
    about = table.attrs
    proposed = ", ".join(
        f"{LABELS[role].partition(' (')[0].lower()}: {quoted(column)}"
        for role, column in about["columns"].items()
    )
    looks = f" ({about['looks']})" if about["looks"] else ""
    st.caption(
        f"{quoted(name)} was recognised as {about['format']}, {len(table.columns)} columns. "
        f"Proposed: {proposed or 'nothing'}{looks}; nothing is stored until you press Check and "
        "keep."
    )
    for remark in about["remarks"]:
        st.warning(quoted_sentence(f"{name}: {remark}."), icon=":material/warning:")
    st.dataframe(table, hide_index=True, key="preview")
    return table


def mapped(table: pd.DataFrame) -> dict[str, Any]:
    """kind, columns and metric of a task file, as the first rows of a file propose and the controls
    say."""
    columns, proposed = [str(column) for column in table.columns], table.attrs["columns"]
    kind = table.attrs["kind"]
    kind = (
        st.radio(
            "What is to be predicted",
            list(KINDS),
            list(KINDS).index(kind),
            format_func=KINDS.__getitem__,
            key="kind",
        )
        or kind
    )
    found: dict[str, str] = {}
    row = st.container(horizontal=True, vertical_alignment="bottom", key="columns")
    for role in dict.fromkeys((*ROLES[kind], "id", "language", "split")):
        free = role in ("language", "split", "group") or (role == "id" and kind != "retrieval")
        options = [NONE, *columns] if free else columns
        left = [
            i for i, column in enumerate(options) if column not in found.values()
        ]  # one column is not proposed for two things
        start = (
            options.index(proposed[role])
            if proposed.get(role) in options
            else 0
            if free
            else next(iter(left), 0)
        )
        label = LABELS[role] if free or role != "id" else "Id (translations share it)"
        chosen = row.selectbox(label, options, start, key=f"column-{kind}-{role}", width=220)
        if chosen and chosen != NONE:
            found[role] = chosen
    cells = [str(cell).split(" ") for cell in table[found["tags"]]] if "tags" in found else []
    tags = [
        tag for cell in cells for tag in (cell[:-2] if cell[-1] == "…" else cell)
    ]  # of a long cell the end was cut, perhaps inside a tag
    scored = metrics(kind, tags)
    metric = row.selectbox(
        "Scored by",
        scored,
        format_func=lambda name: METRICS[name].name,
        key=f"metric-{kind}-{scored[0]}",
        width=220,
        help=f"{METRICS[scored[0]].name} is proposed.",
    )
    return {"kind": kind, "columns": found, "metric": metric or scored[0]}


def shares(files: Sequence[Incoming], columns: dict[str, str]) -> dict[str, Any]:
    """How a task without splits is cut into three, for those that need it."""
    if "split" in columns or any(file.split != "all" for file in files):
        return {}
    train, dev = st.slider(
        "Train up to, dev up to (%); the rest is test",
        5,
        95,
        (70, 80),
        key="shares",
        help="By a fixed hash of the id: translations of one sentence stay together.",
    )
    return {"shares": [train / 100, (dev - train) / 100, (100 - dev) / 100]}


@st.cache_resource(max_entries=16, show_spinner="Counting")
def _checked(name: str, content: str) -> Checked:
    return decoding.checked(name)


def checked(name: str) -> Checked:
    """What a task's data are like; kept until they change."""
    return _checked(name, task_fingerprint(name))


def counts(found: Checked, labels: bool) -> None:
    """Warnings first, then sentences by language and split, and `labels` by language, of a task
    that has some."""
    for warning in found.warnings:
        st.warning(quoted_sentence(warning), icon=":material/warning:")
    if not found.warnings:
        st.success("Nothing about the data looks wrong.", icon=":material/check:")
    sentences = found.sentences.pivot_table(
        index="language", columns="split", values="sentences", aggfunc="sum", fill_value=0
    )
    st.dataframe(
        sentences[[split for split in SPLITS if split in sentences]].reset_index(),
        hide_index=True,
        key="sentences",
    )
    if not labels:
        return
    split = (
        st.segmented_control(
            "Labels of",
            [s for s in SPLITS if s in set(found.counts["split"])],
            default="train",
            required=True,
            key="of",
        )
        or "train"
    )
    mine = found.counts[found.counts["split"] == split]
    st.dataframe(
        mine.pivot_table(
            index="label", columns="language", values="count", aggfunc="sum", fill_value=0
        ).reset_index(),
        hide_index=True,
        key="labels",
    )
