"""Uploaded files are written to disk when they arrive: streamlit would keep all of them in the
memory of the web process until it notices that their visitor has left.

`install` replaces streamlit's file manager, `path_of` finds a file for a page, `Ushered` limits
concurrent uploads, `sweeping` removes files that are no longer needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import IO, Any

import psutil
from starlette.exceptions import HTTPException
from starlette.responses import PlainTextResponse
from streamlit.runtime import get_instance, memory_uploaded_file_manager
from streamlit.runtime.scriptrunner import get_script_run_ctx
from streamlit.runtime.uploaded_file_manager import UploadedFile, UploadedFileRec

from sdq.data.kept import home
from sdq.io.limits import limits
from sdq.service.guard import VISITOR
from sdq.service.redaction import shown
from sdq.settings import UserError, unwritable

PATH = re.compile(r"/_stcore/upload_file/([^/]+)/[^/]+")
FORM = 10_000  # bytes of a form in addition to its file
READ = 2  # uploads that are in memory at a time
LOOK = 20.0  # seconds between two looks at who has gone
# seconds without a connection after which a session's files go: streamlit lets it come back within
# 120
GONE = 180.0
_PLAIN = re.compile(r"[\w][\w.,()+ -]{0,119}")
_FOLDER = re.compile(r"\.session-(\d+)-[0-9a-f]{32}")


class OnDisk(bytes):
    """A stand-in for the bytes of a file on disk: it has their length, but not the bytes."""

    size: int
    path: Path

    def __len__(self) -> int:
        return self.size


class Uploads(memory_uploaded_file_manager.MemoryUploadedFileManager):
    """Streamlit's register of uploaded files, with their bytes on the disk: a folder for each
    session."""

    def place(self, session: str) -> Path:
        """The folder of a session, in the data folder; its name tells which server it belongs
        to."""
        return (
            home() / f".session-{os.getpid()}-{hashlib.sha256(session.encode()).hexdigest()[:32]}"
        )

    def path(self, session: str, file: str, name: str) -> Path:
        """Where the bytes of a file go: under its own name, so that sentences about it name it, if
        that is a plain one."""
        plain = _PLAIN.fullmatch(name) and ".." not in name and len(name.encode()) <= 200
        return (
            self.place(session)
            / hashlib.sha256(file.encode()).hexdigest()[:32]
            / (name if plain else "upload")
        )

    def add_file(self, session_id: str, file: UploadedFileRec) -> None:
        """Write a file that arrived to the disk. HTTPException 413 if it is one too many, 507 if
        the disk refuses."""
        most, size, path = limits(), len(file.data), self.path(session_id, file.file_id, file.name)
        with self._lock:
            others = [
                rec
                for id, rec in self.file_storage.get(session_id, {}).items()
                if id != file.file_id
            ]
        if size > most.upload_mb * 10**6:
            raise HTTPException(*_too_large())
        if len(others) >= most.uploads:
            raise HTTPException(
                413, f"at most {most.uploads} files may be uploaded; remove some, or join them"
            )
        if size + sum(len(rec.data) for rec in others) > most.uploads_mb * 10**6:
            raise HTTPException(
                413,
                f"all uploaded files together must have at most {most.uploads_mb} MB; remove "
                "some, or take samples",
            )
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.data)
        except OSError as error:
            path.unlink(missing_ok=True)
            raise HTTPException(507, _full(error)) from error
        kept = OnDisk()
        kept.size, kept.path = size, path
        super().add_file(session_id, file._replace(data=kept))

    def remove_file(self, session_id: str, file_id: str) -> None:
        """Forget a file, and free its place."""
        super().remove_file(session_id, file_id)
        shutil.rmtree(self.path(session_id, file_id, "").parent, ignore_errors=True)

    def remove_session_files(self, session_id: str) -> None:
        """Forget all files of a session, and free their place."""
        super().remove_session_files(session_id)
        shutil.rmtree(self.place(session_id), ignore_errors=True)

    def sweep(self, since: dict[str, float], active: Any) -> None:
        """Forget the files of sessions without a connection for GONE seconds, and all that are
        older than the limits say.

        `since`: session -> when it was first seen without one, kept from look to look; `active`:
        session -> whether it has one.
        """
        with self._lock:
            sessions = list(self.file_storage)
        now = time.time()
        for session in sessions:
            if active(session):
                since.pop(session, None)
            elif now - since.setdefault(session, now) > GONE:
                self.remove_session_files(session)
                del since[session]
        for place in home().glob(".session-*"):
            with contextlib.suppress(OSError):
                owner = _FOLDER.fullmatch(place.name)
                left = owner is None or not psutil.pid_exists(
                    int(owner[1])
                )  # of a server that was killed
                if now - place.stat().st_mtime > (60 if left else 3600 * limits().uploads_hours):
                    shutil.rmtree(place, ignore_errors=True)


def install() -> None:
    """Have every app that is made from now on keep its uploads on the disk."""
    memory_uploaded_file_manager.MemoryUploadedFileManager = Uploads  # type: ignore[misc]


def path_of(file: UploadedFile) -> Path:
    """Where the bytes of an uploaded file are. UserError if they are not there any more."""
    context = get_script_run_ctx()
    assert context is not None
    assert isinstance(context.uploaded_file_mgr, Uploads), "the app was made before `install`"
    records = context.uploaded_file_mgr.get_files(context.session_id, [file.file_id])
    path = records[0].data.path if records else None
    if path is None or not path.is_file():
        raise UserError(
            f"an uploaded file must be used within {limits().uploads_hours:g} hours, "
            f"{file.name[:60]} is gone; upload it again"
        )
    return Path(path)


def forget(files: Sequence[UploadedFile]) -> None:
    """Free the places of uploaded files that were used: they count no more for what a visitor may
    bring."""
    context = get_script_run_ctx()
    assert context is not None
    for file in files:
        context.uploaded_file_mgr.remove_file(context.session_id, file.file_id)


@contextlib.asynccontextmanager
async def sweeping(runtime: Any) -> AsyncIterator[None]:
    """While this is open, files of visitors who have gone are removed, whether or not another one
    comes."""
    manager, since = runtime.uploaded_file_mgr, {}
    assert isinstance(manager, Uploads), "the app was made before `install`"

    async def sweep() -> None:
        while True:
            await asyncio.to_thread(manager.sweep, since, runtime.is_active_session)
            await asyncio.sleep(LOOK)

    task = asyncio.create_task(sweep())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


class UploadLimiter:
    """Middleware: what is uploaded arrives on the disk, and only READ uploads at a time go on from
    there into memory.

    A slow visitor holds nobody up: of each, a few files arrive at a time, and each has its time.
    `active`: whether there is a session of this name.
    """

    def __init__(self, app: Any, active: Callable[[str], bool] | None = None) -> None:
        self.app = app
        self.active = active or (lambda session: get_instance().is_active_session(session))
        self.slots = asyncio.Semaphore(READ)
        self.coming: Counter[str] = Counter()  # visitor -> his files that arrive, or wait for it
        self.places: dict[str, asyncio.Semaphore] = {}  # visitor -> his places to arrive at

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Pass on everything that is not an upload unchanged."""
        upload = (
            PATH.search(scope["path"])
            if scope["type"] == "http" and scope["method"] == "PUT"
            else None
        )
        if upload is None:
            await self.app(scope, receive, send)
            return
        length = next((value for name, value in scope["headers"] if name == b"content-length"), b"")
        who = scope.get(VISITOR, upload[1])
        refusal: tuple[int, str] | None = None
        if not self.active(upload[1]):
            refusal = 400, "a file must be uploaded to a page that is open; reload the page"
        elif length.isdigit() and int(length) > _most():
            refusal = _too_large()
        elif self.coming[who] >= limits().uploads:
            refusal = _too_many()
        else:
            async with self._place(who) as place:
                if place:
                    await self._arriving(scope, receive, send)
                else:
                    refusal = _too_many()
        if refusal is not None:
            await _answer(*refusal)(scope, receive, send)

    @contextlib.asynccontextmanager
    async def _place(self, who: str) -> AsyncIterator[bool]:
        """A place to arrive at, for one file of this visitor; False if none was free for too
        long."""
        places = self.places.setdefault(who, asyncio.Semaphore(limits().uploads_at_once))
        self.coming[who] += 1
        try:
            try:
                async with asyncio.timeout(limits().upload_seconds):
                    await places.acquire()
            except TimeoutError:
                yield False
                return
            try:
                yield True
            finally:
                places.release()
        finally:
            self.coming[who] -= 1
            if not self.coming[who]:
                del self.coming[who], self.places[who]

    async def _arriving(self, scope: Any, receive: Any, send: Any) -> None:
        """Write a file to the disk as it comes, and pass it on once it is whole."""
        with contextlib.ExitStack() as open_files:
            refusal: tuple[int, str] | None
            try:
                home().mkdir(parents=True, exist_ok=True)
                arrived = open_files.enter_context(tempfile.TemporaryFile(dir=home()))
                async with asyncio.timeout(limits().upload_seconds):
                    if not await _came(receive, arrived):
                        return
                refusal = _too_large() if arrived.tell() > _most() else None
                arrived.seek(0)
            except TimeoutError:
                refusal = (
                    408,
                    f"a file must arrive within {limits().upload_seconds} seconds; take a sample "
                    "of it",
                )
            except OSError as error:
                refusal = 507, _full(error)
            if refusal is not None:
                await _answer(*refusal)(scope, receive, send)
                return

            async def again() -> dict[str, Any]:
                piece = arrived.read(1 << 20)
                return {"type": "http.request", "body": piece, "more_body": bool(piece)}

            async with self.slots:
                await self.app(scope, again, send)


async def _came(receive: Any, arrived: IO[bytes]) -> bool:
    """Whether a visitor stayed until all of his file was there, or more than a file may have."""
    more = True
    while more and arrived.tell() <= _most():
        message = await receive()
        if message["type"] != "http.request":
            return False
        arrived.write(message.get("body", b""))
        more = message.get("more_body", False)
    return True


def _most() -> int:
    """Bytes of a form with a file."""
    return limits().upload_mb * 10**6 + FORM


def _answer(status: int, text: str) -> PlainTextResponse:
    return PlainTextResponse(text, status)


def _too_large() -> tuple[int, str]:
    return 413, f"a file must have at most {limits().upload_mb} MB; take a sample of it"


def _too_many() -> tuple[int, str]:
    return (
        429,
        f"at most {limits().uploads_at_once} files of a visitor may be uploaded at a time; wait, "
        "and try again",
    )


def _full(error: OSError) -> str:
    return shown(str(unwritable(home(), error)))
