"""The noise floor beside errors through depth: the numbers, the line and the sentence."""

from __future__ import annotations

import math

import pandas as pd
import pytest

from sdq.figures import depth, noise
from sdq.reporting import inspected
from sdq.reporting import sections as parts
from sdq.store import Store
from tests.helpers import made_up_inspection, made_up_sensitivity
from tests.helpers.depth import chosen, errors


def floor_of(sites: dict[str, float]) -> pd.DataFrame:
    """A floor at which these sites move so far; of the other cause half of it."""
    rows = []
    for site, value in sites.items():
        for measure, high, less in (
            ("relative_l2", value, value / 2),
            ("sqnr_db", -20 * math.log10(value), 200.0),
            ("mean_abs", value / 2, 0.0),
            ("frobenius", 9, 0),
        ):
            rows += [
                ("site", site, measure, high, "perturbation"),
                ("site", site, measure, less, "batch"),
                ("fp32", site, measure, 7e7, "batch"),
            ]
    return pd.DataFrame(rows, columns=["kind", "name", "measure", "high", "cause"])


def test_the_floor_stands_beside_the_accumulated_error(store: Store) -> None:
    reports = chosen(store)
    block = "roberta.encoder.layer.{}".format
    floors = {reports[0].run: floor_of({block(i): 0.01 * (i + 1) for i in range(6)})}
    for measure in ("relative_l2", "sqnr_db"):
        figure, table, text = depth.draw(
            "Blocks", reports, errors(store), measure, "accumulated", "all", "", "light", floors
        )
        expected = [
            0.01 * (i + 1) if measure == "relative_l2" else -20 * math.log10(0.01 * (i + 1))
            for i in range(6)
        ]
        mine = table[table["run"] == "PTQ"]
        assert mine["noise floor"].tolist() == pytest.approx(expected)
        assert table[table["run"] != "PTQ"]["noise floor"].isna().all()
        (line,) = (trace for trace in figure.data if trace.name.startswith("floor"))
        assert (line.name, line.mode, list(line.x)) == ("floor, PTQ", "lines", list(range(6)))
        assert list(line.y) == pytest.approx(expected)
        low, high = figure.layout.yaxis.range
        assert low <= min(expected)
        assert max(expected) <= high
        assert "comes closest to the error with PTQ at block" in text
    for error in ("local", "gap"):
        _, table, text = depth.draw(
            "Roles", reports, errors(store), "relative_l2", error, "all", "", "light", floors
        )
        assert "noise floor" not in table
        assert "noise" not in text
    assert (
        "noise floor"
        not in depth.draw(
            "Blocks", reports, errors(store), "relative_l2", "accumulated", "all", ""
        )[1]
    )


def test_of_several_layers_in_a_panel_the_one_that_moves_most_is_the_floor(store: Store) -> None:
    reports = chosen(store)[:1]
    mine = {reports[0].run: errors(store)[reports[0].run]}
    sites = mine[reports[0].run].query("measure == 'accumulated' and language == 'all'")
    floors = {
        reports[0].run: floor_of({row.site: 0.01 + 0.001 * row.order for row in sites.itertuples()})
    }
    figure, table, _ = depth.draw(
        "Paper: error by layer type",
        reports,
        mine,
        "mean_abs",
        "accumulated",
        "all",
        "",
        "light",
        floors,
    )
    (line,) = (trace for trace in figure.data if trace.name == "noise floor")
    assert list(line.y) == pytest.approx(table.groupby("block")["noise floor"].max().tolist())
    figure, *_ = depth.draw(
        "Languages",
        reports,
        mine,
        "relative_l2",
        "accumulated",
        "all",
        reports[0].run,
        "light",
        floors,
    )
    assert [len(trace.x) for trace in figure.data if trace.name == "noise floor"] == [6]


def test_what_is_said_of_the_floor() -> None:
    table = pd.DataFrame(
        {
            "run": ["PTQ"] * 3 + ["SDQ"] * 3,
            "layer": ["a", "b", "c"] * 2,
            "value": [0.1, 0.2, 0.4, 0.1, 0.2, 0.3],
            "floor": [0.01, 0.1, 0.1, 0.2, 0.1, math.nan],
        }
    )
    text = noise.reading(table, "relative_l2")
    assert (
        "comes closest to the error with PTQ at b (0.1 against 0.2) and with SDQ at a (0.2 against "
        "0.1)." in text
    )
    assert text.endswith("1 of the 6 errors shown are no larger than that.")
    decibels = noise.reading(
        table.assign(
            value=[20.0, 10, 5, 9, 9, 9], floor=[30.0, 15, 40, math.nan, math.nan, math.nan]
        ),
        "sqnr_db",
    )
    assert "with PTQ at b (15.0 dB against 10.0 dB)." in decibels
    assert noise.reading(table.drop(columns="floor"), "relative_l2") == ""
    assert noise.reading(table.assign(floor=math.nan), "relative_l2") == ""
    still = noise.with_floor(
        pd.DataFrame({"id": ["r"], "site": ["s"]}),
        {
            "r": pd.DataFrame(
                [("site", "s", "sqnr_db", 200.0)], columns=["kind", "name", "measure", "high"]
            )
        },
        "sqnr_db",
    )
    assert still["floor"].isna().all()


def test_what_is_given_out_has_the_floor_too(store: Store) -> None:
    report = chosen(store)[2]
    given = {"depth": store.table(report.run, "depth"), "floor": made_up_sensitivity.floor()}
    for tables, there in ((given, True), ({"depth": given["depth"]}, False)):
        assert (
            any(
                trace.name == "noise floor"
                for trace in inspected.pictures("depth", tables, report)[0][0].data
            )
            == there
        )
    draw = dict(parts.FIGURES)["Rounding error through depth"]
    assert "noise floor" not in draw([report], store, "light")[1]
    made_up_inspection.write(store, report.run)
    floor = (
        made_up_sensitivity.floor()
        .query("kind == 'site' and role == 'block' and measure == 'relative_l2'")
        .groupby("block")["high"]
        .max()
    )
    assert draw([report], store, "light")[1]["noise floor"].tolist() == pytest.approx(
        floor.tolist()
    )
