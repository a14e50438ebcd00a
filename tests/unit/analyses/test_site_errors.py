"""Activation sites in analyses: rows of their own in error curves and scans, without padding."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from sdq.analyses.layerwise_error import layerwise_error
from sdq.analyses.noise_floor import noise_floor
from sdq.analyses.sensitivity import scan
from sdq.analyses.weights_vs_activations import weights_vs_activations
from sdq.figures import depth_rows
from sdq.models.families import SITE_ROLES
from sdq.models.structure import sites, steps
from sdq.quant.rewrite import calibrate_, only, quantized_parts, rewrite
from sdq.results import EVERY
from tests.helpers.encoders import logits
from tests.helpers.families import examples
from tests.helpers.sites import FULL, of_real, passed

LANGUAGES = ["en", "de", "en", "de", "en", "de", "en"]


def quantized(model: nn.Module) -> nn.Module:
    student = rewrite(model, FULL).eval()
    calibrate_(student, [b.inputs for b in examples().in_order(4)])
    return student


def of_sites(table: pd.DataFrame, measure: str) -> pd.DataFrame:
    rows = table[table["role"].isin(SITE_ROLES) & (table["measure"] == measure)]
    return rows[rows["language"] == EVERY].set_index("site")


def by_hand(student: nn.Module, batch: dict[str, Tensor], name: str) -> tuple[float, float]:
    """(relative L2, mean absolute error) of a site that alone quantizes."""
    with only(student, (name,)):
        x, out = passed(student, batch)[name][0]
    keys = name.endswith("attention_probs_quantizer")
    mask = batch["attention_mask"]
    exact, other = (
        torch.cat([s.flatten() for s in of_real(t, mask, keys)]).double() for t in (x, out)
    )
    error = (other - exact).norm() / exact.norm()
    return float(error), float((other - exact).abs().mean())


@pytest.mark.parametrize("family", ["bert", "deberta-v3", "modernbert", "albert"])
def test_error_curves_have_the_sites(eager: Any, family: str) -> None:
    """Each at every layer it runs as; the same whatever the batches; and as counted by hand."""
    teacher, data = eager(family), examples()
    student = quantized(teacher)
    table, _ = layerwise_error(student, teacher, data, LANGUAGES)
    local, accumulated = of_sites(table, "local"), of_sites(table, "accumulated")
    expected = [
        step.tap(s.quantizer)
        for step in steps(student)
        for s in sites(student)
        if s.block == step.block
    ] + [s.quantizer for s in sites(student) if s.block < 0]
    assert sorted(local.index) == sorted(accumulated.index) == sorted(expected)
    assert of_sites(table, "gap").empty
    one_by_one = of_sites(layerwise_error(student, None, data, LANGUAGES, 1)[0], "local")
    for column in ("relative_l2", "mean_abs", "frobenius"):
        assert one_by_one[column].tolist() == pytest.approx(local[column].tolist(), rel=1e-3)
    batch = next(data.in_order(7)).inputs
    for name in (n for n in local.index if "@" not in n):
        error, absolute = by_hand(student, batch, name)
        assert local.loc[name, "relative_l2"] == pytest.approx(error, rel=1e-6)
        assert local.loc[name, "mean_abs"] == pytest.approx(absolute, rel=1e-6)
    shown = depth_rows.rows({"r": table}, {"r": "PTQ"}, "relative_l2", roles=SITE_ROLES)
    assert set(shown["type"]) == {depth_rows.ROLE_LABELS[role] for role in SITE_ROLES}
    assert not any("quantizer" in name for name in depth_rows.measured(table))
    assert "quantizer" not in depth_rows.worst_module(table)


def test_a_scan_asks_each_site_alone(eager: Any) -> None:
    """With all of them the answers are the quantized ones; a site alone changes what `only` does;
    and every module of the scan has a noise floor."""
    student, data = quantized(eager("bert")), examples()
    table = scan(student, data, LANGUAGES, ("one", "but_one", "all"))
    whole = scan(student, data, LANGUAGES, ("one", "but_one", "all"), reuse=False)
    pd.testing.assert_frame_equal(table, whole)
    one = table[(table["measure"] == "one") & (table["language"] == EVERY)]
    assert one["module"].tolist() == quantized_parts(student)
    batch = next(data.in_order(7))
    with only(student, ()):
        exact = logits(student, batch.inputs).double().log_softmax(-1)
    for name in ("bert.embeddings.LayerNorm.residual_quantizer", EVERY):
        with only(student, quantized_parts(student) if name == EVERY else (name,)):
            other = logits(student, batch.inputs).double().log_softmax(-1)
        kl = float((exact.exp() * (exact - other)).sum(-1).mean())
        row = table[(table["module"] == name) & (table["language"] == EVERY)]
        measured = row[row["measure"].isin(["one", "all"])]["kl"].item()
        assert measured == pytest.approx(kl, rel=1e-3)
    floor = noise_floor(student, data, LANGUAGES, repeats=1)
    assert set(one["module"]) <= set(floor[floor["kind"] == "module"]["name"])
    parts = weights_vs_activations(student, data, LANGUAGES).set_index(["part", "language"])["kl"]
    both = table[(table["measure"] == "all") & (table["language"] == EVERY)]["kl"].item()
    assert parts["both", EVERY] == pytest.approx(both, rel=1e-6)
