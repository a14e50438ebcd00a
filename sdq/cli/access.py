"""Whom the app's server lets in, and who computes for it: a part of `sdq doctor`."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import shutil
import tomllib
from collections.abc import Iterator
from pathlib import Path

from sdq.cli.finding import Finding
from sdq.service import visitors
from sdq.settings import ROOT


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
    opened_by = (
        [name for name in names if os.environ.get(name)] if visitors.is_loopback(address) else []
    )
    return f"{said}{' by ' if opened_by else ''}{' and '.join(opened_by)}"


def access() -> Iterator[Finding]:
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
