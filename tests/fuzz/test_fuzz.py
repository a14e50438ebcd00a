"""Five thousand inputs, and a small sample of them in the default suite."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fuzz.bench import COUNTS, kinds
from tests.fuzz.harness import SHOWN, Kind, tried

SEED = int(os.environ.get("FUZZ_SEED", "13"))
PART, PARTS = map(int, os.environ.get("FUZZ_PART", "1/1").split("/"))
ALL = int(os.environ.get("FUZZ_COUNT", sum(COUNTS.values())))
SAMPLE = {
    "recipes": 14,
    "task files": 14,
    "data files": 16,
    "configurations": 5,
    "logs": 2,
    "reports": 2,
    "tables": 2,
    "query strings": 5,
}


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Kind]]:
    folder = tmp_path_factory.mktemp("fuzz")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SDQ_DATA", str(folder / "data"))
        patch.setenv("SDQ_SHIPPED", "no")
        yield {kind.name: kind for kind in kinds(folder)}


@pytest.mark.parametrize("name", SAMPLE)
def test_a_sample(bench: dict[str, Kind], name: str) -> None:
    found = tried(bench[name], 1, range(SAMPLE[name]))
    assert not found.failed, "\n".join(found.failed)


@pytest.mark.fuzz
@pytest.mark.parametrize("name", COUNTS)
def test_nothing_breaks_a_door(
    bench: dict[str, Kind], name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Every `PARTS`-th input from number PART on: parts together are all of them, and each can go
    on by itself."""
    wanted = range(PART - 1, COUNTS[name] * ALL // sum(COUNTS.values()), PARTS)
    found = tried(bench[name], SEED, wanted)
    with capsys.disabled():
        print(
            f"\n{name}: {found.tried} tried, {len(found.failed)} failed, slowest "
            f"{found.slowest:.1f} s"
        )
    shown = "\n".join(found.failed[:SHOWN])
    assert not found.failed, (
        f"{len(found.failed)} of {found.tried} {name}; again with `python -m tests.fuzz {name!r} "
        f"NUMBER`:\n{shown}"
    )


def test_every_kind_is_counted(bench: dict[str, Kind]) -> None:
    assert set(bench) == set(COUNTS) == set(SAMPLE)
    assert sum(COUNTS.values()) >= 5000


def test_a_page_that_is_not_tried_is_missing() -> None:
    from tests.fuzz.queries import PAGES

    root = Path(__file__).parents[2]
    there = {
        str(p.relative_to(root))
        for p in (root / "pages").glob("*/*.py")
        if p.parent.name != "components"
    }
    assert there == {page for page in PAGES if page} | {"pages/start/home.py"}
