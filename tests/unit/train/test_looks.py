"""Looks at dev take at most a fifth of a training's time; what fits already stays as it is."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from sdq.data.task import Example
from sdq.pipeline.finetune import MINI, usual
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
    """240 steps of 32 sentences and 20 looks at 2,075: 41,500 forward passes to train 7,680
    sentences."""
    asked = usual("someone/model", "their.json", steps=240)
    training, number = looks(asked, 2075)
    assert spent(asked, 2075) > 7680
    assert (training, number) == (asked, 288)


def test_shipped_trainings_are_untouched() -> None:
    for training in (
        *MINI.values(),
        *(recipe.training for recipe in PRESETS.values() if recipe.training),
    ):
        assert looks(training, 210) == (training, 210), (
            "dev of the embedded tasks has 210 sentences in a language"
        )


def test_a_sample_has_every_label_at_its_share_and_is_drawn_anew_by_another_seed() -> None:
    examples = [
        Example(
            str(i),
            "en",
            f"text {i}",
            (),
            (("rare" if i % 50 == 0 else "usual" if i % 2 else "other"),),
        )
        for i in range(1000)
    ]
    drawn = sample(examples, 200, 3)
    counts = {
        label: sum(e.targets == (label,) for e in drawn) for label in ("rare", "usual", "other")
    }
    assert counts == {"rare": 4, "usual": 100, "other": 96}
    assert drawn == sample(examples, 200, 3) == sorted(drawn, key=lambda e: int(e.id))
    assert drawn != sample(examples, 200, 4)
    assert sample(examples, 1000, 3) == sample(examples, 2000, 3) == examples


def labelled(labels: list[str]) -> list[Example]:
    return [Example(str(i), "en", f"text {i}", (), (label,)) for i, label in enumerate(labels)]


def often(labels: list[str], number: int, seeds: int = 200) -> np.ndarray:
    """How often each example is in a sample."""
    counts = np.zeros(len(labels))
    for seed in range(seeds):
        drawn = [int(e.id) for e in sample(labelled(labels), number, seed)]
        assert len(set(drawn)) == number
        counts[drawn] += 1
    return counts / seeds


@pytest.mark.parametrize(
    ("labels", "number"),
    [
        (sorted(f"l{i:02}" for i in range(20)) * 5, 37),
        (sorted([f"l{i:02}" for i in range(20)] * 5), 72),  # sorted by label, as many of each
        ([f"l{i:03}" for i in range(100)], 72),  # one of each
        (["usual"] * 60 + [f"l{i:02}" for i in range(40)], 75),
        (["a"] * 97 + ["b"] * 3, 50),
    ],
    ids=[
        "equal strata",
        "sorted by label",
        "singletons",
        "a usual one and singletons",
        "a rare one",
    ],
)
def test_every_example_is_as_likely_as_any_other(labels: list[str], number: int) -> None:
    share = number / len(labels)
    frequencies = often(labels, number)
    assert (
        np.abs(frequencies - share).max() < 5 * (share * (1 - share) / 200) ** 0.5
    )  # 5 standard errors
    for seed in range(20):
        drawn = Counter(e.targets[0] for e in sample(labelled(labels), number, seed))
        for label, there in Counter(labels).items():
            assert abs(drawn[label] - share * there) < 1, "rounded down or up"


def test_a_dev_split_sorted_by_label_as_reported() -> None:
    """400 labels, 20 sentences each, 288 drawn: labels 288 to 399 never were; 60 % one label, 40 %
    one sentence each: none of these."""
    labels = [f"l{i:03}" for i in range(400) for _ in range(20)]
    assert {e.targets[0] for seed in range(20) for e in sample(labelled(labels), 288, seed)} == set(
        labels
    )
    rare = [f"l{i:03}" for i in range(400)]
    drawn = [e.targets[0] for e in sample(labelled(["usual"] * 600 + rare), 300, 1)]
    assert drawn.count("usual") == 180
