"""What the command line is given: a data folder of its own and a few sentences."""

from __future__ import annotations

from dataclasses import replace

import pytest

from sdq.data import registry as tasks


@pytest.fixture(scope="module")
def cut(embedded_tasks: dict[str, tasks.Task]) -> dict[str, tasks.Task]:
    """A few sentences of every language and split: what is asked for here says the same on 700."""

    def every(examples: list[tasks.Example], code: str) -> list[tasks.Example]:
        return [e for e in examples if e.language == code][::100]

    return {
        name: replace(
            task,
            splits={
                s: [e for code in task.languages for e in every(task.splits[s], code)]
                for s in tasks.SPLITS
            },
        )
        for name, task in embedded_tasks.items()
    }


@pytest.fixture
def few(cut: dict[str, tasks.Task], monkeypatch: pytest.MonkeyPatch) -> dict[str, tasks.Task]:
    """The embedded tasks have a few sentences only."""
    for name in cut:
        monkeypatch.setitem(tasks.TASKS, name, lambda name, only=None: cut[name])
    return cut
