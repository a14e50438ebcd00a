"""`python -m tests.e2e.screens OUTDIR`: every page, light and dark, wide and narrow. `--readme`:
the six of the README (`make screens`)."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from sdq.store import Store
from tests.e2e.browser import browser, serve, settled
from tests.helpers import made_up

SIZES = {1440: 900, 390: 844}
README = ("home", "depth", "weights", "examples", "languages", "methods")


def pages(ptq: str, sdq: str, fp32: str) -> dict[str, str]:
    """Name of the picture -> address. `ptq`, `sdq`, `fp32`: ids of finished runs of one task."""
    both = f"runs={fp32},{ptq},{sdq}"
    return {
        "home": "/",
        "home-multi-slots-int8": "/?task=slots&width=INT8&multi=true",
        "runs": "/runs",
        "quantize": "/quantize",
        "quantize-result": f"/quantize?run={sdq}",
        "data": "/data",
        "depth": f"/depth?{both}",
        "diagnosis": f"/diagnosis?runs={ptq}",
        "sensitivity": f"/sensitivity?{both}",
        "why": f"/why?runs={ptq}",
        "weights": f"/weights?{both}&layer=roberta.encoder.layer.3.intermediate.dense",
        "activations": f"/activations?{both}&layer=roberta.encoder.layer.3.intermediate.dense",
        "examples": f"/examples?{both}&language=sw",
        "flips": f"/flips?{both}&language=sw",
        "remedies": f"/remedies?runs={ptq}",
        "attribution": f"/attribution?runs={ptq}&language=ar",
        "languages": f"/languages?{both}",
        "zero-shot": f"/zero_shot?{both}",
        "methods": f"/methods?{both}",
        "report": f"/report?{both}",
    }


def shoot(out: Path, data: Path, runs: tuple[str, str, str], shipped: bool, only: str = "") -> None:
    """Save one full-length picture per page, theme and width."""
    out.mkdir(parents=True, exist_ok=True)
    with serve(data, shipped=shipped) as address, browser() as shown:
        for theme in ("light", "dark"):
            for wide, high in SIZES.items():
                page = shown.new_page(viewport={"width": wide, "height": high}, color_scheme=theme)
                for name, path in pages(*runs).items():
                    if only and only not in f"{name}-{theme}-{wide}":
                        continue
                    page.goto(address + path)
                    settled(page)
                    page.wait_for_timeout(1200)
                    page.screenshot(path=out / f"{name}-{theme}-{wide}-top.png")
                    box = page.locator("[data-testid='stMainBlockContainer']").bounding_box()
                    page.set_viewport_size(
                        {"width": wide, "height": int(box["height"]) + 80 if box else high}
                    )
                    page.wait_for_timeout(500)
                    page.screenshot(path=out / f"{name}-{theme}-{wide}.png")
                    page.set_viewport_size({"width": wide, "height": high})
                page.close()


def for_readme(out: Path, data: Path, runs: tuple[str, str, str]) -> None:
    """Save the pictures of the README: light, as wide as a laptop, what is seen at once and a bit
    more."""
    out.mkdir(parents=True, exist_ok=True)
    with serve(data, shipped=True) as address, browser() as shown:
        page = shown.new_page(viewport={"width": 1280, "height": 1000}, color_scheme="light")
        for name in README:
            page.goto(address + pages(*runs)[name])
            settled(page)
            page.wait_for_timeout(1200)
            page.screenshot(path=out / f"{name}.png")


def chosen(store: Store) -> tuple[str, str, str]:
    """Ids of a PTQ, an SDQ and an FP32 run of the intent task, at the narrowest width that is
    stored."""
    mine = {
        r.recipe["name"]: r.run
        for r in store.finished()
        if r.task == "intent" and r.recipe["seed"] == 0
    }
    width = next(w for w in ("w2a8", "w3a8") if f"sdq-att-kld-{w}" in mine)
    return mine[f"ptq-{width}"], mine[f"sdq-att-kld-{width}"], mine["fp32"]


def main() -> None:
    """Of the shipped runs; with --made-up of made-up ones. A second argument picks the pictures
    whose name holds it."""
    words = [word for word in sys.argv[1:] if not word.startswith("--")]
    out, only = Path(words[0]), words[1] if len(words) > 1 else ""
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        if "--made-up" in sys.argv:
            made_up.fill(Store(data / "runs", None))
            shoot(out, data, chosen(Store(data / "runs", None)), False, only)
        elif "--readme" in sys.argv:
            data.mkdir()
            for_readme(out, data, chosen(Store(data / "runs")))
        else:
            data.mkdir()
            shoot(out, data, chosen(Store(data / "runs")), True, only)


if __name__ == "__main__":
    main()
