"""`sdq doctor` and the limits it shows: what must be done is said in one sentence, and every limit
is enforced somewhere."""

from __future__ import annotations

import ast
import contextlib
import importlib.util
import io
import json
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from sdq import __main__ as cli
from sdq.__main__ import app
from sdq.cli import doctor
from sdq.cli.access import access
from sdq.cli.limits import markdown
from sdq.io import sealed
from sdq.io.limits import Limits, limits
from sdq.io.sealed import SEAL
from sdq.settings import ASSETS, ROOT, UserError
from sdq.store import PACKED, Store


@pytest.fixture(autouse=True)
def _alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("SDQ_DATA", str(tmp_path / "data"))
    monkeypatch.setenv("SDQ_SHIPPED", "no")
    monkeypatch.setattr(doctor, "FREE", 1.0)
    monkeypatch.setattr(doctor, "LEFT", 1.0)
    limits.cache_clear()
    yield
    limits.cache_clear()


def asked(*more: str) -> tuple[int, dict[str, Any]]:
    """(exit code, answer) of the command as a shell gets them."""
    shown = io.StringIO()
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(shown):
        patch.setattr(sys, "argv", ["sdq", "doctor", "--json", "--offline", *more])
        with pytest.raises(SystemExit) as ended:
            cli.main()
    return int(ended.value.code or 0), json.loads(shown.getvalue())


def test_a_healthy_installation_has_nothing_to_do() -> None:
    code, told = asked()
    assert (code, told["to_do"], told["healthy"]) == (0, [], True)
    assert {"Versions", "Machine", "Models", "Data", "Access", "Limits"} == {
        finding["part"] for finding in told["findings"]
    }
    shown = {finding["what"]: finding["value"] for finding in told["findings"]}
    assert shown["SDQ_UPLOAD_MB"].startswith("50 ")
    assert {f"SDQ_{name.upper()}" for name in Limits.model_fields} <= shown.keys()
    done = CliRunner().invoke(app, ["doctor", "--offline"])
    assert done.exit_code == 0
    assert done.stdout.strip().endswith("Nothing must be done.")
    assert max(map(len, done.stdout.splitlines())) < 160


def test_a_damaged_run_an_open_folder_and_a_full_disk_are_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = Store.default().folder / "0123456789ab"
    home.mkdir(parents=True)
    (home / "report.json").write_text("{")
    (home / "done").touch()
    (tmp_path / "data").chmod(0o777)
    monkeypatch.setattr(doctor, "FREE", 1e18)
    code, told = asked()
    assert code == 1
    disk, folder, run = told["to_do"]
    assert "must be free on the disk" in disk
    assert f"run `chmod o-w {tmp_path / 'data'}`" in folder
    assert "0123456789ab" in run
    text = CliRunner().invoke(app, ["doctor", "--offline"]).stdout
    assert "3 to be done:" in text
    assert "! disk" in text


def test_every_file_of_runs_and_inspections_is_looked_at() -> None:
    store = Store.default()
    packed = min((ASSETS / "runs").glob(f"*/{PACKED}"), key=lambda path: path.stat().st_size)
    run, look = store.folder / packed.parent.name, store.inspections().folder / "ba9876543210"
    shutil.copytree(packed.parent, run)
    look.mkdir(parents=True)
    for name in ("spec.json", "words.parquet"):
        (look / name).write_text("{}")
    sealed.write(look / SEAL, ("spec.json", "words.parquet"))
    assert asked()[1]["to_do"] == []
    for path, of in (
        (run / PACKED, f"run {run.name}"),
        (run / "spec.json", f"run {run.name}"),
        (look / "words.parquet", f"inspection {look.name}"),
    ):
        whole = path.read_bytes()
        path.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
        (told,) = asked()[1]["to_do"]
        assert f"{path.name} of {of} must be as it was written" in told
        path.write_bytes(whole)
    (look / SEAL).write_text("{}")
    (told,) = asked()[1]["to_do"]
    assert f"{SEAL} of inspection {look.name}" in told


