"""Learning rates, and the step that a training ends with."""

from __future__ import annotations

from typing import Any

import pytest

from sdq.train.loop import train_
from sdq.train.resume import State
from sdq.train.schedule import finished, last_step, rate, start_decay_
from sdq.train.settings import Training
from tests.helpers.training import SHORT, text

PEAK = 0.5
LINEAR = Training(steps=100, learning_rate=PEAK, warmup=0.1)
STABLE = LINEAR.model_copy(update={"cooldown": 0.25, "patience": 2, "check_every": 5})


def followed(settings: Training, scores: dict[int, float]) -> tuple[list[float], State]:
    """The rates of all steps of a training whose dev scores are known, and its last state."""
    state, rates = State(), []
    while not finished(settings, state):
        state.step += 1
        rates.append(rate(state.step, settings, state.decay_from) / PEAK)
        if (score := scores.get(state.step)) is not None:
            state.bad = 0 if score > state.best else state.bad + 1
            state.best = max(score, state.best)
        start_decay_(settings, state)
    return rates, state


def test_a_known_number_of_steps_rises_and_falls_linearly() -> None:
    rates, state = followed(LINEAR, {})
    assert len(rates) == 100
    assert rates[:10] == pytest.approx([0.1 * (i + 1) for i in range(10)])
    assert rates[10:] == pytest.approx([(90 - i) / 90 for i in range(90)])
    assert not state.history.unfinished


def test_the_rate_stays_until_the_score_stops_rising() -> None:
    scores = {5: 0.1, 10: 0.3, 15: 0.6, 20: 0.5, 25: 0.6, 30: 0.9}
    rates, state = followed(STABLE, scores)
    assert state.decay_from == 25
    assert rates[9:25] == [1.0] * 16
    assert rates[25:] == pytest.approx([1, 5 / 6, 4 / 6, 3 / 6, 2 / 6, 1 / 6])
    assert last_step(STABLE, state.decay_from) == state.step == 31, "a fall is not stopped"
    assert not state.history.unfinished


def test_a_score_that_still_rises_is_cut_off_in_time_to_fall() -> None:
    rates, state = followed(STABLE, {step: step / 100 for step in range(5, 101, 5)})
    assert (state.decay_from, len(rates)) == (80, 100)
    assert rates[80:] == pytest.approx([(20 - i) / 20 for i in range(20)])
    assert state.history.unfinished


def test_the_rate_decays_from_its_largest_only() -> None:
    """A score that is best at the first look does not end the warm-up."""
    slow = STABLE.model_copy(update={"warmup": 0.4})
    rates, state = followed(slow, {step: 1 / step for step in range(5, 101, 5)})
    assert state.decay_from == 40
    assert max(rates) == rates[39] == 1.0


@pytest.mark.parametrize("steps", [1, 2, 3, 7])
@pytest.mark.parametrize("cooldown", [0.01, 0.25, 1.0])
def test_few_steps_are_all_done(steps: int, cooldown: float) -> None:
    settings = STABLE.model_copy(update={"steps": steps, "cooldown": cooldown})
    rates, _ = followed(settings, {})
    assert 1 <= len(rates) <= steps
    assert all(0 < one <= 1 for one in rates)


def test_the_loop_ends_when_the_schedule_says(pair: Any) -> None:
    _, student = pair
    scores = iter((1, 3, 2, 1, 4, 4, 4))
    events: list[dict[str, Any]] = []
    history = train_(
        student,
        text(),
        SHORT.model_copy(update={"steps": 40, "check_every": 1, "patience": 2, "cooldown": 0.75}),
        lambda model: next(scores),
        progress=events.append,
    )
    assert [row["step"] for row in history.checks] == [1, 2, 3, 4, 5, 6, 7]
    assert [e["of"] for e in events if e["event"] == "check"] == [40] * 4 + [7] * 3
    assert history.kept == 7
    assert not history.unfinished
