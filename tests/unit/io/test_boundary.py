"""Whatever goes wrong in a computation or a command ends as one sentence, exit code 2 and a failed
event; what is our own fault keeps its traceback."""

from __future__ import annotations

import ast
import errno
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sdq.data.task import Task
from sdq.inspection import settings as inspection_settings
from sdq.inspection import storage as inspection
from sdq.inspection.storage import inspection_id
from sdq.io import boundary as boundaries
from sdq.io.boundary import TRACEBACK, begun, boundary, in_words
from sdq.jobs import prediction as answer
from sdq.pipeline import finetune
from sdq.pipeline import run as running
from sdq.quant.rewrite import rewrite
from sdq.recipe import PRESETS, Recipe
from sdq.settings import ROOT, UserError, listed
from sdq.store import Store
from sdq.store.identity import identify
from sdq.train.settings import Training
from tests.helpers.commands import refused


class PanicException(BaseException):
    """As the tokenizers' Rust raises it: no Exception."""


FAULTS = (
    KeyError("x"),
    TypeError("no"),
    IndexError("out"),
    AttributeError("none"),
    OverflowError("big"),
    RecursionError("deep"),
    ZeroDivisionError("0"),
    UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates"),
    AssertionError(),
    StopIteration(),
    NotImplementedError("yet"),
    PanicException("rust"),
    ValueError("array must not contain\ninfs or NaNs"),
    RuntimeError("mat1 and mat2 shapes cannot be multiplied"),
    ImportError("no module"),
    EOFError(),
)
OTHERS = (
    (MemoryError(), "must fit into the memory"),
    (RuntimeError("DefaultCPUAllocator: can't allocate memory"), "must fit into the memory"),
    (OSError(errno.ENOSPC, "No space left on device"), "results must fit into"),
    (
        FileNotFoundError(errno.ENOENT, "No such file or directory", "/gone"),
        "the file /gone must be one that can be used",
    ),
    (UserError("a must be b, got c; do d"), "a must be b, got c; do d"),
)
kinds = pytest.mark.parametrize("error", FAULTS, ids=lambda e: type(e).__name__)


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty data folder; reading the embedded task takes a second, and none of it is needed
    here."""
    monkeypatch.setenv("SDQ_DATA", str(tmp_path / "data"))
    light = Task("intent", "sequence", ("a", "b"), ("en",), "en", "accuracy", "0" * 16, {})
    for room in (running, finetune):
        monkeypatch.setattr(room, "load_task", lambda name: light)
    return tmp_path / "data"


def raising(error: BaseException) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


def one_sentence(text: str) -> None:
    assert text.isprintable()
    assert "Traceback" not in text
    text.encode("utf-8")


@kinds
def test_a_run_that_breaks(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, data: Path
) -> None:
    monkeypatch.setattr(running, "_Computation", raising(error))
    store = Store(data / "runs", None)
    with pytest.raises(UserError) as caught:
        running.run(Recipe(), "mini", "intent", store)
    one_sentence(str(caught.value))
    run = identify(Recipe(), "mini", "intent")
    assert store.events(run)[-1]["event"] == "failed"
    assert store.events(run)[-1]["message"] == str(caught.value)
    kept = data / "runs" / run / TRACEBACK
    assert str(kept) in str(caught.value)
    assert type(error).__name__ in str(caught.value)
    assert "in fail" in kept.read_text()


@pytest.mark.parametrize(("error", "said"), OTHERS, ids=lambda e: type(e).__name__)
def test_what_is_no_fault_of_ours_is_said_in_its_words(
    error: Exception, said: str, monkeypatch: pytest.MonkeyPatch, data: Path
) -> None:
    monkeypatch.setattr(running, "_Computation", raising(error))
    store = Store(data / "runs", None)
    with pytest.raises(UserError, match=said) as caught:
        running.run(Recipe(), "mini", "intent", store)
    assert store.events(identify(Recipe(), "mini", "intent"))[-1] | {"time": 0} == {
        "time": 0,
        "event": "failed",
        "message": str(caught.value),
    }
    assert not list(data.rglob(TRACEBACK))


@pytest.mark.parametrize(
    ("items", "how", "said"),
    [
        ([], {}, ""),
        (["a"], {}, "a"),
        (["a", "b"], {}, "a, b"),
        (list("abcdefghij"), {"most": 3}, "a, b, c and 7 more"),
        (["ninechars"] * 4, {"room": 20}, "ninechars, ninechars and 2 more"),
        (["x" * 30, "y"], {"room": 20, "each": 25}, f"{'x' * 22}... and 1 more"),
        (["a\nb", "c"], {"between": " | "}, "a b | c"),
        ([1, None], {}, "1, None"),
    ],
)
def test_a_list_in_a_sentence_is_cut_between_two_items(
    items: list[object], how: dict[str, Any], said: str
) -> None:
    assert listed(items, **how) == said


def test_no_list_of_a_sentence_is_cut_inside_an_item() -> None:
    """What is joined is not cut afterwards: `listed` does both. `shown = ", ".join(...)[:160]` cut
    names in two."""
    for file in sorted((ROOT / "sdq").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
                cut = node.value
                joined = (
                    isinstance(cut, ast.Call)
                    and isinstance(cut.func, ast.Attribute)
                    and cut.func.attr == "join"
                )
                assert not joined, f"{file.relative_to(ROOT)}:{node.lineno}"


def test_a_sentence_of_our_own_is_kept_as_it_is(tiny: Callable[..., Any], data: Path) -> None:
    with (
        pytest.raises(UserError, match=r"^a rule must match at least one module") as caught,
        boundary(),
    ):
        rewrite(
            tiny("bert"),
            Recipe.model_validate({"rules": [{"name": "nothing", "weight": {}}]}).rules,
        )
    assert isinstance(caught.value.__cause__, ValueError)
    with pytest.raises(UserError, match=r"^seed: "), boundary():
        Recipe.model_validate({"seed": -1})
    with pytest.raises(UserError, match="a fault of the program"), boundary():
        int("seven")
    with pytest.raises(KeyboardInterrupt), boundary():
        raise KeyboardInterrupt
    assert not list(data.rglob("*.part"))


def test_a_sentence_is_our_own_if_a_raise_of_ours_raised_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not what stands in the source, which may be gone, or newer than what is computed."""
    monkeypatch.setattr(boundaries, "ROOT", tmp_path)
    body = """
def own(): raise ValueError(
    "a must be b")
def called(): raise ValueError(f"a must be {int('seven')}")
def named(): return "raise " + chr(-1)
def handed():
    try: int("seven")
    except ValueError: raise
def answered():
    try: int("seven")
    except ValueError as error: raise ValueError("a must be a number") from error
"""

    def said(folder: str, name: str) -> str:
        rooms: dict[str, Any] = {}
        exec(compile(body, tmp_path / folder / "gone.py", "exec"), rooms)
        with pytest.raises(UserError) as caught, boundary():
            rooms[name]()
        return str(caught.value)

    assert said("sdq", "own") == "a must be b"
    assert said("sdq", "answered") == "a must be a number"
    for folder, name in (("sdq", "called"), ("sdq", "named"), ("sdq", "handed"), ("lib", "own")):
        assert "a fault of the program" in said(folder, name), name


