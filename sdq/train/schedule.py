"""The learning rate of every step, and when a training ends.

Without `cooldown` the rate rises and then falls to nearly 0 over a number of steps that is known
before. With it the rate rises and stays until the dev score stops rising, and falls then (warmup,
stable, decay: Hu et al. 2024, "MiniCPM", section 4), so that a training is as long as it must be.
"""

from __future__ import annotations

from sdq.train.resume import State
from sdq.train.settings import Training


def rate(step: int, settings: Training, falls: int = 0) -> float:
    """The learning rate of a step.

    step: counted from 1
    settings: of the training
    falls: the step after which the rate falls, see `State`
    """
    warm = max(1, round(settings.warmup * settings.steps))
    if settings.cooldown is None:
        falling = max(0.0, settings.steps - step + 1) / max(1, settings.steps - warm)
    else:
        end = last_step(settings, falls)
        falling = (end - step + 1) / (end - falls) if falls else 1.0
    return settings.learning_rate * min(step / warm, falling)


def last_step(settings: Training, falls: int = 0) -> int:
    """The step that a training ends with, as far as is known: until the rate falls, the most."""
    if settings.cooldown is None or not falls:
        return settings.steps
    return min(settings.steps, falls + max(1, round(settings.cooldown * falls)))


def turn_(settings: Training, state: State) -> None:
    """After a step: let the rate fall from here on if the dev score has stopped rising, or if the
    steps left are only just enough to let it fall; then the training is not finished, and its
    history says so."""
    if settings.cooldown is None or state.falls:
        return
    if state.bad >= settings.patience:
        state.falls = state.step
    elif state.step >= max(1, int(settings.steps / (1 + settings.cooldown))):
        state.falls, state.history.unfinished = state.step, True


def unfinished(settings: Training) -> str:
    """What is to be remarked on a training whose history says that it is not finished."""
    return (
        f"the dev score had not stopped rising ({settings.patience} looks in a row without a "
        f"better one) when all {settings.steps:,} steps were done"
    )


def over(settings: Training, state: State) -> bool:
    """Whether a training has had its last step."""
    stopped = settings.cooldown is None and state.bad >= settings.patience
    return stopped or state.step >= last_step(settings, state.falls)
