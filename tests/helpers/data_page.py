"""Files on the page Your data."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest

from tests.helpers.pages import opened

PAGE = "pages/lab/data.py"
SPLITS = ("train", "dev", "test")


def rows(split: str, code: str, n: int = 6) -> bytes:
    return (
        "id,text,label\n"
        + "".join(f"{i},day {i} {split} {code},{('bad', 'good')[i % 2]}\n" for i in range(n))
    ).encode()


def files(*codes: str) -> list[tuple[str, bytes, str]]:
    return [
        (f"{split}-{code}.csv", rows(split, code), "text/csv") for split in SPLITS for code in codes
    ]


def brought(named: str, *given: tuple[str, bytes, str]) -> AppTest:
    """The page after these files were uploaded and a name was given."""
    app = opened(PAGE).file_uploader(key="files").set_value(list(given)).run()
    assert not app.exception, [e.message for e in app.exception]
    return app.text_input(key="name").set_value(named).run()
