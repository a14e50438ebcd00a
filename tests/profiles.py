"""How many examples a property test tries, and which: the same ones every time in the default
suite, others every time under `make fuzz`.

A stranger's first `make test` must pass or fail as it does here. So the default profile draws its
examples from the test itself; what a random search finds becomes an `@example` of the test, and is
then met every time.
"""

from __future__ import annotations

import os

from hypothesis import settings
from hypothesis.database import DirectoryBasedExampleDatabase

USUAL = 60
settings.register_profile("sdq", deadline=None, max_examples=USUAL, derandomize=True, database=None)
settings.register_profile(
    "fuzz",
    deadline=None,
    max_examples=int(os.environ.get("FUZZ_EXAMPLES", "2000")),
    derandomize=False,
    database=DirectoryBasedExampleDatabase(".hypothesis/examples"),
    print_blob=True,
)
settings.load_profile("sdq")  # `pytest --hypothesis-profile=fuzz` loads the other one after this


def examples(number: int) -> settings:
    """`number` examples instead of USUAL ones; in a random search as many more, or fewer where one
    takes long, as it has of others."""
    found = settings.default.max_examples
    return settings(
        max_examples=number if found == USUAL else max(number, found * min(number, USUAL) // USUAL)
    )
