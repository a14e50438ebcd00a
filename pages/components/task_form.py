"""The form for the visitor's own task: upload, split and language of each file, columns, counts."""

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
    "sentence": "One label per sentence",
    "pair": "One label per pair of texts",
    "token": "One tag per word",
    "ranking": "Relevance of a document to a query",
    "retrieval": "Translation retrieval (no labels)",
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
    "group": "Query id (none: adjacent rows with the same text)",
    "id": "Id (none: the row number)",
    "language": "Language",
    "split": "Split",
}
NONE = "none"


def inbox() -> Path:
    """The folder whose files the page offers besides uploads: in the data folder, so that no URL
    reaches other files."""
    return home().parent / "inbox"


def inbox_name() -> str:
    """The inbox as this visitor may see it: the path, unless the machine is somebody else's."""
    return str(inbox()) if visitor().at_home else "the inbox of the data folder"


def no_file_hint() -> str:
    """What this visitor can do before a file is selected."""
    hint = (
        "No file is selected yet. Files on this machine can also be placed in "
        f"{quoted(inbox_name())}."
    )
    if visitor().leads:
        return (
            f"{hint} If you already have a task file, use the command line: `sdq task check "
            "task.json`."
        )
    return f"{hint} Ask your teacher to place them there."


def fresh_key(name: str) -> str:
    """The key of a control that is empty again once a task is saved; the other controls disappear
    with the files."""
    round = st.session_state.get("tasks-kept", 0)
    return f"{name}-{round}" if round else name


def reset_form(name: str) -> None:
    """Empty the form after a task of this name was saved from it."""
    forget(st.session_state.get(fresh_key("files")) or ())
    st.session_state["tasks-kept"] = st.session_state.get("tasks-kept", 0) + 1
    st.session_state["kept"] = st.session_state["just-kept"] = name


