"""The door of the server: which requests come in at all, and as whom. ASGI, before anything of
streamlit sees a request or a WebSocket.

1. Host must be a name of this machine (SDQ_HOSTS adds more), else a page elsewhere whose name is
pointed here could read everything (DNS rebinding).
2. Origin, where there is one, must be that host: no page of another site, or of another port of
this machine, sends or reads anything.
3. What streamlit tells of the server itself (/_stcore/metrics and the like) is for those who lead.
4. From this machine, while the server is open to nobody else, everybody is the owner. All others
need a link with a token once: it becomes a signed
   cookie, and the page is opened again without the token.
5. Who follows a link of another site (a web mail, a chat) comes without his cookie, which is
Strict: he is sent to the same address once more, from
   here, before anything is made of it. Else he would be refused, or become somebody else.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from html import escape
from typing import Any
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from sdq.service.visitors import ROLES, Role, Room, Visitor, is_loopback, new_name

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

VISITOR = "sdq.visitor"  # in the scope of a request that was let in: whose it is
AGAIN = "sdq-again"  # in the address of who is sent there once more
DAYS = 30  # that a link need not be opened again
HERE = frozenset({"localhost", "127.0.0.1", "::1"})
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)\.?(?::(\d{1,5}))?")
_PROXY = frozenset(
    {
        b"forwarded",
        b"via",
        b"x-forwarded-for",
        b"x-forwarded-host",
        b"x-forwarded-proto",
        b"x-real-ip",
    }
)
# of what streamlit answers under _stcore, all that a page asks for; the rest (metrics, agents) is
# about the server
_PAGES = frozenset({"health", "host-config", "stream", "upload_file", "bidi-components"})
_ALWAYS = (
    (b"x-frame-options", b"SAMEORIGIN"),
    (b"content-security-policy", b"frame-ancestors 'self'"),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"same-origin"),
)
STRANGER = (
    "This server is not known by the name in the address. Open it by the address that was given "
    "to you; whoever runs it can add names with SDQ_HOSTS."
)
FOREIGN = "This request comes from a page of another site. Open SDQ Lab by its own address."
LED = (
    "This is for the owner of the machine and the teacher of the room; you came by the students' "
    "link."
)
LINK = (
    "SDQ Lab is open to a room here, and needs the link for it. Ask whoever runs it for the link, "
    "and open that once in this browser."
)
OLD = "This link is not valid, or not any more. Ask whoever runs SDQ Lab here for the new one."


class Guard:
    """ASGI middleware. `room` tells visitors apart."""

    def __init__(self, app: App, room: Room) -> None:
        self.app = app
        self.room = room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let a request in, or answer it here."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        host = _one(scope, b"host")
        if (name := _name_of(host)) is None or name not in HERE | self.room.hosts:
            await _refuse(scope, send, 421, STRANGER)
            return
        if any(not _same(origin, host or "") for origin in _all(scope, b"origin")):
            await _refuse(scope, send, 403, FOREIGN)
            return
        from_cookie = self.room.read(_cookies(scope))
        visitor = self._visitor(scope, from_cookie)
        reads = scope["type"] == "http" and scope["method"] == "GET"
        if reads and (redirect := self._link(scope, from_cookie, visitor)):
            await _answer(send, *redirect)
        elif visitor is None:
            await _refuse(scope, send, 403, _unlinked(scope))
        elif not visitor.leads and _is_inner(scope):
            await _refuse(scope, send, 403, LED)
        else:
            known_as = {**scope, VISITOR: visitor.name}
            await self.app(known_as, receive, self._sending(scope, send, visitor))

    def _visitor(self, scope: Scope, from_cookie: Visitor | None) -> Visitor | None:
        """Who this is; None for somebody without a link who needs one."""
        if not self.room.open and _from_here(scope):
            return Visitor(from_cookie.name if from_cookie else new_name(), "owner")
        return from_cookie if from_cookie is not None and from_cookie.role != "owner" else None

    def _link(
        self, scope: Scope, from_cookie: Visitor | None, visitor: Visitor | None
    ) -> tuple[int, str, list[tuple[bytes, bytes]]] | None:
        """(status, page, headers) of a page that opens another address at once; None if none is
        needed.

        A page and no redirect, with which no Strict cookie would come either. Who comes without a
        cookie is sent to the same address once more, marked AGAIN, with the token if he has one.
        Then a token becomes the cookie: of the name that is known, and of no lower role than he has
        already.
        """
        query = parse_qsl(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
        tokens = [token for name, token in query if name == "token"]
        role = next((role for token in tokens if (role := self.room.role_of(token))), None)
        again = any(name == AGAIN for name, _ in query)
        site, mode = _one(scope, b"sec-fetch-site"), _one(scope, b"sec-fetch-mode")
        if site is None:
            # browsers say it to https and to localhost only: in a room on http, nothing is known
            page = "text/html" in (_one(scope, b"accept") or "")
            elsewhere = role is not None or (page and visitor is None)
        else:
            elsewhere = site == "cross-site" and mode == "navigate"
        if from_cookie is None and elsewhere and not again:
            onward = _onward(scope, [*query, (AGAIN, "1")])
            if site is None and role is None:  # most who come so have no cookie
                return 403, _page("SDQ Lab", escape(_unlinked(scope)), onward), []
            return 200, _page("One moment", "", onward), []
        if role is None and (visitor is None or not again):
            return None
        rest = [(name, value) for name, value in query if name != AGAIN]
        headers = []
        if role is not None:
            rest = [(name, value) for name, value in rest if name != "token"]
            given: Role = min(role, visitor.role, key=ROLES.index) if visitor else role
            cookie = self._cookie(
                scope, Visitor(from_cookie.name if from_cookie else new_name(), given)
            )
            headers = [(b"set-cookie", cookie)]
        return 200, _page("One moment", "", _onward(scope, rest)), headers

    def _cookie(self, scope: Scope, visitor: Visitor) -> bytes:
        secure = (
            "; Secure"
            if scope.get("scheme") in ("https", "wss")
            or _one(scope, b"x-forwarded-proto") == "https"
            else ""
        )
        return (
            f"{self.room.cookie}={self.room.issue(visitor)}; Path=/; Max-Age={DAYS * 86_400}; "
            f"HttpOnly; SameSite=Strict{secure}"
        ).encode()

    def _sending(self, scope: Scope, send: Send, visitor: Visitor) -> Send:
        """`send`, which adds what protects the answer, and to a page the visitor's cookie."""
        page = (
            scope["type"] == "http"
            and scope["method"] == "GET"
            and "text/html" in (_one(scope, b"accept") or "")
        )

        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = list(message.get("headers", ()))
                there = {name.lower() for name, _ in given}
                given += [(name, value) for name, value in _ALWAYS if name not in there]
                if page:
                    given.append((b"set-cookie", self._cookie(scope, visitor)))
                message = {**message, "headers": given}
            await send(message)

        return sending


