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
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil  # type: ignore[import-untyped]

from sdq.inspection import storage as inspection
from sdq.io.limits import Limits, limits
from sdq.jobs import queue as jobs
from sdq.models import hub
from sdq.service import visitors
from sdq.settings import ROOT, UserError, listed
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


@dataclass(frozen=True)
class Finding:
    """One line of the answer: in which `part`, `what` it is about, its `value`. `wrong`: one
    sentence on what must be done; empty if nothing must."""

    part: str
    what: str
    value: str
    wrong: str = ""


def examine(store: Store, devices: bool = False, network: bool = True) -> list[Finding]:
    """Everything that is looked at, in the order in which it is shown. `devices`: import torch (in
    a process of its own); `network`: try to reach the Hub."""
    found = [*_versions(), *_machine(store)]
    found += (
        _devices()
        if devices
        else [Finding("Machine", "devices", "not looked at: that takes ten seconds, add --devices")]
    )
    return [*found, *_hub(network), *_folder(store), *_runs(store), *_access(), *_limits()]


def wrong(found: list[Finding]) -> list[str]:
    """What must be done, one sentence each."""
    return [finding.wrong for finding in found if finding.wrong]


def words(found: list[Finding]) -> str:
    """The answer for a terminal: its parts, ! before what must be mended, and what must be done at
    the end."""
    lines: list[str] = []
    width = max(len(finding.what) for finding in found)
    for i, finding in enumerate(found):
        if i == 0 or found[i - 1].part != finding.part:
            lines += ["", finding.part] if lines else [finding.part]
        lines.append(f"{'!' if finding.wrong else ' '} {finding.what:{width}}  {finding.value}")
    todo = wrong(found)
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
    works = jobs.process_of(store.folder.parent / "cluster.pid") is not None
    said = "the process that computes them is alive" if works else "nothing computes them now"
    yield Finding("Data", "queue", f"{waiting} waiting or running; {said}")


def _streamlit_address() -> tuple[str | None, str]:
    """(the address of a server that `streamlit run app.py` starts, what says so); None: all
    addresses."""
    if address := os.environ.get("STREAMLIT_SERVER_ADDRESS"):
        return address, "STREAMLIT_SERVER_ADDRESS"
    for folder in dict.fromkeys((Path.cwd(), ROOT, Path.home())):
        path = folder / ".streamlit" / "config.toml"
        if path.is_file():
            address = tomllib.loads(path.read_text("utf-8")).get("server", {}).get("address")
            if address:
                return str(address), str(path)
    return None, "no address in Streamlit's configuration"


def _opened(address: str | None) -> str:
    """An address, to whom it is open, and by what if not by itself."""
    said = (
        f"{address or 'all addresses'}: "
        f"{'opened to a room' if visitors.is_open(address) else 'this machine only'}"
    )
    names = ("SDQ_HOSTS", "SDQ_ROOM_TOKEN", "SDQ_TEACHER_TOKEN")
    why = [name for name in names if os.environ.get(name)] if visitors.is_loopback(address) else []
    return f"{said}{' by ' if why else ''}{' and '.join(why)}"


def _access() -> Iterator[Finding]:
    made = os.environ.get("SDQ_ADDRESS") or "127.0.0.1"
    yield Finding("Access", "address", _opened(made))
    try:
        own, said_by = _streamlit_address()
    except (OSError, ValueError, AttributeError) as error:
        wrong = (
            f"Streamlit's configuration must be readable TOML, it is not ({error}); correct "
            ".streamlit/config.toml"
        )
        yield Finding("Access", "streamlit run", "unknown", wrong)
    else:
        if own != made:  # of a server that is started without make
            yield Finding("Access", "streamlit run", f"{_opened(own)}, by {said_by}")
    scheduler = os.environ.get("SDQ_SCHEDULER")
    yield Finding(
        "Access",
        "computations",
        f"by the scheduler at {scheduler}" if scheduler else "by a cluster of this machine's own",
    )
    if not scheduler:
        maker = (
            "openssl"
            if shutil.which("openssl")
            else "the package cryptography"
            if importlib.util.find_spec("cryptography")
            else None
        )
        said = (
            "openssl or the package cryptography must be here to make the cluster's key, neither "
            "is; install one of them"
        )
        yield Finding(
            "Access",
            "its key",
            f"made by {maker}" if maker else "cannot be made",
            "" if maker else said,
        )


def table(most: Limits, line: Callable[[str, str, str, str], str]) -> list[str]:
    """One `line` for each limit: its variable, its value in force, its default, what it is."""
    fields = Limits.model_fields.items()
    return [
        line(
            f"SDQ_{name.upper()}",
            _plain(getattr(most, name)),
            _plain(field.default),
            field.description or "",
        )
        for name, field in fields
    ]


def _plain(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:g}"


def markdown() -> str:
    """The table of docs/limits.md; a test holds it to this."""
    rows = table(
        Limits.model_construct(),
        lambda variable, _, default, what: f"| `{variable}` | {default} | {what} |",
    )
    return "\n".join(["| variable | default | what it bounds |", "|---|---|---|", *rows])


def _limits() -> Iterator[Finding]:
    try:
        most = limits()
    except UserError as error:
        yield Finding("Limits", "in force", "none can be read", str(error))
        return
    fits = psutil.virtual_memory().total / 1e6
    needs = most.decoders * most.decode_memory_mb
    said = {
        "decode_memory_mb": f"decoding must fit into this machine's {fits:,.0f} MB, SDQ_DECODERS "
        f"times SDQ_DECODE_MEMORY_MB is {needs:,} MB; lower one of them"
        if needs > fits
        else "",
        "uploads_mb": f"SDQ_UPLOADS_MB must be at least SDQ_UPLOAD_MB ({most.upload_mb}), it is "
        f"{most.uploads_mb}; raise it"
        if most.uploads_mb < most.upload_mb
        else "",
    }
    for name, field in Limits.model_fields.items():
        value = getattr(most, name)
        changed = "" if value == field.default else f" (default {_plain(field.default)})"
        yield Finding(
            "Limits",
            f"SDQ_{name.upper()}",
            f"{_plain(value)}{changed}  {field.description}",
            said.get(name, ""),
        )