def uploaded_files() -> tuple[list[tuple[str, Path]], list[pd.DataFrame], list[str]]:
    """(name and path, first rows) of the uploaded or selected files that can be read, and the names
    of those that cannot, each with an error on the page."""
    uploads = st.file_uploader(
        f"Files ({', '.join(name.partition(' (')[0] for name in CALLED.values())}; at most "
        f"{limits().upload_mb} MB each)",
        accept_multiple_files=True,
        key=fresh_key("files"),
        max_upload_size=limits().upload_mb,
        help="One file for everything, or one per language and split. "
        "The format is recognised from the content, not from the file extension.",
    )
    selected = [(file.name, path_of(file)) for file in uploads or ()]
    in_inbox = {
        path.name: path
        for path in sorted(inbox().glob("*"))
        if path.is_file() and not path.is_symlink() and path.name[0] != "."
    }
    if in_inbox:
        chosen = st.multiselect(f"Files in {inbox_name()}", list(in_inbox), key=fresh_key("inbox"))
        selected += [(name, in_inbox[name]) for name in chosen]
    if len(selected) > limits().uploads:
        raise UserError(
            f"a task can have at most {limits().uploads} files, got {len(selected)}; merge some, "
            "or write a task file by hand"
        )
    if not selected:
        return [], [], []
    files, tables, bad = list[tuple[str, Path]](), list[pd.DataFrame](), list[str]()
    for (name, path), table in zip(
        selected,
        _previews(tuple((str(path), path.stat().st_mtime) for _, path in selected)),
        strict=True,
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


def file_roles(files: Sequence[tuple[str, Path]], by_row: bool) -> list[Incoming]:
    """Split and language of each file, suggested by its name. `by_row`: a column has the
    language."""
    incoming = []
    with st.expander(
        "Split and language of each file", icon=":material/folder_open:", expanded=len(files) <= 3
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
            incoming.append(Incoming(name, path, split, code))
    return incoming


@st.cache_resource(max_entries=32, show_spinner="Reading the files")
def _previews(files: tuple[tuple[str, float], ...]) -> list[pd.DataFrame | UserError]:
    return decoding.previews([Path(path) for path, _ in files])


def first_rows(name: str, table: pd.DataFrame) -> pd.DataFrame:
    """The first rows of a file and its recognised format, shown before anything is stored."""
    about = table.attrs
    proposed = ", ".join(
        f"{LABELS[role].partition(' (')[0].lower()}: {quoted(column)}"
        for role, column in about["columns"].items()
    )
    looks = f" ({about['looks']})" if about["looks"] else ""
    st.caption(
        f"{quoted(name)} was recognised as {about['format']}, {len(table.columns)} columns. "
        f"Suggested: {proposed or 'nothing'}{looks}; nothing is stored until you press Check and "
        "save."
    )
    for remark in about["remarks"]:
        st.warning(quoted_sentence(f"{name}: {remark}."), icon=":material/warning:")
    st.dataframe(table, hide_index=True, key="preview")
    return table


def column_mapping(table: pd.DataFrame) -> dict[str, Any]:
    """kind, columns and metric of a task file: suggested by the first rows, set by the controls."""
    columns, proposed = [str(column) for column in table.columns], table.attrs["columns"]
    kind = table.attrs["kind"]
    kind = (
        st.radio(
            "What is predicted",
            list(KINDS),
            list(KINDS).index(kind),
            format_func=KINDS.__getitem__,
            key="kind",
        )
        or kind
    )
    chosen_columns: dict[str, str] = {}
    row = st.container(horizontal=True, vertical_alignment="bottom", key="columns")
    for role in dict.fromkeys((*ROLES[kind], "id", "language", "split")):
        free = role in ("language", "split", "group") or (role == "id" and kind != "retrieval")
        options = [NONE, *columns] if free else columns
        left = [
            i for i, column in enumerate(options) if column not in chosen_columns.values()
        ]  # a column is suggested for one role only
        start = (
            options.index(proposed[role])
            if proposed.get(role) in options
            else 0
            if free
            else next(iter(left), 0)
        )
        label = LABELS[role] if free or role != "id" else "Id (shared by translations)"
        chosen = row.selectbox(label, options, start, key=f"column-{kind}-{role}", width=220)
        if chosen and chosen != NONE:
            chosen_columns[role] = chosen
    cells = (
        [str(cell).split(" ") for cell in table[chosen_columns["tags"]]]
        if "tags" in chosen_columns
        else []
    )
    tags = [
        tag for cell in cells for tag in (cell[:-2] if cell[-1] == "…" else cell)
    ]  # a long cell is cut, perhaps inside a tag
    scored = metrics(kind, tags)
    metric = row.selectbox(
        "Metric",
        scored,
        format_func=lambda name: METRICS[name].name,
        key=f"metric-{kind}-{scored[0]}",
        width=220,
        help=f"Suggested: {METRICS[scored[0]].name}.",
    )
    return {"kind": kind, "columns": chosen_columns, "metric": metric or scored[0]}


def split_shares(files: Sequence[Incoming], columns: dict[str, str]) -> dict[str, Any]:
    """The shares of train, dev and test, for a task without splits."""
    if "split" in columns or any(file.split != "all" for file in files):
        return {}
    train, dev = st.slider(
        "End of train and of dev, %; the rest is test",
        5,
        95,
        (70, 80),
        key="shares",
        help="Rows are assigned by a fixed hash of the id, so translations of a sentence stay "
        "together.",
    )
    return {"shares": [train / 100, (dev - train) / 100, (100 - dev) / 100]}


@st.cache_resource(max_entries=16, show_spinner="Counting sentences and labels")
def _checked(name: str, content: str) -> Checked:
    return decoding.checked(name)


def checked(name: str) -> Checked:
    """The checks of a task's data; cached until the data change."""
    return _checked(name, task_fingerprint(name))


def show_counts(check: Checked, labels: bool) -> None:
    """Warnings, then sentences by language and split, and label counts by language if the task has
    `labels`."""
    for warning in check.warnings:
        st.warning(quoted_sentence(warning), icon=":material/warning:")
    if not check.warnings:
        st.success("The checks found no problem in the data.", icon=":material/check:")
    sentences = check.sentences.pivot_table(
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
            "Label counts of",
            [s for s in SPLITS if s in set(check.counts["split"])],
            default="train",
            required=True,
            key="of",
        )
        or "train"
    )
    label_counts = check.counts[check.counts["split"] == split]
    st.dataframe(
        label_counts.pivot_table(
            index="label", columns="language", values="count", aggfunc="sum", fill_value=0
        ).reset_index(),
        hide_index=True,
        key="labels",
    )
