"""Who is looking, and what they may change: names, roles, a room's two links, and the folders whose
names they may say. Imports neither streamlit nor torch.

A visitor is a browser, known by a signed cookie. Who sits at the machine (connected from it, while
the server is open to nobody else) is its owner. Once the server is open to a room everybody needs
one of two links: with the teacher's one may change everything, with the students' only what one
started alone. What is started from the command line belongs to the owner.

A folder of a run, an inspection or a task holds owners/<name>, an empty file for each who asked for
it; one without `owners/` is the owner's.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import ipaddress
import json
import os
import re
import secrets
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import psutil  # type: ignore[import-untyped]

from sdq.io.files import private
from sdq.service.redaction import shown
from sdq.settings import UserError, one_line

Role = Literal["owner", "teacher", "student"]
ROLES: tuple[Role, ...] = ("owner", "teacher", "student")
COOKIE = "sdq-visitor-"  # and some digits
SHORTEST = 12  # characters of a token of one's own
_NAME = re.compile(r"[0-9a-f]{32}")
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?\.?")
_TOKEN = re.compile(rf"[A-Za-z0-9_-]{{{SHORTEST},128}}")


@dataclass(frozen=True)
class Visitor:
    """One browser, or the command line."""

    name: str
    role: Role = "student"

    @property
    def leads(self) -> bool:
        """Whether everything may be changed: by the owner of the machine, and by the teacher of a
        room."""
        return self.role in ("owner", "teacher")

    @property
    def at_home(self) -> bool:
        """Whether folders of this machine may be named and shown."""
        return self.role == "owner"

    def may_change(self, folder: Path) -> bool:
        """Whether what is in a folder may be deleted, brought back, replaced or stopped: by those
        who lead, and by whoever asked for it alone."""
        return self.leads or askers(folder) == {self.name}


OWNER = Visitor("local", "owner")  # the command line


def claim(folder: Path, who: str) -> None:
    """Note that `who` asked for what is in this folder. Something that was begun without a note is
    the owner's too. OSError if the disk refuses."""
    home = folder / "owners"
    if not home.is_dir():
        begun = any((folder / name).exists() for name in ("spec.json", "done", "task.json"))
        home.mkdir(parents=True, exist_ok=True)
        if begun:
            (home / OWNER.name).touch()
    (home / who).touch()


def askers(folder: Path) -> set[str]:
    """The names of all who asked for what is in this folder; the owner's where nothing is noted."""
    try:
        names = set(os.listdir(folder / "owners"))
    except OSError:
        names = set()
    return names or {OWNER.name}


# a room


def is_loopback(host: str | None) -> bool:
    """Whether an address is this machine and nobody else can reach it: 127.0.0.1, ::1, localhost.
    None, which is all addresses, is not."""
    if host is None:
        return False
    try:
        address = ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return host.lower() == "localhost"
    mapped = getattr(address, "ipv4_mapped", None)
    return bool((mapped or address).is_loopback)


def must_be_address(given: str) -> None:
    """UserError for what is neither an IP address nor the name of a machine."""
    try:
        ipaddress.ip_address(given.strip("[]"))
    except ValueError as error:
        if not _HOST.fullmatch(given) or len(given) > 253:
            raise UserError(
                "an address must be an IP address, or a name of letters, digits, '-' and '.', such "
                f"as 192.0.2.9 or lab.example.org, got {one_line(repr(given), 60)}; correct it"
            ) from error


def _named() -> tuple[str, ...]:
    """SDQ_HOSTS: the names under which a proxy, a container or a network shows this server."""
    return tuple(
        name.strip().lower().rstrip(".")
        for name in os.environ.get("SDQ_HOSTS", "").split(",")
        if name.strip()
    )


def is_open(address: str | None) -> bool:
    """Whether a server on this address is open to more than its own machine, and every visitor
    needs a link.

    Also one on loopback for which a token or a name in a network is given: then there is a proxy
    before it, or others work on the machine.
    """
    return (
        not is_loopback(address)
        or bool(_named())
        or any(os.environ.get(name) for name in ("SDQ_ROOM_TOKEN", "SDQ_TEACHER_TOKEN"))
    )


def addresses() -> list[str]:
    """The addresses of this machine that others may reach it by, those of version 4 first."""
    numbers = [
        a.address.partition("%")[0]
        for each in psutil.net_if_addrs().values()
        for a in each
        if a.family in (socket.AF_INET, socket.AF_INET6)
    ]
    outside = [
        a for a in numbers if not is_loopback(a) and not ipaddress.ip_address(a).is_link_local
    ]
    return sorted(dict.fromkeys(outside), key=lambda a: ":" in a)


