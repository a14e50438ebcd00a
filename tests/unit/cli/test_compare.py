"""`python -m sdq compare`: what it prints is what the verdicts say."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from sdq import __main__ as cli
from sdq.evaluate.significance import paired_tests, power_text
from sdq.evaluate.statistics import p_cell
from sdq.recipe import PRESETS
from sdq.results import Report
from sdq.store import Store
from tests.helpers import made_up, made_up_tables


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compare")


@pytest.fixture(scope="module")
def runs(folder: Path) -> list[Report]:
    store = Store(folder / "runs", shipped=None)
    return [made_up.add(store, PRESETS[name]) for name in ("fp32", "ptq-w3a8", "sdq-att-kld-w3a8")]


def said(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, folder: Path, *words: str
) -> tuple[int, str, str]:
    monkeypatch.setenv("SDQ_DATA", str(folder))
    monkeypatch.setenv("SDQ_SHIPPED", "no")
    monkeypatch.setattr(sys, "argv", ["sdq", "compare", *words])
    capsys.readouterr()
    try:
        cli.main()
        code = 0
    except SystemExit as stop:
        code = int(stop.code or 0)
    return code, *capsys.readouterr()


def test_a_row_per_language_with_holm_and_what_cannot_be_seen(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    runs: list[Report],
) -> None:
    code, out, err = said(capsys, monkeypatch, folder, *(r.run for r in runs))
    assert (code, err) == (0, "")
    store = Store(folder / "runs", shipped=None)
    for other in runs[1:]:
        table = paired_tests(
            store.sentences(runs[0].run),
            store.sentences(other.run),
            list(made_up_tables.LANGUAGES),
            ("en",),
        )
        part = out[
            out.index(
                f"{other.run} {other.recipe['name']} seed 0 against {runs[0].run} fp32 seed 0, "
                "accuracy in %"
            ) :
        ]
        lines = {line.split()[0]: line for line in part.splitlines()[3:20]}
        for row in table.to_dict("records"):
            line = lines[row["language"]]
            assert f"{row['change']:+.1f}  [{row['low']:+.1f}, {row['high']:+.1f}]" in line
            assert p_cell(row["p_holm"]) in line
            assert line.split()[-5:-2] == [str(row["lost"]), str(row["gained"]), str(row["n"])]
        assert "p: McNemar, exact (en, de, " in part
        assert power_text(table) in part


def test_json_holds_every_number(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    runs: list[Report],
) -> None:
    code, out, _ = said(capsys, monkeypatch, folder, runs[0].run, runs[1].run, "--json")
    found, store = json.loads(out), Store(folder / "runs", shipped=None)
    assert code == 0
    assert found["base"] == runs[0].run
    rows = found["runs"][runs[1].run]
    table = paired_tests(
        store.sentences(runs[0].run),
        store.sentences(runs[1].run),
        list(made_up_tables.LANGUAGES),
        ("en",),
    )
    assert [row["language"] for row in rows] == [*made_up_tables.LANGUAGES, "all", "zero-shot"]
    assert [row["change"] for row in rows] == pytest.approx(table["change"].tolist())
    assert rows[-1]["p_holm"] is None


def test_what_cannot_be_compared(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    folder: Path,
    runs: list[Report],
) -> None:
    code, out, err = said(capsys, monkeypatch, folder, runs[0].run)
    assert (code, out) == (2, "")
    assert "compare needs at least two runs of one model and task" in err
    store = Store(folder / "runs", shipped=None)
    fewer = made_up.add(store, PRESETS["qat-w3a8"])
    table = store.sentences(fewer.run)
    store.finish(fewer, table[table["id"] != table["id"].iloc[0]])
    code, out, err = said(capsys, monkeypatch, folder, runs[0].run, fewer.run)
    assert (code, out) == (2, "")
    assert "all tables must hold the same sentences" in err
    assert "run both recipes again" in err
    assert len(err.strip().splitlines()) == 1
