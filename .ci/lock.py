"""Write the hashed locks from requirements.txt and requirements-dev.txt: `make lock`. Needs uv and a package index.

requirements.lock       what runs the project; pip install --require-hashes -r requirements.lock
requirements-dev.lock   the same versions, and what tests and checks it
requirements-cuda.lock  what torch's build for CUDA needs beside them, and its build for CPUs does not know

One torch release is two builds on Linux, of one version to pip: 2.13.0 of the package index asks for several GB of CUDA libraries,
2.13.0+cpu, from an index or a folder that pip was pointed to, for none, and pip prefers it where it sees both. Both have their hashes in the
lock; only the first needs the third file. pip accepts the hash of whichever it meets.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
CUDA = re.compile(r"(nvidia|cuda|triton)[-_a-z0-9]*==")
# sha256 of torch-2.13.0+cpu-cp311-cp311-manylinux_2_28_x86_64.whl; uv asks the package index alone, which does not have that build
CPU = {"torch==2.13.0": ("6746dbcbeb526eb61330b76b41ff1b4eb848951103a892eeb080dfa2b264667b",)}


def compiled(source: str, *more: str) -> list[str]:
    """The locked requirements of a file, one entry per package with its hashes, in the order of their names."""
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
    text = subprocess.run([*command, *more, source], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [with_cpu(entry) for entry in re.findall(r"^[a-zA-Z0-9].*(?:\n    .*)*", text, re.M)]


def with_cpu(entry: str) -> str:
    name = entry.split(" ", 1)[0]
    return "".join([entry, *(f" \\\n    --hash=sha256:{digest}" for digest in CPU.get(name, ()) if digest not in entry)])


def write(name: str, entries: list[str]) -> None:
    head = "# Made by `make lock` (.ci/lock.py says how it fits together); do not edit.\n"
    (ROOT / name).write_text(head + "\n".join(entries) + "\n", "utf-8")
    print(f"{name}: {len(entries)} packages")


def main() -> None:
    entries = compiled("requirements.txt")
    cuda = [entry for entry in entries if CUDA.match(entry)]
    write("requirements-cuda.lock", cuda)
    write("requirements.lock", [entry for entry in entries if entry not in cuda])
    known = ROOT / ".venv" / "constraints.txt"  # the same versions in both: every entry of the first without its hashes
    known.parent.mkdir(exist_ok=True)
    known.write_text("\n".join(re.split(r" \\\n", entry)[0] for entry in entries) + "\n", "utf-8")
    write("requirements-dev.lock", [entry for entry in compiled("requirements-dev.txt", "--constraint", str(known)) if not CUDA.match(entry)])


if __name__ == "__main__":
    main()
