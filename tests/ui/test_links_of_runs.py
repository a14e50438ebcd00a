"""Links to the form, failed runs, and the newest runs on Home."""

from __future__ import annotations

import ast
import json
import re
import shutil
import time
from pathlib import Path

import pytest

from pages.components.progress import ago
from sdq.models.checkpoint import folder_of
from sdq.recipe import PRESETS
from sdq.results import Report
from sdq.settings import ROOT
from sdq.store import Store, seal
from tests.helpers import made_up
from tests.helpers.pages import links, opened, text_of
from tests.helpers.run_page import broken

PAGE = "pages/start/runs.py"
RUN, WAITING = "0123456789ab", "abcdefabcdef"


def own(store: Store, tmp_path: Path) -> tuple[str, str]:
    """A model's folder and a task file that are in no list."""
    for name in ("model", "topics"):
        (tmp_path / name).mkdir()
    shutil.copytree(folder_of("mini", "intent"), tmp_path / "model", dirs_exist_ok=True)
    splits, columns = (
        {"all": "{language}.csv"},
        {"text": "text", "label": "label", "split": "split"},
    )
    task = {
        "name": "topics",
        "kind": "sentence",
        "splits": splits,
        "columns": columns,
        "training_language": "en",
    }
    (tmp_path / "topics" / "task.json").write_text(json.dumps(task))
    return str(tmp_path / "model"), str(tmp_path / "topics" / "task.json")


@pytest.mark.parametrize("how", ["failed", "damaged", "done"])
def test_quantize_opens_with_the_runs_own_model_task_and_recipe(
    store: Store, tmp_path: Path, how: str
) -> None:
    model, task = own(store, tmp_path)
    if how == "failed":
        run = RUN
        store.begin(
            run,
            {"recipe": PRESETS["qat-w3a8"].model_dump(mode="json"), "model": model, "task": task},
        )
        store.tell(
            run, {"event": "failed", "message": "weights must be finite numbers, layer 3 holds NaN"}
        )
    else:
        run = made_up.add(store, PRESETS["qat-w3a8"]).run
        for name in ("report.json", "spec.json"):
            path = store.folder / run / name
            said = (
                json.loads(path.read_text())
                if path.exists()
                else {"recipe": PRESETS["qat-w3a8"].model_dump(mode="json")}
            )
            path.write_text(json.dumps(said | {"model": model, "task": task}))
        seal(store.folder / run)
        if how == "damaged":
            broken(store, run, "report.json")
    app = opened("pages/lab/quantize.py", run=run)
    assert (app.selectbox(key="on").value, app.selectbox(key="model").value) == (task, "a folder")
    assert app.text_input(key="model-folder").value == model
    assert (app.selectbox(key="method").value, app.selectbox(key="recipe-QAT").value) == (
        "QAT",
        "qat-w3a8",
    )
    assert "topics (yours)" in app.selectbox(key="on").options
    assert "A copy of the model model is made" in text_of(app)


def test_a_link_to_the_form_carries_model_and_task_of_its_run(store: Store, tmp_path: Path) -> None:
    model, task = own(store, tmp_path)
    store.begin(
        RUN, {"recipe": PRESETS["qat-w3a8"].model_dump(mode="json"), "model": model, "task": task}
    )
    app = opened("pages/lab/quantize.py", like=RUN, preset="fp32")
    assert (app.selectbox(key="on").value, app.text_input(key="model-folder").value) == (
        task,
        model,
    )
    assert app.selectbox(key="method").value == "FP32"


def test_pages_without_an_fp32_run_link_to_one_of_the_same_model_and_task(store: Store) -> None:
    report = made_up.add(store, PRESETS["ptq-w3a8"], "slots")
    for page in ("compare/languages", "compare/zero_shot", "inspect/examples", "inspect/flips"):
        assert (
            links(opened(f"pages/{page}.py", runs=report.run))["Run FP32"]
            == f"like={report.run}&preset=fp32"
        ), page


def test_every_link_to_the_form_says_of_what() -> None:
    """A bare link opens the form on mini, whatever it was beside: only where nothing is chosen
    yet."""
    bare = {"pages/components/links.py", "pages/start/runs.py"}
    for path in sorted((ROOT / "pages").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            to = isinstance(node, ast.Call) and ast.unparse(node.func).endswith(
                ("page_link", "switch_page")
            )
            if to and node.args and ast.unparse(node.args[0]) == "'pages/lab/quantize.py'":  # type: ignore[attr-defined]
                named = {keyword.arg for keyword in node.keywords}  # type: ignore[attr-defined]
                assert "query_params" in named or str(path.relative_to(ROOT)) in bare, (
                    f"{path}:{node.lineno}"
                )  # type: ignore[attr-defined]


def test_failed_runs_say_what_of_and_when(store: Store) -> None:
    for run, name, task in ((RUN, "qat-w3a8", "slots"), (WAITING, "ptq-w2a8", "intent")):
        store.begin(
            run, {"recipe": PRESETS[name].model_dump(mode="json"), "model": "mini", "task": task}
        )
        store.tell(run, {"event": "failed", "message": f"layer of {name} holds NaN"})
    shown = text_of(opened(PAGE)).replace("\\", "")
    for name, what in (
        ("qat-w3a8", "QAT W3A8 on slots, seed 0"),
        ("ptq-w2a8", "PTQ W2A8 on intent, seed 0"),
    ):
        assert f"**{what}**" in shown
        assert f"recipe {name}, model mini" in shown
        assert f"layer of {name} holds NaN" in shown
    assert len(re.findall(r"failed, \d{4}-\d\d-\d\d \d\d:\d\d \(\d+ s ago\)", shown)) == 2
    page = text_of(opened("pages/lab/quantize.py", run=RUN)).replace("\\", "")
    assert "QAT W3A8 on slots, seed 0, recipe qat-w3a8, model mini" in page


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(5, "5 s ago"), (90, "2 min ago"), (7200, "2 h ago"), (200_000, "2 d ago")],
)
def test_when_something_was_is_said_in_the_time_of_the_reader(
    monkeypatch: pytest.MonkeyPatch, seconds: float, said: str
) -> None:
    monkeypatch.setattr(time, "time", lambda: 1_000_000_000 + seconds)
    assert ago(seconds, "Asia/Tokyo") == f"2001-09-09 10:46 ({said})"
    assert ago(seconds, None) == f"2001-09-09 01:46 ({said})"


def test_home_has_three_doors_and_the_newest_runs(store: Store, reports: dict[str, Report]) -> None:
    carried = links(opened())
    doors = [label for label in carried if label.startswith("**")]
    assert [label.strip("*").split(":")[0] for label in doors] == ["Learn", "Inspect", "Compare"]
    assert reports["ptq-w3a8"].run in carried[doors[1]]
    newest = [label for label in carried if "% zero-shot" in label]
    assert len(newest) == 3
    assert any(
        f"{100 * reports['sdq-att-kld-w3a8'].quantized.zero_shot_mean:.1f} %" in label
        for label in newest
    )


def test_home_without_own_runs_lists_none(store: Store) -> None:
    assert not [label for label in links(opened()) if "zero-shot" in label or label == "All runs"]
