"""From files somebody brings to a task kept in the data folder. What comes in is read, never
executed, and written nowhere else. Needs no torch."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import tempfile
import time
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sdq.data.assemble import load
from sdq.data.check import Checked, check
from sdq.data.kept import KEPT, WAS, home, mend
from sdq.data.recognise import CALLED, recognise
from sdq.data.registry import TASKS
from sdq.data.task import SPLITS
from sdq.data.taskfile import NEEDED, parse
from sdq.io.files import alone, private, write_text
from sdq.io.limits import limits
from sdq.models.checkpoint import EMBEDDED
from sdq.service.visitors import OWNER, Visitor, claim
from sdq.settings import UserError, unwritable

_COMING = ".coming-"  # a task that is not yet kept
_NAME = re.compile(r"[\w][\w.,()+ -]{0,119}")
_ROLES = {
    "second": "the second text",
    "tokens": "the words",
    "id": "the id that translations share",
}


@dataclass(frozen=True)
class Incoming:
    """One file: its name where it comes from, where its bytes are now, and whose examples it holds
    ("all": a column says, or shares; None: a column says)."""

    name: str
    path: Path
    split: str
    language: str | None


def accepted(name: str) -> str:
    """The name of a file that may come in, whatever its ending: what is in it says what it is.
    UserError for one with a path in it."""
    if not _NAME.fullmatch(name) or ".." in name:
        raise UserError(
            f"a file name must be of letters, digits, spaces and . , - + ( ), got {name[:60]!r}; "
            "rename the file"
        )
    return name


@contextlib.contextmanager
def called_as_brought(names: Mapping[str, str]) -> Iterator[None]:
    """Inside, a UserError calls files as whoever brought them does. `names`: the name of a file
    here -> that name."""
    try:
        yield
    except UserError as error:
        here = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
        raise UserError(
            re.sub(rf"(?<![\w.-])(?:{here})(?![\w-])", lambda match: names[match[0]], str(error))
        ) from error


def task_name(typed: str) -> str:
    """A name for a task, of what somebody typed: "My films" -> "my-films"; empty if nothing of it
    can stay."""
    plain = unicodedata.normalize("NFKD", typed).encode("ascii", "ignore").decode().lower()
    return re.sub(r"[^a-z0-9_]+", "-", plain).strip("-_")[:41].rstrip("-_")


def missing(fields: Mapping[str, Any], files: Sequence[Incoming]) -> list[str]:
    """What a task lacks before it can be checked and kept, a few words each: "a name", "files of
    test". `fields`: see `keep`."""
    columns = fields["columns"]
    lacking = [] if fields["name"] else ["a name"]
    lacking += [] if fields["training_language"] else ["the language with labels for training"]
    taken: list[Any] = []
    for role in NEEDED[fields["kind"]]:
        if columns.get(role) is None or columns[role] in taken:
            lacking.append(f"a column of its own for {_ROLES.get(role, role)}")
        taken.append(columns.get(role))
    splits = {file.split for file in files}
    if "all" in splits and len(splits) > 1:
        lacking.append("one way to split (`all` for every file, or train, dev and test)")
    elif (
        "all" not in splits
        and "split" not in columns
        and (absent := [split for split in SPLITS if split not in splits])
    ):
        lacking.append(
            f"files of {' and '.join(absent)} (or the split `all` for every file, which is then "
            "divided)"
        )
    return lacking


def checked(path: Path) -> Checked:
    """What the data of the task file at this path are like, read in this process."""
    return check(load(path, path.parent.name))


def keep(
    fields: Mapping[str, Any],
    files: Sequence[Incoming],
    replace: bool = False,
    who: Visitor = OWNER,
    *,
    checking: Callable[[Path], Checked] = checked,
) -> tuple[Path, Checked]:
    """Write a task and its files into the data folder, and check them there.

    fields: those of a task file, but for its splits
    files: what it is made of
    replace: whether a task of that name may be there
    who: the visitor who brings it
    checking: what reads and checks it, such as sdq.intake.decoding.checked_file, which does so in a
        process of its own

    Returns the task file's path and what the check found. UserError if the name is taken (unless
    `replace`, by who brought that task alone or leads), or the data do not fit: nothing is left
    behind then, and what was there stays.
    """
    name = str(fields.get("name"))
    if not KEPT.fullmatch(name):
        raise UserError(
            "a task must have a name of at most 41 small letters, digits, - and _, beginning with "
            f"a letter or digit, got {name[:60]!r}; choose another name"
        )
    if name in (*TASKS, *EMBEDDED):
        owner = "model" if name in EMBEDDED else "task"
        raise UserError(
            f"a task must have a name of its own, {name!r} is that of an embedded {owner}; choose "
            "another name"
        )
    folder = home() / name
    try:
        private(home().parent)
        home().mkdir(exist_ok=True)
        with alone(home()):
            mend()
            _sweep()
        _may_take(folder, replace, who)
        with tempfile.TemporaryDirectory(prefix=_COMING, dir=home()) as place:
            made = Path(place) / name
            made.mkdir()
            claim(made, who.name)
            patterns, brought = _spread(files, made)
            file = parse(json.dumps({**fields, "splits": patterns}).encode(), "as chosen here")
            write_text(made / "task.json", file.model_dump_json(indent=1, exclude_defaults=True))
            with called_as_brought(brought):
                report = checking(made / "task.json")
            _settle(made, folder, replace, who)
    except OSError as error:
        raise unwritable(home(), error) from error
    return folder / "task.json", report


