"""Killed at any moment, on a disk that fills up, with a bit flipped: nothing is lost, nothing is
blocked, and no flipped bit becomes a number."""

from __future__ import annotations

import contextlib
import math
import os
import random
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sdq.inspection.storage import damage, paths
from sdq.io.sealed import as_shipped
from sdq.settings import ASSETS, UserError
from sdq.store import SHIPPED, TABLES, Store
from tests.drills.deaths import OPERATIONS, Place, World, again, content, dies, undisturbed
from tests.drills.processes import REFUSED, ended, forked

PACKED, TABLED = (
    "11ac30e36b8c",
    "0e16b6a1c9d9",
)  # shipped runs: one with weights as codes, one with every table
INSPECTION, LOOKED = "3149251ca7d6", "08eac5c0be6e"  # a shipped inspection, and the run it is of
DISK, LARGER = 6_000_000, 60_000_000  # bytes; the web pages of an export alone take 30 MB


def kills(
    world: World, folder: Path, names: tuple[str, ...], n: int, seed: int, twice: float = 0.3
) -> int:
    """Kill n children, each in a data folder of its own, some `twice`, and compare what comes of
    asking again; returns how many died before their end."""
    chance, early = random.Random(seed), 0
    calm = {}
    for name in names:
        (folder / name).mkdir()
        calm[name] = undisturbed(name, world.place(folder / name))
    for i in range(n):
        name = names[i % len(names)]
        expected, operations, seconds = calm[name]
        spot = folder / f"{name}-{i}"
        spot.mkdir()
        place = world.place(spot)
        by_file = (
            i // len(names)
        ) % 2 == 0  # every other one between two file operations, the others at a moment
        early += (
            dies(name, place, at=chance.randrange(operations))
            if by_file
            else dies(name, place, after=chance.uniform(0, seconds))
        )
        if chance.random() < twice:  # and once more, on its way to recover
            early += dies(name, place, at=chance.randrange(operations))
        assert again(name, place) == 0, f"{name} is blocked after kill {i}"
        assert content(place) == expected, f"{name} after kill {i}"
        shutil.rmtree(spot)
    return early


def test_killed_and_asked_again_is_undisturbed(world: World, tmp_path: Path) -> None:
    assert kills(world, tmp_path, ("train", "trash", "finetune"), 8, seed=1, twice=0) >= 4


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
def test_a_hundred_kills(world: World, tmp_path: Path, seed: int) -> None:
    early = kills(world, tmp_path, tuple(OPERATIONS), 100, seed)
    print(f"100 kills, {early} before the end")
    assert early >= 60


def filled(
    place: Place,
    names: tuple[str, ...],
    points: int,
    limited: Callable[[int], Any],
    freed: Callable[[], Any],
    expected: dict[str, Any],
) -> int:
    """Try every operation with little space left, at so many points, then again with space; returns
    how often the disk refused."""
    refused, before = 0, content(place)
    for i in range(points):
        name = names[i % len(names)]

        def work(name: str = name, i: int = i) -> None:
            limited(i)
            OPERATIONS[name](place)

        with forked(work) as pid:
            code = ended(pid)
        freed()
        assert code in (0, REFUSED), f"{name} at point {i}: exit code {code}"
        refused += code == REFUSED
        if name != "trash":
            assert (
                place.store.report(place.run()).model_dump()
                == place.store.report(place.run()).model_dump()
            )
            assert before[place.run()]["tables"] == content_of_first(place)
        assert again(name, place) == 0, f"{name} is blocked after point {i}"
        assert content(place) == expected[name], f"{name} after point {i}"
        shutil.rmtree(place.folder / "data")
        for path in place.folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        shutil.copytree(place.world.start, place.folder / "data")
    return refused


def content_of_first(place: Place) -> dict[str, str]:
    """The tables of the run that was there from the start."""
    store, run = place.store, place.run()
    named = sorted((store.folder / run).glob("*.parquet"))
    return {
        p.stem: (
            store.sentences(run) if p.stem == "sentences" else store.table(run, p.stem)
        ).to_json()
        for p in named
    }


def calm(world: World, folder: Path, names: tuple[str, ...]) -> dict[str, Any]:
    found = {}
    for name in names:
        (folder / name).mkdir(parents=True)
        found[name] = undisturbed(name, world.place(folder / name))[0]
    return found


def test_no_room_for_a_file_loses_nothing_and_blocks_nothing(world: World, tmp_path: Path) -> None:
    """Where nothing can be mounted: no file may become larger than so many bytes."""
    names, largest = ("run", "train"), (300, 60_000)
    expected = calm(world, tmp_path, names)

    def limited(i: int) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest[i], largest[i]))

    (tmp_path / "here").mkdir()
    assert filled(world.place(tmp_path / "here"), names, 2, limited, lambda: None, expected) == 2


