"""`reproduce` makes what is not stored, in the order of the plan, within its minutes; a job that
fails says so, and the others go on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sdq.models import composition
from sdq.reproduce import running
from sdq.reproduce.plan import MIDI, Job, Study
from sdq.reproduce.running import in_process, reproduce
from sdq.settings import ROOT, UserError
from sdq.store import Store
from tests.helpers import made_up_study
from tests.helpers.commands import refused
from tests.helpers.published import made


class Machine:
    """Stands for the processes: makes a job's run up, or fails, and takes a minute for each."""

    def __init__(self, store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
        self.store, self.now, self.made = store, 0.0, list[Job]()
        self.broken: set[Job] = set()
        monkeypatch.setattr(running, "in_process", self.run)
        monkeypatch.setattr(running, "time", SimpleNamespace(monotonic=lambda: self.now))

    def run(self, model: str, job: Job, threads: int) -> None:
        assert model == MIDI.model
        self.now += 60
        if job in self.broken:
            raise UserError("the process ended")
        self.made.append(job)
        made_up_study.add(self.store, job)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "data" / "runs", None)


@pytest.fixture
def machine(store: Store, root: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(store, monkeypatch)


@pytest.fixture
def unwritten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tables take longer than what is tested here."""
    monkeypatch.setattr(running, "publish", lambda *of: "tables")


@pytest.mark.usefixtures("unwritten")
def test_runs_are_made_in_order_and_not_again(study: Study, store: Store, machine: Machine) -> None:
    said: list[str] = []
    reproduce(study, store, [0], said.append, schemes=["full-integer"], workers=1)
    wanted = study.jobs([0], ["full-integer"])
    first = [job for job in wanted if job.preset == "fp32"]
    assert machine.made == [*first, *(job for job in wanted if job not in first)]
    assert said[0] == "10 runs, 10 to do"
    report = store.report(study.run_of(wanted[4]))
    zero, english = report.quantized.zero_shot_mean, report.quantized.by_language["en"]
    assert f": {wanted[4].text}: {100 * zero:.1f} % zero-shot, {100 * english:.1f} % en, 60 s" in (
        "".join(said)
    )
    assert said[-1].startswith("10 of 10: ")
    machine.made.clear()
    said.clear()
    reproduce(study, store, [0], said.append, schemes=["full-integer"], workers=1)
    assert (machine.made, said) == ([], ["10 runs, 0 to do"])
    reproduce(study, store, [0, 1], said.append, schemes=["full-integer"], tasks=["slots"])
    assert sorted(machine.made) == [
        Job(preset, "slots", 1)
        for preset in ("fp32-longer", "qat-int8-full", "sdq-att-kld-int8-full")
    ]


@pytest.mark.usefixtures("unwritten")
def test_no_run_is_started_after_the_minutes(study: Study, store: Store, machine: Machine) -> None:
    said: list[str] = []
    reproduce(study, store, [0], said.append, workers=1, minutes=3.5)
    assert [job.preset for job in machine.made] == ["fp32", "fp32", "ptq-int8-full", "fp32-longer"]
    total = len(study.jobs([0]))
    left = "runs were not started in 3.5 minutes; the same command goes on there"
    assert said[-1] == f"{total - 4} {left}"
    reproduce(study, store, [0], said.append, workers=1)
    assert sorted(machine.made) == sorted(study.jobs([0]))


def test_a_run_that_fails_is_named_and_the_others_are_made(
    study: Study, store: Store, machine: Machine, root: Path
) -> None:
    said: list[str] = []
    lost = Job("ptq-int8-full", "slots", 0)
    machine.broken = {lost}
    page = root / "docs" / "results.md"
    with pytest.raises(UserError, match=r"1 did not, the first: ptq-int8-full, slots, seed 0: the"):
        reproduce(study, store, [0], said.append, schemes=["full-integer"], tasks=["slots"])
    assert sorted([*machine.made, lost]) == sorted(study.jobs([0], ["full-integer"], ["slots"]))
    assert any(": ptq-int8-full, slots, seed 0: failed: the process ended, " in s for s in said)
    assert "Missing: ptq-int8-full, seed 0." in page.read_text("utf-8")
    machine.broken = set()
    text = reproduce(study, store, [0], said.append, schemes=["full-integer"], tasks=["slots"])
    assert made(page, f"results {study.model}") == text
    assert "Missing: ptq-int8-full, seed 0." not in text


def test_a_model_that_is_not_there_is_refused_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(composition, "MIDI", tmp_path)
    monkeypatch.setattr(running, "in_process", lambda *job: pytest.fail("a run was started"))
    assert "midi must have its intent" in refused(capsys, "reproduce", "midi")
    assert "a scheme must be one of full-integer-per-tensor, full-integer" in refused(
        capsys, "reproduce", "midi", "--scheme", "W4A8", "--scheme", "none"
    )


def test_options_reach_the_study(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked: dict[str, Any] = {}

    def note(study: Study, store: Store, seeds: Any, say: Any, **how: Any) -> str:
        asked.update(how, study=study, seeds=list(seeds))
        raise UserError("noted")

    monkeypatch.setattr(running, "reproduce", note)
    words = "--seeds 2 --scheme W4A8 --scheme per-channel --task slots --minutes 90 --ship"
    refused(capsys, "reproduce", "midi", *words.split())
    assert asked == {
        "study": MIDI,
        "seeds": [0, 1],
        "schemes": ["W4A8", "per-channel"],
        "tasks": ("slots",),
        "workers": 2,
        "minutes": 90.0,
        "shipping": True,
    }


def test_each_run_is_a_process_that_says_why_it_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[list[str], dict[str, Any]]] = []

    def fail(command: list[str], **how: Any) -> subprocess.CompletedProcess[str]:
        asked.append((command, how))
        return subprocess.CompletedProcess(command, 2, "", "a note\nerror: no room\n")

    monkeypatch.setattr(subprocess, "run", fail)
    with pytest.raises(UserError, match=r"^sdq run qat-w4a8 .* failed: error: no room$"):
        in_process("midi", Job("qat-w4a8", "slots", 2), 3)
    with pytest.raises(UserError):
        in_process("mini", Job("ptq-int8-full", "intent", 0), 1)
    (trained, how), (rounded, _) = asked
    assert trained[:4] == rounded[:4] == [sys.executable, "-m", "sdq", "run"]
    assert " ".join(trained[4:]) == "qat-w4a8 --model midi --task slots --json --seed 2"
    assert " ".join(rounded[4:]) == "ptq-int8-full --model mini --task intent --json --seed 0"
    assert (how["env"]["OMP_NUM_THREADS"], how["cwd"]) == ("3", ROOT)
