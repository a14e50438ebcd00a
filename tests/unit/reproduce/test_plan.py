"""Which runs a study has, and their order."""

from __future__ import annotations

import pytest

from sdq.recipe import PRESETS
from sdq.reproduce.plan import MIDI, MINI, STUDIES, Job, Study
from sdq.settings import UserError


def test_the_first_hour_has_a_whole_table() -> None:
    """Both tasks of the most telling scheme at seed 0, before another seed, before another
    scheme."""
    jobs = MIDI.jobs(range(3))
    presets = [
        "fp32",
        "ptq-int8-full-tensor",
        "fp32-longer",
        "qat-int8-full-tensor",
        "sdq-att-kld-int8-full-tensor",
        "sdq-att-kld-multi-int8-full-tensor",
    ]
    assert jobs[:12] == [Job(name, task, 0) for task in ("intent", "slots") for name in presets]
    second = [Job(name, task, 1) for task in ("intent", "slots") for name in presets[2:]]
    assert jobs[12:20] == second
    assert {job.seed for job in jobs[20:28]} == {2}
    assert jobs[28] == Job("ptq-int8-full", "intent", 0)


def test_every_run_of_midi_is_planned_once() -> None:
    jobs = MIDI.jobs(range(3))
    # of each task FP32, its control with 3 seeds, in 6 schemes PTQ and two students, and in the
    # most telling one SDQ multi
    assert len(jobs) == len(set(jobs)) == 2 * (1 + 3 + 6 * (1 + 2 * 3) + 3)
    assert [scheme.ptq for scheme in MIDI.schemes] == [
        "ptq-int8-full-tensor",
        "ptq-int8-full",
        "ptq-int8-static-tensor",
        "ptq-int8-tensor",
        "ptq-int8-dynamic",
        "ptq-w4a8",
    ]
    untrained = {job for job in jobs if PRESETS[job.preset].training is None}
    assert {job.seed for job in untrained} == {0}


def test_the_runs_of_a_table_of_mini_stay_in_their_order() -> None:
    trained = ("fp32-longer", "qat-w2a8", "sdq-att-kld-w2a8", "sdq-att-kld-multi-w2a8")
    assert MINI.jobs(range(3), ["W2A8"], ["intent"]) == [
        Job("fp32", "intent", 0),
        Job("ptq-w2a8", "intent", 0),
        *(Job(name, "intent", seed) for seed in range(3) for name in trained),
    ]
    assert [(scheme.name, task) for scheme, task in MINI.tables] == [
        ("W2A8", "intent"),
        ("W3A8", "intent"),
        ("W4A8", "intent"),
        ("INT8", "intent"),
        ("W2A8", "slots"),
        ("W4A8", "slots"),
        ("INT8", "slots"),
    ]


@pytest.mark.parametrize("study", STUDIES.values(), ids=list(STUDIES))
def test_students_round_as_the_ptq_that_they_are_compared_with(study: Study) -> None:
    for scheme in study.schemes:
        for preset in study.presets(scheme):
            recipe = PRESETS[preset]
            assert recipe.rules in ((), PRESETS[scheme.ptq].rules), preset
            assert (recipe.rules == ()) == (preset in ("fp32", study.control))
    if study.control:
        assert PRESETS[study.control].training == PRESETS["qat-int8"].training


def test_schemes_and_tasks_are_chosen_by_name() -> None:
    jobs = MIDI.jobs([0], ["FULL-integer", "w4a8"], ["slots"])
    assert {job.task for job in jobs} == {"slots"}
    rounding = [job.preset for job in jobs if job.preset.startswith("ptq")]
    assert rounding == ["ptq-int8-full", "ptq-w4a8"]
    with pytest.raises(
        UserError, match=r"a scheme must be one of full-integer-per-tensor, .*got 'int3'"
    ):
        MIDI.jobs([0], ["int3"])
    with pytest.raises(UserError, match=r"a task must be one of intent, slots, got 'names'"):
        MIDI.jobs([0], (), ["names"])
    with pytest.raises(UserError, match=r"W3A8 has none of slots"):
        MINI.jobs([0], ["w3a8"], ["slots"])
