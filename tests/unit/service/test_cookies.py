"""Cookies, links from elsewhere, and the tokens of a room."""

from __future__ import annotations

import html
import json
import re
import stat
from pathlib import Path

import pytest

from sdq.service.visitors import Room, Visitor, is_loopback, is_open
from sdq.settings import UserError
from sdq.store import Store
from tests.helpers.visiting import ANNA, TEACHER, TEACHERS, TOKEN, ask, cookie_of

pytestmark = pytest.mark.usefixtures("plain")


def test_a_cookie_cannot_be_made_or_changed(classroom: Room, at_home: Room) -> None:
    good = classroom.issue(ANNA)
    name, _, signature = good.split(".")
    for value in (
        good[:-1],
        good + "0",
        f"{name}.teacher.{signature}",
        f"{'b' * 32}.student.{signature}",
        f"{name}.owner.{signature}",
        "",
        "..",
        "å.b.c",
        good.upper(),
    ):
        assert classroom.read({classroom.cookie: value}) is None, value
    assert classroom.read({classroom.cookie: good}) == ANNA
    assert (
        ask(classroom, cookie=f"{classroom.cookie}={at_home.issue(Visitor('d' * 32, 'owner'))}")[0]
        == 403
    )  # the owner's own of another day


def test_new_tokens_make_old_cookies_worthless(
    classroom: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cookie = f"{classroom.cookie}={classroom.issue(ANNA)}"
    assert ask(classroom, cookie=cookie)[0] == 200
    monkeypatch.setenv("SDQ_ROOM_TOKEN", "students-of-2027")
    assert ask(Room.at("0.0.0.0", tmp_path / "data"), cookie=cookie)[0] == 403


def test_a_link_from_a_mail_is_followed_although_the_cookie_is_strict(classroom: Room) -> None:
    """A browser that comes from another site leaves the cookie out: it is sent to the same page
    once more, from here."""
    status, _, body = ask(
        classroom, "/runs?search=x", sec_fetch_site="cross-site", sec_fetch_mode="navigate"
    )
    assert (status, onward(body)) == (200, "/runs?search=x&sdq-again=1")
    assert (
        ask(classroom, "/runs", sec_fetch_site="same-origin", sec_fetch_mode="navigate")[0] == 403
    )
    assert ask(classroom, "/runs", sec_fetch_site="cross-site", sec_fetch_mode="cors")[0] == 403


def onward(body: str) -> str:
    """The address that a page opens at once."""
    found = re.search(r'content="0;url=([^"]*)"', body)
    return html.unescape(found[1]) if found else ""


CROSS = {"sec_fetch_site": "cross-site", "sec_fetch_mode": "navigate"}
HOW = pytest.mark.parametrize("how", [CROSS, {"accept": "text/html"}], ids=["https", "http"])


def follow(room: Room, path: str, cookie: str, **how: str) -> tuple[str, list[str]]:
    """(cookie, addresses) of a browser that follows a link of another site: the first request is
    without its cookie."""
    seen, sent = [path], ""
    for _ in range(5):
        status, headers, body = ask(room, seen[-1], cookie=sent, **how)
        cookie = cookie_of(headers) if "set-cookie" in headers else cookie
        if body == "in" or not onward(body):
            return (cookie if body == "in" else f"refused with {status}"), seen
        seen.append(onward(body))
        sent, how = cookie, {k: v.replace("cross-site", "same-origin") for k, v in how.items()}
    raise AssertionError(seen)


@HOW
@pytest.mark.parametrize(
    ("had", "link", "role"),
    [
        (ANNA, TOKEN, "student"),
        (ANNA, TEACHERS, "teacher"),
        (TEACHER, TEACHERS, "teacher"),
        (TEACHER, TOKEN, "teacher"),
        (TEACHER, "", "teacher"),
        (ANNA, "", "student"),
    ],
)
def test_who_opens_a_link_again_stays_who_he_is(
    classroom: Room, had: Visitor, link: str, role: str, how: dict[str, str]
) -> None:
    path = f"/runs?search=x%20y&token={link}" if link else "/runs?search=x%20y"
    cookie, seen = follow(classroom, path, f"{classroom.cookie}={classroom.issue(had)}", **how)
    name, _, value = cookie.partition("=")
    assert classroom.read({name: value}) == Visitor(had.name, role)
    assert seen[-1] in ("/runs?search=x+y", path if not link else "")


@HOW
def test_who_opens_a_link_for_the_first_time_from_a_mail_comes_in(
    classroom: Room, how: dict[str, str]
) -> None:
    name, _, value = follow(classroom, f"/?token={TOKEN}", "", **how)[0].partition("=")
    known = classroom.read({name: value})
    assert known is not None
    assert known.role == "student"
    assert follow(classroom, "/?token=wrong", "", **how)[0] == "refused with 403"
    assert follow(classroom, "/", "", **how)[0] == "refused with 403"


def test_the_owner_who_follows_a_link_of_another_site_keeps_his_name(at_home: Room) -> None:
    owner = f"{at_home.cookie}={at_home.issue(Visitor('d' * 32, 'owner'))}"
    for path in ("/runs", f"/runs?token={at_home.student}"):
        assert follow(at_home, path, owner, accept="text/html", **CROSS)[0] == owner


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1", False),
        ("localhost", False),
        ("::1", False),
        ("127.5.5.5", False),
        ("0.0.0.0", True),
        ("::", True),
        (None, True),
        ("192.0.2.1", True),
        ("lab", True),
    ],
)
def test_a_server_on_any_other_address_is_open(address: str | None, expected: bool) -> None:
    assert is_open(address) is expected
    assert is_loopback("::ffff:127.0.0.1")
    assert not is_loopback("::ffff:192.0.2.1")


