"""What visitors are told: no folder of the server, whatever is said."""

from __future__ import annotations

import ast
import hashlib
import re
import socket
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sdq.service.redaction import shown
from sdq.service.visitors import OWNER, Room, Visitor, reachable, told
from sdq.settings import ROOT, UserError
from tests.helpers.visiting import ANNA, TEACHER, ask

pytestmark = pytest.mark.usefixtures("plain")


def test_nobody_but_the_owner_learns_which_folders_there_are(tmp_path: Path) -> None:
    there = tmp_path / "there"
    there.mkdir()
    said = []
    for name in (
        str(there),
        str(tmp_path / "here"),
        "~",
        "~root",
        "~nobody-at-all",
        "/etc/passwd",
        "../..",
        "assets/mini/encoder",
        "\0",
        "x" * 5000,
    ):
        for who in (ANNA, TEACHER):
            with pytest.raises(UserError) as told_to:
                reachable(name, who, ["mini"], "model")
            said.append(
                str(told_to.value).partition(", got")[0] + str(told_to.value).partition(";")[2]
            )
        assert reachable(name, OWNER, ["mini"], "model") == name
    assert len(set(said)) == 1
    assert reachable("mini", ANNA, ["mini"], "model") == "mini"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "model folder must hold config.json, /home/t/models/x does not; save it",
            "model folder must hold config.json, .../x does not; save it",
        ),
        ("got '/srv/a/b', which", "got '.../b', which"),
        ("xglue:/data/XGLUE/NC", "xglue:.../NC"),
        ("~/models/x and ~anna/y", ".../x and .../y"),
        ("(/tmp/a/b/)", "(.../b)"),
        ("/srv/class 7b/private/mine", ".../mine"),
        (
            "config.json must be in /srv/class of 7b/my (old) files/mine; save it",
            "config.json must be in .../mine; save it",
        ),
        ("got '/srv/class, (7b); a/private/my own', which", "got '.../my own', which"),
        ('got "/srv/anna\'s/mine", which', 'got ".../mine", which'),
        ("file:///etc/passwd and file:/etc/group", ".../passwd and .../group"),
        ("got 'file:///srv/class 7b/mine'", "got '.../mine'"),
        ("//etc/passwd, xglue:///data/XGLUE/NC", ".../passwd, xglue:.../NC"),
        ("FacebookAI/xlm-roberta-base", "FacebookAI/xlm-roberta-base"),
        ("see https://huggingface.co/a/b and w/o", "see https://huggingface.co/a/b and w/o"),
        ("3 / 4 and 1/2", "3 / 4 and 1/2"),
        ("mini", "mini"),
        ("/srv/class 7b/mine must be owner/model", ".../mine must be owner/model"),
        ("/srv/mine does not hold w/o", ".../mine does not hold w/o"),
        ("/srv/mine is not (a/b); save it", ".../mine is not (a/b); save it"),
        ("in /srv/mine it has 3/4 of them", "in .../mine it has 3/4 of them"),
        ("/srv/what is/mine", ".../mine"),
        ("/mnt/x,y/secret/mine does not", ".../mine does not"),
        ("/mnt/x:y/secret/mine; save it", ".../mine; save it"),
        ("/mnt/x;y/secret/mine, which", ".../mine, which"),
        ("/mnt/x(y)/secret/mine: it", ".../mine: it"),
        ("(/mnt/(x)/secret/mine).", "(.../mine)."),
        ("/mnt/it's/secret/mine does not", ".../mine does not"),
        ("got '/mnt/it's/secret/my own', which", "got '.../my own', which"),
        ("'/mnt/o'/secret/mine' is", "'.../mine' is"),
        ("/mnt/my x,y/secret/mine is", ".../mine is"),
        ("/mnt/a,b/secret/c,d and '/srv/e' or '/srv/f'", ".../c,d and '.../e' or '.../f'"),
    ],
)
def test_paths_are_cut_to_their_last_part(text: str, expected: str) -> None:
    assert shown(text) == expected
    assert told(text, ANNA) == expected
    assert told(text, OWNER) == text


PLACE = re.compile(
    r"\b(path|folder|place|home|root|file|target|out)\b(?!\.(name|stem|parts|suffix))"
)


