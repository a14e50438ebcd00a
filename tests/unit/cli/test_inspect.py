"""`sdq inspect`: JSON alone with the numbers of the files, and what cannot be inspected."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

from sdq.data import registry as tasks
from sdq.data.task import SPLITS
from sdq.recipe import PRESETS
from sdq.store.identity import identify
from tests.helpers.commands import refused, run
from tests.helpers.moods import write

pytestmark = pytest.mark.usefixtures("data", "few")


@pytest.fixture
def shipped(
    monkeypatch: pytest.MonkeyPatch,
    embedded_tasks: dict[str, tasks.Task],
    few: dict[str, tasks.Task],
) -> Callable[[str], str]:
    """Preset -> the id of its shipped run, which is of all sentences."""
    monkeypatch.delenv("SDQ_SHIPPED")
    monkeypatch.setitem(tasks.TASKS, "intent", lambda name, only=None: embedded_tasks["intent"])
    return lambda preset: identify(PRESETS[preset], "mini", "intent")


LOOK = ("--only", "estimate", "--sentences", "15")


def test_inspect_prints_json_alone_with_the_numbers_of_the_files(
    capsys: pytest.CaptureFixture[str], data: Path, tmp_path: Path, shipped: Callable[[str], str]
) -> None:
    name = shipped("ptq-w2a8")
    code, out, err = run(capsys, "inspect", name, *LOOK, "--json", "--out", str(tmp_path / "out"))
    assert code == 0, err
    found = json.loads(out)
    assert (found["run"], found["settings"]["sentences"]) == (name, 15)
    (path,) = data.glob("inspections/*/*.parquet")
    kept = pd.read_parquet(path)
    assert found["tables"]["estimate"] == kept.to_dict("records")
    assert kept["estimate"].gt(0).any()
    assert (tmp_path / "out" / "index.html").is_file()
    before = path.stat().st_mtime_ns
    code, words, _ = run(capsys, "inspect", name, *LOOK)
    assert code == 0
    assert f"estimate         {len(kept)} rows of module" in words
    assert path.stat().st_mtime_ns == before, "what was found is not computed again"


@pytest.mark.parametrize(
    ("preset", "options", "said"),
    [
        ("fp32", (), "is FP32"),
        ("qat-int8", (), "weights of this run are not on this machine"),
        ("ptq-w2a8", ("--only", "colour"), "an analysis must be one of sensitivity"),
        ("ptq-w2a8", ("--sentences", "0"), "sentences: "),
        ("ptq-w2a8", ("--settings", "nowhere.json"), "'nowhere.json' does not"),
    ],
)
def test_what_cannot_be_inspected(
    capsys: pytest.CaptureFixture[str],
    data: Path,
    shipped: Callable[[str], str],
    preset: str,
    options: tuple[str, ...],
    said: str,
) -> None:
    assert said in refused(capsys, "inspect", shipped(preset), *options)
    assert untouched(data)


@pytest.mark.parametrize("run_id", ["../../etc", "0" * 12])
def test_inspect_wants_a_finished_run(capsys: pytest.CaptureFixture[str], run_id: str) -> None:
    assert "run" in refused(capsys, "inspect", run_id)


def untouched(data: Path) -> bool:
    """Whether a data folder has nothing but models that were joined to be read."""
    return not data.exists() or {path.name for path in data.iterdir()} <= {"composed"}


def test_inspect_where_nothing_can_be_written(
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    data: Path,
    shipped: Callable[[str], str],
) -> None:
    blocked = tmp_path / "blocked"
    blocked.write_text("a file stands where the folder should be")
    assert "the folder for what was found must be writable" in refused(
        capsys, "inspect", shipped("ptq-w2a8"), *LOOK, "--out", str(blocked)
    )
    assert untouched(data), "said before anything is computed"
    run_id = shipped("ptq-w2a8")
    monkeypatch.setenv("SDQ_DATA", str(blocked))
    assert "the data folder must be writable" in refused(capsys, "inspect", run_id, *LOOK)


WRONG_LINKS = {
    "a port below 1": (("--port", "-1"), "--port must be a number of at least 1, got '-1'"),
    "port 0": (("--port", "0"), "--port must be a number of at least 1, got '0'"),
    "a port above": (("--port", "65536"), "--port must be a number of at most 65535, got '65536'"),
    "a space": (("--address", "a b"), "an address must be an IP address, or a name .* got 'a b'"),
    "an escape": (("--address", "\x1b[31m"), r"got '\\x1b\[31m'"),
    "a URL": (("--address", "http://x"), "got 'http://x'"),
    "a path": (("--address", "x/y"), "got 'x/y'"),
}


@pytest.mark.parametrize(("words", "said"), WRONG_LINKS.values(), ids=WRONG_LINKS.keys())
def test_links_need_an_address_and_a_port(
    capsys: pytest.CaptureFixture[str], words: tuple[str, str], said: str
) -> None:
    assert re.search(said, refused(capsys, "links", *words))


def test_labels_of_a_file_move_no_terminal(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    for split in SPLITS:
        rows = "".join(f"{split} {i},{('a', chr(27) + '[2Jb')[i % 2]}\n" for i in range(4))
        (tmp_path / f"{split}.csv").write_text(f"text,label\n{rows}")
    path = write(tmp_path, splits={split: f"{split}.csv" for split in SPLITS})
    code, out, err = run(capsys, "task", "check", str(path))
    assert code == 0, err
    assert "\x1b" not in out
    assert "\\u001b[2Jb" in out


@pytest.mark.parametrize("address", ["192.0.2.9", "::1", "[::1]", "lab", "lab-2.example.org."])
def test_links_take_an_address(capsys: pytest.CaptureFixture[str], address: str) -> None:
    assert run(capsys, "links", "--address", address)[0] == 0


def test_the_links_of_a_room_are_printed_again(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDQ_HOSTS", "lab.example.org")
    monkeypatch.setenv("SDQ_ROOM_TOKEN", "students-of-2026")
    monkeypatch.delenv("SDQ_TEACHER_TOKEN", raising=False)
    said = [run(capsys, "links", *more)[1] for more in ((), (), ("--https",))]
    assert said[0] == said[1]
    assert (
        "students: http://lab.example.org/?token=students-of-2026\nteacher:  "
        "http://lab.example.org/?token=" in said[0]
    )
    assert said[2] == said[0].replace("http:", "https:")


def test_what_computes_can_be_ended(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, data: Path
) -> None:
    ended: list[Path] = []
    monkeypatch.setattr("sdq.jobs.queue.stop", lambda store: ended.append(store.folder))
    assert run(capsys, "stop")[0] == 0
    assert ended == [data / "runs"]
