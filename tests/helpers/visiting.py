"""Visitors of a room, and what the guard answers them."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

from sdq.service.guard import Guard
from sdq.service.visitors import Room, Visitor

ANNA, BEN, TEACHER = Visitor("a" * 32), Visitor("b" * 32), Visitor("c" * 32, "teacher")
OWN, LAN = ("127.0.0.1", 50_000), ("192.0.2.7", 50_000)
TOKEN, TEACHERS = "students-of-2026", "teacher-of-2026"


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
