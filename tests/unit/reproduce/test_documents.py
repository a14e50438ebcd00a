"""The tables of a study with a control: their figures, and what they say of runs that are not
there."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import pytest

from sdq.evaluate.significance import interaction, paired_tests
from sdq.evaluate.statistics import holm, mean_interval
from sdq.reproduce import documents
from sdq.reproduce.documents import overview, publish, results
from sdq.reproduce.plan import Job, Study
from sdq.settings import UserError
from sdq.store import Store
from tests.helpers import made_up_study
from tests.helpers.published import made, rows, section

HEADING = "midi, slots, full-integer"


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data" / "runs", None)


def fill(store: Store, jobs: list[Job]) -> None:
    for job in jobs:
        made_up_study.add(store, job)


def slots(study: Study, seeds: list[int]) -> list[Job]:
    return study.jobs(seeds, ["full-integer"], ["slots"])


def test_a_table_says_what_its_runs_say(study: Study, store: Store) -> None:
    jobs = slots(study, [0, 1])
    fill(store, jobs)
    tables = {
        name: [store.sentences(study.run_of(job)) for job in jobs if job.preset == name]
        for name in study.presets(study.schemes[0])
    }
    fp32, longer, ptq, qat, sdq = tables.values()
    assert [len(each) for each in (fp32, longer, ptq, qat, sdq)] == [1, 2, 1, 2, 2]
    report = store.report(study.run_of(jobs[0]))
    zero = [code for code in report.quantized.by_language if code != "en"]
    text = section(results(study, store, [0, 1]), HEADING)
    head, _, *body = rows(text)
    assert head == [
        "method",
        "en [95 %]",
        "mean of 14 zero-shot [95 %]",
        "recovered, %",
        "against PTQ, points [95 %], p",
        "against QAT, points [95 %], p",
        "against FP32 longer, points [95 %], p",
    ]
    assert [row[0] for row in body] == [
        "fp32",
        "fp32-longer (control: FP32 longer)",
        "ptq-int8-full",
        "qat-int8-full",
        "sdq-att-kld-int8-full",
    ]
    for row, runs in zip(body, tables.values(), strict=True):
        for cell, languages in zip(row[1:3], (["en"], zero), strict=True):
            mean, low, high = (100 * min(1.0, max(0.0, x)) for x in mean_interval(runs, languages))
            assert cell == f"{mean:.1f} [{low:.1f}, {high:.1f}]"
    mean = {name: mean_interval(runs, zero)[0] for name, runs in tables.items()}
    base, full = mean["ptq-int8-full"], mean["fp32"]
    shares = [f"{100 * (mean[name] - base) / (full - base):.0f}" for name in list(tables)[3:]]
    assert [row[3] for row in body] == ["", "", "", *shares]
    tests = [paired_tests(other, sdq, zero).iloc[-1] for other in (ptq, qat, longer)]
    corrected = holm([test["p"] for test in tests])
    assert list(corrected) != [test["p"] for test in tests]
    for cell, test, p in zip(body[-1][4:], tests, corrected, strict=True):
        change = f"{test['change']:+.2f} [{test['low']:+.2f}, {test['high']:+.2f}]"
        assert cell == f"{change}, p = {p:.3f}" or (p >= 0.095 and cell.startswith(change))
    assert all(row[4:] == ["", "", ""] for row in body[:-1]), "only SDQ is tested"


def test_a_table_says_whether_the_zero_shot_languages_lose_more(study: Study, store: Store) -> None:
    jobs = slots(study, [0])[:2]
    fill(store, jobs)
    fp32, ptq = (store.sentences(study.run_of(job)) for job in jobs)
    zero = [code for code in fp32["language"].unique() if code != "en"]
    home, away = interaction(fp32, ptq, {"zero-shot": zero}, ["en"]).to_dict("records")
    text = section(results(study, store, [0]), HEADING)
    assert f"PTQ loses {away['drop']:.1f} points of mean zero-shot score" in text
    assert (
        f"In English it loses {home['drop']:.1f} points [{home['low']:+.2f}, {home['high']:+.2f}]. "
        f"The zero-shot loss minus that of English: {away['extra']:+.2f} points "
        f"[{away['extra_low']:+.2f}, {away['extra_high']:+.2f}], p " in text
    )
    assert away["extra"] > 1
    assert f"{len(ptq[ptq['language'] != 'en'])} sentences in {made_up_study.SENTENCES} " in text


def test_a_table_says_which_seeds_it_has(study: Study, store: Store) -> None:
    jobs = slots(study, [0, 1, 2])
    lost = {Job("sdq-att-kld-int8-full", "slots", seed) for seed in (1, 2)}
    lost |= {Job("qat-int8-full", "slots", 1), *(Job("fp32-longer", "slots", s) for s in range(3))}
    fill(store, [job for job in jobs if job not in lost])
    text = results(study, store, [0, 1, 2])
    table = section(text, HEADING)
    assert [row[0] for row in rows(table)][2:] == [
        "fp32",
        "ptq-int8-full",
        "qat-int8-full (seeds 0, 2)",
        "sdq-att-kld-int8-full (seed 0)",
    ]
    last = rows(table)[-1]
    assert last[-1] == "", "there is no control to stand against"
    assert (
        "Not complete: 5 of 11 planned runs stored. Missing: fp32-longer, seeds 0, 1, 2; "
        "qat-int8-full, seed 1; sdq-att-kld-int8-full, seeds 1, 2. The command" in table
    )
    other = section(text, "midi, intent, full-integer")
    assert "0 of 11 planned runs" in other
    assert "|" not in other
    assert not rows(overview(study, store, [0, 1, 2])), "the README has no table of slots"


def test_every_table_stands_under_its_command(study: Study, store: Store) -> None:
    fill(store, slots(study, [0])[:1])
    text = results(study, store, [0])
    commands = re.findall(r"\n## midi, (\w+), ([\w-]+)\n\n`python -m sdq reproduce (.*)`\n", text)
    assert commands == [
        (task, scheme.name, f"midi --seeds 1 --scheme {scheme.name} --task {task}")
        for scheme, task in study.tables
    ]
    assert "Missing: ptq-int8-full, seed 0; " in section(text, HEADING)
    assert " Seed 0 varies the training of the students " in text
    fill(store, study.jobs([0], ["full-integer"], ["intent"])[:1])
    shown = overview(study, store, [0])
    assert "|" not in shown, "a table without rows is left out"
    assert "Not complete: 1 of " in shown


def test_the_readme_has_a_row_for_what_is_stored(study: Study, store: Store) -> None:
    jobs = [*study.jobs([0, 1], ["full-integer"]), Job("ptq-int8-static-tensor", "intent", 0)]
    fill(store, [job for job in jobs if job != Job("qat-int8-full", "intent", 1)])
    text = overview(study, store, [0, 1])
    head, _, *body = rows(text)
    assert head == ["scheme", "FP32", "FP32 longer", "PTQ", "QAT", "SDQ"]
    assert [row[0] for row in body] == ["full-integer", "static-per-tensor"]
    full = results(study, store, [0, 1])
    scores = [row[2] for row in rows(section(full, "midi, intent, full-integer"))[2:]]
    assert [cell.partition(" (")[0] for cell in body[0][1:]] == scores
    assert body[0][4].endswith("] (seed 0)")
    assert body[1][4:] == ["", ""]
    here = [job for job in jobs if job.task == "intent"]
    planned = len(study.jobs([0, 1], tasks=["intent"]))
    assert f"\nNot complete: {len(here) - 1} of {planned} planned runs stored.\n" in text
    assert "over 2 seeds" in text


def test_without_runs_the_documents_say_how_to_make_them(study: Study, store: Store) -> None:
    said = (
        "No run of `midi` is stored yet: `python -m sdq reproduce midi --seeds 3` makes them and "
        "writes the tables here.\n"
    )
    assert results(study, store, [0, 1, 2]) == overview(study, store, [0, 1, 2]) == said


def test_each_study_writes_between_its_own_marks(study: Study, store: Store, root: Path) -> None:
    fill(store, slots(study, [0]))
    before = {name: (root / name).read_text("utf-8") for name in ("README.md", "docs/results.md")}
    publish(study, store, [0], shipping=False)
    tables = {"README.md": overview, "docs/results.md": results}
    for name, text in before.items():
        assert made(root / name, f"results {study.model}") == tables[name](study, store, [0])
        start, end = f"<!-- results {study.model} -->", f"<!-- /results {study.model} -->"
        after = (root / name).read_text("utf-8")
        assert after.partition(start)[0] == text.partition(start)[0]
        assert after.partition(end)[2] == text.partition(end)[2]


def test_documents_without_the_marks_of_a_study_are_refused(
    study: Study, store: Store, root: Path
) -> None:
    path = root / "docs" / "results.md"
    path.write_text(path.read_text("utf-8").partition("<!-- results midi -->")[0], "utf-8")
    before = path.read_bytes()
    with pytest.raises(UserError, match=r"results\.md must hold the two marks of the results midi"):
        publish(study, store, [0], shipping=False)
    assert path.read_bytes() == before


def test_what_ships_is_what_is_stored(
    study: Study, store: Store, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shipped: list[str] = []
    monkeypatch.setattr(documents, "ship", lambda store, runs: shipped.extend(runs))
    monkeypatch.setattr(documents, "compact", lambda assets: shipped.append("compact"))
    monkeypatch.setattr(documents, "ship_inspections", lambda *of: shipped.append("inspections"))
    jobs = slots(study, [0])[:3]
    fill(store, jobs)
    publish(study, store, [0], shipping=True)
    assert shipped == [*(study.run_of(job) for job in jobs), "compact"]
    shipped.clear()
    publish(replace(study, inspected=("ptq-int8-full",)), store, [0], shipping=True)
    assert shipped[-2:] == ["inspections", "compact"]
    shipped.clear()
    publish(study, store, [0], shipping=False)
    assert shipped == []
