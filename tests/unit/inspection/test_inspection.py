"""An inspection: what is missing is computed, once, and kept; what fails keeps nothing else from
being made."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

from sdq.inspection import storage as inspection
from sdq.inspection.registry import ANALYSES, Analysis
from sdq.inspection.settings import Inspection, load_settings
from sdq.inspection.storage import inspect, inspection_id, missing, paths, read
from sdq.jobs import queue as jobs
from sdq.jobs.estimate import analyses
from sdq.recipe import PRESETS
from sdq.results import Report
from sdq.settings import UserError
from sdq.store import TABLES, Store
from tests.helpers import made_up

Computed = list[str]


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data" / "runs", tmp_path / "shipped" / "runs")


@pytest.fixture
def report(store: Store) -> Report:
    return made_up.add(store, PRESETS["ptq-w3a8"])


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> Computed:
    """Three quick analyses in place of the real ones ("second" gives two tables), on a subject
    without a model; the names of those computed."""
    done: Computed = []

    def one(name: str, *tables: str) -> Analysis:
        def compute(subject: Any, how: Inspection) -> dict[str, pd.DataFrame]:
            done.append(name)
            return {
                table: pd.DataFrame({"of": [name], "seen": [",".join(sorted(subject.tables))]})
                for table in tables
            }

        return Analysis(f"Analysis {name}", tables, compute)

    monkeypatch.setattr(
        inspection,
        "ANALYSES",
        {"first": one("first", "a"), "second": one("second", "b", "c"), "third": one("third", "d")},
    )
    monkeypatch.setattr(
        "sdq.inspection.subject.Subject.of_run",
        lambda report, store, sentences: SimpleNamespace(tables={}),
    )
    return done


def breaks(monkeypatch: pytest.MonkeyPatch, name: str, error: BaseException) -> None:
    def compute(subject: Any, how: Inspection) -> dict[str, pd.DataFrame]:
        raise error

    monkeypatch.setitem(
        inspection.ANALYSES, name, Analysis("Breaks", inspection.ANALYSES[name].tables, compute)
    )


def test_every_table_has_one_analysis_and_no_name_of_a_table_of_runs() -> None:
    names = [table for analysis in ANALYSES.values() for table in analysis.tables]
    assert len(names) == len(set(names))
    assert not set(names) & {*TABLES, "sentences"}


def test_what_is_there_is_not_computed_again(
    store: Store, report: Report, computed: Computed
) -> None:
    tables = inspect(report.run, store, only=("second",))
    assert computed == ["second"]
    assert set(tables) == {"b", "c"}
    home = store.inspections().folder / inspection_id(report.run, Inspection())
    assert not (home / "done").exists()
    tables = inspect(report.run, store)
    assert computed == ["second", "first", "third"]
    assert tables["d"]["seen"][0] == "a,b,c", (
        "an analysis sees what was made before, also by an earlier process"
    )
    assert (home / "done").exists()
    assert inspect(report.run, store)["a"].equals(tables["a"])
    assert inspect(report.run, store, Inspection(sentences=15), only=("first",)).keys() == {"a"}, (
        "other settings, another inspection"
    )
    assert computed == ["second", "first", "third", "first"]
    assert set(read(report.run, store, Inspection(sentences=15))) == {"a"}


def test_after_a_kill_only_the_missing_analyses_are_computed(
    store: Store, report: Report, computed: Computed, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = dict(inspection.ANALYSES)
    breaks(monkeypatch, "second", SystemExit(137))
    with pytest.raises(SystemExit):
        inspect(report.run, store)
    assert computed == ["first"]
    monkeypatch.setattr(inspection, "ANALYSES", whole)
    inspect(report.run, store)
    assert computed == ["first", "second", "third"]
    told = [
        e["name"]
        for e in store.inspections().events(inspection_id(report.run, Inspection()))
        if e["event"] == "analysed"
    ]
    assert told == ["first", "second", "third"], "the log goes on"


def test_an_analysis_that_fails_is_one_sentence_and_keeps_the_others(
    store: Store, report: Report, computed: Computed, monkeypatch: pytest.MonkeyPatch
) -> None:
    breaks(monkeypatch, "second", UserError("weights must be finite numbers"))
    with pytest.raises(
        UserError, match="the analysis second failed: weights must be finite numbers"
    ):
        inspect(report.run, store)
    assert set(read(report.run, store)) == {"a", "d"}
    kept, home = store.inspections(), inspection_id(report.run, Inspection())
    assert (
        kept.events(home)[-1]["message"]
        == "the analysis second failed: weights must be finite numbers"
    )
    assert not kept.done(home)
    assert missing(report.run, store) == ["second"]


def test_a_table_is_written_at_once_or_not_at_all(
    store: Store, report: Report, computed: Computed, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pyarrow.parquet.write_table", full)
    with pytest.raises(UserError, match="must fit into"):
        inspect(report.run, store)
    assert not paths(report.run, store)
    assert store.report(report.run) == report


def test_shipped_tables_are_read_and_only_the_rest_is_computed(
    store: Store, report: Report, computed: Computed
) -> None:
    inspect(report.run, store, only=("first",))
    kept = store.inspections()
    assert kept.shipped is not None
    kept.shipped.parent.mkdir()
    kept.folder.rename(kept.shipped)
    inspect(report.run, store)
    assert computed == ["first", "second", "third"]
    assert kept.done(inspection_id(report.run, Inspection()))
    assert {path.parent.parent for path in paths(report.run, store).values()} == {
        kept.folder,
        kept.shipped,
    }


@pytest.mark.parametrize(
    ("preset", "only", "said"),
    [
        ("fp32", (), "is FP32"),
        ("qat-w3a8", (), "weights of this run are not on this machine"),
        ("ptq-w3a8", ("colour",), "must be one of first, second, third"),
    ],
)
def test_what_cannot_be_looked_into_is_one_sentence(
    store: Store, computed: Computed, preset: str, only: tuple[str, ...], said: str
) -> None:
    run = made_up.add(store, PRESETS[preset]).run
    with pytest.raises(UserError, match=said):
        inspect(run, store, only=only)
    assert not store.inspections().folder.exists()


def test_an_unknown_run_is_one_sentence(store: Store, computed: Computed) -> None:
    with pytest.raises(UserError, match="no finished run has this id"):
        inspect("0" * 12, store)


# --- as a job


@pytest.fixture
def unattended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs, "ensure", lambda store: None)


def test_asking_is_one_wish_however_often(
    store: Store, report: Report, computed: Computed, unattended: None
) -> None:
    with ThreadPoolExecutor(8) as pool:
        homes = set(
            pool.map(lambda i: jobs.look_into(report.run, store, who=f"student-{i}"), range(30))
        )
    assert homes == {inspection_id(report.run, Inspection())}
    (home,) = homes
    assert [p.name for p in jobs.queue(store).iterdir()] == [home]
    assert jobs.state(home, store.inspections()).status == "queued"
    assert len(list((store.inspections().folder / home / "interest").iterdir())) == 30


def test_a_whole_inspection_is_not_asked_for_again(
    store: Store, report: Report, computed: Computed, unattended: None
) -> None:
    inspect(report.run, store)
    home = jobs.look_into(report.run, store)
    assert not jobs.queue(store).exists()
    assert jobs.state(home, store.inspections()).status == "done"


def test_one_with_fewer_analyses_than_there_are_now_is_asked_for(
    store: Store,
    report: Report,
    computed: Computed,
    unattended: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    inspect(report.run, store)
    monkeypatch.setitem(
        inspection.ANALYSES,
        "fourth",
        Analysis("New", ("e",), lambda subject, how: {"e": pd.DataFrame()}),
    )
    home = jobs.look_into(report.run, store)
    assert jobs.state(home, store.inspections()).status == "queued"


def test_a_run_that_cannot_be_looked_into_is_not_asked_for(store: Store, unattended: None) -> None:
    with pytest.raises(UserError, match="is FP32"):
        jobs.look_into(made_up.add(store, PRESETS["fp32"]).run, store)
    assert not jobs.queue(store).exists()


def test_the_command_of_a_job_says_all_settings(tmp_path: Path) -> None:
    from sdq.jobs.worker import _words

    how, request = (
        Inspection(sentences=15, batch_size=4, repeats=3, seed=9),
        tmp_path / "request.json",
    )
    request.write_text(how.model_dump_json())
    assert _words({"inspects": "0123456789ab", "lane": "quick"}, request) == [
        "inspect",
        "0123456789ab",
        "--settings",
        str(request),
    ]
    assert load_settings(request) == how


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "settings file must be JSON text"),
        (b"\xff\xfe\x00", "cannot be read as text"),
        (b'{"colour": 1}', "colour: unknown field"),
        (b'{"seed": 1, "seed": 2}', "settings.json has the name 'seed' twice"),
        (b"[]", "must be a JSON object"),
        (None, "must exist"),
    ],
)
def test_settings_that_are_none_are_one_sentence(
    tmp_path: Path, content: bytes | None, said: str
) -> None:
    if content is not None:
        (tmp_path / "settings.json").write_bytes(content)
    with pytest.raises(UserError, match=said) as error:
        load_settings(tmp_path / "settings.json")
    assert "\n" not in str(error.value)


def test_time_is_judged_by_the_median_of_the_same_model(
    store: Store, report: Report, log: Callable[..., None]
) -> None:
    how, usual = Inspection(sentences=60), Inspection()
    assert analyses(["first"], report, store, usual) is None
    for seconds in (1.0, 2.0, 30.0):
        log("first", seconds)
    log("first", 500.0, model="another")
    log("second", 10.0, task="slots")
    assert analyses(["first"], report, store, usual) == pytest.approx(2 * 2.0)
    assert analyses(["first", "second"], report, store, how) == pytest.approx(2.0 + 10.0), (
        "another task is better than nothing"
    )
    assert analyses(["first", "third"], report, store, how) is None
    assert analyses([], report, store, how) == 0
    log("first", 7.0, sentences=120)
    assert analyses(["first"], report, store, usual) == 7.0, (
        "the same settings say more than others"
    )
    assert analyses(["first"], report, store, how) == pytest.approx(2.0)
    (store.inspections().folder / ("f" * 12) / "events.jsonl").write_text("{half\n")
    assert analyses(["first"], report, store, how) is None


@pytest.fixture
def log(store: Store, report: Report) -> Callable[..., None]:
    kept, home = store.inspections(), "f" * 12
    kept.begin(home, {})

    def tell(
        name: str,
        seconds: float,
        model: str = report.model,
        task: str = report.task,
        sentences: int = 60,
    ) -> None:
        settings = Inspection(sentences=sentences).model_dump(mode="json")
        kept.tell(
            home,
            {
                "event": "analysed",
                "name": name,
                "seconds": seconds,
                "settings": settings,
                "model": model,
                "task": task,
            },
        )

    return tell
