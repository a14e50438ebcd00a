"""Uploaded files lie on the disk, are counted for each visitor, and go with him."""

from __future__ import annotations

import asyncio
import io
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from starlette.exceptions import HTTPException
from streamlit.runtime.uploaded_file_manager import UploadedFile, UploadedFileRec

from pages.components import uploads
from pages.components.uploads import GONE, OnDisk, UploadLimiter, Uploads
from sdq.data.kept import home
from sdq.io.limits import limits


@pytest.fixture(autouse=True)
def _limited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name, value in {
        "DATA": str(tmp_path / "data"),
        "UPLOAD_MB": "2",
        "UPLOADS": "3",
        "UPLOADS_MB": "4",
    }.items():
        monkeypatch.setenv(f"SDQ_{name}", value)
    limits.cache_clear()
    yield
    limits.cache_clear()


def record(id: str, size: int = 10, name: str = "train.csv") -> UploadedFileRec:
    return UploadedFileRec(id, name, "text/csv", os.urandom(size))


def places() -> list[Path]:
    return sorted(home().glob(".session-*"))


def test_bytes_lie_on_the_disk_and_not_in_the_record() -> None:
    manager, sent = Uploads("/"), record("a", 1_000_000)
    manager.add_file("ada", sent)
    (kept,) = manager.get_files("ada", ["a"])
    assert isinstance(kept.data, OnDisk)
    assert bytes(io.BytesIO(kept.data).getvalue()) == b""
    assert kept.data.path.read_bytes() == sent.data
    assert kept.data.path.name == "train.csv"
    assert UploadedFile(kept, None).size == 1_000_000  # type: ignore[arg-type]
    assert manager.get_files("bo", ["a"]) == []
    manager.remove_file("ada", "a")
    assert not kept.data.path.exists()
    assert manager._total_bytes == manager._file_count == 0


@pytest.mark.parametrize(
    "name", ["../../etc/passwd", "a/b.csv", "..", "x\0.csv", "é" * 119 + ".csv", "", ".hidden"]
)
def test_no_name_leads_out_of_the_place_of_the_session(name: str) -> None:
    manager = Uploads("/")
    manager.add_file("../ada", record("../../a", name=name))
    (kept,) = manager.get_files("../ada", ["../../a"])
    assert kept.data.path.resolve().is_relative_to(home().resolve())  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("sizes", "said"),
    [
        ((2_000_001,), "at most 2 MB"),
        ((1, 1, 1, 1), "at most 3 files"),
        ((2_000_000, 1_900_000, 200_000), "together"),
    ],
)
def test_a_visitor_may_bring_so_much(sizes: tuple[int, ...], said: str) -> None:
    manager = Uploads("/")
    for i, size in enumerate(sizes[:-1]):
        manager.add_file("ada", record(str(i), size))
    with pytest.raises(HTTPException, match=said) as error:
        manager.add_file("ada", record("more", sizes[-1]))
    assert error.value.status_code == 413
    assert len(manager.file_storage.get("ada", {})) == len(sizes) - 1
    manager.add_file("bo", record("b", 2_000_000))  # another may
    manager.add_file(
        "ada", record("0", sizes[0] - 1)
    )  # in the place of one that is there, or small enough


def test_a_full_disk_is_said_and_nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    manager = Uploads("/")
    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(HTTPException, match="No space left on device"):
        manager.add_file("ada", record("a"))
    assert not [path for place in places() for path in place.rglob("*") if path.is_file()]
    assert manager.get_files("ada", ["a"]) == []