def test_what_is_asked_wrongly_is_no_finding(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["sdq", "doctor", "--no-such-option"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 2
    assert capsys.readouterr().err.startswith("error: ")


def test_packages_are_compared_with_what_is_required(monkeypatch: pytest.MonkeyPatch) -> None:
    assert doctor.required("# what\ntorch==2.13.0  # pinned\n-r other.txt\nscipy>=1.16,<2\n\n") == [
        ("torch", "2.13.0"),
        ("scipy", None),
    ]
    monkeypatch.setattr(
        doctor, "required", lambda text: [("pytest", "0.1"), ("no-such-package", None)]
    )
    code, told = asked()
    assert code == 1
    assert "pytest must be 0.1" in told["to_do"][0]
    assert "no-such-package must be installed" in told["to_do"][1]


def test_wrong_limits_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SDQ_UPLOAD_MB", "lots")
    with pytest.raises(UserError, match="SDQ_UPLOAD_MB is not"):
        limits()
    code, told = asked()
    assert code == 1
    assert "SDQ_UPLOAD_MB is not" in told["to_do"][0]
    monkeypatch.setenv("SDQ_UPLOAD_MB", "300")
    limits.cache_clear()
    monkeypatch.setenv("SDQ_DECODE_MEMORY_MB", "100000")
    monkeypatch.setenv("SDQ_DECODERS", "64")
    _, told = asked()
    assert "SDQ_UPLOADS_MB must be at least" in told["to_do"][0]
    assert "lower one of them" in told["to_do"][1]


@pytest.mark.parametrize(
    ("name", "value"), [("SDQ_NICE", "low"), ("SDQ_NICE", "20"), ("SDQ_CLUSTER_IDLE", "x")]
)
def test_how_jobs_are_computed_is_a_limit_too(
    monkeypatch: pytest.MonkeyPatch, name: str, value: str
) -> None:
    monkeypatch.setenv(name, value)
    code, told = asked()
    assert code == 1
    assert f"a limit must be a number in its bounds, {name} is not" in told["to_do"][0]
    done = subprocess.run(
        [sys.executable, "-c", "import sdq.jobs.cluster"],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_the_network_is_asked_for_a_moment_and_its_absence_is_no_fault(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def none(*_: object) -> None:
        raise OSError(101, "Network is unreachable")

    monkeypatch.setattr(socket, "create_connection", none)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    (found,) = [f for f in doctor.examine(Store.default()) if f.what == "Hub"]
    assert "cannot be reached (Network is unreachable)" in found.value
    assert not found.wrong


@pytest.mark.parametrize(
    ("address", "own"),
    [
        ("127.0.0.1", True),
        ("::1", True),
        ("[::1]", True),
        ("localhost", True),
        ("0.0.0.0", False),
        ("lab", False),
    ],
)
def test_an_address_is_this_machine_or_a_room(
    address: str, own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SDQ_HOSTS", "SDQ_ROOM_TOKEN", "SDQ_TEACHER_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("SDQ_ADDRESS", address)
    (found,) = [f for f in access() if f.what == "address"]
    assert ("this machine only" in found.value) is own


@pytest.mark.parametrize(
    ("by_env", "config", "said"),
    [
        (None, "[server]\naddress = '127.0.0.1'\n", None),
        (None, "[server]\naddress = '0.0.0.0'\n", "0.0.0.0: opened to a room, by {}"),
        (None, "server.address = 'lab.example.org'\n", "lab.example.org: opened to a room, by {}"),
        (
            "0.0.0.0",
            "[server]\naddress = '127.0.0.1'\n",
            "0.0.0.0: opened to a room, by STREAMLIT_SERVER_ADDRESS",
        ),
        ("127.0.0.1", "[server]\naddress = '0.0.0.0'\n", None),
        (
            None,
            "[server]\nport = 1\n",
            "all addresses: opened to a room, by no address in Streamlit's configuration",
        ),
        (None, "[server\n", "unknown"),
        (None, "server = 3\n", "unknown"),
    ],
)
def test_what_streamlit_is_told_is_looked_at_too(
    by_env: str | None,
    config: str,
    said: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in (
        "SDQ_ADDRESS",
        "SDQ_HOSTS",
        "SDQ_ROOM_TOKEN",
        "SDQ_TEACHER_TOKEN",
        "STREAMLIT_SERVER_ADDRESS",
    ):
        monkeypatch.delenv(name, raising=False)
    if by_env:
        monkeypatch.setenv("STREAMLIT_SERVER_ADDRESS", by_env)
    path = tmp_path / ".streamlit" / "config.toml"
    path.parent.mkdir()
    path.write_text(config)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setattr("sdq.cli.access.ROOT", tmp_path)
    found = [f for f in access() if f.what == "streamlit run"]
    assert [f.value for f in found] == ([] if said is None else [said.format(path)])
    assert all(bool(f.wrong) == (said == "unknown") for f in found)


@pytest.mark.parametrize("name", ["SDQ_HOSTS", "SDQ_ROOM_TOKEN", "SDQ_TEACHER_TOKEN"])
def test_what_opened_a_server_on_this_machine_is_said(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SDQ_ADDRESS", "::ffff:127.0.0.1")
    monkeypatch.setenv(name, "lab.example.org")
    (found,) = [f for f in access() if f.what == "address"]
    assert found.value.endswith(f"opened to a room by {name}")


def test_something_must_be_there_to_make_the_clusters_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SDQ_SCHEDULER", raising=False)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    (wrong,) = doctor.wrong([*access()])
    assert "openssl or the package cryptography must be here" in wrong
    monkeypatch.setenv("SDQ_SCHEDULER", "tls://lab:8786")
    assert doctor.wrong([*access()]) == []


def test_the_docs_show_the_limits_as_they_are() -> None:
    assert markdown() in (ROOT / "docs" / "limits.md").read_text("utf-8")


def enforced(tree: ast.AST) -> set[str]:
    """Attributes that a module reads of a value of Limits, other than to name them in a
    sentence."""
    told = {
        id(node)
        for text in ast.walk(tree)
        if isinstance(text, ast.JoinedStr)
        for node in ast.walk(text)
    }
    return {
        node.attr
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and id(node) not in told
        and ast.unparse(node.value)
        in ("limits()", "limits.limits()", "most", "self.most", "limited")
    }


def test_a_limit_that_is_only_written_about_is_not_enforced() -> None:
    text = (
        '"""most.rows"""\nmost = limits()\nsaid = f"at most {most.columns}"  # '
        "limits().queued\nif size > most.upload_mb:\n    pass\n"
    )
    assert enforced(ast.parse(text)) == {"upload_mb"}


def test_every_limit_is_enforced_somewhere() -> None:
    files = [
        path
        for folder in ("sdq", "pages")
        for path in (ROOT / folder).rglob("*.py")
        if path.stem not in ("limits", "doctor")
    ]
    assert set(Limits.model_fields) <= {
        name for path in files for name in enforced(ast.parse(path.read_text("utf-8")))
    }