@pytest.mark.parametrize("name", ["SDQ_HOSTS", "SDQ_ROOM_TOKEN", "SDQ_TEACHER_TOKEN"])
def test_a_proxy_or_a_token_opens_it_too(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "lab.example.org")
    assert is_open("127.0.0.1")


def test_links_carry_the_tokens_and_an_address_others_can_reach(
    classroom: Room, at_home: Room, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert classroom.links("0.0.0.0", 8501) == {
        "student": f"http://lab.example.org/?token={TOKEN}",
        "teacher": f"http://lab.example.org/?token={TEACHERS}",
    }
    monkeypatch.delenv("SDQ_HOSTS")
    monkeypatch.setattr("sdq.service.visitors.addresses", lambda: ["192.0.2.9"])
    assert classroom.links(None, 8501)["student"] == f"http://192.0.2.9:8501/?token={TOKEN}"
    assert (
        classroom.links("fd00::1", 8501, "https")["student"]
        == f"https://[fd00::1]:8501/?token={TOKEN}"
    )


@pytest.mark.parametrize("token", ["short", "with space in it", "x" * 129, "ümlaut-token-2026"])
def test_a_token_that_can_be_guessed_or_breaks_a_link_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, token: str
) -> None:
    monkeypatch.setenv("SDQ_ROOM_TOKEN", token)
    with pytest.raises(UserError, match="SDQ_ROOM_TOKEN must be 12 to 128"):
        Room.at("0.0.0.0", tmp_path)


def test_one_token_for_both_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDQ_ROOM_TOKEN", TOKEN)
    monkeypatch.setenv("SDQ_TEACHER_TOKEN", TOKEN)
    with pytest.raises(UserError, match="must differ"):
        Room.at("0.0.0.0", tmp_path)


def test_secrets_are_for_their_owner_alone(tmp_path: Path) -> None:
    data = tmp_path / "new" / "data"
    room = Room.at("0.0.0.0", data)
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    assert stat.S_IMODE((data / "room.json").stat().st_mode) == 0o600
    assert len({room.secret, room.student, room.teacher}) == 3
    assert Room.at("0.0.0.0", data) == room
    (data / "room.json").chmod(0o644)
    with pytest.raises(UserError, match="readable by you alone"):
        Room.at("0.0.0.0", data)
    (data / "room.json").chmod(0o600)
    for text in ("", "{", "[]", json.dumps({"secret": "x"}), "\xff"):
        (data / "room.json").write_bytes(text.encode("latin-1"))
        with pytest.raises(UserError, match="must hold the secrets"):
            Room.at("0.0.0.0", data)


def test_a_run_makes_the_data_folder_private(tmp_path: Path) -> None:
    store = Store(tmp_path / "data" / "runs", None)
    store.begin("0123456789ab", {})
    assert stat.S_IMODE(store.folder.parent.stat().st_mode) == 0o700