def test_files_go_with_their_visitor_without_another_coming(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    manager, since = Uploads("/"), dict[str, float]()
    for who in ("stays", "goes"):
        manager.add_file(who, record("a"))
    now = time.time()
    monkeypatch.setattr(uploads.time, "time", lambda: now)
    manager.sweep(since, lambda who: who == "stays")
    assert len(places()) == 2  # a connection may come back
    now += GONE + 1
    manager.sweep(since, lambda who: who == "stays")
    assert places() == [manager.place("stays")]
    assert set(manager.file_storage) == {"stays"}
    now += 3600 * limits().uploads_hours
    manager.sweep(since, lambda who: True)
    assert places() == []  # a browser that is open for days


def test_what_a_killed_server_left_is_removed() -> None:
    left = home() / f".session-{2**22 + 5}-{'0' * 32}"
    left.mkdir(parents=True)
    os.utime(left, (1, 1))
    Uploads("/").sweep({}, lambda who: True)
    assert places() == []


async def _through(
    messages: list[dict[str, Any]],
    headers: tuple[tuple[bytes, bytes], ...] = (),
    path: str = "/_stcore/upload_file/s/f",
) -> tuple[bytes, list[Any]]:
    got, sent = [], []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        more = True
        while more:
            message = await receive()
            got.append(message["body"])
            more = message["more_body"]

    async def receive() -> dict[str, Any]:
        return messages.pop(0)

    async def send(message: Any) -> None:
        sent.append(message)

    await UploadLimiter(app, lambda session: session == "s")(
        {"type": "http", "method": "PUT", "path": path, "headers": headers}, receive, send
    )
    return b"".join(got), sent


def test_an_upload_goes_on_as_it_came() -> None:
    pieces = [os.urandom(70_000) for _ in range(25)]
    messages = [
        {"type": "http.request", "body": piece, "more_body": i < 24}
        for i, piece in enumerate(pieces)
    ]
    assert asyncio.run(_through(messages)) == (b"".join(pieces), [])


def test_what_is_too_large_goes_no_further() -> None:
    endless = [
        {"type": "http.request", "body": bytes(500_000), "more_body": True} for _ in range(50)
    ]
    got, sent = asyncio.run(_through(endless))
    assert (got, sent[0]["status"]) == (b"", 413)
    assert len(endless) > 40
    got, sent = asyncio.run(_through([], [(b"content-length", b"99999999")]))
    assert (got, sent[0]["status"]) == (b"", 413)
    assert b"at most 2 MB" in sent[1]["body"]


def test_only_a_few_uploads_are_in_memory_at_a_time() -> None:
    inside, most = 0, 0

    async def app(scope: Any, receive: Any, send: Any) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        await asyncio.sleep(0.01)
        inside -= 1

    async def all_at_once() -> None:
        ushered = UploadLimiter(app, lambda session: True)

        async def receive() -> dict[str, Any]:
            return {"type": "http.request", "body": b"x", "more_body": False}

        scope = {"type": "http", "method": "PUT", "headers": []}
        paths = [f"/_stcore/upload_file/{who}/f" for who in range(12)]
        await asyncio.gather(*(ushered({**scope, "path": path}, receive, None) for path in paths))

    asyncio.run(all_at_once())
    assert most == uploads.READ


def hold(
    count: int,
    session: str = "s",
    visitor: str | None = None,
    most: float = 0.2,
    apart: float = 0.0,
) -> tuple[int, list[int], set[str]]:
    """Uploads that begin, so many seconds apart, and go no further: (how many files were opened,
    the answers, where the files were)."""
    answers: list[int] = []
    places: set[str] = set()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError("none is whole")

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            answers.append(message["status"])

    async def all_at_once() -> int:
        ushered, begun = UploadLimiter(app, lambda name: name == "s"), 0

        async def receive() -> dict[str, Any]:
            nonlocal begun
            begun += 1
            places.update(
                os.readlink(f"/proc/self/fd/{fd}")
                for fd in os.listdir("/proc/self/fd")
                if _is_open(fd)
            )
            await asyncio.sleep(30)
            raise AssertionError

        scope = {
            "type": "http",
            "method": "PUT",
            "path": f"/_stcore/upload_file/{session}/f",
            "headers": [],
        }
        if visitor is not None:
            scope["sdq.visitor"] = visitor

        async def upload(wait: float) -> None:
            await asyncio.sleep(wait)
            await ushered(scope, receive, send)

        tasks = [asyncio.create_task(upload(number * apart)) for number in range(count)]
        await asyncio.wait(tasks, timeout=most)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert not ushered.coming
        assert not ushered.places
        return begun

    return asyncio.run(all_at_once()), answers, places


def _is_open(fd: str) -> bool:
    try:
        return "(deleted)" in os.readlink(f"/proc/self/fd/{fd}")
    except OSError:
        return False


def test_nothing_arrives_for_a_session_that_there_is_not() -> None:
    assert hold(60, "NOSUCHSESSION")[:2] == (0, [400] * 60)


@pytest.mark.parametrize("visitor", [None, "ada"])
def test_of_one_visitor_a_few_files_arrive_at_a_time_in_the_data_folder(
    monkeypatch: pytest.MonkeyPatch, visitor: str | None
) -> None:
    monkeypatch.setenv("SDQ_UPLOADS", "20")
    monkeypatch.setenv("SDQ_UPLOADS_AT_ONCE", "4")
    limits.cache_clear()
    begun, answers, places = hold(60, visitor=visitor)
    assert (begun, answers) == (4, [429] * 40)
    assert any(place.startswith(str(home().resolve())) for place in places)


def test_a_file_that_does_not_arrive_in_time_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second, 0.3 seconds later, gets the place after one second; the third, 0.6 later, would
    get it after two, but waits for one."""
    monkeypatch.setenv("SDQ_UPLOADS_AT_ONCE", "1")
    monkeypatch.setenv("SDQ_UPLOAD_SECONDS", "1")
    limits.cache_clear()
    assert hold(3, most=4, apart=0.3)[:2] == (2, [408, 429, 408])


def test_a_disk_that_is_full_while_a_file_arrives_is_said_without_its_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def full(*_: object, **__: object) -> Any:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(uploads.tempfile, "TemporaryFile", full)
    got, sent = asyncio.run(_through([]))
    assert (got, sent[0]["status"]) == (b"", 507)
    assert b"No space left on device" in sent[1]["body"]
    assert str(home().parent).encode() not in sent[1]["body"]
