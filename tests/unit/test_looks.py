"""Looks at dev take at most a fifth of a training's time; what fits already stays as it is."""

from __future__ import annotations

import pytest

from sdq.data.task import Example
from sdq.finetune import MINI, usual
from sdq.recipe import PRESETS
from sdq.train.looks import FEWEST, FORWARD, FREE, SHARE, looks, sample
from sdq.train.settings import Training


def spent(training: Training, number: int) -> float:
    """Sentences forwarded on dev, in sentences trained."""
    return -(-training.steps // training.check_every) * number * FORWARD


@pytest.mark.parametrize("steps", [1, 7, 240, 1000, 3000])
@pytest.mark.parametrize("size", [0, 5, 210, 2075, 50_000])
@pytest.mark.parametrize("every", [1, 12, 50])
def test_a_fifth_is_not_exceeded(steps: int, size: int, every: int) -> None:
    asked = Training(steps=steps, check_every=every)
    training, number = looks(asked, size)
    trained = steps * asked.batch_size
    assert spent(training, number) <= max(FREE * FORWARD, SHARE / (1 - SHARE) * trained) * 1.001
    assert min(size, FEWEST) <= number <= size
    assert training.model_copy(update={"check_every": every}) == asked
    assert training.check_every >= every
    if -(-steps // every) * size <= FREE:
        assert (training, number) == (asked, size)


def test_the_case_that_was_reported() -> None:
    """240 steps of 32 sentences and 20 looks at 2,075: 41,500 forward passes to train 7,680 sentences."""
    asked = usual("someone/model", "their.json", steps=240)
    training, number = looks(asked, 2075)
    assert spent(asked, 2075) > 7680
    assert (training, number) == (asked, 288)


def test_shipped_trainings_are_untouched() -> None:
    for training in (*MINI.values(), *(recipe.training for recipe in PRESETS.values() if recipe.training)):
        assert looks(training, 210) == (training, 210), "dev of the embedded tasks has 210 sentences in a language"


def test_a_sample_has_every_label_at_its_share_and_is_drawn_anew_by_another_seed() -> None:
    examples = [Example(str(i), "en", f"text {i}", (), (("rare" if i % 50 == 0 else "usual" if i % 2 else "other"),)) for i in range(1000)]
    drawn = sample(examples, 200, 3)
    counts = {label: sum(e.targets == (label,) for e in drawn) for label in ("rare", "usual", "other")}
    assert counts == {"rare": 4, "usual": 100, "other": 96}
    assert drawn == sample(examples, 200, 3) == sorted(drawn, key=lambda e: int(e.id))
    assert drawn != sample(examples, 200, 4)
    assert sample(examples, 1000, 3) == sample(examples, 2000, 3) == examples
