"""Which run a request is: whoever computes and whoever asks say the same id, and models that are
read in another way than before have another one."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from pages.components.sentences import fp32_of, languages_with_text, sentences
from sdq.data.registry import task_fingerprint
from sdq.inspection.storage import inspectable
from sdq.io.files import write_text
from sdq.jobs import history
from sdq.models.checkpoint import checkpoint_fingerprint, folder_of
from sdq.pipeline.run import run
from sdq.recipe import PRESETS
from sdq.reporting.export import tables
from sdq.results import Report
from sdq.settings import UserError
from sdq.store import Store, run_id, seal
from sdq.store.identity import identify, unreplaced
from tests.helpers import made_up
from tests.helpers.commands import refused


class Kept:
    """A store in which every run is finished: it tells which one was looked for."""

    folder = Path("nowhere")

    def done(self, run: str, weights: bool = False) -> bool:
        self.asked = run
        return True

    def report(self, run: str) -> Any:
        return run


@pytest.mark.parametrize("own", [False, True])
def test_both_say_the_same_id_and_only_the_embedded_model_keeps_the_earlier_one(
    tmp_path: Path, own: bool
) -> None:
    model = "mini"
    if own:
        model = str(shutil.copytree(folder_of("mini", "intent"), tmp_path / "mine"))
    earlier = run_id(
        PRESETS["ptq-w3a8"],
        checkpoint_fingerprint(folder_of(model, "intent")),
        task_fingerprint("intent"),
    )
    store: Any = Kept()
    assert (
        run(PRESETS["ptq-w3a8"], model, "intent", store)
        == store.asked
        == identify(PRESETS["ptq-w3a8"], model, "intent")
    )
    assert (store.asked == earlier) is not own


def made(store: Store, preset: str, **said: str) -> Report:
    """A made-up run whose spec.json says what it was made of."""
    report = made_up.add(store, PRESETS[preset])
    spec = store.folder / report.run / "spec.json"
    write_text(spec, json.dumps(json.loads(spec.read_text()) | said))
    seal(store.folder / report.run)
    return report


def test_only_runs_of_equal_data_are_paired(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    store = Store(tmp_path / "data" / "runs", shipped=None)
    full, ptq, qat = (
        made(store, name, data=data)
        for name, data in (("fp32", "one"), ("ptq-w3a8", "two"), ("qat-w3a8", "one"))
    )
    assert [store.made_of(report) for report in (full, ptq, qat)] == ["one", "two", "one"]
    assert store.made_of(ptq.model_copy(update={"provenance": {"data": "three"}})) == "three"
    assert not store.alike(full, ptq)
    assert store.alike(full, qat)
    other = (
        report.model_copy(update={"provenance": {"data": "one", "weights": weights}})
        for report, weights in ((full, "x"), (qat, "y"))
    )
    assert not store.alike(*other)
    assert "reference" in tables(qat, store)
    assert "reference" not in tables(ptq, store)
    assert fp32_of(store, qat) == full
    assert fp32_of(store, ptq) is None
    assert history.comparable([full, ptq, qat], store) == [full.run, qat.run]
    monkeypatch.setenv("SDQ_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SDQ_SHIPPED", "no")
    assert "replaced" in refused(capsys, "compare", full.run, ptq.run)


def test_what_needs_a_replaced_task_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look inside, typed sentences and the pages that show answers beside texts."""
    from sdq.inspection.subject import Subject
    from sdq.jobs.prediction import answer

    store = Store(tmp_path / "data" / "runs", shipped=None)
    report = made(store, "ptq-w3a8", data=task_fingerprint("intent"))
    inspectable(report, store)
    changed = made(store, "ptq-w4a8", data=task_fingerprint("intent"), weights="another")
    monkeypatch.setattr(
        "sdq.inspection.subject.load_for", None
    )  # it is refused before anything is loaded
    monkeypatch.setattr("sdq.jobs.prediction.load_for", None)
    with pytest.raises(UserError, match="the model mini must be as it was"):
        Subject.of_run(changed, store, 4)
    assert (
        "the model mini must be as it was" in answer("wake me", [changed.run], store)[0]["missing"]
    )
    monkeypatch.setattr("sdq.store.identity.task_fingerprint", lambda name: "replaced")
    for needs in (inspectable, sentences, unreplaced):
        with pytest.raises(
            UserError, match=f"the task intent must be as it was when run {report.run} was made"
        ):
            needs(report, store)
    with pytest.raises(UserError, match="the task intent must be as it was"):
        Subject.of_run(report, store, 4)
    assert (
        "the task intent must be as it was" in answer("wake me", [report.run], store)[0]["missing"]
    )
    assert languages_with_text(report, store) is None


def test_a_task_read_before_it_was_replaced_is_read_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    import sdq.jobs.prediction

    states = iter(("one", "one", "two"))
    monkeypatch.setattr(sdq.jobs.prediction, "task_fingerprint", lambda name: next(states))
    monkeypatch.setattr(sdq.jobs.prediction, "load_task", lambda name: object())
    first, again, other = (sdq.jobs.prediction.task_of("topics") for _ in range(3))
    assert first is again is not other
