"""What the pages show and let do to somebody who came by the students' link, beside what the owner
sees."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable

import pytest
from streamlit.testing.v1 import AppTest

from pages.components import session
from sdq.intake.own_tasks import Incoming, keep
from sdq.jobs import history, trash
from sdq.jobs import queue as jobs
from sdq.models.checkpoint import folder_of
from sdq.recipe import PRESETS
from sdq.results import Report
from sdq.service.visitors import Visitor, claim
from sdq.store import Store, seal
from tests.helpers import made_up
from tests.helpers.pages import opened, text_of
from tests.helpers.run_page import tick

ANNA, TEACHER = Visitor("a" * 32), Visitor("c" * 32, "teacher")
FOLDER = "/home/owner/secret-place/model"


@pytest.fixture
def come(monkeypatch: pytest.MonkeyPatch) -> Callable[[Visitor], None]:
    """Whose cookie the browser sends."""

    def comes(who: Visitor) -> None:
        monkeypatch.setattr(session, "_known", lambda: who)

    return comes


@pytest.fixture
def runs(store: Store) -> dict[str, Report]:
    """Anna's run, and one of the owner's with a model from a folder of the machine."""
    mine, other = made_up.add(store, PRESETS["ptq-w3a8"]), made_up.add(store, PRESETS["fp32"])
    claim(store.folder / mine.run, ANNA.name)
    (store.folder / mine.run / "owners" / "local").unlink()
    path = store.folder / other.run / "report.json"
    path.write_text(path.read_text().replace('"model": "mini"', f'"model": "{FOLDER}"'))
    for report in (mine, other):
        seal(store.folder / report.run)
    return {"mine": mine, "other": other}


def everything(app: AppTest) -> str:
    """All that a page sends to the browser, tables and options with it."""
    shown = [str(element) for element in app.main] + [
        frame.value.to_csv() for frame in app.dataframe
    ]
    return "\n".join([*shown, *(str(getattr(element, "proto", "")) for element in app.main)])


def test_a_student_deletes_own_runs_only_and_sees_no_folder(
    store: Store, runs: dict[str, Report], come: Callable[[Visitor], None]
) -> None:
    come(ANNA)
    page = opened("pages/start/runs.py")
    sent = everything(page) + text_of(page)
    assert str(store.folder) not in sent
    assert "secret-place" not in sent
    keys = {button.key for button in tick(page, runs["other"].run).button}
    assert not {"delete", "pin"} & keys
    app = tick(opened("pages/start/runs.py"), runs["mine"].run)
    assert "pin" not in {button.key for button in app.button}
    app = app.button(key="delete").click().run()
    assert list(trash.in_trash(store)) == [runs["mine"].run]
    assert f"back-{runs['mine'].run}" in {button.key for button in app.button}
    assert "empty" not in {button.key for button in app.button}
    app.button(key="undo").click().run()
    assert store.done(runs["mine"].run)


def test_a_student_does_not_see_what_others_deleted(
    store: Store, runs: dict[str, Report], come: Callable[[Visitor], None]
) -> None:
    trash.delete(store, [runs["other"].run])
    come(ANNA)
    keys = {button.key for button in opened("pages/start/runs.py").button}
    assert not {f"back-{runs['other'].run}", "empty"} & keys
    come(TEACHER)
    assert {f"back-{runs['other'].run}", "empty"} <= {
        button.key for button in opened("pages/start/runs.py").button
    }


def test_a_student_names_no_folder(
    store: Store, runs: dict[str, Report], come: Callable[[Visitor], None]
) -> None:
    """Neither in the list nor by a run that used one; what lies in the inbox is in the list."""
    shutil.copytree(folder_of("mini", "intent"), store.folder.parent / "inbox" / "brought")
    come(ANNA)
    app = opened("pages/lab/quantize.py", run=runs["other"].run)
    options = app.selectbox(key="model").options
    assert "A local folder" not in options
    assert "brought (inbox)" in options
    assert app.selectbox(key="model").value == "mini"
    assert not [box for box in app.text_input if box.key == "model-folder"]
    assert "secret-place" not in everything(app)
    assert "the model must be one of those that are listed" in text_of(app), (
        "and the form is of another run, which is said"
    )
    page = opened("pages/start/runs.py")
    assert "secret-place" not in everything(page) + text_of(page)


def test_a_student_cannot_stop_what_another_started(
    store: Store, come: Callable[[Visitor], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs, "ensure", lambda store: None)
    run = jobs.submit(PRESETS["ptq-w3a8"], "mini", "intent", store, "b" * 32)
    come(ANNA)
    assert "cancel" not in {
        button.key for button in opened("pages/lab/quantize.py", run=run).button
    }
    come(TEACHER)
    opened("pages/lab/quantize.py", run=run).button(key="cancel").click().run()
    assert jobs.state(run, store).failure == jobs.CANCELLED


@pytest.mark.parametrize(
    ("who", "said"),
    [(ANNA, "You are a student here: you can"), (TEACHER, "You are the teacher here: you can")],
)
@pytest.mark.parametrize("page", ["", "pages/start/runs.py", "pages/lab/data.py"])
def test_a_room_says_which_role_one_has(
    store: Store,
    come: Callable[[Visitor], None],
    monkeypatch: pytest.MonkeyPatch,
    page: str,
    who: Visitor,
    said: str,
) -> None:
    come(who)
    assert not opened(page).sidebar.caption, "open to its own machine alone"
    monkeypatch.setenv("SDQ_ROOM_TOKEN", "students-of-2026")
    assert opened(page).sidebar.caption[0].value.startswith(said)


def test_an_open_server_shows_nothing_to_who_came_past_the_guard(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDQ_ROOM_TOKEN", "students-of-2026")
    app = opened("pages/start/runs.py")
    assert "needs the link" in app.error[0].value
    assert not app.dataframe


def test_who_may_not_pin_reads_nothing_of_it(
    store: Store, runs: dict[str, Report], come: Callable[[Visitor], None]
) -> None:
    history.pin(store, [runs["mine"].run])
    come(TEACHER)
    page = opened("pages/start/runs.py")
    assert "pinned" in page.dataframe[0].value
    assert "pin or delete" in text_of(page)
    come(ANNA)
    page = opened("pages/start/runs.py")
    assert list(page.dataframe[0].value)[:3] == ["method", "width", "zero-shot, %"]
    assert not re.search(r"\bpin", text_of(page))


def test_who_has_no_shell_is_told_no_command(store: Store, come: Callable[[Visitor], None]) -> None:
    files = [
        (f"{split}-en.csv", "text,label\n" + "".join(f"{split} {i},{i % 2}x\n" for i in range(6)))
        for split in ("train", "dev", "test")
    ]
    coming = store.folder.parent / "coming"
    coming.mkdir(parents=True)
    for name, content in files:
        (coming / name).write_text(content)
    fields = {
        "name": "mood",
        "kind": "sentence",
        "columns": {"text": "text", "label": "label"},
        "training_language": "en",
    }
    keep(fields, [Incoming(name, coming / name, name.partition("-")[0], "en") for name, _ in files])
    for who in (TEACHER, ANNA):
        come(who)
        data, quantize = opened("pages/lab/data.py"), opened("pages/lab/quantize.py", on="mood")
        shown = text_of(data) + everything(data) + text_of(quantize) + everything(quantize)
        assert bool(re.search(r"\bsdq (task|finetune)\b", shown)) == who.leads
        assert (
            shown.count("Ask your teacher for a model that is fine-tuned on this task") > 1
        ) != who.leads
