"""`sdq doctor`: what this installation has, and what must be done before it can be relied on. Needs
no torch: devices are looked at in a process of its own."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from sdq.cli.access import access
from sdq.cli.finding import Finding
from sdq.cli.limits import in_force
from sdq.inspection import storage as inspection
from sdq.jobs import queue as jobs
from sdq.jobs.processes import process_of
from sdq.models import hub
from sdq.settings import ROOT, listed
from sdq.store import Store

FREE = 2e9  # bytes that must be free where runs are kept
LEFT = 1e9  # bytes of memory that must be free for a run of the embedded model
HUB = ("huggingface.co", 443)
_PINNED = re.compile(r"([A-Za-z0-9_.-]+)\s*(?:==\s*([\w.]+))?")
_DEVICES = (
    "import json, torch\n"
    "found = [f'cuda:{i} {torch.cuda.get_device_name(i)}, "
    "{torch.cuda.get_device_properties(i).total_memory / 1e9:.0f} GB' for i in "
    "range(torch.cuda.device_count())]\n"
    "print(json.dumps([f'cpu, {torch.get_num_threads()} threads', *found, *(['mps'] if "
    "torch.backends.mps.is_available() else [])]))"
)


def examine(store: Store, devices: bool = False, network: bool = True) -> list[Finding]:
    """Everything that is looked at, in the order in which it is shown. `devices`: import torch (in
    a process of its own); `network`: try to reach the Hub."""
    findings = [*_versions(), *_machine(store)]
    findings += (
        _devices()
        if devices
        else [Finding("Machine", "devices", "not looked at: that takes ten seconds, add --devices")]
    )
    return [*findings, *_hub(network), *_folder(store), *_runs(store), *access(), *in_force()]


def wrong(findings: list[Finding]) -> list[str]:
    """What must be done, one sentence each."""
    return [finding.wrong for finding in findings if finding.wrong]


def words(findings: list[Finding]) -> str:
    """The answer for a terminal: its parts, ! before what must be mended, and what must be done at
    the end."""
    lines: list[str] = []
    width = max(len(finding.what) for finding in findings)
    for i, finding in enumerate(findings):
        if i == 0 or findings[i - 1].part != finding.part:
            lines += ["", finding.part] if lines else [finding.part]
        lines.append(f"{'!' if finding.wrong else ' '} {finding.what:{width}}  {finding.value}")
    todo = wrong(findings)
    return "\n".join(
        [
            *lines,
            "",
            *(
                [f"{len(todo)} to be done:", *(f"  {sentence}" for sentence in todo)]
                if todo
                else ["Nothing must be done."]
            ),
        ]
    )


def as_json(found: list[Finding]) -> str:
    """The answer as one JSON object."""
    return json.dumps(
        {
            "healthy": not wrong(found),
            "to_do": wrong(found),
            "findings": [asdict(finding) for finding in found],
        },
        ensure_ascii=False,
    )


def _versions() -> Iterator[Finding]:
    here = platform.python_version()
    old = sys.version_info < (3, 11)
    yield Finding(
        "Versions",
        "python",
        here,
        f"Python must be 3.11 or later, this is {here}; install one and run `make app`"
        if old
        else "",
    )
    for name, wanted in required((ROOT / "requirements.txt").read_text("utf-8")):
        try:
            there = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            yield Finding(
                "Versions",
                name,
                "not installed",
                f"{name} must be installed, it is not; run `pip install -r requirements.txt`",
            )
            continue
        other = wanted and there.partition("+")[0] != wanted
        said = (
            f"{name} must be {wanted}, {there} is installed; run `pip install -r requirements.txt`"
            if other
            else ""
        )
        yield Finding("Versions", name, there, said)


def required(text: str) -> list[tuple[str, str | None]]:
    """(package, version it is pinned to or None) of a requirements file."""
    lines = [line.partition("#")[0].strip() for line in text.splitlines()]
    return [
        (match[1], match[2])
        for line in lines
        if line and not line.startswith("-") and (match := _PINNED.match(line))
    ]


def _machine(store: Store) -> Iterator[Finding]:
    there = next(
        path
        for path in (store.folder.parent.absolute(), *store.folder.parent.absolute().parents)
        if path.is_dir()
    )
    disk, memory = shutil.disk_usage(there), psutil.virtual_memory()
    said = (
        f"at least {FREE / 1e9:.0f} GB must be free on the disk of {there}, {disk.free / 1e9:.1f} "
        "GB are; empty the trash, or set SDQ_DATA to another disk"
    )
    yield Finding(
        "Machine",
        "disk",
        f"{disk.free / 1e9:.1f} of {disk.total / 1e9:.0f} GB free at {there}",
        said if disk.free < FREE else "",
    )
    said = (
        f"at least {LEFT / 1e9:.0f} GB of memory must be free for a run, "
        f"{memory.available / 1e9:.1f} GB are; end other programs"
    )
    yield Finding(
        "Machine",
        "memory",
        f"{memory.available / 1e9:.1f} of {memory.total / 1e9:.1f} GB free",
        said if memory.available < LEFT else "",
    )
    usable = (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )
    yield Finding(
        "Machine",
        "cores",
        f"{usable}, {platform.machine()}, {platform.system()} {platform.release()}",
    )


def _devices() -> list[Finding]:
    try:
        done = subprocess.run(
            [sys.executable, "-c", _DEVICES],
            capture_output=True,
            text=True,
            timeout=120,
            check=True,
        )
        return [Finding("Machine", "devices", "; ".join(json.loads(done.stdout)))]
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        last = (str(getattr(error, "stderr", None) or error).strip().splitlines() or ["no word"])[
            -1
        ][:200]
        return [
            Finding(
                "Machine",
                "devices",
                "unknown",
                f"torch must start, it does not ({last}); run `pip install -r requirements.txt`",
            )
        ]


def _hub(network: bool) -> Iterator[Finding]:
    models = hub.present()
    yield Finding(
        "Models", "in the local cache", f"{len(models)}{': ' if models else ''}{listed(models, 5)}"
    )
    if os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE"):
        yield Finding("Models", "Hub", "not asked: HF_HUB_OFFLINE is set")
    elif network:
        try:
            socket.create_connection(HUB, 3).close()
            yield Finding("Models", "Hub", f"{HUB[0]} can be reached")
        except OSError as error:
            yield Finding(
                "Models",
                "Hub",
                f"{HUB[0]} cannot be reached ({error.strerror or error}): models come from "
                "folders and the local cache",
            )


def _folder(store: Store) -> Iterator[Finding]:
    data = store.folder.parent.absolute()
    if not data.exists():
        yield Finding(
            "Data",
            "folder",
            f"{data}, made when it is needed",
            "" if _writable(data.parent) else _refuses(data),
        )
        return
    said = "" if data.is_dir() and _writable(data) else _refuses(data)
    yield Finding("Data", "folder", str(data), said)
    mode = data.stat().st_mode & 0o777
    said = (
        f"only its owner may write to the data folder, every user may write to {data}; run `chmod "
        f"o-w {data}`"
        if mode & 0o002
        else ""
    )
    yield Finding(
        "Data", "permissions", f"{mode:o}{', others may read it' if mode & 0o004 else ''}", said
    )


def _refuses(data: Path) -> str:
    return (
        f"the data folder must be writable, {data} is not; change its permissions, or set SDQ_DATA "
        "to another folder"
    )


def _writable(folder: Path) -> bool:
    there = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    try:
        with tempfile.TemporaryFile(dir=there):
            return True
    except OSError:
        return False


def _runs(store: Store) -> Iterator[Finding]:
    shipped = Store(store.shipped, None).listing() if store.shipped is not None else ()
    own = Store(store.folder, None).listing()
    bad, odd = store.damaged(weights=True), inspection.damaged(store)
    yield Finding(
        "Data",
        "finished runs",
        f"{len(own)} own, {len(shipped)} shipped; {len(bad)} of them are damaged, and {len(odd)} "
        "inspections",
    )
    for run, sentence in bad.items():
        yield Finding("Data", f"run {run}", "damaged", sentence)
    for name, sentence in odd.items():
        yield Finding("Data", f"inspection {name}", "damaged", sentence)
    folder = jobs.queue(store)
    waiting = (
        sum(1 for path in folder.iterdir() if re.fullmatch(r"[0-9a-f]{12}", path.name))
        if folder.is_dir()
        else 0
    )
    works = process_of(store.folder.parent / "cluster.pid") is not None
    said = "the process that computes them is alive" if works else "nothing computes them now"
    yield Finding("Data", "queue", f"{waiting} waiting or running; {said}")
