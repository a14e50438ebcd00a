"""Peak memory of the web process while 20 files of 49.5 MB arrive at once, and while bombs are
looked at: `python -m benchmarks.uploads`. Prints JSON lines.

Five visitors upload four files each (a visitor may bring 200 MB) over HTTP, as a browser does; the
bombs lie in the inbox and are chosen on the page.
"""

from __future__ import annotations

import http.cookiejar
import json
import os
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Origin, Subprotocol

from tests.e2e.browser import serve

VISITORS, EACH, SIZE, LIMIT = 5, 4, 49_500_000, 700.0


class Watch(threading.Thread):
    """The largest memory of a process, looked at twenty times a second."""

    def __init__(self, process: psutil.Process) -> None:
        super().__init__(daemon=True)
        self.process, self.peak = process, 0

    def run(self) -> None:
        while self.process.is_running():
            self.peak = max(self.peak, self.process.memory_info().rss)
            time.sleep(0.05)


def say(what: str, watch: Watch, **more: Any) -> None:
    """One line of the result."""
    now, peak = watch.process.memory_info().rss / 1e6, watch.peak / 1e6
    print(
        json.dumps(
            {
                "what": what,
                "now MB": round(now),
                "peak MB": round(peak),
                "limit": LIMIT,
                "holds": peak <= LIMIT,
                **more,
            }
        ),
        flush=True,
    )
    watch.peak = 0


class Visitor:
    """A session without a browser: a web socket for uploads, and streamlit's agent API (switched on
    for this server alone) for the page."""

    def __init__(self, address: str, until: ExitStack) -> None:
        self.address, jar = address, http.cookiejar.CookieJar()
        self.opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(jar))
        self.opener.open(f"{address}/_stcore/health").close()
        self.xsrf = next((cookie.value or "" for cookie in jar if "xsrf" in cookie.name), "")
        cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in jar)
        where = f"{address.replace('http', 'ws')}/_stcore/stream"
        how = {
            "subprotocols": [Subprotocol("streamlit")],
            "additional_headers": {"Cookie": cookies},
            "origin": Origin(address),
            "max_size": None,
        }
        self.socket = until.enter_context(connect(where, **how))
        wish = BackMsg()
        wish.rerun_script.page_name = "data"
        self.socket.send(wish.SerializeToString())
        told = ForwardMsg()
        while told.WhichOneof("type") != "new_session":
            told.ParseFromString(self.socket.recv(60))
        self.session = told.new_session.initialize.session_id
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        """Take what the page sends, as a browser would."""
        with suppress(ConnectionClosed):
            for _ in self.socket:
                pass

    def ask(self, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self.address}/_stcore/agent/interact",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        with self.opener.open(request, timeout=120) as answer:
            got: dict[str, Any] = json.load(answer)
        return got

    def upload(self, data: bytes, name: str) -> int:
        """The status of the answer."""
        border = uuid.uuid4().hex
        head = (
            f'--{border}\r\nContent-Disposition: form-data; name="file"; '
            f'filename="{name}"\r\nContent-Type: text/csv\r\n\r\n'
        )
        headers = {
            "Content-Type": f"multipart/form-data; boundary={border}",
            "X-Xsrftoken": self.xsrf,
        }
        url = f"{self.address}/_stcore/upload_file/{self.session}/{uuid.uuid4()}"
        request = urllib.request.Request(
            url, head.encode() + data + f"\r\n--{border}--\r\n".encode(), headers, method="PUT"
        )
        try:
            with self.opener.open(request, timeout=300) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            return error.code
        except urllib.error.URLError:  # refused before all of it was sent
            return 413


def bombs(inbox: Path) -> list[str]:
    """Files that are small, or no files at all, and endless to read."""
    inbox.mkdir(parents=True)
    codes = pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(20_000, np.int32)), pa.array(["x" * 1_000_000])
    )
    pq.write_table(pa.table({"text": codes}), inbox / "dictionary.parquet", compression="zstd")
    values = pa.array(np.zeros(100_000_000, np.int64))
    pq.write_table(
        pa.table(
            {"text": pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)}
        ),
        inbox / "nested.parquet",
        compression="zstd",
    )
    del codes, values
    (inbox / "wide.csv").write_text(
        ",".join(f"c{i}" for i in range(10**6)) + "\n" + ",".join("1" * 10**6) + "\n"
    )
    (inbox / "large.csv").write_text("text,label\n" + "some words here,b\n" * 5_000_000)
    return sorted(path.name for path in inbox.iterdir())


def uploads(visitors: list[Visitor], watch: Watch) -> None:
    """All files at once, then one too many and one too large."""
    content = b"text,label\n" + os.urandom(1000).hex().encode() * (SIZE // 2000)
    started = time.monotonic()
    with ThreadPoolExecutor(VISITORS * EACH) as pool:
        done = list(
            pool.map(
                lambda i: visitors[i % VISITORS].upload(content, f"file-{i}.csv"),
                range(VISITORS * EACH),
            )
        )
    seconds = round(time.monotonic() - started, 1)
    say("20 uploads of 49.5 MB at once", watch, status=sorted(done), seconds=seconds)
    status = visitors[0].upload(content, "more.csv")
    say("one more of the same visitor", watch, status=status)
    status = visitors[0].upload(content + content[:10_500_000], "large.csv")
    say("one of 60 MB", watch, status=status)


def choose(visitor: Visitor, names: list[str], watch: Watch) -> None:
    """Choose each of these files of the inbox on the page."""
    page = visitor.ask({"page": "data"})["session_id"]
    for name in names:
        started = time.monotonic()
        answer = visitor.ask({"session_id": page, "widget_state": {"inbox": [name]}})
        text = json.dumps(answer)
        refusal = (
            part for part in text.split('"') if " must " in part and name.split(".")[0] in part
        )
        say(
            name,
            watch,
            seconds=round(time.monotonic() - started, 1),
            status=answer.get("status"),
            said=next(refusal, "shown" if "preview" in text else text[:300]),
        )


def main() -> None:
    """Uploads, then bombs."""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        names = bombs(data / "inbox")
        with (
            serve(
                data,
                deadline=180,
                shipped=True,
                STREAMLIT_SERVER_ENABLE_AGENT_API="true",
                STREAMLIT_SERVER_AGENT_MAX_SESSIONS="100",
            ) as address,
            ExitStack() as until,
        ):
            children = psutil.Process().children(recursive=True)
            web = max(
                (p for p in children if "streamlit" in " ".join(p.cmdline())),
                key=lambda p: p.memory_info().rss,
            )
            watch = Watch(web)
            watch.start()
            visitors = [Visitor(address, until) for _ in range(VISITORS)]
            say("five visitors on the page", watch)
            uploads(visitors, watch)
            choose(visitors[0], names, watch)


if __name__ == "__main__":
    main()
