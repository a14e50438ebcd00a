"""Imports point one way, the engine imports no streamlit, and pages read results without torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "sdq").rglob("*.py"))
# The floors of CONTRIBUTING.md: a room imports from the floors above its own, never from its own.
FLOORS: tuple[tuple[str, ...], ...] = (
    ("settings",),
    ("io", "results"),
    ("data", "service"),
    ("labels", "models"),
    ("evaluate", "quant"),
    ("analyses", "intake", "train"),
    ("recipe",),
    ("store",),
    ("pipeline",),
    ("inspection", "mini"),
    ("figures", "jobs", "midi"),
    ("reporting", "reproduce"),
    ("cli",),
    ("__main__", "api"),
    ("__init__",),
)
FLOOR = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
AT_THE_TOP = 8  # files directly in sdq/
WITHOUT_TORCH = (
    "sdq",
    "sdq.cli.doctor",
    "sdq.data.assemble",
    "sdq.data.check",
    "sdq.data.registry",
    "sdq.evaluate.metrics",
    "sdq.evaluate.ranking",
    "sdq.evaluate.significance",
    "sdq.inspection.diagnosis",
    "sdq.inspection.storage",
    "sdq.intake.decoding",
    "sdq.intake.own_tasks",
    "sdq.intake.preview",
    "sdq.io.boundary",
    "sdq.io.limits",
    "sdq.jobs.data_folder",
    "sdq.jobs.estimate",
    "sdq.jobs.history",
    "sdq.jobs.questions",
    "sdq.jobs.queue",
    "sdq.jobs.trash",
    "sdq.jobs.turns",
    "sdq.jobs.unfinished",
    "sdq.jobs.wanted",
    "sdq.labels",
    "sdq.models.checkpoint",
    "sdq.models.checkpoint_config",
    "sdq.models.composition",
    "sdq.models.curated",
    "sdq.models.families",
    "sdq.models.hub",
    "sdq.models.label_matching",
    "sdq.models.tensor_names",
    "sdq.models.tensors",
    "sdq.recipe",
    "sdq.reporting.archive",
    "sdq.reporting.export",
    "sdq.reporting.html",
    "sdq.reproduce.tables",
    "sdq.results",
    "sdq.service.guard",
    "sdq.service.visitors",
    "sdq.store",
    "sdq.store.damage",
    "sdq.store.folder",
    "sdq.store.identity",
)


def name_of(path: Path) -> str:
    """sdq/quant/layers.py -> sdq.quant.layers; sdq/quant/__init__.py -> sdq.quant."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for path in FILES}


def imported(path: Path) -> Iterator[str]:
    """Absolute names of all imports of a file, also those inside functions."""
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: imports are absolute"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def files_of(path: Path) -> set[str]:
    """The modules of the engine that a file imports."""
    named = (name if name in MODULES else name.rpartition(".")[0] for name in imported(path))
    return {name for name in named if name in MODULES and name != "sdq"} - {name_of(path)}


def room(module: str) -> str:
    """sdq.quant.layers -> quant; sdq -> __init__."""
    return module.split(".")[1] if "." in module else "__init__"


def test_the_parser_sees_every_way_to_import() -> None:
    assert "sdq.quant.layers" in files_of(MODULES["sdq.quant.rewrite"])
    assert "sdq.quant.integer" in files_of(MODULES["sdq.quant.observers"])  # inside a function


def test_a_circle_would_be_seen() -> None:
    graph = {name: files_of(path) for name, path in MODULES.items()}
    graph["sdq.settings"] = {"sdq.pipeline.run"}
    with pytest.raises(CycleError):
        TopologicalSorter(graph).prepare()


def test_no_files_import_in_a_circle() -> None:
    TopologicalSorter({name: files_of(path) for name, path in MODULES.items()}).prepare()


@pytest.mark.parametrize("module", [name for name in MODULES if name != "sdq"])
def test_a_room_imports_from_the_floors_above_it(module: str) -> None:
    here = room(module)
    assert here in FLOOR, f"sdq.{here} must stand on a floor of FLOORS in this test, it does not"
    against = {name for name in files_of(MODULES[module]) if room(name) != here}
    assert {name for name in against if FLOOR[room(name)] >= FLOOR[here]} == set()


def test_few_files_lie_at_the_top() -> None:
    assert len(list((ROOT / "sdq").glob("*.py"))) <= AT_THE_TOP
    assert not list((ROOT / "pages").glob("*.py"))


@pytest.mark.parametrize("module", MODULES)
def test_the_engine_never_imports_the_web(module: str) -> None:
    web = ("streamlit", "pages", "app", "tests")
    assert not [name for name in imported(MODULES[module]) if name.split(".")[0] in web]


def loaded(modules: tuple[str, ...]) -> set[str]:
    code = f"import sys, {', '.join(modules)}; print(' '.join(sys.modules))"
    command = [sys.executable, "-c", code]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=120
    )
    return set(done.stdout.split())


def test_pages_read_results_without_torch() -> None:
    found = loaded(WITHOUT_TORCH)
    assert "sdq.recipe" in found
    assert not found & {"torch", "transformers", "streamlit", "scipy"}


def test_figures_need_neither_torch_nor_streamlit() -> None:
    names = tuple(name for name in MODULES if name.startswith("sdq.figures."))
    assert names
    assert not loaded(names) & {"torch", "transformers", "streamlit"}
