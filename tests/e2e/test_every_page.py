"""Every page in a real browser: it draws, fits a phone, and has no serious barrier for anybody
(axe-core)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from sdq.inspection.storage import paths
from sdq.store import Store
from tests.e2e.browser import settled
from tests.e2e.screens import pages

pytestmark = pytest.mark.browser
NAMES = sorted(pages("x", "y", "z"))


@pytest.fixture(scope="module")
def addresses(data: Path) -> dict[str, str]:
    """Name -> address of every view, with real ids in it."""
    mine = {
        r.recipe["name"]: r.run for r in Store(data / "runs", None).finished() if r.task == "intent"
    }
    return pages(mine["ptq-w3a8"], mine["sdq-att-kld-w3a8"], mine["fp32"])


def opened(page: Any, address: str) -> None:
    page.goto(address)
    page.wait_for_selector("[data-testid='stMain'] h1")
    settled(page)
    page.wait_for_function(
        "() => [...document.querySelectorAll('[data-testid=stPlotlyChart]')].every(e => "
        "e.querySelector('.main-svg'))"
    )


@pytest.mark.parametrize(
    ("name", "theme"),
    [
        pytest.param(n, theme, marks=[] if (n, theme) == ("home", "dark") else pytest.mark.slow)
        for n in NAMES
        for theme in ("light", "dark")
    ],
)
def test_axe_finds_no_serious_barrier(
    chromium: Any, server: str, addresses: dict[str, str], name: str, theme: str
) -> None:
    from axe_playwright_python.sync_playwright import Axe

    page = chromium.new_page(viewport={"width": 1440, "height": 900}, color_scheme=theme)
    try:
        opened(page, server + addresses[name])
        # streamlit's own navigation is a list whose items axe finds misplaced; what is ours is in
        # the main part
        found = (
            Axe()
            .run(page, context="[data-testid='stMain']", options={"resultTypes": ["violations"]})
            .response["violations"]
        )
        serious = [
            (v["id"], [n["target"] for n in v["nodes"]][:3], v["nodes"][0]["html"][:160])
            for v in found
            if v["impact"] in ("serious", "critical")
        ]
        assert not serious
    finally:
        page.close()


@pytest.mark.parametrize(
    "name",
    [
        name if name in ("depth", "home") else pytest.param(name, marks=pytest.mark.slow)
        for name in NAMES
    ],
)
def test_it_fits_a_phone_and_the_console_is_silent(
    server: str, page: Any, addresses: dict[str, str], name: str
) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    opened(page, server + addresses[name])
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    assert page.locator("h1").count() == 1
    assert page.get_by_role("dialog").count() == 0  # "Page not found"


OTHERS = (
    "weights",
    "examples",
    "home",
    "runs",
    "quantize-result",
    "activations",
    "languages",
    "methods",
    "report",
    "diagnosis",
    "sensitivity",
    "why",
    "remedies",
    "attribution",
    "flips",
    "zero-shot",
)
LAYER = "roberta.encoder.layer.3.intermediate.dense"


@pytest.fixture(scope="module")
def store(data: Path) -> Store:
    return Store(data / "runs", None)


@pytest.fixture(scope="module")
def ids(store: Store) -> dict[str, str]:
    return {r.recipe["name"]: r.run for r in store.finished() if r.task == "intent"}


def numbers_of(name: str, store: Store, ids: dict[str, str]) -> list[str]:
    """What must stand on a page, worked out here from the stored tables."""
    fp32, ptq, sdq = (store.report(ids[n]) for n in ("fp32", "ptq-w3a8", "sdq-att-kld-w3a8"))
    if name == "weights":
        row = store.table(ptq.run, "weights").set_index("module").loc[LAYER]
        return [f"{row['sqnr_db']:.1f} dB", f"{row['codes_used']:.3g} of {row['codes']:.0f}"]
    if name == "activations":
        rows = store.table(ptq.run, "activations")
        rows = rows[rows["module"] == LAYER]
        return [f"SQNR {rows['sqnr_db'].min():.1f} dB"]
    if name == "depth":
        rows = store.table(ptq.run, "depth")
        rows = rows[
            (rows["role"] == "block")
            & (rows["measure"] == "accumulated")
            & (rows["language"] == "all")
        ].sort_values("block")
        return [
            f"{rows['relative_l2'].iloc[0]:.3g} at block 0",
            f"{rows['relative_l2'].iloc[-1]:.3g} at block 5",
        ]
    if name == "examples":
        both = store.sentences(fp32.run).merge(
            store.sentences(ptq.run), on=["id", "language"], suffixes=("", "_now")
        )
        both = both[both["language"] == "sw"]
        lost, gained = (
            int(((both["tp"] == 1) & (both["tp_now"] == 0)).sum()),
            int(((both["tp"] == 0) & (both["tp_now"] == 1)).sum()),
        )
        return [f"loses {lost:,} right answers and gains {gained:,}"]
    if name in ("diagnosis", "sensitivity", "why", "remedies", "attribution"):
        return inspected(name, store, ptq.run)
    if name == "flips":
        both = store.sentences(fp32.run).merge(
            store.sentences(ptq.run), on=["id", "language"], suffixes=("", "_now")
        )
        both = both[both["answer"] != both["answer_now"]]
        return [f"{len(both):,} of {len(store.sentences(fp32.run)):,} sentences change"]
    drops = {
        code: 100 * (fp32.quantized.by_language[code] - score)
        for code, score in ptq.quantized.by_language.items()
        if code != "en"
    }
    expected = {
        "home": [f"{100 * r.quantized.zero_shot_mean:.1f} %" for r in (fp32, ptq, sdq)],
        "runs": [f"{len(store.finished())} finished runs"],
        "quantize-result": [f"{100 * sdq.quantized.mean:.1f} %"],
        "languages": [f"most: {max(drops.values()):.1f} points"],
        "methods": [f"{100 * sdq.quantized.zero_shot_mean:.1f} %"],
        "zero-shot": [f"the 14 zero-shot languages {sum(drops.values()) / 14:.1f} on average"],
        "report": [
            f"costs {100 * (fp32.quantized.zero_shot_mean - ptq.quantized.zero_shot_mean):.1f} "
            "points"
        ],
    }
    return expected[name]


def inspected(name: str, store: Store, run: str) -> list[str]:
    """The same of a page on an inspection."""
    table = {key: pd.read_parquet(path) for key, path in paths(run, store).items()}
    if name == "remedies":
        best = table["remedies"].sort_values("change").iloc[-1]
        return [
            f"{best['change']:+.1f} points [{best['low']:+.1f}, {best['high']:+.1f}]",
            f"at {best['bytes'] / 1e6:.2f} MB",
        ]
    if name == "attribution":
        every = table["drift"].set_index("language").loc["all"]
        return [
            f"rank correlation of {every['rank_correlation']:.2f} [{every['rank_low']:.2f}, "
            f"{every['rank_high']:.2f}]"
        ]
    alone = table["sensitivity"][
        lambda rows: (rows["measure"] == "one") & (rows["language"] == "all")
    ]
    worst = alone.sort_values("kl").iloc[-1]
    return [f"{worst['kl']:.3g} nats" if name == "sensitivity" else f"{worst['kl']:.2f} nats"]


@pytest.mark.parametrize(
    "name",
    ["depth", *(pytest.param(n, marks=pytest.mark.slow) for n in OTHERS)],
)
def test_the_numbers_on_the_page_are_those_of_the_store(
    server: str, page: Any, addresses: dict[str, str], store: Store, ids: dict[str, str], name: str
) -> None:
    opened(page, server + addresses[name])
    for number in numbers_of(name, store, ids):
        page.wait_for_function(
            "n => document.querySelector('[data-testid=stMain]').innerText.replaceAll('\\u00a0', "
            "' ').includes(n)",
            arg=number,
            timeout=20_000,
        )


def test_a_click_on_a_layer_leads_to_its_weights(
    server: str, page: Any, addresses: dict[str, str]
) -> None:
    opened(page, server + addresses["depth"])
    point = page.locator(".st-key-depth-blocks .scatterlayer .point").nth(2)
    box = point.bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_url("**layer=**layer.2**")
    settled(page)
    page.get_by_role("link", name="Weights of block 2").click()
    page.wait_for_url("**/weights**layer=**layer.2**")
    settled(page)
    assert page.get_by_role("heading", name="Block 2 ·").first.is_visible()


@pytest.mark.slow
def test_from_a_language_to_its_flipped_sentences(
    server: str, page: Any, addresses: dict[str, str]
) -> None:
    opened(page, server + addresses["languages"] + "&language=th")
    page.get_by_role("link", name="Sentences whose answer changes, Thai").click()
    page.wait_for_url("**/examples**language=th**")
    settled(page)
    assert "in Thai" in page.locator("[data-testid='stMain']").inner_text()
