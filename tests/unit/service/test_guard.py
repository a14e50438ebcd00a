"""Who may come in, from where, and what a link opens. The guard is asked as a server asks it: by
ASGI."""

from __future__ import annotations

from pathlib import Path

import pytest

from sdq.service.guard import LED
from sdq.service.visitors import Room, Visitor
from tests.helpers.visiting import ANNA, LAN, OWN, TEACHER, TEACHERS, TOKEN, ask, cookie_of

pytestmark = pytest.mark.usefixtures("plain")


# --- Host and Origin


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


# --- at home


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


# --- a room


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
