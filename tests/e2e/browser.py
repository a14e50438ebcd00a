"""A real server and a real browser, for the tests and the screenshots."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

from sdq.jobs import queue as jobs
from sdq.store import Store

ROOT = Path(__file__).parent.parent.parent


def chromium() -> str | None:
    """Path of a Chromium: the system's, or playwright's own. None if there is none."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    try:
        from playwright.sync_api import sync_playwright

        with sync_playwright() as p:
            own = p.chromium.executable_path
    except Exception:
        return None
    return own if Path(own).exists() else None


def _wait(server: subprocess.Popen[bytes], address: str, log: IO[bytes], deadline: float) -> None:
    """Until the health check is answered. RuntimeError with the end of the log if it is not."""
    until = time.monotonic() + deadline
    while True:
        try:
            urllib.request.urlopen(f"{address}/_stcore/health", timeout=1).close()
            return
        except urllib.error.HTTPError:  # one that is open to a room lets nobody in without a link
            return
        except OSError:
            if server.poll() is not None or time.monotonic() > until:
                log.seek(0)
                raise RuntimeError(
                    f"the server did not start: {log.read().decode()[-2000:]}"
                ) from None
            time.sleep(0.1)


@contextlib.contextmanager
def serve(
    data: Path,
    deadline: float = 60,
    shipped: bool = False,
    listen: str = "127.0.0.1",
    **settings: str,
) -> Iterator[str]:
    """The app on a free port with its own data folder, without the shipped runs unless asked for;
    ends with the block, as does what it computes.

    Nothing but the health check is asked before. `settings` are more environment variables,
    `listen` is the address it listens on.
    """
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    command = [
        sys.executable,
        "-m",
        "streamlit",
        "run",
        "app.py",
        "--server.port",
        str(port),
        "--server.address",
        listen,
        "--server.fileWatcherType",
        "none",
    ]
    log = (data.parent / f"server-{port}.log").open("w+b")
    env = {
        **os.environ,
        "SDQ_DATA": str(data),
        "SDQ_SHIPPED": "yes" if shipped else "no",
        **settings,
    }
    server = subprocess.Popen(command, cwd=ROOT, env=env, stdout=log, stderr=log)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(server, address, log, deadline)
        yield address
    finally:
        server.terminate()
        server.wait(10)
        log.close()
        jobs.stop(Store(data / "runs", None))


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    """A headless Chromium."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as p:
        shown = p.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", "--disable-gpu"]
        )
        yield shown
        shown.close()


def settled(page: Any, timeout: float = 30_000) -> None:
    """Wait until the script has run and nothing is being drawn."""
    page.wait_for_selector(
        "[data-test-script-state='notRunning']", timeout=timeout, state="attached"
    )
    page.wait_for_timeout(400)
