"""Tagged words, and tasks loaded from them."""

from __future__ import annotations

from pathlib import Path

from sdq.data.registry import load_task
from sdq.data.task import Task
from sdq.settings import UserError
from tests.cases.doors import in_time

WORDS = [("Anna", "Smith", "visits", "Oslo", "."), ("Bea", "visits", "Rome", ".")]
TAGGED = [("B-PER", "I-PER", "O", "B-LOC", "O"), ("B-PER", "O", "B-LOC", "O")]


def loaded(path: Path) -> Task | str:
    """The task, or the sentence it is refused with. Anything else that is raised comes through."""
    try:
        with in_time():
            return load_task(str(path))
    except UserError as error:
        said = str(error)
    assert "\n" not in said
    return said
