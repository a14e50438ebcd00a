"""Templates: text is escaped, what is missing is an error, all are installed with the package."""

from __future__ import annotations

import tomllib
from fnmatch import fnmatch
from pathlib import Path

import pytest
from jinja2 import UndefinedError
from markupsafe import Markup

from sdq.io.templates import rendered
from sdq.settings import ROOT

TABLE = {"title": "T", "of": 1, "rows": 9, "rest": ""}
TEMPLATES = sorted((ROOT / "sdq").glob("*/templates/*.html"))


def test_text_is_escaped_and_html_is_not() -> None:
    hostile = "\"><script>alert('x')</script>"
    text = rendered("sdq.reporting", "table.html", body=hostile, **TABLE | {"title": hostile})
    assert "<script" not in text
    assert '">' not in text.partition("aria-label=")[2][1:20]
    assert "<b>1</b>" in rendered("sdq.reporting", "table.html", body=Markup("<b>1</b>"), **TABLE)


def test_what_a_template_is_not_given_is_an_error() -> None:
    with pytest.raises(UndefinedError, match="'body' is undefined"):
        rendered("sdq.reporting", "table.html", **TABLE)


@pytest.mark.parametrize("path", TEMPLATES, ids=lambda path: path.name)
def test_nothing_gets_past_the_escaping_or_asks_the_network(path: Path) -> None:
    text = path.read_text("utf-8")
    assert "safe" not in text.replace("unsafe", "").split()
    assert "autoescape" not in text
    assert "http" not in text


def test_every_file_of_the_package_is_installed_with_it() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["setuptools"]
    patterns = settings["package-data"]["sdq"]
    files = [p.relative_to(ROOT / "sdq") for p in (ROOT / "sdq").rglob("*") if p.is_file()]
    data = [p for p in files if p.suffix != ".py" and "__pycache__" not in p.parts]
    assert len(TEMPLATES) >= 5
    assert not [p for p in data if not any(fnmatch(p.as_posix(), pattern) for pattern in patterns)]