@contextlib.contextmanager
def disk(folder: Path, size: int) -> Iterator[None]:
    """A disk of so many bytes, mounted at the folder."""
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("a disk cannot be mounted here; test_no_room_for_a_file does the same without")
    try:
        yield
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("names", "size", "points"),
    [(tuple(n for n in OPERATIONS if n != "export"), DISK, 50), (("export",), LARGER, 10)],
)
def test_a_disk_that_fills_up(
    world: World, tmp_path: Path, names: tuple[str, ...], size: int, points: int
) -> None:
    chance, small = random.Random(3), tmp_path / "disk"
    expected = calm(world, tmp_path / "calm", names)
    with disk(small, size):
        spot, ballast = small / "here", small / "ballast"
        spot.mkdir()
        place = world.place(spot)
        left = [int(10 ** chance.uniform(2, math.log10(size / 4))) for _ in range(points)]

        def limited(i: int) -> None:
            space = os.statvfs(small)
            with ballast.open("wb") as file:
                file.write(bytes(max(0, space.f_bavail * space.f_frsize - left[i])))

        refused = filled(
            place, names, points, limited, lambda: ballast.unlink(missing_ok=True), expected
        )
    print(f"{points} points, {refused} refused")
    assert refused >= points / 2


@pytest.fixture
def stored(tmp_path: Path) -> Store:
    """Two runs and an inspection, and the same as shipped ones; the embedded data."""
    for kept in ("data", "shipped"):
        for run in (PACKED, TABLED):
            shutil.copytree(SHIPPED / run, tmp_path / kept / "runs" / run)
    shutil.copytree(
        ASSETS / "inspections" / INSPECTION, tmp_path / "data" / "inspections" / INSPECTION
    )
    shutil.copytree(ASSETS / "mini" / "data", tmp_path / "mini" / "data")
    shutil.copy(ASSETS / "mini" / "sealed.json", tmp_path / "mini")
    return Store(tmp_path / "data" / "runs", None)


def refused(read: Callable[[], Any], name: str) -> None:
    with pytest.raises(UserError, match=f"{name}.*damaged.*; ") as told:
        read()
    assert "\n" not in str(told.value)


def noticed(store: Store, path: Path) -> None:
    """A flipped file of a run is named by whoever reads it, and the run counts as done no
    longer."""
    run, name = path.parent.name, path.name
    report = Store(SHIPPED, None).report(run)
    assert name in (store.damage(run, weights=True) or "")
    assert not store.done(run, weights=True)
    if name in ("report.json", "done"):
        assert store.finished() == [r for r in store.finished() if r.run != run]
        refused(lambda: store.report(run), name)
    if name in ("sentences.parquet", "done"):
        refused(lambda: store.sentences(run), name)
    for table in TABLES:
        if name in (f"{table}.parquet", "done") and (path.parent / f"{table}.parquet").exists():
            refused(lambda table=table: store.table(run, table), name)
    if name.endswith(".safetensors") or (name == "done" and run == PACKED):
        refused(lambda: store.weights(report), name)


def flips(stored: Store, folder: Path, n: int, seed: int) -> int:
    chance, tells = random.Random(seed), 0
    shipped = Store(folder / "none", folder / "shipped" / "runs")
    for _ in range(n):
        groups = [
            (stored, "data/runs/*/*"),
            (shipped, "shipped/runs/*/*"),
            (stored, "data/inspections/*/*"),
            (None, "mini/data/*"),
        ]
        store, pattern = chance.choices(groups, (4, 3, 3, 1))[0]
        path = chance.choice(sorted(folder.glob(pattern)))
        before = path.read_bytes()
        at = chance.randrange(8 * len(before))
        after = bytearray(before)
        after[at // 8] ^= 1 << at % 8
        path.unlink()
        path.write_bytes(after)
        if store is None:
            refused(lambda: as_shipped(folder / "mini" / "data"), path.name)
        elif "inspections" in pattern:
            assert any(path.name in sentence for sentence in damage(LOOKED, stored).values()), path
            assert path.stem not in paths(LOOKED, stored)
        else:
            noticed(store, path)
        tells += 1
        path.unlink()
        path.write_bytes(before)
    return tells


def test_flipped_bits_are_noticed(stored: Store, tmp_path: Path) -> None:
    assert flips(stored, tmp_path, 60, seed=4) == 60
    assert not stored.damaged(weights=True), "without a flip nothing is told"


@pytest.mark.slow
def test_three_hundred_flipped_bits_are_noticed(stored: Store, tmp_path: Path) -> None:
    assert flips(stored, tmp_path, 300, seed=5) == 300
