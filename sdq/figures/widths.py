"""Which module got how many bits."""

from __future__ import annotations

import pandas as pd

from sdq.figures.maps import WORSE, module_map
from sdq.figures.style import Theme, mixed
from sdq.figures.weights import Picture
from sdq.labels import module_label
from sdq.quant.mixed_precision import FP, Choice

_BITS = (FP, 8, 7, 6, 5, 4, 3, 2)


def widths_picture(choice: Choice, costs: pd.DataFrame, theme: Theme = "light") -> Picture:
    """A map of the modules with the bits each of them has in a choice; a c after them: one range
    per output channel instead of one per layer."""
    rows = costs.drop_duplicates("module")[["module", "role", "block"]].reset_index(drop=True)
    rows["layer"] = [module_label(*row) for row in rows.itertuples(index=False)]
    rows["bits"] = rows["module"].map(choice.widths)
    changed = {
        m
        for m, ranges in choice.ranges.items()
        if "tensor" in set(costs.loc[costs["module"] == m, "ranges"]) and ranges == "channel"
    }
    texts = [
        ("FP" if bits == FP else f"{bits}") + ("c" if module in changed else "")
        for module, bits in zip(rows["module"], rows["bits"], strict=True)
    ]
    paints = [mixed(*WORSE[theme], _BITS.index(bits) / (len(_BITS) - 1)) for bits in rows["bits"]]
    spoken = ["FP32" if bits == FP else f"{bits} bits" for bits in rows["bits"]]
    hover = [
        f"{name}<br>{bits}{', one range per output channel' if m in changed else ''}"
        for name, bits, m in zip(rows["layer"], spoken, rows["module"], strict=True)
    ]
    heading = (
        "Bits per weight"
        + (" (c: a range per output channel)" if changed else "")
        + "<br>stronger colour: fewer bits"
    )
    counts = rows["bits"].value_counts().sort_index()
    listed = ", ".join(
        f"{n} {'in FP32' if bits == FP else f'at {bits} bits'}" for bits, n in counts.items()
    )
    text = f"Of {len(rows)} modules: {listed}. Predicted cost {choice.cost:.2g} nats."
    return (
        module_map(rows, texts, paints, hover, heading, theme),
        rows.assign(ranges=rows["module"].map(choice.ranges)),
        text,
    )
