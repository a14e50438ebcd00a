"""`make check`: the licences of what the lock names, and its known vulnerabilities where their
database can be asked.

Licences are read off the installed packages, so that this needs no network. pip-audit asks for
vulnerabilities; where it cannot reach the database, that is said and nothing fails. Whatever else
goes wrong with it does.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

ROOT = Path(__file__).parent.parent
ALLOWED = re.compile(
    r"apache|\bbsd|\bmit\b|\bmit-|\bisc\b|\bpsf\b|python software "
    r"foundation|\bmpl\b|mozilla|unlicense|zlib|\bcc0|0bsd|hpnd|historical permission|public "
    r"domain",
    re.I,
)
REFUSED = re.compile(r"\b(?:a?gpl)|(?:affero|\bgeneral) public", re.I)
LESSER = re.compile(
    r"\blgpl|lesser general public", re.I
)  # a library under it may be used as it is
# how pip-audit says that its database did not answer, or answered with an error
UNREACHED = re.compile(
    r"requests\.exceptions\.(?:ConnectionError|ProxyError|SSLError|HTTPError|\w*Timeout"
    r"|ChunkedEncodingError)|Could not connect to PyPI|PyPI is not redirecting"
)
KNOWN: dict[
    str, str
] = {}  # package -> why it may be used though its metadata say nothing that is read here


def licence(found: Distribution) -> str:
    """What a package's metadata say of its licence: the SPDX expression, else the classifiers, else
    the first line of the free text."""
    about = found.metadata
    if expression := about.get("License-Expression"):
        return str(expression)
    if classes := [
        c.rpartition(" :: ")[2]
        for c in about.get_all("Classifier") or []
        if c.startswith("License ::")
    ]:
        return "; ".join(classes)
    return next(
        (line.strip() for line in str(about.get("License") or "").splitlines() if line.strip()),
        "none named",
    )[:80]


def allowed(text: str) -> bool:
    """Whether one may use it: of alternatives ("OR") one is enough."""
    plain = [LESSER.sub("", part) for part in re.split(r"\s+OR\s+", text)]
    return any(
        (ALLOWED.search(part) or LESSER.search(text)) and not REFUSED.search(part) for part in plain
    )


def licences(lock: Path) -> list[str]:
    """One sentence per package of the lock that is installed under a licence that is not
    allowed."""
    wrong = []
    for name in re.findall(r"^([A-Za-z0-9._-]+)==", lock.read_text("utf-8"), re.M):
        try:
            said = licence(distribution(name))
        except PackageNotFoundError:
            continue  # of another platform
        if name.lower() not in KNOWN and not allowed(said):
            wrong.append(
                f"{name} must be under a licence that {ROOT.name} may use, its metadata say "
                f"{said!r}; replace it, or add it to KNOWN with the reason"
            )
    return wrong


def vulnerabilities(lock: Path) -> tuple[int, str]:
    """(exit code, what to print) of pip-audit on the lock; 0 where its database cannot be
    reached."""
    command = [
        sys.executable,
        "-m",
        "pip_audit",
        "--require-hashes",
        "--disable-pip",
        "--timeout",
        "10",
        "--progress-spinner",
        "off",
        "--format",
        "json",
        "-r",
        str(lock),
    ]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    except subprocess.TimeoutExpired:
        return 0, "known vulnerabilities: the database gave no answer in time, nothing was asked"
    return judged(done.returncode, done.stdout, done.stderr)


def judged(code: int, answer: str, errors: str) -> tuple[int, str]:
    """(exit code, what to print) of what pip-audit answered, as JSON, and what it said beside."""
    why = errors.strip()[-800:] or "no word"
    try:
        packages = json.loads(answer)["dependencies"]
        found = [
            f"{one['name']} {one['version']}: {flaw['id']}, mended in "
            f"{', '.join(flaw['fix_versions']) or 'no release'}"
            for one in packages
            for flaw in one.get("vulns", ())
        ]
    except (ValueError, KeyError, TypeError):
        if UNREACHED.search(errors):
            last = why.splitlines()[-1][:200]
            return 0, f"known vulnerabilities: the database cannot be reached ({last})"
        return 1, f"known vulnerabilities: pip-audit must answer, it did not: {why}"
    if found:
        return 1, "\n".join(["known vulnerabilities:", *found])
    if code:
        return 1, f"known vulnerabilities: pip-audit must end well, it did not: {why}"
    asked = sum("skip_reason" not in one for one in packages)
    return 0, f"known vulnerabilities: none; the database knows {asked} of {len(packages)} packages"


def main() -> None:
    lock = ROOT / "requirements.lock"
    wrong = licences(lock)
    print("\n".join(wrong) if wrong else "licences: all allowed")
    code, said = vulnerabilities(lock)
    print(said)
    sys.exit(1 if wrong or code else 0)


if __name__ == "__main__":
    main()
