"""Files brought to a task: two who bring at once, a replacement that fails or is killed, and what the name of a file tells."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from sdq.data.check import Checked
from sdq.data.intake import Incoming, keep
from sdq.data.tasks import address, home, kept
from sdq.settings import UserError
from sdq.visitors import Visitor, askers

ANNA, BEN = Visitor("a" * 32), Visitor("b" * 32)
FIELDS = {
    "name": "mine", "kind": "sentence", "columns": {"text": "text", "label": "label"}, "training_language": "en", "shares": [0.5, 0.25, 0.25],
}  # fmt: skip
READ = Checked(pd.DataFrame(), pd.DataFrame(), 0.0, ())


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDQ_DATA", str(tmp_path / "data"))


def bring(tmp_path: Path, word: str, who: Visitor = ANNA, replace: bool = False, meanwhile: object = None) -> None:
    """Keep a task whose text holds this word. `meanwhile` is called while it is being read."""
    file = tmp_path / f"{word}.csv"
    file.write_text(f"text,label\n{word} day,good\n")

    def read(path: Path) -> Checked:
        if callable(meanwhile):
            meanwhile()
        return READ

    keep(FIELDS, [Incoming(file.name, file, "all", "en")], replace, who, checking=read)


def held() -> str:
    return next((home() / "mine" / "all").iterdir()).read_text()


def hidden() -> list[str]:
    return [path.name for path in home().iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("replace", [False, True])
def test_of_two_who_bring_one_name_at_once_the_first_stays(tmp_path: Path, replace: bool) -> None:
    with pytest.raises(UserError, match="is another's" if replace else "is taken"):
        bring(tmp_path, "late", BEN, replace, lambda: bring(tmp_path, "first"))
    assert "first" in held()
    assert askers(home() / "mine") == {ANNA.name}
    assert not hidden()


def test_who_brought_it_may_replace_it_while_it_is_read_twice(tmp_path: Path) -> None:
    bring(tmp_path, "late", ANNA, True, lambda: bring(tmp_path, "first"))
    assert "late" in held()
    assert not hidden()


def test_a_replacement_that_fails_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bring(tmp_path, "old")
    plain = Path.replace

    def full(self: Path, target: Path) -> Path:
        if self.parent.name.startswith(".coming-"):
            raise OSError(28, "No space left on device")
        return plain(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(UserError, match="No space left"):
        bring(tmp_path, "new", replace=True)
    assert "old" in held()
    assert not hidden()


def test_a_task_comes_back_whose_replacement_was_killed(tmp_path: Path) -> None:
    bring(tmp_path, "old")
    (home() / "mine").replace(home() / ".was-mine")  # as a kill between the two renames leaves it
    assert address("mine") == "mine"
    assert "old" in held()
    assert kept() == ("mine",)
    assert not hidden()


def test_what_was_replaced_goes_and_what_was_half_brought_is_swept_after_a_day(tmp_path: Path) -> None:
    bring(tmp_path, "old")
    (home() / ".was-mine").mkdir()  # as a kill after the second rename leaves it
    for name, age in ((".coming-old", 90_000), (".coming-new", 60)):
        (home() / name / "other").mkdir(parents=True)
        when = (home() / name).stat().st_mtime - age
        os.utime(home() / name, (when, when))
    bring(tmp_path, "new", replace=True)
    assert "new" in held()
    assert hidden() == [".coming-new"]
    assert kept() == ("mine",)
