"""Runs in the list of the page Runs."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

from sdq.store import Store


def tick(app: AppTest, *runs: str) -> AppTest:
    table = app.dataframe[0]
    rows = [list(table.value["id"]).index(run) for run in runs]
    app.session_state[table.key] = {"selection": {"rows": rows}}
    app.run()
    assert not app.exception, [e.message for e in app.exception]
    return app


def broken(store: Store, run: str, name: str = "sentences.parquet") -> None:
    """A file of a finished run that is not as it was written."""
    (store.folder / run / name).write_bytes((store.folder / run / name).read_bytes()[:-1] + b"?")
