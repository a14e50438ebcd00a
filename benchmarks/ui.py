"""What the app costs its visitors: `python -m benchmarks.ui` (or `make bench-ui`). Prints JSON
lines.

1. Cold: seconds from the first request to a fresh server until the picture of the home page is
drawn. 2. Pages: seconds to open each page from another one (a click in the navigation), and to open
its address anew; medians of 10. 3. Redraw: seconds from choosing another layer to the new picture.
4. Memory of the web process with 30 sessions open. 5. Students: 30 simulated ones for 3 minutes
open pages and start runs from a mix of 10 recipes; errors, lost runs, 95th percentile of page time.

Sessions without a browser drive the app through streamlit's agent API, which is switched on for
this server alone.
"""

from __future__ import annotations

import functools
import json
import operator
import random
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from pathlib import Path
from typing import Any

import psutil

from pages.components.recipe_text import METHODS, preset_label
from sdq.jobs import queue as jobs
from sdq.recipe import PRESETS
from sdq.store import Store
from tests.e2e.browser import browser, serve

PAGES = (
    "home",
    "runs",
    "quantize",
    "data",
    "diagnosis",
    "depth",
    "sensitivity",
    "why",
    "weights",
    "activations",
    "examples",
    "flips",
    "attribution",
    "remedies",
    "languages",
    "zero_shot",
    "methods",
    "report",
)
LIMITS = {"cold": 4.0, "page": 1.0, "redraw": 0.5, "memory": 350.0, "student page, p95": 3.0}
MIX = (
    "ptq-int8-dynamic",
    "ptq-int8-static",
    "ptq-w4a8",
    "ptq-w4a8-channel",
    "ptq-w3a8",
    "qat-int8",
    "qat-w4a8",
    "sdq-kld-w4a8",
    "sdq-att-kld-w4a8",
    "sdq-att-kld-w3a8",
)
HEADED = (
    "label => [...document.querySelectorAll('[data-testid=stHeading]')].some(e => "
    "e.innerText.trim().toLowerCase() === label.trim().toLowerCase())"
)


def say(what: str, value: float, unit: str, limit: float | None = None, **more: Any) -> None:
    """One line of the result."""
    print(
        json.dumps(
            {
                "what": what,
                "value": round(value, 3),
                "unit": unit,
                **({"limit": limit, "holds": value <= limit} if limit else {}),
                **more,
            }
        ),
        flush=True,
    )


def drawn(page: Any) -> None:
    """Wait until the script has ended and every figure of the page is there."""
    page.wait_for_selector("[data-test-script-state='notRunning']", state="attached")
    page.wait_for_function(
        "() => [...document.querySelectorAll('[data-testid=stPlotlyChart]')].every(e => "
        "e.querySelector('.main-svg'))"
    )


def cold(data: Path) -> None:
    with browser() as shown:
        times = []
        for _ in range(3):
            with serve(data, shipped=True) as address:
                page = shown.new_page(viewport={"width": 1440, "height": 900})
                started = time.perf_counter()
                page.goto(address, wait_until="commit")
                page.wait_for_selector("[data-testid=stPlotlyChart] .main-svg")
                times.append(time.perf_counter() - started)
                page.close()
    say(
        "home from a cold server",
        statistics.median(times),
        "s",
        LIMITS["cold"],
        all=[round(t, 2) for t in times],
    )


def pages(data: Path) -> None:
    with serve(data, shipped=True) as address, browser() as shown:
        page = shown.new_page(viewport={"width": 1440, "height": 900})
        for name in PAGES:  # the server is warm when every page was opened once
            page.goto(f"{address}/{'' if name == 'home' else name}")
            drawn(page)
        for name in PAGES:
            clicked = [click(page, address, name) for _ in range(10)]
            anew = [visit(page, address, name) for _ in range(3)]
            say(
                f"open {name}",
                statistics.median(clicked),
                "s",
                LIMITS["page"],
                worst=round(max(clicked), 2),
                address_anew=round(statistics.median(anew), 2),
            )
        page.close()
        # the other one has drawn 450 pages, which fills its memory and slows it down
        page = shown.new_page(viewport={"width": 1440, "height": 900})
        redraw(page, address)
        page.close()


def click(page: Any, address: str, name: str) -> float:
    """Seconds to open a page by the navigation, from another one."""
    other = "quantize" if name != "quantize" else "runs"
    page.locator(f"[data-testid=stSidebarNav] a[href$='/{other}']").first.click()
    drawn(page)
    link = (
        page.locator("[data-testid=stSidebarNav] a").first
        if name == "home"
        else page.locator(f"[data-testid=stSidebarNav] a[href$='/{name}']").first
    )
    end = address.rstrip("/") if name == "home" else name
    started = time.perf_counter()
    link.click()
    page.wait_for_url(lambda url: url.split("?")[0].rstrip("/").endswith(end))
    drawn(page)
    return time.perf_counter() - started


def visit(page: Any, address: str, name: str) -> float:
    """Seconds to open a page by its address."""
    started = time.perf_counter()
    page.goto(f"{address}/{'' if name == 'home' else name}", wait_until="commit")
    page.wait_for_selector("[data-testid=stHeading]")
    drawn(page)
    return time.perf_counter() - started


