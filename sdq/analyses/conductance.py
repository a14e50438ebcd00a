"""Which module breaks the answers? A second opinion beside the exact scan: how much of the whole
model's damage flows through each module.

Each quantized module gets a switch s in 0..1: its output is y + s (y' - y), with y its FP32 output
and y' its quantized one on the same input. All switches at 0 is FP32, all at 1 the quantized model.
On the straight path between the two, the conductance of a module is the integral over the path of
dF/ds, F being the damage: what flows into the damage through the change that this module makes to
its output. Summed over the modules it is the damage of the whole model, as an integrated gradient
is (Sundararajan et al. 2017) whose features are the switches.

Conductance as of Dhamdhere et al. 2018 (How Important Is a Neuron?, section 3) is the same integral
of dF/dy dy over the path, at the neurons of one layer. Over a whole layer it always sums to all of
the damage, because all of it flows through each layer, and so says nothing about which layer
breaks; hence dy is here only what a module adds to the error, not what it hands on.

Unlike the scan, in which each module quantizes alone, this counts each module among all the others
while they go from FP32 to quantized: errors that amplify or cancel one another are shared out.
Gradients through rounding are straight-through (see `sdq.analyses.attribution`), so that the sum
need not meet the damage; how far it is from it stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from sdq.analyses.divergence import METRICS, DivergenceSums, Reference
from sdq.analyses.sensitivity import Forward, check, patch_forwards
from sdq.data.batches import Batch, Encoded
from sdq.evaluate.ranking import rank_correlation
from sdq.models.structure import Module, blocks
from sdq.quant.rewrite import only, parts, quantized_parts
from sdq.results import EVERY

MEASURES = ("kl", "loss")  # of METRICS
STEPS = 6
_COLUMNS = [
    "site",
    "role",
    "block",
    "order",
    "level",
    "measure",
    "language",
    "sentences",
    "value",
    "low",
    "high",
    "share",
    "total",
    "delta",
    "scan",
    "rho",
]


def conductance(
    student: nn.Module,
    data: Encoded,
    languages: list[str],
    sensitivity: pd.DataFrame | None = None,
    batch_size: int = 32,
    steps: int = STEPS,
) -> pd.DataFrame:
    """The damage to the answers, shared out among the quantized modules.

    student: quantized, in eval mode
    batch_size: sentences of a forward pass
    data, languages: sentences, and a code for each.
    sensitivity: the table of the exact scan, for the last two columns.
    steps: nodes of Gauss and Legendre, each a forward pass that computes every module twice, and
        two backward passes.

    One row per site, level, measure and language:

    site, role, block, order
    level: "module": quantized modules; "block": embedding, Transformer blocks, modules of the head
    measure: "kl": KL of the FP32 answers from the quantized ones; "loss": rise of the
        cross-entropy to the labels
    language: "all": over all of them
    sentences
    value, low, high: nats per scored position (negative: the site repairs) with its 95 % interval
        as of `sdq.analyses.sensitivity.scan`
    total: damage of the whole model
    share: value / total, NaN without damage
    delta: sum of the values minus total
    scan: the measure with this site alone quantized, a block's modules added up; else NaN
    rho: Spearman's rank correlation of value and scan over the sites of a level

    FP32 is the student with its quantizers off. Hook only a private copy: the model's modules run
    other forwards meanwhile. Raises ValueError for other than one language per sentence, no
    sentence, no quantized module or a model in training mode.
    """
    check(student, data, languages)
    names = quantized_parts(student)
    if not names:
        raise ValueError(
            "the model must have quantized modules, it has none; rewrite it with rules first"
        )
    sites, divergence = _sites(student, names), DivergenceSums(languages)
    for batch in data.in_order(batch_size):
        with torch.no_grad():
            with only(student, ()):
                exact = Reference(student(**batch.inputs).logits, batch, data.token)
            divergence.add(EVERY, batch.at, exact.divergence(student(**batch.inputs).logits))
        divergence.count(batch.at, exact.counts)
        flow = _flow(student, batch, exact, names, steps)
        for site in sites:
            divergence.add(
                (site.level, site.module.name),
                batch.at,
                flow[:, [names.index(name) for name in site.members]].sum(1),
            )
    return _table(sites, divergence, sensitivity)


# --- along the path


def _flow(
    student: nn.Module, batch: Batch, exact: Reference, names: Sequence[str], steps: int
) -> Tensor:
    """Integral over the path of the slope of each sentence's damage along each module's switch: [B,
    modules, 4], METRICS without MEASURES 0."""
    flow = torch.zeros(len(batch.at), len(names), len(METRICS), dtype=torch.float64)
    nodes, weights = np.polynomial.legendre.leggauss(steps)  # in -1..1
    for node, weight in zip((nodes + 1) / 2, weights / 2, strict=True):
        switches = torch.full((len(batch.at), len(names)), float(node), requires_grad=True)
        with (
            torch.enable_grad(),
            patch_forwards(
                student,
                {name: _switched(student, name, switches[:, k]) for k, name in enumerate(names)},
            ),
        ):
            damage = exact.divergence(student(**batch.inputs).logits)  # [B, 4]
            for measure in MEASURES:
                k = METRICS.index(measure)
                # a sentence's damage depends on its own switches alone
                slopes = torch.autograd.grad(damage[:, k].sum(), switches, retain_graph=True)[0]
                flow[:, :, k] += float(weight) * slopes
    return flow


def _switched(student: nn.Module, name: str, switch: Tensor) -> Callable[[Forward], Forward]:
    """A module that gives what lies at `switch` [B] between its FP32 output (0) and its quantized
    one (1)."""
    module = student.get_submodule(name)

    def make(forward: Forward) -> Forward:
        def run(x: Tensor) -> Tensor:
            with only(module, ()):
                exact: Tensor = forward(x)
            rounded: Tensor = forward(x)
            # without sentences, as tables of positions: of all of them alike
            share = switch if len(exact) == len(switch) else switch.mean()
            return exact + share.reshape(-1, *[1] * (exact.dim() - 1)) * (rounded - exact)

        return run

    return make


# --- what came out


class _Site(NamedTuple):
    """What a row is about: a quantized module, or a block of them."""

    level: str
    module: Module
    order: int
    members: list[str]


def _sites(student: nn.Module, names: Sequence[str]) -> list[_Site]:
    """First all modules, then embedding, blocks and head, each in forward order."""
    quantized = [(order, m) for order, m in enumerate(parts(student)) if m.name in names]
    singles = [_Site("module", m, order, [m.name]) for order, m in quantized]
    whole = [_Site("block", m, order, [m.name]) for order, m in quantized if m.block < 0]
    for i, name in enumerate(blocks(student)):
        if inside := [(order, m.name) for order, m in quantized if m.block == i]:
            whole.append(
                _Site(
                    "block",
                    Module(name, "block", i),
                    inside[-1][0],
                    [member for _, member in inside],
                )
            )
    return singles + sorted(whole, key=lambda site: site.order)


def _table(
    sites: Sequence[_Site], divergence: DivergenceSums, sensitivity: pd.DataFrame | None
) -> pd.DataFrame:
    alone = {} if sensitivity is None else _alone(sensitivity)
    totals = {row["language"]: row for row in divergence.rows(EVERY)}
    rows: list[dict[str, Any]] = []
    for site in sites:
        site_columns = {
            "site": site.module.name,
            "role": site.module.role,
            "block": site.module.block,
            "order": site.order,
            "level": site.level,
        }
        for summary in divergence.rows((site.level, site.module.name)):
            for measure in MEASURES:
                language, total = summary["language"], totals[summary["language"]][measure]
                row = site_columns | {
                    "measure": measure,
                    "language": language,
                    "sentences": summary["sentences"],
                    "total": total,
                }
                row |= {
                    "value": summary[measure],
                    "low": summary[f"{measure}_low"],
                    "high": summary[f"{measure}_high"],
                }
                row["share"] = row["value"] / total if total else math.nan
                row["scan"] = sum(
                    alone.get((member, measure, language), math.nan) for member in site.members
                )
                rows.append(row)
    table = pd.DataFrame(rows)
    levels = ["level", "measure", "language"]
    table["delta"] = table.groupby(levels)["value"].transform("sum") - table["total"]
    rhos = {
        key: rank_correlation(part["value"], part["scan"]) for key, part in table.groupby(levels)
    }
    table["rho"] = [rhos[key] for key in zip(*(table[c] for c in levels), strict=True)]
    return table[_COLUMNS]


def _alone(sensitivity: pd.DataFrame) -> dict[tuple[str, str, str], float]:
    """(module, measure, language) -> the change of a scan when that module alone quantizes."""
    one = sensitivity[sensitivity["measure"] == "one"]
    return {
        (row.module, measure, row.language): float(getattr(row, measure))
        for row in one.itertuples()
        for measure in MEASURES
    }
