"""Write the hashed locks from requirements.txt and requirements-dev.txt: `make lock`. Needs uv and
a package index.

requirements.lock: what runs the project on a CPU, whole (pip install --require-hashes -r
requirements.lock).
requirements-pypi.lock: the same with torch as the package index has it, which on Linux is the build
for CUDA, and the CUDA libraries it asks for.
requirements-dev.lock: what tests and checks need, beside one of the two.

One torch release is two builds on Linux, of one version to pip: 2.13.0 of the package index asks
for several GB of CUDA libraries, 2.13.0+cpu, from an index or a folder that pip was pointed to, for
none. They cannot share a lock: of files that both are allowed pip takes the one whose index names
its hash, which is the build for CUDA; and two entries of one package must agree in their hashes.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from tempfile import NamedTemporaryFile

ROOT = Path(__file__).parent.parent
CUDA = re.compile(r"(nvidia|cuda|triton)[-_a-z0-9]*==")
# sha256 of torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl; uv asks the package index alone,
# which does not have that build
CPU = {"torch==2.13.0": ("6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",)}


def compiled(source: str, *more: str) -> list[str]:
    """The locked requirements of a file, one entry per package with its hashes, in the order of
    their names."""
    command = [
        sys.executable,
        "-m",
        "uv",
        "pip",
        "compile",
        "--quiet",
        "--universal",
        "--python-version",
        "3.11",
        "--generate-hashes",
        "--no-annotate",
        "--no-header",
    ]
    text = subprocess.run(
        [*command, *more, source], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout
    return re.findall(r"^[a-zA-Z0-9].*(?:\n    .*)*", text, re.M)


def on_cpu(entry: str) -> str:
    """The entry of a package that has a build for CPUs apart: with the hashes of that alone."""
    name = entry.split(" ", 1)[0]
    return (
        " \\\n".join([name, *(f"    --hash=sha256:{digest}" for digest in CPU[name])])
        if name in CPU
        else entry
    )


def write(name: str, entries: list[str]) -> None:
    head = "# Made by `make lock` (.ci/lock.py says how it fits together); do not edit.\n"
    (ROOT / name).write_text(head + "\n".join(entries) + "\n", "utf-8")
    print(f"{name}: {len(entries)} packages")


def main() -> None:
    entries = compiled("requirements.txt")
    if not any(entry.startswith(tuple(CPU)) for entry in entries):
        sys.exit(
            "the build for CPUs must be that of the release that requirements.txt pins, "
            f"{', '.join(CPU)} is not: give its wheel's hash in {__file__}"
        )
    write("requirements-pypi.lock", entries)
    write("requirements.lock", [on_cpu(entry) for entry in entries if not CUDA.match(entry)])
    with NamedTemporaryFile(
        "w", suffix=".txt"
    ) as known:  # the same versions in all: every entry of the first without its hashes
        known.write("\n".join(entry.split(" \\\n")[0] for entry in entries) + "\n")
        known.flush()
        beside = compiled("requirements-dev.txt", "--constraint", known.name)
    names = {entry.split("==")[0] for entry in entries}
    write("requirements-dev.lock", [entry for entry in beside if entry.split("==")[0] not in names])


if __name__ == "__main__":
    main()
