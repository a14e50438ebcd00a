"""Files brought to a task: two who bring at once, a replacement that fails or is killed, and what
the name of a file tells."""

from __future__ import annotations

import os
from pathlib import Path

import pandas as pd
import pytest

from sdq.data.check import Checked
from sdq.data.kept import home, kept
from sdq.data.language_table import LANGUAGES
from sdq.data.registry import canonical_name
from sdq.intake.own_tasks import Incoming, keep
from sdq.intake.preview import guess
from sdq.service.visitors import Visitor, askers
from sdq.settings import UserError

ANNA, BEN = Visitor("a" * 32), Visitor("b" * 32)
FIELDS = {
    "name": "mine",
    "kind": "sentence",
    "columns": {"text": "text", "label": "label"},
    "training_language": "en",
    "shares": [0.5, 0.25, 0.25],
}
READ = Checked(pd.DataFrame(), pd.DataFrame(), 0.0, ())


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDQ_DATA", str(tmp_path / "data"))


def bring(
    tmp_path: Path, word: str, who: Visitor = ANNA, replace: bool = False, meanwhile: object = None
) -> None:
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


def test_a_replacement_that_fails_leaves_what_was_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    assert canonical_name("mine") == "mine"
    assert "old" in held()
    assert kept() == ("mine",)
    assert not hidden()


def test_what_was_replaced_goes_and_what_was_half_brought_is_swept_after_a_day(
    tmp_path: Path,
) -> None:
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


NAMED = {
    "train-de.csv": ("train", "de"),
    "de.csv": ("all", "de"),
    "DE.csv": ("all", "de"),
    "en.train.conll": ("train", "en"),
    "xnli.test.zh.tsv": ("test", "zh"),
    "news_de_2020.csv": ("all", "de"),
    "train-deu.csv": ("train", "deu"),
    "dev.ceb.jsonl": ("dev", "ceb"),
    "zh_TW.csv": ("all", "zh_TW"),
    "train-zh-TW.csv": ("train", "zh-TW"),
    "zh_tw_test.csv": ("test", "zh_tw"),
    "pt-BR.dev.csv": ("dev", "pt-BR"),
    "es-419.csv": ("all", "es-419"),
    "en_US-train.csv": ("train", "en_US"),
    "deu_Latn.csv": ("all", "deu_Latn"),
    "eng_Latn.devtest.tsv": ("all", "eng_Latn"),
    "test_zho_Hant.jsonl": ("test", "zho_Hant"),
    "uz-Cyrl-UZ.csv": ("all", "uz-Cyrl-UZ"),
    "zh-Hant-TW_train.csv": ("train", "zh-Hant-TW"),
    "my_task_zh_TW.csv": ("all", "zh_TW"),
    "my_task_de.csv": ("all", "de"),
    "train-00000-of-00001.parquet": ("train", ""),
    "en-00000-of-00001.parquet": ("all", "en"),
    "my_task.csv": ("all", ""),
    "my_train.csv": ("train", ""),
    "no_train.csv": ("train", ""),
    "is_test.csv": ("test", ""),
    "as_is.csv": ("all", ""),
    "train_as_csv.csv": ("train", ""),
    "read_it_all.csv": ("all", ""),
    "how_to.csv": ("all", ""),
    "to_train.csv": ("train", ""),
    "in_or_out.csv": ("all", ""),
    "no_label.csv": ("all", ""),
    "may_data.csv": ("all", ""),
    "ml_task.csv": ("all", ""),
    "ms_marco.tsv": ("all", ""),
    "ne_data.conll": ("all", ""),
    "my.csv": ("all", "my"),
    "test.my.conll": ("test", "my"),
    "train-no.csv": ("train", "no"),
    "it-train.csv": ("train", "it"),
    "is.dev.conll": ("dev", "is"),
    "train-ml.csv": ("train", "ml"),
    "tr_test.csv": ("test", "tr"),
    "news.it.csv": ("all", "it"),
    "dev_it.csv": ("dev", "it"),
    "train.en-de.csv": ("train", ""),
    "en_fr.csv": ("all", ""),
    "de_no_duplicates.csv": ("all", "de"),
    "test_split.csv": ("test", ""),
    "-de.csv": ("all", "de"),
    "données.csv": ("all", ""),
    "_.csv": ("all", ""),
    "xx.csv": ("all", ""),
}


@pytest.mark.parametrize("name", NAMED)
def test_what_the_name_of_a_file_tells(name: str) -> None:
    assert guess(name) == NAMED[name]


def test_every_language_is_told_by_a_file_that_is_called_so() -> None:
    assert [code for code in LANGUAGES if guess(f"{code}.csv")[1] != code] == []
    assert [code for code in LANGUAGES if guess(f"train-{code}.csv") != ("train", code)] == []
