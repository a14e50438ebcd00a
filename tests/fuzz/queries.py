"""Addresses: every page with query strings that no page wrote."""

from __future__ import annotations

from random import Random

from tests.fuzz.harness import page
from tests.fuzz.mutate import VALUES

PAGES = (
    "",
    "pages/start/runs.py",
    "pages/lab/quantize.py",
    "pages/lab/data.py",
    "pages/inspect/diagnosis.py",
    "pages/inspect/depth.py",
    "pages/inspect/sensitivity.py",
    "pages/inspect/why.py",
    "pages/inspect/weights.py",
    "pages/inspect/activations.py",
    "pages/inspect/examples.py",
    "pages/inspect/flips.py",
    "pages/inspect/attribution.py",
    "pages/inspect/remedies.py",
    "pages/compare/languages.py",
    "pages/compare/zero_shot.py",
    "pages/compare/methods.py",
    "pages/compare/report.py",
)
NAMES = (
    "run",
    "runs",
    "on",
    "preset",
    "task",
    "width",
    "multi",
    "method",
    "shown",
    "languages",
    "language",
    "layer",
    "of",
    "was",
    "now",
    "size",
    "sentence",
    "module",
    "role",
    "measure",
    "metric",
    "block",
    "kind",
    "model",
    "room",
    "token",
    "page",
    "text",
    "typed",
    "sort",
    "label",
    "embed",
    "",
)
USUAL = (
    "intent",
    "slots",
    "mini",
    "INT8",
    "W3A8",
    "en",
    "de",
    "sw",
    "all",
    "ptq-w3a8",
    "fp32",
    "0123456789ab",
    "ffffffffffff",
    "en,de",
    "roberta.encoder.layer.0.output.dense",
    "weights",
    "1",
    "0",
)


class Queries:
    """A page with a few names in its address."""

    name = "query strings"

    def __init__(self, runs: list[str]) -> None:
        self.values = (
            *USUAL,
            *runs,
            ",".join(runs),
            ",".join(reversed(runs)),
            f"{runs[0]},ffffffffffff",
            *(str(v)[:3000] for v in VALUES),
        )

    def attempt(self, rng: Random) -> bytes:
        query = {name: rng.choice(self.values) for name in rng.sample(NAMES, rng.randint(1, 5))}
        if rng.random() < 0.5:
            query["runs"] = rng.choice(self.values[len(USUAL) : len(USUAL) + 6])
        query = {
            name: value.encode("utf-8", "replace").decode() for name, value in query.items()
        }  # an address has no lone surrogates
        held = repr(query).encode()
        page(held, rng.choice(PAGES), query)
        return held
