"""`python -m tests.e2e.screens OUTDIR`: every page, light and dark, wide and narrow."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from sdq.store import Store
from tests import made_up
from tests.e2e.browser import browser, serve, settled

SIZES = {1440: 900, 390: 844}


def pages(run: str) -> dict[str, str]:
    """Name of the picture -> address."""
    return {"home": "/", "home-multi-slots-int8": "/?task=slots&width=INT8&multi=true", "quantize": "/quantize", "quantize-result": f"/quantize?run={run}"}


def shoot(out: Path, data: Path, run: str, only: str = "") -> None:
    """Save one full-length picture per page, theme and width."""
    out.mkdir(parents=True, exist_ok=True)
    with serve(data) as address, browser() as shown:
        for theme in ("light", "dark"):
            for wide, high in SIZES.items():
                page = shown.new_page(viewport={"width": wide, "height": high}, color_scheme=theme)
                for name, path in pages(run).items():
                    if only and only not in f"{name}-{theme}-{wide}":
                        continue
                    page.goto(address + path)
                    settled(page)
                    page.wait_for_timeout(1200)
                    page.screenshot(path=out / f"{name}-{theme}-{wide}-top.png")
                    box = page.locator("[data-testid='stMainBlockContainer']").bounding_box()
                    page.set_viewport_size({"width": wide, "height": int(box["height"]) + 80 if box else high})
                    page.wait_for_timeout(500)
                    page.screenshot(path=out / f"{name}-{theme}-{wide}.png")
                    page.set_viewport_size({"width": wide, "height": high})
                page.close()


def main() -> None:
    out = Path(sys.argv[1])
    only = sys.argv[2] if len(sys.argv) > 2 else ""
    if "SDQ_DATA" in os.environ:
        run = next(r.run for r in Store.default().finished() if r.method == "PTQ")
        shoot(out, Path(os.environ["SDQ_DATA"]), run, only)
        return
    with tempfile.TemporaryDirectory() as folder:
        store = Store(Path(folder) / "data" / "runs")
        made_up.fill(store)
        run = next(r.run for r in store.finished() if r.recipe["name"] == "ptq-w3a8" and r.task == "intent")
        shoot(out, Path(folder) / "data", run, only)


if __name__ == "__main__":
    main()