def redraw(page: Any, address: str) -> None:
    page.goto(f"{address}/runs")
    for name in [*PAGES[2:], "weights"]:  # somebody has looked around in this one
        drawn(page)
        page.locator(f"[data-testid=stSidebarNav] a[href$='/{name}']").first.click()
        page.wait_for_url(lambda url, name=name: url.split("?")[0].endswith(name))
    drawn(page)
    times = []
    for i in range(10):
        page.locator(".st-key-pick-layer input").click()
        # the list shows about ten at a time
        option = page.locator("[role=option]").nth(1 + i % 7)
        option.wait_for()
        label = option.inner_text()
        started = time.perf_counter()
        option.click()
        # the new page's words; that the script ran may be too short to be seen
        page.wait_for_function(HEADED, arg=label)
        drawn(page)
        times.append(time.perf_counter() - started)
    say(
        "redraw after choosing a layer",
        statistics.median(times),
        "s",
        LIMITS["redraw"],
        worst=round(max(times), 2),
    )


class Student(threading.Thread):
    """Opens pages, and now and then starts a run."""

    def __init__(self, address: str, number: int, end: float) -> None:
        super().__init__(daemon=True)
        self.address, self.end, self.random = address, end, random.Random(number)
        self.times: list[float] = []
        self.errors: list[str] = []
        self.runs: set[str] = set()

    def ask(self, body: dict[str, Any]) -> dict[str, Any]:
        request = urllib.request.Request(
            f"{self.address}/_stcore/agent/interact",
            json.dumps(body).encode(),
            {"Content-Type": "application/json"},
        )
        started = time.perf_counter()
        with urllib.request.urlopen(request, timeout=60) as answer:
            got: dict[str, Any] = json.load(answer)
        self.times.append(time.perf_counter() - started)
        if got.get("status") != "ready":
            self.errors.append(json.dumps(got)[:300])
        return got

    def run(self) -> None:
        session = None
        while time.monotonic() < self.end:
            try:
                name = self.random.choice(PAGES[1:])
                got = self.ask({"page": name, **({"session_id": session} if session else {})})
                session = got["session_id"]
                if name == "quantize":
                    recipe = self.random.choice(MIX)
                    method = PRESETS[recipe].method
                    self.ask({"session_id": session, "widget_state": {"method": METHODS[method]}})
                    self.ask(
                        {
                            "session_id": session,
                            "widget_state": {
                                f"recipe-{method}": preset_label(recipe, PRESETS[recipe])
                            },
                        }
                    )
                    got = self.ask({"session_id": session, "trigger": {"key": "quantize"}})
                    self.runs |= set(got.get("query_params", {}).get("run", []))
            except Exception as error:
                body = error.read().decode()[:300] if hasattr(error, "read") else ""
                self.errors.append(f"{type(error).__name__}: {error} {body}")
            time.sleep(self.random.uniform(1, 5))


def crowd(data: Path, students: int = 30, seconds: float = 180) -> None:
    with serve(
        data,
        shipped=True,
        STREAMLIT_SERVER_ENABLE_AGENT_API="true",
        STREAMLIT_SERVER_AGENT_MAX_SESSIONS="100",
    ) as address:
        web = max(
            (
                p
                for p in psutil.Process().children(recursive=True)
                if "streamlit" in " ".join(p.cmdline())
            ),
            key=lambda p: p.memory_info().rss,
        )
        idle = [Student(address, i, 0) for i in range(30)]
        for i, student in enumerate(idle):
            student.ask({"page": PAGES[1 + i % (len(PAGES) - 1)]})
        say(
            "memory of the web process, 30 sessions",
            web.memory_info().rss / 2**20,
            "MiB",
            LIMITS["memory"],
            errors=functools.reduce(operator.iadd, (s.errors for s in idle), [])[:3],
        )
        crowd = [Student(address, i, time.monotonic() + seconds) for i in range(students)]
        for student in crowd:
            student.start()
        for student in crowd:
            student.join()
        times = sorted(t for s in crowd for t in s.times)
        errors = [e for s in crowd for e in s.errors]
        store = Store(data / "runs")
        asked = {run for s in crowd for run in s.runs}
        lost = [run for run in asked if jobs.state(run, store).status in ("unknown", "failed")]
        done = [run for run in asked if jobs.state(run, store).status == "done"]
        p95 = times[int(0.95 * len(times))]
        say(
            f"{students} students for {seconds:.0f} s: page time, p95",
            p95,
            "s",
            LIMITS["student page, p95"],
            requests=len(times),
            errors=errors[:3],
            number_of_errors=len(errors),
        )
        say(
            "runs asked for / finished / lost",
            len(asked),
            "runs",
            None,
            finished=len(done),
            lost=lost,
        )
        jobs.stop(store)


def main() -> None:
    """All, or the parts named on the command line."""
    parts = {"cold": cold, "pages": pages, "crowd": crowd}
    for name in sys.argv[1:] or parts:
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder) / "data"
            data.mkdir()
            parts[name](data)


if __name__ == "__main__":
    main()
