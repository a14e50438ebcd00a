"""The README is short, what it shows is there, and it leads to every page of the docs."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from sdq.settings import ROOT

README = (ROOT / "README.md").read_text("utf-8")
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
SNIPPET = re.compile(r"<!-- snippet -->\n```python\n(.*?)```\n<!-- /snippet -->", re.S)
LINK = re.compile(r"\]\(([^)\s]+)\)")


def links(text: str) -> list[str]:
    """Where the links and pictures of Markdown lead, code left out."""
    prose = re.sub(r"```.*?```|`[^`\n]*`", "", text, flags=re.S)
    return [link for link in LINK.findall(prose) if not link.startswith(("http://", "https://"))]


def anchors(text: str) -> set[str]:
    """The names that GitHub gives to headings."""
    titles = re.findall(r"^#+ (.+)$", text, re.M)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_readme_is_short() -> None:
    assert len(README.split()) <= 1300


def test_the_snippet_of_the_readme_runs_as_it_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (snippet,) = SNIPPET.findall(README)
    assert len(snippet.splitlines()) <= 25
    (tmp_path / "assets").symlink_to(ROOT / "assets")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SDQ_DATA", str(tmp_path / "data"))
    names: dict[str, Any] = {}
    exec(compile(snippet, "README.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "zero-shot" in printed
    assert "roberta.embeddings.word_embeddings" in printed
    assert (tmp_path / "report.html").stat().st_size > 1e5
    assert type(names["quantized"]) is type(names["model"])


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    for link in links(text):
        name, _, anchor = link.partition("#")
        target = page.parent / name if name else page
        assert target.exists(), link
        if anchor:
            assert anchor in anchors(target.read_text("utf-8")), link


def test_the_readme_leads_to_every_page_of_the_docs() -> None:
    linked = set(links(README))
    assert not {page.relative_to(ROOT).as_posix() for page in PAGES[2:]} - linked


def test_pictures_of_the_readme_say_what_they_show() -> None:
    pictures = re.findall(r"!\[([^\]]*)\]\((docs/screens/\w+\.png)\)", README)
    assert {Path(name).name for _, name in pictures} == {
        path.name for path in (ROOT / "docs" / "screens").glob("*.png")
    }
    assert all(len(alt.split()) >= 5 for alt, _ in pictures)


def test_what_the_snippet_writes_is_ignored_in_a_clone() -> None:
    (snippet,) = SNIPPET.findall(README)
    (written,) = re.findall(r'sdq\.report\(.*"(\S+)"\)', snippet)
    assert f"/{written}" in (ROOT / ".gitignore").read_text("utf-8").splitlines()