def sentences_with_a_path() -> Iterator[tuple[str, ast.JoinedStr]]:
    """Every sentence of an error in sdq that names a path: where it is, and the f-string."""
    for file in sorted((ROOT / "sdq").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if not isinstance(node, ast.Call) or ast.unparse(node.func) != "UserError":
                continue
            for said in node.args:
                values = said.values if isinstance(said, ast.JoinedStr) else ()
                if any(
                    PLACE.search(ast.unparse(v.value))
                    for v in values
                    if isinstance(v, ast.FormattedValue)
                ):
                    assert isinstance(said, ast.JoinedStr)
                    yield f"{file.relative_to(ROOT)}:{node.lineno}", said


def filled(said: ast.JoinedStr, path: str) -> str:
    """The sentence with `path` for what is a path, and a name with a slash for all else."""

    def one(value: ast.expr) -> str:
        if isinstance(value, ast.Constant):
            return str(value.value)
        assert isinstance(value, ast.FormattedValue)
        if isinstance(value.value, ast.IfExp) and isinstance(value.value.body, ast.Constant):
            return str(value.value.body.value)
        text = path if PLACE.search(ast.unparse(value.value)) else "owner/model"
        return repr(text) if value.conversion == ord("r") else text

    return "".join(map(one, said.values))


def test_no_sentence_loses_a_word_beside_its_path() -> None:
    found = list(sentences_with_a_path())
    assert len(found) > 40
    for where, said in found:
        for path in ("/srv/class 7b/mine", "/srv/x,y/it's/a:b;(c)/mine"):
            short, expected = shown(filled(said, path)), filled(said, ".../mine")
            assert short.replace('"', "'") == expected.replace('"', "'"), (
                where
            )  # repr chooses the quotes


@pytest.mark.parametrize(
    "text",
    ["/" + "," * 3000, "/a" + " b" * 3000, "/a,b(" * 1000, "'/a'b" * 1000, "/" + "(a) " * 2000],
)
def test_a_long_text_is_read_in_no_time(text: str) -> None:
    started = time.process_time()
    shown(text)
    assert time.process_time() - started < 2


@pytest.mark.parametrize("name", ["class, 7b (a)", "anna's; data", "a  b: c"])
def test_what_is_known_here_is_cut_whatever_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    data, home = tmp_path / name / "data", tmp_path / "home" / name
    monkeypatch.setenv("SDQ_DATA", str(data))
    monkeypatch.setenv("HOME", str(home))
    assert shown(f"{data}/inbox/mine must be x, {home}/y/z is; see {data}2").startswith(
        ".../mine must be x, .../z is; see "
    )
    assert shown(f"the folder is {data}.") == "the folder is .../data."
    assert shown(str(data / "inbox")) == ".../inbox"


@pytest.mark.parametrize("host", ["{name}", "{name}.local", "192.0.2.9", "fd00::9"])
def test_names_that_a_network_answers_for_are_those_of_an_open_server_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str
) -> None:
    """Whoever answers mDNS may point them to 127.0.0.1, and would be the owner there."""
    monkeypatch.setattr("sdq.service.visitors.addresses", lambda: ["192.0.2.9", "fd00::9"])
    host = host.format(name=socket.gethostname().lower())
    host = f"[{host}]:8501" if "::" in host else f"{host}:8501"
    assert ask(Room.at("127.0.0.1", tmp_path), host=host)[0] == 421
    assert ask(Room.at("0.0.0.0", tmp_path), host=host)[0] == 403, "known, and in need of a link"
    assert ask(Room.at("127.5.5.5", tmp_path), host="127.5.5.5:8501")[2] == "in"


@pytest.mark.parametrize(
    ("claims", "role"),
    [
        ({"email": "ada@example.org", "email_verified": True}, "teacher"),
        ({"email": "ada@example.org", "email_verified": False}, "student"),
        ({"email": "ada@example.org", "email_verified": "false"}, "student"),
        ({"email": "ada@example.org"}, "student"),
        ({"email": "eve@example.org", "email_verified": True}, "student"),
        ({"email_verified": True}, "student"),
    ],
)
def test_the_recipe_for_accounts_trusts_no_address_that_nobody_checked(
    claims: dict[str, Any], role: str
) -> None:
    """What docs/serving.md says to write into `visitor()`, with made-up claims."""
    text = (
        (ROOT / "docs" / "serving.md")
        .read_text("utf-8")
        .partition("`pages/components/session.py`, instead of")[2]
    )
    lines = [line[4:] for line in text.split("\n\n")[1].splitlines()]
    names = {
        "st": SimpleNamespace(
            user={"sub": "1234", **claims}, secrets={"sdq": {"teachers": ["ada@example.org"]}}
        ),
        "hashlib": hashlib,
        "Visitor": Visitor,
    }
    exec("def visitor():\n" + "\n".join(f"    {line}" for line in lines), names)
    found = names["visitor"]()  # type: ignore[operator]
    assert (found.role, len(found.name)) == (role, 32)


def test_no_start_watches_the_files_of_the_environment() -> None:
    """Watching them all overflows the system's queue, and floods the terminal."""
    config = tomllib.loads((ROOT / ".streamlit" / "config.toml").read_text("utf-8"))
    assert config["server"]["fileWatcherType"] == "none"