@dataclass(frozen=True)
class Room:
    """How this server tells visitors apart. `secret` signs their cookies; `student` and `teacher`
    are the tokens of the two links."""

    secret: str
    student: str
    teacher: str
    open: bool
    hosts: frozenset[str]

    @classmethod
    def at(cls, address: str | None, data: Path) -> Room:
        """The room of a server on this address (None: all of the machine's). Its secrets are kept
        in room.json of the data folder.

        UserError for tokens that can be guessed, and for a file of secrets that others may read.
        """
        kept = _secrets(data)
        student, teacher = (
            os.environ.get(f"SDQ_{name}_TOKEN") or kept[name.lower()]
            for name in ("ROOM", "TEACHER")
        )
        for name, token in (("SDQ_ROOM_TOKEN", student), ("SDQ_TEACHER_TOKEN", teacher)):
            if not _TOKEN.fullmatch(token):
                raise UserError(
                    f"{name} must be {SHORTEST} to 128 letters, digits, '-' or '_', it has "
                    f"{len(token)} characters; choose another or leave it out"
                )
        if student == teacher:
            raise UserError(
                "SDQ_ROOM_TOKEN and SDQ_TEACHER_TOKEN must differ, they are equal; whoever has "
                "the students' link would be a teacher"
            )
        names = set(_named())
        if is_open(
            address
            # else names that the network can point elsewhere would make whoever answers for them
            # the
            # owner
        ):
            names |= {
                socket.gethostname().lower(),
                f"{socket.gethostname().lower()}.local",
                *addresses(),
            }
        if address is not None and address not in ("0.0.0.0", "::"):
            names.add(address.lower().strip("[]"))
        return cls(kept["secret"], student, teacher, is_open(address), frozenset(names))

    @property
    def cookie(self) -> str:
        """What the cookie is called: a browser keeps those of all ports of a machine together."""
        return f"{COOKIE}{hashlib.sha256(self.secret.encode()).hexdigest()[:8]}"

    def _sign(self, name: str, role: Role) -> str:
        # another token makes old cookies worthless
        token = {"owner": "", "teacher": self.teacher, "student": self.student}[role]
        return hmac.new(
            f"{self.secret} {token}".encode(), f"{name}.{role}".encode(), hashlib.sha256
        ).hexdigest()

    def issue(self, visitor: Visitor) -> str:
        """The value of a visitor's cookie."""
        return f"{visitor.name}.{visitor.role}.{self._sign(visitor.name, visitor.role)}"

    def read(self, cookies: Mapping[str, str]) -> Visitor | None:
        """The visitor whose cookie it is; None without one that was signed here."""
        name, _, rest = cookies.get(self.cookie, "").partition(".")
        role, _, signature = rest.partition(".")
        if role not in ROLES or not _NAME.fullmatch(name):
            return None
        fits = hmac.compare_digest(
            self._sign(name, role).encode(), signature.encode("utf-8", "surrogatepass")
        )
        return Visitor(name, role) if fits else None

    def role_of(self, token: str) -> Role | None:
        """The role that a link gives; None for a token of neither. Takes as long for a wrong
        one."""
        given = token.encode("utf-8", "surrogatepass")
        teacher, student = (
            hmac.compare_digest(given, expected.encode())
            for expected in (self.teacher, self.student)
        )
        return "teacher" if teacher else "student" if student else None

    def links(self, address: str | None, port: int, scheme: str = "http") -> dict[Role, str]:
        """The students' link and the teacher's, under the name or address that others reach this
        server by."""
        if _named() and is_loopback(address):  # then a proxy stands before it, which speaks TLS
            scheme = "https"
        every = address is None or address in ("0.0.0.0", "::")
        host = next(
            iter([*_named(), *([] if every else [str(address)]), *addresses(), "127.0.0.1"])
        )
        place = (
            f"{scheme}://{f'[{host}]' if ':' in host else host}"
            f"{'' if host in _named() else f':{port}'}/?token="
        )
        return {"student": place + self.student, "teacher": place + self.teacher}


def new_name() -> str:
    """A name for a visitor who has none."""
    return secrets.token_hex(16)


def _secrets(data: Path) -> dict[str, str]:
    """secret, room and teacher, as kept in room.json of the data folder, made there at the first
    start; new ones at every start where nothing can be written."""
    path, fresh = (
        data / "room.json",
        {name: secrets.token_urlsafe(24) for name in ("secret", "room", "teacher")},
    )
    part = data / f"room.{os.getpid()}.{secrets.token_hex(4)}.part"
    try:
        if not path.exists():
            private(data)
            with os.fdopen(os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
                file.write(json.dumps(fresh))
            with contextlib.suppress(FileExistsError):
                # another server was first: its secrets are those of both
                os.link(part, path)
    except OSError:
        return fresh
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    try:
        if path.stat().st_mode & 0o077:
            raise UserError(
                f"{path} must be readable by you alone, others may read it; delete it, and new "
                "links are made at the next start"
            )
        kept: Any = json.loads(path.read_text("utf-8"))
        return {name: str(kept[name]) for name in fresh}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path} must hold the secrets of the room, it cannot be read; delete it, and new "
            "links are made at the next start"
        ) from error


# folders


def reachable(name: str, visitor: Visitor, offered: Iterable[str], what: str) -> str:
    """`name` if this visitor may say it: any by the owner, by others one of `offered`; nothing is
    looked up on the machine for it.

    UserError, in the same words whether there is such a thing on this machine or not, for every
    other name.
    """
    if visitor.at_home or name in set(offered):
        return name
    raise UserError(
        f"the {what} must be one of those that are listed, got {shown(name)[:80]!r}; ask the "
        "teacher to put it into the inbox of the data folder"
    )


def told(text: str, visitor: Visitor) -> str:
    """A sentence as this visitor may read it: the owner with the paths of the machine, others
    without them."""
    return text if visitor.at_home else shown(text)
