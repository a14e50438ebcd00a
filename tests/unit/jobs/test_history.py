"""The list of runs: order, search, pins, and what is refused."""

from __future__ import annotations

import json

import pytest

from sdq.jobs import data_folder, history, unfinished
from sdq.results import Report
from sdq.settings import UserError
from sdq.store import Store

OTHER = "0123456789ab"


def test_rows_say_what_the_reports_say_newest_first(
    store: Store, reports: list[Report], shipped: Report
) -> None:
    table = history.rows(store.finished(), store)
    assert set(table["state"]) == {"whole"}
    assert list(table["recipe"]) == ["sdq-att-kld-w3a8", "ptq-w3a8", "fp32", "qat-w3a8"]
    assert list(table["origin"]) == ["own"] * 3 + ["shipped"]
    assert table["made"].isna().tolist() == [False] * 3 + [True]
    for row, report in zip(table.itertuples(), [*reports, shipped], strict=True):
        assert (row.run, row.method, row.score) == (
            report.run,
            report.method,
            pytest.approx(100 * report.quantized.zero_shot_mean),
        )
        assert row.seconds == sum(report.seconds.values())
        assert (
            row.size_mb
            == report.size_bytes["quantized_simulated" if report.recipe["rules"] else "fp32"] / 1e6
        )
    assert str(table["made"][0])[:10] == "2001-09-09"
    text = history.reading(table)
    assert "4 finished runs: 3 of your own, 1 that came" in text
    assert f"SDQ W3A8 on intent, {100 * reports[0].quantized.zero_shot_mean:.1f} %" in text


def test_without_runs_there_is_an_empty_table(store: Store) -> None:
    table = history.rows([], store)
    assert table.empty
    assert history.reading(table) == "No run is finished yet."
    assert unfinished.unfinished(store) == []
    assert data_folder.disk(store).own == data_folder.disk(store).trash == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", 4),
        ("sdq", 1),
        ("SDQ Intent", 1),
        ("w3a8", 3),
        ("w3a8 slots", 1),
        ("sdq slots", 0),
        ("shipped", 1),
        ("seed 0", 4),
        ("2001-09-09 ptq", 1),
        ("  ", 4),
    ],
)
def test_every_word_of_a_search_must_occur(
    store: Store, reports: list[Report], shipped: Report, text: str, expected: int
) -> None:
    table = history.rows(store.finished(), store)
    found = history.matching(table, text)
    assert len(found) == expected
    assert list(found.columns) == list(table.columns)


def test_filters_and_search_hold_together(
    store: Store, reports: list[Report], shipped: Report
) -> None:
    table = history.rows(store.finished(), store)
    assert set(history.matching(table, tasks=["slots"])["method"]) == {"QAT"}
    assert set(history.matching(table, "w3a8", methods=["PTQ", "QAT"])["method"]) == {"PTQ", "QAT"}
    assert history.matching(table, tasks=["slots"], methods=["PTQ"]).empty


def test_pins_stand_first_and_stay(store: Store, reports: list[Report]) -> None:
    oldest = reports[-1].run
    history.pin(store, [oldest])
    table = history.rows(store.finished(), store)
    assert (table["run"][0], bool(table["pinned"][0])) == (oldest, True)
    assert "pinned" not in table["run"].tolist()
    assert len(history.matching(table, "pinned")) == 1
    history.pin(store, [oldest, reports[0].run])
    assert json.loads((store.folder.parent / "pins.json").read_text()) == [oldest, reports[0].run]
    history.pin(store, [oldest], on=False)
    assert history.pinned(store) == (reports[0].run,)
    assert sorted(p.name for p in store.folder.parent.iterdir()) == [
        "history.lock",
        "pins.json",
        "runs",
    ]


@pytest.mark.parametrize("text", ["", "{", "3", '{"a": 1}', '["../../x", 5, null]', "\xff"])
def test_a_broken_file_of_pins_is_no_pins(store: Store, reports: list[Report], text: str) -> None:
    (store.folder.parent / "pins.json").write_text(text, "latin-1")
    assert history.pinned(store) == ()
    history.pin(store, [reports[0].run])
    assert history.pinned(store) == (reports[0].run,)


def test_only_finished_runs_can_be_pinned(store: Store) -> None:
    with pytest.raises(UserError, match="must be finished to be pinned"):
        history.pin(store, [OTHER])
    with pytest.raises(UserError, match="12 hexadecimal"):
        history.pin(store, ["../../etc"])
