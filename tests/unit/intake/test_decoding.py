"""What visitors bring is decoded apart: whatever a file holds, the web process stays small and has
an answer in time."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sdq.intake import decoding
from sdq.io.limits import limits
from sdq.settings import ASSETS, UserError

GROWTH = 60 * 2**20  # bytes by which this process may grow


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Limits that are met soon."""
    for name, value in {"DECODE_MEMORY_MB": 400, "DECODE_SECONDS": 15}.items():
        monkeypatch.setenv(f"SDQ_{name}", str(value))
    limits.cache_clear()
    yield
    limits.cache_clear()


def flat(path: Path) -> None:
    """A dictionary of one long text, and codes that name it two thousand times in one row group."""
    codes = pa.DictionaryArray.from_arrays(
        pa.array(np.zeros(4000, np.int32)), pa.array(["x" * 1_000_000])
    )
    pq.write_table(pa.table({"text": codes}), path, compression="zstd")


def nested(path: Path) -> None:
    """A list of thirty million equal numbers."""
    values = pa.array(np.zeros(30_000_000, np.int64))
    pq.write_table(
        pa.table(
            {"text": pa.ListArray.from_arrays(pa.array([0, len(values)], pa.int32()), values)}
        ),
        path,
        compression="zstd",
    )


def endless(path: Path) -> None:
    os.symlink("/dev/zero", path)


def pipe(path: Path) -> None:
    os.mkfifo(path)


@pytest.mark.parametrize(
    ("make", "ending"),
    [
        (flat, "parquet"),
        pytest.param(nested, "parquet", marks=pytest.mark.slow),
        (endless, "csv"),
        pytest.param(pipe, "csv", marks=pytest.mark.slow),
    ],
)
def test_a_bomb_is_one_sentence_and_the_process_does_not_grow(
    tmp_path: Path, make: Callable[[Path], None], ending: str
) -> None:
    make(tmp_path / f"bomb.{ending}")
    assert make in (endless, pipe) or (tmp_path / f"bomb.{ending}").stat().st_size < 100_000
    before, started = psutil.Process().memory_info().rss, time.monotonic()
    with pytest.raises(UserError, match=r"bomb\.") as error:
        decoding.preview(tmp_path / f"bomb.{ending}")
    assert time.monotonic() - started < 20
    assert psutil.Process().memory_info().rss - before < GROWTH
    assert "\n" not in str(error.value)


def test_time_is_bounded_and_nothing_goes_on_afterwards(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDQ_DECODE_SECONDS", "1")
    limits.cache_clear()
    monkeypatch.setattr(decoding, "CHILD", ("sleep", "60"))
    started = time.monotonic()
    with pytest.raises(UserError, match="must be readable within 1 seconds"):
        decoding.preview(tmp_path / "any.csv")
    assert time.monotonic() - started < 5
    assert not [child for child in psutil.Process().children() if "sleep" in child.name()]


def test_an_answer_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wide = ",".join(f"column{i}" for i in range(400))
    (tmp_path / "wide.csv").write_text(wide + "\n" + (",".join(["x" * 300] * 400) + "\n") * 9)
    monkeypatch.setenv("SDQ_ANSWER_MB", "1")
    limits.cache_clear()
    monkeypatch.setattr(decoding, "CHILD", (*decoding.CHILD[:1], "-c", SMALLER))
    with pytest.raises(UserError, match=r"wide\.csv must be readable within 1 MB of answer"):
        decoding.preview(tmp_path / "wide.csv")


SMALLER = (
    "import resource\nfrom sdq.intake import reading\nreading.bound = lambda most: "
    "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\nreading.main()"
)


def test_only_a_few_children_decode_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDQ_DECODE_SECONDS", "1")
    monkeypatch.setenv("SDQ_DECODERS", "2")
    limits.cache_clear()
    monkeypatch.setattr(decoding, "CHILD", ("sleep", "60"))
    said: list[str] = []

    def ask() -> None:
        try:
            decoding.preview(tmp_path / "any.csv")
        except UserError as error:
            said.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(5)]
    for thread in threads:
        thread.start()
    time.sleep(0.5)
    assert len([child for child in psutil.Process().children() if "sleep" in child.name()]) == 2
    for thread in threads:
        thread.join(10)
    assert len(said) == 5
    assert any("those of others are read" in sentence for sentence in said)


def test_what_a_child_says_is_what_reading_here_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from sdq.data.assemble import load
    from sdq.data.check import check
    from sdq.intake.preview import preview
    from sdq.intake.reading import rows

    monkeypatch.setenv("SDQ_DECODE_MEMORY_MB", "1500")
    limits.cache_clear()
    for split in ("train", "dev", "test"):
        for code in ("en", "de"):
            (tmp_path / f"{split}-{code}.csv").write_text(
                "words,tags\n" + "".join(f'"Anna lebt in {i}",B-PER O O O\n' for i in range(5))
            )
    fields = (
        '{"name": "own", "kind": "token", "columns": {"tokens": "words", "tags": "tags"}, '
        '"training_language": "en", "splits": {%s}}'
    )
    task = tmp_path / "task.json"
    task.write_text(
        fields
        % ", ".join(f'"{split}": "{split}-{{language}}.csv"' for split in ("train", "dev", "test"))
    )
    shown = decoding.preview(tmp_path / "train-en.csv")
    assert shown.equals(preview(tmp_path / "train-en.csv"))
    assert shown.attrs == preview(tmp_path / "train-en.csv").attrs
    here, there = check(load(task, "own")), decoding.checked_file(task)
    assert here.counts.equals(there.counts)
    assert here.sentences.equals(there.sentences)
    assert (here.cut, here.warnings) == (there.cut, there.warnings)
    assert decoding.sentences(str(task)).equals(rows(str(task)))
    assert decoding.trained(str(task)) == ("de", "en")
    (tmp_path / "dev-de.csv").write_text("words,tags\nx,\n")
    with pytest.raises(UserError, match=r"dev-de\.csv, line 2, column tags"):
        decoding.checked_file(task)


def test_an_embedded_task_is_read_here() -> None:
    assert (ASSETS / "mini" / "data" / "sentences.parquet").is_file()
    assert list(decoding.sentences("intent")) == ["id", "language", "text", "gold", "words"]


def test_many_files_are_read_by_one_child_and_a_bad_one_costs_itself_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = [tmp_path / f"{name}.csv" for name in ("one", "bad", "two")]
    for path in paths:
        path.write_bytes(
            b"MZ\0\0" if path.stem == "bad" else f"text,label\n{path.stem},x\n".encode()
        )
    asked: list[str] = []
    ask = decoding.ask

    def counted(question: str, about: str, **given: object) -> object:
        asked.append(question)
        if len(given["paths"]) > 1 and len(asked) > 1:  # type: ignore[arg-type]
            raise UserError("too much")
        return ask(question, about, **given)

    monkeypatch.setattr(decoding, "ask", counted)
    for children in (1, 1 + 1 + 3):  # the second time they take too much together
        one, bad, two = decoding.previews(paths)
        assert (one["text"].tolist(), two["text"].tolist()) == (["one"], ["two"])
        assert isinstance(bad, UserError)
        assert "bad.csv is binary" in str(bad)
        assert len(asked) == children