def test_each_boundary_has_its_own_log(tmp_path: Path) -> None:
    told: list[dict[str, Any]] = []
    begun(tmp_path, told.append)  # outside of any: nothing to tell

    @boundary()
    def outer() -> None:
        begun(tmp_path / "outer", told.append)
        with pytest.raises(UserError), boundary():
            raise KeyError("inner")
        assert told == []
        raise KeyError("outer")

    @boundary()
    def full() -> None:
        begun(tmp_path / "full", raising(OSError(errno.ENOSPC, "No space left on device")))
        raise KeyError("x")

    with pytest.raises(UserError, match="outer"):
        outer()
    assert [event["event"] for event in told] == ["failed"]
    assert (tmp_path / "outer" / TRACEBACK).is_file()
    with pytest.raises(UserError, match="KeyError"):
        full()
    assert isinstance(in_words(ValueError("x")), UserError)


@kinds
def test_a_fine_tuning_that_breaks(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(finetune, "train", raising(error))
    with pytest.raises(UserError) as caught:
        finetune.finetune("mini", "intent", tmp_path / "out", Training(steps=1))
    one_sentence(str(caught.value))
    assert (tmp_path / "out" / "unfinished" / TRACEBACK).is_file()


@kinds
def test_an_inspection_that_breaks(
    error: BaseException, monkeypatch: pytest.MonkeyPatch, data: Path
) -> None:
    monkeypatch.setattr(inspection, "_compute", raising(error))
    store = Store.default()
    run = identify(PRESETS["ptq-w3a8"], "mini", "intent")
    with pytest.raises(UserError) as caught:
        inspection.inspect(
            run, store, inspection_settings.Inspection(sentences=7), only=("estimate",)
        )
    one_sentence(str(caught.value))
    home = inspection_id(run, inspection_settings.Inspection(sentences=7))
    assert store.inspections().events(home)[-1]["event"] == "failed"
    assert (data / "inspections" / home / TRACEBACK).is_file()


@kinds
def test_an_answer_that_breaks_costs_no_other(
    error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        answer, "_row", lambda text, run, store: raising(error)() if run == "bad" else {"run": run}
    )
    bad, good = answer.answer("hello", ["bad", "good"], Store.default())
    one_sentence(bad["missing"])
    assert good == {"run": "good"}


@kinds
def test_a_command_that_breaks(
    error: BaseException,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    data: Path,
) -> None:
    monkeypatch.setattr(Store, "default", raising(error))
    said = refused(capsys, "runs")
    one_sentence(said)
    assert str(data / TRACEBACK) in said