def _all(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key.lower() == name]


def _one(scope: Scope, name: bytes) -> str | None:
    """The value of a header; None if there is none, or more than one."""
    values = _all(scope, name)
    return values[0] if len(values) == 1 else None


def _cookies(scope: Scope) -> dict[str, str]:
    pairs = (
        pair.strip().partition("=") for line in _all(scope, b"cookie") for pair in line.split(";")
    )
    return {name: value for name, _, value in pairs}


def _name_of(host: str | None) -> str | None:
    """The name in a Host header, without its port; None if it is none."""
    match = _HOST.fullmatch((host or "").lower())
    return match[1].strip("[]") if match else None


def _same(origin: str, host: str) -> bool:
    """Whether a page at `origin` is one of this host, and of the same port."""
    try:
        address = urlsplit(origin.lower())
    except ValueError:
        return False
    usual = {"http": ":80", "https": ":443"}.get(address.scheme)
    return usual is not None and address.netloc.removesuffix(usual) == host.lower().removesuffix(
        usual
    )


def _onward(scope: Scope, query: list[tuple[str, str]]) -> str:
    """The address of this request with another query."""
    rest = urlencode(query)
    return quote("/" + str(scope["path"]).lstrip("/\\")) + (f"?{rest}" if rest else "")


def _unlinked(scope: Scope) -> str:
    """What somebody reads who is not let in: by a link that is none any more, or without one."""
    return OLD if re.search(rb"(^|&)token=", scope.get("query_string", b"")) else LINK


def _is_inner(scope: Scope) -> bool:
    """Whether a request is for what streamlit tells of the server, and not for what a page
    needs."""
    _, inner, rest = f"{scope['path']}/".partition("/_stcore/")
    return bool(inner) and rest.partition("/")[0] not in _PAGES


def _from_here(scope: Scope) -> bool:
    """Whether a connection comes from this machine itself, and not through a proxy on it."""
    ends = (scope.get("client"), scope.get("server"))
    return all(end is not None and is_loopback(end[0]) for end in ends) and not any(
        name.lower() in _PROXY for name, _ in scope["headers"]
    )


async def _refuse(scope: Scope, send: Send, status: int, text: str) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008, "reason": "refused"})
    else:
        await _answer(send, status, _page("SDQ Lab", escape(text)), [])


async def _answer(send: Send, status: int, page: str, headers: list[tuple[bytes, bytes]]) -> None:
    body = page.encode()
    plain = [
        (b"content-type", b"text/html; charset=utf-8"),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        (b"referrer-policy", b"no-referrer"),
    ]
    also = [(name, value) for name, value in _ALWAYS if name != b"referrer-policy"]
    await send(
        {"type": "http.response.start", "status": status, "headers": [*plain, *also, *headers]}
    )
    await send({"type": "http.response.body", "body": body})


def _page(title: str, text: str, onward: str = "") -> str:
    """A page that says something, or opens another address at once."""
    there, head = escape(onward), ""
    if onward:
        head = f'<meta http-equiv="refresh" content="0;url={there}">'
        text = text or f'<a href="{there}">Go on</a>'
    style = (
        ":root{color-scheme:light dark}body{font:1.1rem/1.5 "
        "sans-serif;max-width:38rem;margin:15vh auto;padding:0 1rem}"
    )
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" '
        f'content="width=device-width">{head}'
        f"<title>{title}</title><style>{style}</style></head><body><main><h1>{title}</h1><p>{text}</p></main></body></html>"
    )
