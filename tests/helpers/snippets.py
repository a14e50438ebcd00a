"""Python in the documentation, found and run as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_PYTHON = re.compile(r"^```python\n(.*?)^```$", re.S | re.M)


def snippets(page: Path) -> list[str]:
    """Every block of Python of a page, in its order."""
    return _PYTHON.findall(page.read_text("utf-8"))


def execute(snippet: str, page: Path, names: dict[str, Any]) -> None:
    """Run a block; what it names is in `names` afterwards."""
    exec(compile(snippet, page.name, "exec"), names)
