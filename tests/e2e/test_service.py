"""The door of a real server, knocked at by sockets: no browser is needed."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.e2e import browser as machine

STUDENTS, TEACHERS = "students-of-2026", "teacher-of-2026"


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """A server that somebody opened by hand, without `make serve`."""
    folder = tmp_path_factory.mktemp("room")
    with machine.serve(
        folder / "data", listen="0.0.0.0", SDQ_ROOM_TOKEN=STUDENTS, SDQ_TEACHER_TOKEN=TEACHERS
    ) as address:
        yield address, folder


@pytest.fixture(scope="module")
def cookie(room: tuple[str, Path]) -> str:
    """Of somebody who came by the students' link: what is refused below is refused in spite of
    it."""
    return knock(room[0], f"/?token={STUDENTS}", Sec_Fetch_Site="none")[1]["set-cookie"].partition(
        ";"
    )[0]


def knock(
    address: str, path: str = "/", host: str | None = None, **headers: str
) -> tuple[int, dict[str, str], str]:
    """(status, headers, beginning of the body) of a request; 101 is a WebSocket that was taken."""
    place = urlsplit(address)
    lines = [
        f"GET {path} HTTP/1.1",
        f"Host: {host or place.netloc}",
        *(f"{name.replace('_', '-')}: {value}" for name, value in headers.items()),
    ]
    with socket.create_connection((place.hostname, place.port), timeout=20) as line:
        line.sendall(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
        answer = b""
        while b"\r\n\r\n" not in answer and (more := line.recv(65_536)):
            answer += more
        if b"101 " not in answer[:20]:
            line.settimeout(0.5)
            try:
                while more := line.recv(65_536):
                    answer += more
            except TimeoutError:
                pass
    head, _, body = answer.decode("latin-1").partition("\r\n\r\n")
    first, *rest = head.split("\r\n")
    return (
        int(first.split()[1]),
        {name.lower(): value.strip() for name, _, value in (row.partition(":") for row in rest)},
        body,
    )


def shake(address: str, host: str | None = None, origin: str | None = None, **headers: str) -> int:
    """The status of a WebSocket handshake at the address of streamlit's stream."""
    way = {
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec_WebSocket_Version": "13",
        "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
    }
    return knock(
        address,
        "/_stcore/stream",
        host,
        **way,
        **({} if origin is None else {"Origin": origin}),
        **headers,
    )[0]


def test_a_name_that_was_pointed_here_gets_nothing(room: tuple[str, Path], cookie: str) -> None:
    """DNS rebinding: the page of a foreign site, whose name now leads to this machine, asks with
    its own Host and Origin."""
    address, port = room[0], urlsplit(room[0]).port
    assert (
        shake(address, f"evil.example:{port}", f"http://evil.example:{port}", Cookie=cookie) == 403
    )
    assert shake(address, origin="http://evil.example", Cookie=cookie) == 403
    assert (
        shake(address, origin=f"http://localhost:{port}", Cookie=cookie) == 403
    )  # another name, so another site
    assert knock(address, host=f"evil.example:{port}", Cookie=cookie)[0] == 421
    assert shake(address, origin=address, Cookie=cookie) == 101
    assert shake(address, f"localhost:{port}", f"http://localhost:{port}", Cookie=cookie) == 101


def test_a_reload_is_the_same_visitor(room: tuple[str, Path], cookie: str) -> None:
    _, headers, body = knock(room[0], "/runs", Accept="text/html", Cookie=cookie)
    assert "<!doctype html>" in body.lower()
    assert headers["set-cookie"].partition(";")[0] == cookie


@pytest.mark.parametrize(
    "path",
    [
        "/../../etc/passwd",
        "/static/../../../../etc/passwd",
        "/media/..%2f..%2f..%2fetc/passwd",
        "/component/x/..%2f..%2fapp.py",
        "/%2e%2e/app.py",
    ],
)
def test_no_path_leads_out(room: tuple[str, Path], cookie: str, path: str) -> None:
    _, _, body = knock(room[0], path, Cookie=cookie)
    assert "root:" not in body
    assert "import streamlit" not in body


def test_agents_and_other_sites_read_nothing(room: tuple[str, Path], cookie: str) -> None:
    """The agent interface is off, and no answer allows another site to read it."""
    for path in ("/_stcore/health", "/_stcore/host-config", "/_stcore/metrics"):
        assert "access-control-allow-origin" not in knock(room[0], path, Cookie=cookie)[1]
    assert knock(room[0], "/_stcore/health", Origin="http://localhost:9", Cookie=cookie)[0] == 403
    assert knock(room[0], "/_stcore/health", Cookie=cookie)[0] == 200
    assert knock(room[0], "/_stcore/metrics", Cookie=cookie)[0] == 403, (
        "what the server is like is not for students"
    )


def test_a_server_opened_by_hand_needs_a_link(room: tuple[str, Path]) -> None:
    address, folder = room
    for path in ("/", "/_stcore/health", "/_stcore/host-config", "/static/js/x.js"):
        status, _, body = knock(address, path, Accept="text/html")
        assert (status, "needs the link" in body) == (403, True)
    assert shake(address, origin=address) == 403
    log = next(folder.glob("server-*.log")).read_text()
    assert all("token=" in line for line in log.splitlines() if "http" in line), (
        "an address that lets nobody in"
    )
    assert f"/?token={STUDENTS}" in log
    assert f"/?token={TEACHERS}" in log
    for token, role in ((STUDENTS, "student"), (TEACHERS, "teacher")):
        status, headers, body = knock(
            address, f"/runs?search=x&token={token}", Accept="text/html", Sec_Fetch_Site="none"
        )
        assert (status, token in body, "url=/runs?search=x" in body) == (200, False, True)
        cookie = headers["set-cookie"].partition(";")[0]
        assert f".{role}." in cookie
        assert knock(address, "/_stcore/health", Cookie=cookie)[0] == 200
        assert shake(address, origin=address, Cookie=cookie) == 101
        assert shake(address, origin=address, Cookie=cookie[:-1]) == 403
