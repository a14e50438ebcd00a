"""The learning rate of every step, and when a training ends.

Without `cooldown` the rate rises and then falls to nearly 0 over a number of steps that is known
before. With it the rate rises and stays until the dev score stops rising, and falls then (warmup,
stable, decay: Hu et al. 2024, "MiniCPM", section 4), so that a training is as long as it must be.
"""

from __future__ import annotations

from sdq.train.resume import State
from sdq.train.settings import Training


def rate(step: int, settings: Training, decay_from: int = 0) -> float:
    """The learning rate of a step.

    step: counted from 1
    settings: of the training
    decay_from: the step after which the rate decays, see `State`
    """
    warm = warmup_steps(settings)
    if settings.cooldown is None:
        falling = max(0.0, settings.steps - step + 1) / max(1, settings.steps - warm)
    else:
        end = last_step(settings, decay_from)
        falling = (end - step + 1) / (end - decay_from) if decay_from else 1.0
    return settings.learning_rate * min(step / warm, falling)


def warmup_steps(settings: Training) -> int:
    """The step at which the learning rate is at its largest."""
    return max(1, round(settings.warmup * settings.steps))


def latest_decay(settings: Training) -> int:
    """The step after which the rate must decay for `steps` to be the last; with `cooldown`."""
    return max(1, int(settings.steps / (1 + (settings.cooldown or 0.0))))


def last_step(settings: Training, decay_from: int = 0) -> int:
    """The step that a training ends with, as far as is known: until the rate falls, the most."""
    if settings.cooldown is None or not decay_from:
        return settings.steps
    return min(settings.steps, decay_from + max(1, round(settings.cooldown * decay_from)))


def start_decay_(settings: Training, state: State) -> None:
    """After a step: let the rate decay from here on if it has been at its largest and the dev score
    has stopped rising, or if the steps left are only just enough to let it decay; then the training
    is cut short, and its history says so."""
    if settings.cooldown is None or state.decay_from:
        return
    if state.bad >= settings.patience and state.step >= warmup_steps(settings):
        state.decay_from = state.step
    elif state.step >= latest_decay(settings):
        state.decay_from, state.history.unfinished = state.step, True


def cut_short(settings: Training) -> str:
    """What is to be remarked on a training whose history says that it was cut short."""
    return (
        f"the dev score had not stopped rising ({settings.patience} looks in a row without a "
        f"better one) at step {latest_decay(settings):,}, where the learning rate had to begin to "
        f"decay to end at step {settings.steps:,}"
    )


def finished(settings: Training, state: State) -> bool:
    """Whether a training has had its last step."""
    stopped = settings.cooldown is None and state.bad >= settings.patience
    return stopped or state.step >= last_step(settings, state.decay_from)
