"""Whose turn it is: round robin over the visitors of a lane, first come within one. Pure, but for the two files at its end. Needs no torch."""

from __future__ import annotations

import json
import math
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdq.files import write_text
from sdq.store import Store

FORGET = 86_400.0  # seconds after which it no longer counts when a visitor had a turn


@dataclass(frozen=True)
class Wish:
    """Something wanted: a run, an inspection or an answer, by its id. `asked`: visitor -> when (seconds since 1970)."""

    run: str
    asked: Mapping[str, float]


def turn(waiting: Collection[Wish], served: Mapping[str, float], computing: Sequence[str] = (), at_most: int = 1) -> tuple[Wish, str] | None:
    """The next wish, and on whose turn it is; None if nobody waits.

    A visitor is ready from when he asked or his last turn ended, whichever is later, and whoever is ready longest is next: a newcomer waits for at most
    one job of each other visitor, and nobody gains by asking for much. `served`: visitor -> when his last turn ended, or began if it has not;
    `computing`: on whose turn each job that is computed now was begun. Who has one of those stands back behind all who have none, and who has
    `at_most` behind everybody.
    """
    first: dict[str, tuple[float, str, Wish]] = {}
    for wish in waiting:
        for who, when in wish.asked.items():
            if who not in first or (when, wish.run) < first[who][:2]:
                first[who] = (when, wish.run, wish)
    if not first:
        return None
    busy = Counter(computing)

    def rank(who: str) -> tuple[bool, float, float, str]:
        asked = first[who][0]
        return busy[who] >= at_most, math.inf if busy[who] else max(asked, served.get(who, 0.0)), asked, who

    who = min(first, key=rank)
    return first[who][2], who


def order(waiting: Collection[Wish], served: Mapping[str, float]) -> list[str]:
    """The ids of all that wait, in the order in which they will have their turn if nobody else comes."""
    left, clock, had = {wish.run: wish for wish in waiting}, max([time.time(), *served.values()]), dict(served)
    found = []
    while (next_one := turn(left.values(), had)) is not None:
        wish, who = next_one
        found.append(wish.run)
        clock += 1.0
        had[who] = clock
        del left[wish.run]
    return found


def asked_by(home: Path, marker: Path) -> dict[str, float]:
    """Who wants the run in this folder, and since when. `marker`: its file in the queue; one of an earlier version is empty, and its time counts."""
    asked: dict[str, float] = {}
    try:
        for path in (home / "interest").iterdir():
            text = path.read_text()
            asked[path.name] = float(text) if text else path.stat().st_mtime
    except (OSError, ValueError):
        pass  # somebody takes a wish back this moment, or nobody has left a name: the marker tells
    if not asked:
        told = wish_of(marker)
        if told is not None:
            asked[str(told.get("who", ""))] = float(told.get("time", 0.0))
    return asked


def wish_of(marker: Path) -> dict[str, Any] | None:
    """What a file in the queue says: `who`, `time`. None if it is gone; one that is empty or cannot be read is nobody's, of its own time."""
    try:
        changed, text = marker.stat().st_mtime, marker.read_text()
    except OSError:
        return None
    nobody = {"who": "", "time": changed}
    try:
        told = json.loads(text) if text else {}
        return {"who": str(told.get("who", "")), "time": float(told.get("time", changed))}
    except (ValueError, TypeError, AttributeError):
        return nobody


def told(store: Store) -> dict[str, Any]:
    """What the process of the cluster wrote last: `served` (lane -> visitor -> when), `order` (lane -> ids that wait). Empty if nothing can be read."""
    try:
        kept = json.loads((store.folder.parent / "turns.json").read_text())
        return kept if isinstance(kept.get("served"), dict) and isinstance(kept.get("order"), dict) else {}
    except (OSError, ValueError, AttributeError):
        return {}


def tell(store: Store, served: Mapping[str, Mapping[str, float]], waiting: Mapping[str, Collection[Wish]]) -> None:
    """Write who had a turn when, and who waits behind whom, for `position` and for the next process of the cluster. OSError if the disk refuses."""
    recent = {lane: {who: at for who, at in had.items() if time.time() - at < FORGET} for lane, had in served.items()}
    ahead = {lane: order(wishes, served.get(lane, {})) for lane, wishes in waiting.items()}
    write_text(store.folder.parent / "turns.json", json.dumps({"served": recent, "order": ahead}))


def position(run: str, store: Store) -> tuple[int, int] | None:
    """(how many have their turn before it, of how many that wait in its lane); None if it does not wait, or it is not known yet."""
    for waiting in told(store).get("order", {}).values():
        if run in waiting:
            return waiting.index(run), len(waiting)
    return None
