"""One line of what `sdq doctor` answers."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Finding:
    """One line of the answer: in which `part`, `what` it is about, its `value`. `wrong`: one
    sentence on what must be done; empty if nothing must."""

    part: str
    what: str
    value: str
    wrong: str = ""
