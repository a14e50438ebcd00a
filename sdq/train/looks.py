"""How often a fine-tuning looks at dev, and at how much of it: for about a fifth of its time at
most. A student's training looks at all of dev at every check."""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence

from sdq.data.task import Example
from sdq.train.settings import Training

SHARE = 0.2  # of a training's time that may go into looks at dev
# of the time of a training step: that is a forward pass and, twice as long, the way back
FORWARD = 1 / 3
FREE = 2000  # sentences over all looks that are not worth saving: seconds
# sentences of a look: with fewer, chance picks the weights; then it is looked less often
FEWEST = 200


def looks(training: Training, size: int) -> tuple[Training, int]:
    """(settings, sentences per look) for a dev split of `size` sentences: both as they are if all
    looks fit into SHARE of the time, as they do for the shipped trainings; else a sample of dev,
    and of dev splits and trainings where that would be under FEWEST, fewer looks."""
    trained = training.steps * training.batch_size
    budget = max(FREE, int(trained * SHARE / (1 - SHARE) / FORWARD))
    number = -(-training.steps // training.check_every)
    if number * size <= budget:
        return training, size
    if budget // number < min(size, FEWEST):
        number = max(1, budget // min(size, FEWEST))
        training = training.model_copy(update={"check_every": -(-training.steps // number)})
        number = -(-training.steps // training.check_every)
    return training, min(size, max(budget // number, min(size, FEWEST)))


def sample(examples: Sequence[Example], number: int, seed: int) -> list[Example]:
    """Some of the examples in their order, drawn with the seed. Every example is as likely as any
    other, and every label (of tags: every set of them) has its share, rounded down or up.

    examples: of dev
    number: how many are drawn
    seed: of the draw
    """
    if number >= len(examples):
        return list(examples)
    chance = random.Random(seed)
    strata: dict[tuple[str, ...], list[int]] = defaultdict(list)
    for at, example in enumerate(examples):
        strata[tuple(sorted(set(example.targets)))].append(at)
    # systematic sampling: the strata in one line, each in random order, as they are themselves;
    # then one of every len(examples) / number, counted in whole numbers
    shuffled = chance.sample(list(strata.values()), len(strata))
    line = [at for members in shuffled for at in chance.sample(members, len(members))]
    start = chance.randrange(len(line))
    chosen = sorted(line[(start + i * len(line)) // number] for i in range(number))
    return [examples[at] for at in chosen]
