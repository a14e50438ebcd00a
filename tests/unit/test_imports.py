"""Imports point one way, the engine never imports streamlit, and what a page reads needs no torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
FILES = sorted((ROOT / "sdq").rglob("*.py"))
# The arrow of DESIGN.md: a module imports from its own line or the ones above. A new module is put on its line.
LINES: tuple[tuple[str, ...], ...] = (
    ("settings", "strict_json", "limits", "files", "quoting", "lazy", "allocator", "boundary", "families", "tensors", "checkpoint_config", "sealed", "events"),
    ("catalog", "hub", "checkpoint", "report", "visitors", "guard"),  # a report is plain rows: it knows nobody, and whoever makes rows knows it
    ("quant", "data", "heads", "checkpoint_model", "models", "retrieval"),
    ("train", "evaluate", "inspect", "statistics", "power", "verdicts", "metrics", "mixed", "ranking"),
    ("recipe",),
    ("store", "reading", "decoding", "run", "identity", "subject", "inspection", "remedies", "causes", "answer", "finetune", "mini"),
    (
        "turns",
        "jobs",
        "cluster",
        "dispatch",
        "doctor",
        "estimate",
        "figures",
        "wanted",
        "history",
        "document",
        "diagnosis",
        "findings",
        "reproduce",
        "papertable",
        "grid",
        "terminal",
        "__main__",
    ),
)
RANK = {name: rank for rank, names in enumerate(LINES) for name in names}
WITHOUT_TORCH = (
    "sdq.recipe",
    "sdq.store",
    "sdq.report",
    "sdq.identity",
    "sdq.catalog",
    "sdq.hub",
    "sdq.families",
    "sdq.checkpoint",
    "sdq.checkpoint_config",
    "sdq.boundary",
    "sdq.tensors",
    "sdq.data.tasks",
    "sdq.data.assemble",
    "sdq.data.check",
    "sdq.data.intake",
    "sdq.metrics",
    "sdq.papertable",
    "sdq.jobs",
    "sdq.turns",
    "sdq.limits",
    "sdq.doctor",
    "sdq.decoding",
    "sdq.wanted",
    "sdq.history",
    "sdq.document",
    "sdq.estimate",
    "sdq.inspection",
    "sdq.visitors",
    "sdq.guard",
    "sdq.verdicts",
    "sdq.findings",
    "sdq.ranking",
    "sdq.diagnosis",
)


def imported(path: Path) -> Iterator[str]:
    """Absolute names of all imports of a file, also those inside functions."""
    package = path.relative_to(ROOT).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text("utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = ".".join([*package[: len(package) - node.level + 1], *([node.module] if node.module else [])]) if node.level else str(node.module)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def part(name: str) -> str:
    """sdq.quant.layers -> quant."""
    return name.split(".")[1]


def where(path: Path) -> str:
    return part(".".join(path.relative_to(ROOT).with_suffix("").parts))


def test_parser_sees_every_way_to_import() -> None:
    assert "sdq.quant.layers.ForwardPass" in set(imported(ROOT / "sdq" / "quant" / "rewrite.py"))
    assert "sdq.quant.integer.dequantize" in set(imported(ROOT / "sdq" / "quant" / "observers.py"))  # inside a function


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_engine_never_imports_the_web(path: Path) -> None:
    assert not [name for name in imported(path) if name.split(".")[0] in ("streamlit", "pages", "app", "tests")]


@pytest.mark.parametrize("path", [p for p in FILES if p != ROOT / "sdq" / "__init__.py"], ids=lambda p: str(p.relative_to(ROOT)))
def test_no_arrow_runs_back(path: Path) -> None:
    here = where(path)
    assert here in RANK, f"sdq.{here} must stand on a line of LINES in this test, it does not; put it on the first line it may stand on"
    assert [name for name in imported(path) if name.startswith("sdq.") and RANK.get(part(name), 99) > RANK[here]] == []


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(ROOT)))
def test_no_name_of_a_module_is_defined_twice(path: Path) -> None:
    body = ast.parse(path.read_text("utf-8")).body
    targets = [target for node in body if isinstance(node, ast.Assign) for target in node.targets]
    names = [node.name for node in body if isinstance(node, ast.FunctionDef | ast.ClassDef)] + [t.id for t in targets if isinstance(t, ast.Name)]
    assert [name for name, times in Counter(names).items() if times > 1] == []


def _loaded(modules: tuple[str, ...]) -> set[str]:
    code = f"import sys, {', '.join(modules)}; print(' '.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=120)
    return set(done.stdout.split())


def test_pages_read_results_without_torch() -> None:
    loaded = _loaded(WITHOUT_TORCH)
    assert "sdq.recipe" in loaded
    assert not loaded & {"torch", "transformers", "streamlit", "scipy"}


def test_figures_need_neither_torch_nor_streamlit() -> None:
    names = tuple(".".join(p.relative_to(ROOT).with_suffix("").parts) for p in (ROOT / "sdq" / "figures").glob("*.py") if p.stem != "__init__")
    assert names
    assert not _loaded(names) & {"torch", "transformers", "streamlit"}
