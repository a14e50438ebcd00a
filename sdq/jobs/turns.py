"""Whose turn it is: round robin over the visitors of a lane, first come within one. Pure, but for
the two files at its end. Needs no torch."""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdq.io.files import write_text
from sdq.store import Store

FORGET = 86_400.0  # seconds after which it no longer counts when a visitor had a turn


@dataclass(frozen=True)
class Wish:
    """Something wanted: a run, an inspection or an answer, by its id. `asked`: visitor -> when
    (seconds since 1970)."""

    run: str
    asked: Mapping[str, float]


def turn(
    waiting: Collection[Wish],
    served: Mapping[str, float],
    computing: Sequence[str] = (),
    at_most: int = 1,
) -> tuple[Wish, str] | None:
    """The next wish, and on whose turn it is; None if nobody waits.

    A visitor is ready from when he asked or his last turn ended, whichever is later, and whoever is
    ready longest is next: a newcomer waits for at most one job of each other visitor, and nobody
    gains by asking for much. `served`: visitor -> when his last turn ended, or began if it has not;
    `computing`: on whose turn each job that is computed now was begun. Who has one of those stands
    back behind all who have none, and who has `at_most` behind everybody.
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
        return (
            busy[who] >= at_most,
            math.inf if busy[who] else max(asked, served.get(who, 0.0)),
            asked,
            who,
        )

    who = min(first, key=rank)
    return first[who][2], who


def order(
    waiting: Collection[Wish],
    served: Mapping[str, float],
    computing: Sequence[str] = (),
    elsewhere: Sequence[str] = (),
    at_most: int = 1,
) -> list[str]:
    """The ids of all that wait in a lane, in the order in which they will have their turn.

    That is if nobody else comes, and the jobs of this lane end as they began. `computing`: on whose
    turn each of those was begun, the oldest first; `elsewhere`: the same of other lanes, which last
    longer.
    """
    left, had = {wish.run: wish for wish in waiting}, dict(served)
    clock = max([time.time(), *served.values()])
    running, workers, ordered = list(computing), max(1, len(computing)), []
    while left:
        clock += 1.0
        if len(running) == workers:
            had[running.pop(0)] = clock
        next_one = turn(left.values(), had, [*running, *elsewhere], at_most)
        if next_one is None:  # wishes of nobody
            break
        wish, who = next_one
        ordered.append(wish.run)
        clock += 1.0
        had[who] = clock
        running.append(who)
        del left[wish.run]
    return ordered


def asked_by(home: Path, marker: Path) -> dict[str, float]:
    """Who wants the run in this folder, and since when. `marker`: its file in the queue.

    Files of an earlier version are empty: there the time of the file counts, as for one that tells
    no time.
    """
    asked: dict[str, float] = {}
    with contextlib.suppress(OSError):  # nobody has left a name
        for path in (home / "interest").iterdir():
            with contextlib.suppress(OSError):  # taken back this moment, or no file
                asked[path.name] = _time(path.read_text("utf-8", "replace"), path.stat().st_mtime)
    if not asked and (told := wish_of(marker)) is not None:
        asked[told["who"]] = told["time"]
    return asked


def _time(said: Any, otherwise: float) -> float:
    """A time that a file tells; `otherwise` if it is none."""
    try:
        seconds = float(said)
    except (ValueError, TypeError):
        return otherwise
    return seconds if math.isfinite(seconds) else otherwise


def wish_of(marker: Path) -> dict[str, Any] | None:
    """What a file in the queue says: `who`, `time`. None if it is gone; one that is empty or cannot
    be read is nobody's, of its own time."""
    try:
        changed, text = marker.stat().st_mtime, marker.read_text("utf-8", "replace")
    except OSError:
        return None
    try:
        told = json.loads(text) if text else {}
        return {"who": str(told.get("who", "")), "time": _time(told.get("time"), changed)}
    except (ValueError, AttributeError, RecursionError):
        return {"who": "", "time": changed}


def told(store: Store) -> dict[str, Any]:
    """What the process of the cluster wrote last: `served` (lane -> visitor -> when), `order` (lane
    -> ids that wait). Empty if nothing can be read."""
    try:
        kept = json.loads((store.folder.parent / "turns.json").read_text())
        return (
            kept
            if isinstance(kept.get("served"), dict) and isinstance(kept.get("order"), dict)
            else {}
        )
    except (OSError, ValueError, AttributeError):
        return {}


def tell(
    store: Store,
    served: Mapping[str, Mapping[str, float]],
    waiting: Mapping[str, Collection[Wish]],
    computing: Sequence[tuple[str, str]] = (),
    at_most: int = 1,
) -> None:
    """Write who had a turn when, and who waits behind whom, for `position` and for the next process
    of the cluster.

    `computing`: the lane of each job that is computed now, and on whose turn it was begun, the
    oldest first. OSError if the disk refuses.
    """
    now = time.time()
    recent = {
        lane: {who: at for who, at in had.items() if now - at < FORGET}
        for lane, had in served.items()
    }
    ahead = {}
    for lane, wishes in waiting.items():
        here = [] if lane == "look" else [who for other, who in computing if other == lane]
        others = [who for other, who in computing if other not in (lane, "look")]
        ahead[lane] = order(wishes, served.get(lane, {}), here, others, at_most)
    write_text(store.folder.parent / "turns.json", json.dumps({"served": recent, "order": ahead}))


def position(run: str, store: Store) -> tuple[int, int] | None:
    """(how many have their turn before it, of how many that wait in its lane); None if it does not
    wait, or it is not known yet."""
    for waiting in told(store).get("order", {}).values():
        if run in waiting:
            return waiting.index(run), len(waiting)
    return None