def _may_take(folder: Path, replace: bool, who: Visitor) -> None:
    """UserError if a task may not be kept in this folder: somebody's is there."""
    if folder.exists() and not replace:
        raise UserError(
            f"a task must have a name of its own, {folder.name!r} is taken; choose another name, "
            "or replace it"
        )
    if folder.exists() and not who.may_change(folder):
        raise UserError(
            f"a task can be replaced by whoever brought it or by the teacher, {folder.name!r} is "
            "another's; choose another name"
        )


def _settle(made: Path, folder: Path, replace: bool, who: Visitor) -> None:
    """Move a task to its place. What it replaces is beside it meanwhile, and comes back if the move
    fails, or at the next look (see `mend`)."""
    with alone(home()):
        _may_take(folder, replace, who)  # reading took its time: another may have come first
        was = home() / f"{WAS}{folder.name}"
        if folder.exists():
            folder.replace(was)
        try:
            made.replace(folder)
        except BaseException:
            if was.exists():
                was.replace(folder)
            raise
        shutil.rmtree(was, ignore_errors=True)  # what stays is cleared by the next


def _sweep() -> None:
    """Remove what was half brought when its process was killed: nobody reads a file for a day."""
    for place in home().glob(f"{_COMING}*"):
        with contextlib.suppress(FileNotFoundError):  # whoever made it has just finished
            if place.stat().st_mtime < time.time() - 86_400:
                shutil.rmtree(place)


def _format(file: Incoming) -> str:
    """The format of a file; an error calls it as whoever brought it does."""
    with called_as_brought({file.path.name: file.name}):
        return recognise(file.path).name


def _one_format(files: Sequence[Incoming]) -> str:
    """The format of all files together. UserError for too many files, a name that may not come in,
    or several formats."""
    if not 1 <= len(files) <= limits().uploads:
        raise UserError(
            f"a task must have 1 to {limits().uploads} files, got {len(files)}; add files, or join "
            "some"
        )
    for file in files:
        accepted(file.name)
    formats = {_format(file) for file in files}
    if len(formats) > 1:
        raise UserError(
            "all files of a task must have one format, got "
            f"{', '.join(CALLED[name] for name in sorted(formats))}; convert the others"
        )
    return formats.pop()


def _may_join(file: Incoming, taken: Mapping[tuple[str, str | None], str]) -> None:
    """UserError for a file whose split, size or language does not fit. `taken`: (split, language)
    -> the name of the file before it that has them."""
    if file.split not in (*SPLITS, "all"):
        raise UserError(
            f"the split of {file.name} must be train, dev, test or all, got "
            f"{file.split[:20]!r}; choose one"
        )
    if file.path.stat().st_size > limits().upload_mb * 10**6:
        raise UserError(
            f"a file must have at most {limits().upload_mb} MB, {file.name} has "
            f"{file.path.stat().st_size / 10**6:.0f} MB; take a sample, or write a task file "
            "by hand"
        )
    if file.language and (other := taken.get((file.split, file.language))):
        raise UserError(
            f"each language must have one file in a split, {file.split} has two for "
            f"{file.language}: {other} and {file.name}; join them, or correct one"
        )
    if file.language and not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]{0,23}", file.language):
        raise UserError(
            f"the language of {file.name} must be a code such as en or zh-hans, got "
            f"{file.language[:24]!r}; correct it"
        )


def _spread(files: Sequence[Incoming], folder: Path) -> tuple[dict[str, str], dict[str, str]]:
    """Copy the files to SPLIT/SPLIT-LANGUAGE.ending: what errors call them is in no other split.

    Returns the patterns that find them, and new name -> name as brought. UserError if they do not
    go together.
    """
    ending = f".{_one_format(files)}"
    patterns: dict[str, str] = {}
    brought: dict[str, str] = {}
    taken: dict[tuple[str, str | None], str] = {}
    for number, file in enumerate(files):
        _may_join(file, taken)
        taken[file.split, file.language] = file.name
        pattern = (
            f"{file.split}/{file.split}-{{language}}{ending}"
            if file.language
            else f"{file.split}/*{ending}"
        )
        if patterns.setdefault(file.split, pattern) != pattern:
            raise UserError(
                f"all files of {file.split} must have a language, or none of them and a column "
                f"that says; {file.name} differs from the others, correct one"
            )
        target = (
            folder / file.split / f"{file.split}-{file.language or f'part-{number:03d}'}{ending}"
        )
        brought[target.name] = file.name
        target.parent.mkdir(exist_ok=True)
        shutil.copyfile(file.path, target)
    return patterns, brought
