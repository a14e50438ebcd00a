"""The limits in force, for `sdq doctor` and for docs/limits.md."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psutil  # type: ignore[import-untyped]

from sdq.cli.finding import Finding
from sdq.io.limits import Limits, limits
from sdq.settings import UserError


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


def in_force() -> Iterator[Finding]:
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
