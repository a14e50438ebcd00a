"""Files of finished runs: logs, reports and tables, damaged where pages and commands read them."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from random import Random

from sdq.store import Store
from tests.fuzz.harness import call, page
from tests.fuzz.mutate import damaged, json_text, mutated
from tests.fuzz.queries import PAGES

Change = Callable[[bytes, Random], bytes]


def changed_log(data: bytes, rng: Random) -> bytes:
    """Lines changed as JSON, lost, cut or doubled."""
    if rng.random() < 0.4:
        return damaged(data, rng)
    lines = data.splitlines(keepends=True)
    for _ in range(rng.randint(1, 3)):
        at = rng.randrange(len(lines))
        try:
            event = json.loads(lines[at]) if rng.random() < 0.8 else None
        except ValueError:  # cut before
            event = None
        lines[at] = lines[at][:-7] if event is None else json_text(mutated(event, rng)) + b"\n"
    return b"".join(lines)


def changed_report(data: bytes, rng: Random) -> bytes:
    return damaged(data, rng) if rng.random() < 0.2 else json_text(mutated(json.loads(data), rng))


class Stored:
    """Pages and commands that read a finished run of which one file is damaged. `old`: half of the
    runs come from before files had sums."""

    def __init__(
        self, name: str, suffix: str, change: Change, store: Store, runs: list[str]
    ) -> None:
        self.name, self.suffix, self.change, self.store, self.runs = (
            name,
            suffix,
            change,
            store,
            runs,
        )
        self.kept = store.folder.parent / "kept"
        if not self.kept.exists():
            shutil.copytree(store.folder, self.kept)
        self.clock = 1_700_000_000

    def attempt(self, rng: Random) -> bytes:
        run = rng.choice(self.runs)
        folder = self.store.folder / run
        file = rng.choice(
            sorted(path.name for path in folder.iterdir() if path.name.endswith(self.suffix))
        )
        held = self.change((folder / file).read_bytes(), rng)
        try:
            (folder / file).write_bytes(held)
            if (
                rng.random() < 0.5
            ):  # as runs were before their files had sums: what is read is not known to be damaged
                (folder / "done").write_bytes(b"")
            if self.suffix == ".jsonl" and rng.random() < 0.5:
                (folder / "done").unlink()
            self._fresh(folder, everything=rng.random() < 0.2)
            page(
                held,
                rng.choice(PAGES),
                {"run": run, "runs": ",".join(self.runs)} if rng.random() < 0.8 else {},
            )
            call(held, "show", run, *(["--json"] if rng.random() < 0.5 else [])) if (
                folder / "done"
            ).exists() else call(held, "runs")
            if rng.random() < 0.2:
                call(held, "runs")
                call(held, "compare", *self.runs[:2])
        finally:
            shutil.rmtree(folder)
            shutil.copytree(self.kept / run, folder)
        return held

    def _fresh(self, folder: Path, everything: bool) -> None:
        """What was read of another state is not taken for this one: pages keep it by the time of
        the marker, a few tables by the run alone.

        With `everything` also those are read anew, which costs seconds, for the tasks are too.
        """
        import streamlit as st

        self.clock += 1
        for path in (folder, *folder.iterdir()):
            os.utime(path, (self.clock, self.clock))
        if everything:
            st.cache_data.clear()
            st.cache_resource.clear()
