"""Who may come in, as whom, and what each may change. The guard is asked as a server asks it: by
ASGI."""

from __future__ import annotations

import ast
import asyncio
import hashlib
import html
import json
import os
import re
import socket
import stat
import time
import tomllib
from collections.abc import Iterator, MutableMapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sdq.data.kept import home
from sdq.intake.own_tasks import Incoming, keep
from sdq.jobs import history
from sdq.jobs import queue as jobs
from sdq.recipe import PRESETS
from sdq.service.guard import LED, Guard
from sdq.service.visitors import (
    OWNER,
    Room,
    Visitor,
    askers,
    is_loopback,
    is_open,
    reachable,
    shown,
    told,
)
from sdq.settings import ROOT, UserError
from sdq.store import Store, run_id
from tests import made_up

ANNA, BEN, TEACHER = Visitor("a" * 32), Visitor("b" * 32), Visitor("c" * 32, "teacher")
OWN, LAN = ("127.0.0.1", 50_000), ("192.0.2.7", 50_000)
TOKEN, TEACHERS = "students-of-2026", "teacher-of-2026"


@pytest.fixture(autouse=True)
def plain(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SDQ_HOSTS", "SDQ_ROOM_TOKEN", "SDQ_TEACHER_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def at_home(tmp_path: Path) -> Room:
    return Room.at("127.0.0.1", tmp_path / "data")


@pytest.fixture
def classroom(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Room:
    monkeypatch.setenv("SDQ_ROOM_TOKEN", TOKEN)
    monkeypatch.setenv("SDQ_TEACHER_TOKEN", TEACHERS)
    monkeypatch.setenv("SDQ_HOSTS", "lab.example.org")
    return Room.at("0.0.0.0", tmp_path / "data")


def ask(
    room: Room,
    path: str = "/",
    host: str = "127.0.0.1:8501",
    kind: str = "http",
    client: tuple[str, int] = OWN,
    server: str | None = None,
    **headers: str,
) -> tuple[int | str, dict[str, str], str]:
    """(status, headers, body) of a request; "in" as the body of one that was let in, and as the
    status of such a WebSocket."""
    sent: list[MutableMapping[str, Any]] = []

    async def app(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            await send({"type": "websocket.accept"})
        else:
            await send({"type": "http.response.start", "status": 200, "headers": []})
            await send({"type": "http.response.body", "body": b"in"})

    async def send(message: MutableMapping[str, Any]) -> None:
        sent.append(message)

    async def receive() -> MutableMapping[str, Any]:
        return {}

    place, _, query = path.partition("?")
    named = {"host": host, **{name.replace("_", "-"): value for name, value in headers.items()}}
    scope = {
        "type": kind,
        "method": "GET",
        "path": place,
        "query_string": query.encode(),
        "scheme": "http",
        "client": client,
        "server": (server or client[0], 8501),
        "headers": [
            (name.encode(), value.encode("latin-1")) for name, value in named.items() if value
        ],
    }
    asyncio.run(Guard(app, room)(scope, receive, send))
    if kind == "websocket":
        return ("in" if sent[0]["type"] == "websocket.accept" else "refused"), {}, ""
    given = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], given, sent[1]["body"].decode()


def cookie_of(headers: dict[str, str]) -> str:
    return headers["set-cookie"].partition(";")[0]


# Host and Origin


@pytest.mark.parametrize("kind", ["http", "websocket"])
@pytest.mark.parametrize(
    ("host", "origin", "comes_in"),
    [
        ("127.0.0.1:8501", "", True),
        ("localhost:8501", "http://localhost:8501", True),
        ("LOCALHOST:8501", "http://localhost:8501", True),
        ("[::1]:8501", "http://[::1]:8501", True),
        ("127.0.0.1", "http://127.0.0.1:80", True),
        (
            "evil.example:8501",
            "http://evil.example:8501",
            False,
        ),  # DNS rebinding: a foreign name with its own Origin
        ("evil.example:8501", "", False),
        ("127.0.0.1.evil.example", "", False),
        ("localhost.evil.example:8501", "http://localhost.evil.example:8501", False),
        ("localhost@evil.example", "", False),
        ("evil.example#localhost", "", False),
        ("", "", False),
        ("127.0.0.1:8501", "http://evil.example", False),
        ("127.0.0.1:8501", "http://127.0.0.1:9999", False),  # another program of this machine
        ("localhost:8501", "http://127.0.0.1:8501", False),
        ("127.0.0.1:8501", "null", False),
        ("127.0.0.1:8501", "http://127.0.0.1:8501@evil.example", False),
        ("127.0.0.1:8501", "http://[", False),
    ],
)
def test_a_foreign_host_or_origin_stays_out(
    at_home: Room, kind: str, host: str, origin: str, comes_in: bool
) -> None:
    status, _, body = ask(at_home, host=host, kind=kind, origin=origin)
    assert (body == "in" or status == "in") is comes_in
    assert status in ((200, "in") if comes_in else (403, 421, "refused"))


def test_two_hosts_are_none(at_home: Room) -> None:
    assert ask(at_home, Host="127.0.0.1:8501")[0] == 421


def test_what_comes_out_may_not_be_framed(at_home: Room) -> None:
    _, headers, _ = ask(at_home)
    assert headers["x-frame-options"] == "SAMEORIGIN"
    assert headers["x-content-type-options"] == "nosniff"


# at home


def test_at_home_a_browser_is_one_visitor_and_the_owner(at_home: Room, tmp_path: Path) -> None:
    _, headers, _ = ask(at_home, accept="text/html")
    assert all(word in headers["set-cookie"] for word in ("HttpOnly", "SameSite=Strict", "Path=/"))
    name, _, value = cookie_of(headers).partition("=")
    known = at_home.read({name: value})
    assert known is not None
    assert known.at_home
    _, again, _ = ask(at_home, accept="text/html", cookie=cookie_of(headers))
    assert cookie_of(again) == cookie_of(headers)
    assert (
        Room.at("127.0.0.1", tmp_path / "data").read({name: value}) == known
    )  # also after the server was started anew


@pytest.mark.parametrize(
    ("client", "server", "headers"),
    [
        (LAN, "192.0.2.1", {}),
        (LAN, "127.0.0.1", {}),  # behind a proxy that the server trusts
        (OWN, "127.0.0.1", {"x_forwarded_for": "192.0.2.7"}),
        (OWN, "127.0.0.1", {"forwarded": "for=192.0.2.7"}),
        (OWN, "127.0.0.1", {"via": "1.1 proxy"}),
    ],
)
@pytest.mark.parametrize("kind", ["http", "websocket"])
def test_who_does_not_sit_at_the_machine_needs_a_link_whatever_was_configured(
    at_home: Room, kind: str, client: tuple[str, int], server: str, headers: dict[str, str]
) -> None:
    assert ask(at_home, kind=kind, client=client, server=server, **headers)[0] in (403, "refused")
    owner = at_home.issue(Visitor("d" * 32, "owner"))
    assert ask(
        at_home,
        kind=kind,
        client=client,
        server=server,
        cookie=f"{at_home.cookie}={owner}",
        **headers,
    )[0] in (403, "refused")


# a room


@pytest.mark.parametrize(
    "path",
    [
        "/",
        "/runs",
        "/_stcore/health",
        "/_stcore/host-config",
        "/_stcore/upload_file/a/b",
        "/media/x.csv",
        "/static/js/index.js",
    ],
)
def test_without_a_link_nothing_of_a_room_is_seen(classroom: Room, path: str) -> None:
    status, headers, body = ask(classroom, path, accept="text/html")
    assert (status, body == "in", "set-cookie" in headers) == (403, False, False)
    assert "link" in body
    assert ask(classroom, "/_stcore/stream", kind="websocket")[0] == "refused"


@pytest.mark.parametrize(
    ("path", "for_pages"),
    [
        ("/_stcore/health", True),
        ("/_stcore/host-config", True),
        ("/_stcore/stream", True),
        ("/_stcore/upload_file/a/b", True),
        ("/_stcore/bidi-components/x.js", True),
        ("/media/x.csv", True),
        ("/_stcore/metrics", False),
        ("/_stcore/metrics/", False),
        ("//_stcore/metrics", False),
        ("/data/_stcore/metrics", False),
        ("/_stcore/script-health-check", False),
        ("/_stcore/agent/openapi.json", False),
        ("/_stcore/agent/interact", False),
        ("/_stcore/what-comes-with-the-next-version", False),
    ],
)
def test_what_streamlit_tells_of_the_server_is_for_those_who_lead(
    at_home: Room, classroom: Room, path: str, for_pages: bool
) -> None:
    def body(visitor: Visitor) -> str:
        return ask(classroom, path, cookie=f"{classroom.cookie}={classroom.issue(visitor)}")[2]

    assert (body(ANNA) == "in") is for_pages
    assert for_pages or LED.partition(";")[0] in body(ANNA)
    assert body(TEACHER) == "in"
    assert ask(at_home, path)[2] == "in"


@pytest.mark.parametrize(("token", "role"), [(TOKEN, "student"), (TEACHERS, "teacher")])
def test_a_link_lets_in_once_and_for_all(classroom: Room, token: str, role: str) -> None:
    place = f"/quantize?run=1&token={token}&x=%22%3E"
    status, headers, body = ask(
        classroom, place, client=LAN, host="lab.example.org", sec_fetch_site="none"
    )
    assert (status, token in body) == (200, False)
    assert 'url=/quantize?run=1&amp;x=%22%3E"' in body
    name, _, value = cookie_of(headers).partition("=")
    known = classroom.read({name: value})
    assert known is not None
    assert known.role == role
    for kind in ("http", "websocket"):
        assert ask(
            classroom,
            "/x",
            kind=kind,
            client=LAN,
            host="lab.example.org",
            cookie=f"other=1; {cookie_of(headers)}",
        )[0] in (200, "in")


@pytest.mark.parametrize(
    "token", ["", "x", TOKEN[:-1], TOKEN + "x", TOKEN.upper(), "å", "%00", TOKEN + "%00"]
)
def test_another_token_lets_nobody_in(classroom: Room, token: str) -> None:
    status, headers, body = ask(classroom, f"/?token={token}")
    assert status == 403
    assert "set-cookie" not in headers
    assert "This link is not valid, or not any more" in body, (
        "and not what is said to who has no link"
    )
    assert "not valid" not in ask(classroom, "/")[2]


def test_a_page_of_the_guard_follows_the_theme_to_its_edges(classroom: Room) -> None:
    assert ":root{color-scheme:light dark}" in ask(classroom, "/")[2]


@pytest.mark.parametrize("path", ["//evil.example/", "/\\evil.example/", "///evil.example"])
def test_a_link_leads_nowhere_else(classroom: Room, path: str) -> None:
    assert "url=/evil.example" in ask(classroom, f"{path}?token={TOKEN}")[2]


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


# what each may change


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    monkeypatch.setenv("SDQ_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(jobs, "ensure", lambda store: None)
    monkeypatch.setattr(
        jobs, "identify", lambda recipe, model, task: run_id(recipe, "made-up", task)
    )
    return Store(tmp_path / "data" / "runs", None)


def started(store: Store, name: str, *by: Visitor) -> str:
    """A finished run that these visitors asked for; nobody: from the command line."""
    for who in by:
        jobs.submit(PRESETS[name], "mini", "intent", store, who.name)
    run = made_up.add(store, PRESETS[name]).run
    (jobs.queue(store) / run).unlink(missing_ok=True)
    return run


@pytest.mark.parametrize(
    ("by", "may"),
    [
        ((), (OWNER, TEACHER)),
        ((ANNA,), (OWNER, TEACHER, ANNA)),
        ((ANNA, BEN), (OWNER, TEACHER)),
        ((OWNER, ANNA), (OWNER, TEACHER)),
    ],
    ids=["command line", "one", "two", "owner and one"],
)
def test_a_run_is_deleted_and_brought_back_by_who_alone_asked_for_it(
    store: Store, by: tuple[Visitor, ...], may: tuple[Visitor, ...]
) -> None:
    run = started(store, "ptq-w3a8", *by)
    for who in (ANNA, BEN, TEACHER, OWNER):
        assert history.mine(store, run, who) is (who in may)
        if who not in may:
            with pytest.raises(UserError, match="must be one that you alone started to be deleted"):
                history.delete(store, [run], who)
            history.delete(store, [run])
            assert history.in_trash(store, who) == {}
            with pytest.raises(
                UserError, match="must be one that you alone started to be brought back"
            ):
                history.restore(store, [run], who)
            history.restore(store, [run])
        else:
            history.delete(store, [run], who)
            assert list(history.in_trash(store, who)) == [run]
            history.restore(store, [run], who)
        assert store.done(run)


def test_one_foreign_run_among_own_ones_and_none_is_deleted(store: Store) -> None:
    mine, others = started(store, "ptq-w3a8", ANNA), started(store, "fp32", BEN)
    with pytest.raises(UserError, match=others):
        history.delete(store, [mine, others], ANNA)
    assert store.done(mine)
    assert store.done(others)


def test_only_who_leads_empties_the_trash_and_pins(store: Store) -> None:
    run = started(store, "ptq-w3a8", ANNA)
    with pytest.raises(UserError, match="only the teacher"):
        history.pin(store, [run], who=ANNA)
    history.delete(store, [run], ANNA)
    with pytest.raises(
        UserError, match="only the teacher or the owner of this machine can empty the trash"
    ):
        history.empty_trash(store, ANNA)
    assert list(history.in_trash(store)) == [run]
    assert history.empty_trash(store, TEACHER) > 0


def test_whoever_asks_for_a_finished_run_relies_on_it(store: Store) -> None:
    run = started(store, "ptq-w3a8", ANNA)
    jobs.submit(PRESETS["ptq-w3a8"], "mini", "intent", store, BEN.name)
    assert askers(store.folder / run) == {ANNA.name, BEN.name}
    plain = started(store, "fp32")
    jobs.submit(PRESETS["fp32"], "mini", "intent", store, BEN.name)
    assert askers(store.folder / plain) == {OWNER.name, BEN.name}  # it does not become his


def test_a_stranger_stops_no_run(store: Store) -> None:
    run = jobs.submit(PRESETS["ptq-w3a8"], "mini", "intent", store, ANNA.name)
    for path in (store.folder / run / "interest").iterdir():
        os.utime(path, (1, 1))  # her browser is closed
    assert jobs.cancel(run, store, BEN.name, BEN.role) is False
    assert jobs.state(run, store).status == "queued"
    assert jobs.cancel(run, store, TEACHER.name, TEACHER.role) is True


def test_a_teacher_stops_what_others_still_look_at(store: Store) -> None:
    run = jobs.submit(PRESETS["ptq-w3a8"], "mini", "intent", store, ANNA.name)
    assert jobs.cancel(run, store, TEACHER.name, TEACHER.role) is True


def test_a_task_is_replaced_by_who_brought_it_or_leads(store: Store, tmp_path: Path) -> None:
    rows = "".join(
        f"{split},{code},text {i} {split} {code},{'ab'[i % 2]}\n"
        for split in ("train", "dev", "test")
        for code in ("en", "de")
        for i in range(4)
    )
    file = tmp_path / "all.csv"
    file.write_text("split,language,text,label\n" + rows)
    fields = {
        "name": "topics",
        "kind": "sentence",
        "training_language": "en",
        "columns": {n: n for n in ("split", "language", "text", "label")},
    }
    incoming = [Incoming("all.csv", file, "all", None)]
    keep(fields, incoming, who=ANNA)
    assert askers(home() / "topics") == {ANNA.name}
    with pytest.raises(UserError, match="is another's"):
        keep(fields, incoming, True, BEN)
    keep(fields, incoming, True, ANNA)
    keep(fields, incoming, True, TEACHER)
    with pytest.raises(UserError, match="is another's"):
        keep(fields, incoming, True, ANNA)


# folders


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
        "assets/mini/intent",
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
