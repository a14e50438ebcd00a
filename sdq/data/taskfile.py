"""Task file: a JSON file that says what a folder of labelled text is. Everything that is not
embedded comes in by one. Needs no torch."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Literal, NamedTuple

from pydantic import Field, model_validator

from sdq.data.formats import accept
from sdq.data.lines import settings_of
from sdq.data.rows import Quoting
from sdq.data.tagging import Scheme
from sdq.data.task import SPLITS
from sdq.io.sealed import sum_of
from sdq.results import METRICS
from sdq.settings import Document, Settings, UserError, Words, small

CODE = r"[A-Za-z][A-Za-z0-9_-]{0,23}"  # a language: en, zh-hans, deu_Latn
MOST = 400  # files of one split
# raised when files are read or scored otherwise: what was stored before is then not reused
SINCE = "read again since 2026-11-29"
_LONGEST = 1_000_000  # bytes of a task file
USUAL = {
    "sentence": "accuracy",
    "pair": "accuracy",
    "token": "f1",
    "ranking": "ndcg",
    "retrieval": "accuracy",
}
NEEDED = {
    "sentence": ("text", "label"),
    "pair": ("text", "second", "label"),
    "token": ("tokens", "tags"),
    "ranking": ("text", "second", "label"),
    "retrieval": ("text", "id"),
}

Kind = Literal["sentence", "pair", "token", "ranking", "retrieval"]
Named = str | tuple[str, ...]  # a column, or several joined by a space


class Columns(Settings):
    """Which column holds what."""

    text: Named | None = Field(
        None, description="The sentence, or the first of a pair (of a ranking: the query)"
    )
    second: Named | None = Field(
        None, description="The second of a pair (of a ranking: the document)"
    )
    label: str | None = Field(None, description="The right answer")
    tokens: str | None = Field(
        None, description="The words: a list, or text with a space between words"
    )
    tags: str | None = Field(None, description="One tag per word, written like the words")
    language: str | None = Field(
        None, description="The language, if it is not a part of the file's name"
    )
    split: str | None = Field(
        None, description="train, dev or test, if the splits are not files of their own"
    )
    id: str | None = Field(
        None,
        description="Unique in its language and split; the same for translations of one sentence",
    )
    group: str | None = Field(
        None,
        description="What belongs together: the query of a ranking; rows that a split by shares "
        "may not part",
    )


class TaskFile(Document):
    """What is to be predicted, where the examples are, and how answers are scored."""

    name: Annotated[
        str,
        Words(
            "lower-case letters, digits, '_' and '-', at most 41, beginning with a letter or digit"
        ),
    ] = Field(
        pattern=r"^[a-z0-9][a-z0-9_-]{0,40}$", description="A short name, by which it is shown"
    )
    about: str = Field("", max_length=400, description="What it is, its source and its licence")
    kind: Kind = Field(
        description="sentence or pair: one label each; token: one tag per word; ranking: how well "
        "a document answers a query; retrieval: sentences without labels, for an encoder without "
        "a head: is the one with the same id found in the training language?"
    )
    splits: dict[Literal["train", "dev", "test", "all"], str] = Field(
        description="Split -> files, relative to this one; {language} stands for the language's "
        "code"
    )
    shares: tuple[float, float, float] | None = Field(
        None,
        description="Of `all`: how much of it is train, dev and test, by a fixed hash of group or "
        "id",
    )
    columns: Columns
    names: tuple[str, ...] = Field((), description="The columns of files that do not name them")
    quoting: Quoting | None = Field(
        None,
        description="What quotes around a field mean: double (they are no part of it, two are "
        "one) or none (they are text like any other); absent: double in CSV, none in TSV",
    )
    labels: tuple[str, ...] | dict[str, str] = Field(
        (),
        description="The labels, or what each is called (of numbers, in their order); none: those "
        "that occur, in the order of the file (ClassLabel) or by name",
    )
    languages: tuple[str, ...] | dict[str, str] = Field(
        (),
        description="The languages, or what each code is called (deu_Latn -> de); none: those "
        "that occur",
    )
    training_language: Annotated[
        str,
        Words(
            "letters, digits, '_' and '-', at most 24, beginning with a letter, such as en or "
            "deu_Latn"
        ),
    ] = Field(pattern=f"^{CODE}$", description="The language whose labels are trained on")
    metric: str = Field("", description="How answers are scored; none: what is usual for the kind")
    beside: tuple[str, ...] = Field((), description="Further metrics that are reported")
    scheme: Scheme | None = Field(
        None,
        description="How tags make spans: IOB1, IOB2, IOBES or BILOU (an ill-formed span counts "
        "as none), IO, or conlleval (as the CoNLL script counts); none: recognised from the tags",
    )
    longest: int = Field(128, ge=8, le=8192, description="Subwords; a longer input is cut")

    @model_validator(mode="after")
    def _fits(self) -> TaskFile:
        if set(self.splits) not in ({"all"}, set(SPLITS)):
            raise ValueError(
                "splits must be train, dev and test, or all alone, got "
                f"{', '.join(self.splits) or 'none'}; with all, say `shares` or `columns.split`"
            )
        if ("all" in self.splits) != (
            (self.shares is not None) != (self.columns.split is not None)
        ) or ("all" not in self.splits and self.shares is not None):
            raise ValueError(
                "splits: `all` must come with either shares or columns.split, and train, dev and "
                "test with neither; take one of them out"
            )
        if self.shares is not None and (min(self.shares) <= 0 or abs(sum(self.shares) - 1) > 1e-6):
            raise ValueError(
                f"shares must be three parts above 0 whose sum is 1, got {self.shares}"
            )
        for pattern in self.splits.values():
            _refuse_climbing(pattern)
        for code in self.languages.values() if isinstance(self.languages, dict) else ():
            if not re.fullmatch(CODE, code):
                raise ValueError(
                    "languages must be called by codes such as en or zh-hans, got "
                    f"{code[:40]!r}; write at most 24 letters, digits, '-' and '_'"
                )
        for column in NEEDED[self.kind]:
            if not getattr(self.columns, column):
                raise ValueError(
                    f"columns.{column} must name a column in a {self.kind} task, it does not"
                )
        if self.scheme is not None and self.kind != "token":
            raise ValueError(
                f"scheme says how tags of words make spans, a {self.kind} task has none; take it "
                "out"
            )
        for metric in (self.scored_by, *self.beside):
            if metric not in METRICS or self.kind not in METRICS[metric].kinds:
                fitting = ", ".join(name for name, m in METRICS.items() if self.kind in m.kinds)
                raise ValueError(
                    f"metric must be one of {fitting} in a {self.kind} task, got {metric[:40]!r}; "
                    "leave it out to take the usual one"
                )
        return self

    @property
    def scored_by(self) -> str:
        """The metric that counts."""
        return self.metric or USUAL[self.kind]


class Source(NamedTuple):
    """One file of a task: its split ("all" if rows say which), its language (None if rows say
    which), its path."""

    split: str
    language: str | None
    path: Path


def _refuse_climbing(pattern: str) -> None:
    if len(pattern) > 400 or pattern.count("*") + pattern.count("{language}") > 8:
        raise ValueError(
            "a pattern of files must have at most 400 characters and 8 wildcards, got "
            f"{pattern[:40]!r}; write it like train/{{language}}.csv"
        )
    path = PurePosixPath(pattern)
    if (
        not pattern
        or path.is_absolute()
        or ".." in path.parts
        or "\\" in pattern
        or "\0" in pattern
        or pattern.startswith("~")
        or ":" in pattern
    ):
        raise ValueError(
            "files must be given relative to the task file's folder and stay in it, got "
            f"{pattern[:80]!r}; put the data beside the task file"
        )


def parse(data: bytes, called: str) -> TaskFile:
    """The task file in these bytes. UserError with one sentence for anything else."""
    if len(data) > _LONGEST:
        raise UserError(
            f"a task file must have at most {_LONGEST // 1000} kB, {called} has "
            f"{len(data) // 1000}; it describes the data, and does not hold it"
        )
    return settings_of(TaskFile, data, "task", called)


def read(path: Path) -> TaskFile:
    """The task file at this path. UserError if there is none or it is not one."""
    return parse(small(path, "task file", _LONGEST), str(path))


def _matching(root: Path, split: str, pattern: str) -> list[Path]:
    """What a pattern matches in a folder. UserError for a pattern that the file system or glob does
    not take."""
    try:
        return sorted(root.glob(pattern.replace("{language}", "*")))
    # names that are too long, ** inside a name, "."
    except (OSError, ValueError, IndexError, NotImplementedError) as error:
        raise UserError(
            f"splits.{split} must be a pattern of files, {pattern[:80]!r} is none ({error}); write "
            "it like train/{language}.csv"
        ) from error


def locate(file: TaskFile, folder: Path, own: str = "") -> list[Source]:
    """The files of a task, by split and language. UserError if a split has none, a language has
    two, or one lies outside the folder.

    file: what the task file says
    folder: that the files are in
    own: name of the task file there, which is none of them: {language}.json matches it too
    """
    root = folder.resolve()
    sources: list[Source] = []
    for split, given in file.splits.items():
        before, pattern = len(sources), PurePosixPath(given).as_posix()  # "./x.csv" is "x.csv"
        languages: dict[str, Path] = {}
        shape = re.compile(
            re.escape(pattern)
            .replace(re.escape("{language}"), f"(?P<language>{CODE}?)", 1)
            .replace(re.escape("{language}"), "(?P=language)")
            .replace(r"\*", "[^/]*")
        )
        for path in _matching(root, split, pattern):
            match = shape.fullmatch(path.relative_to(root).as_posix())
            if match is None or not path.is_file() or path == root / own:
                continue
            if not path.resolve().is_relative_to(root):
                raise UserError(
                    f"data files must lie in the task file's folder, {path.name} is a link that "
                    "leads out of it; copy the file there"
                )
            code = (
                match["language"]
                if "{language}" in pattern
                else None
                if file.columns.language
                else file.training_language
            )
            if code is not None and code in languages and "{language}" in pattern:
                one, two = (p.relative_to(root) for p in (languages[code], path))
                raise UserError(
                    f"each language must have one file in a split, {split} has two for {code}: "
                    f"{one} and {two}; join them, or make the pattern narrower"
                )
            if code is not None:
                languages[code] = path
            accept(path)
            sources.append(Source(split, code, path))
        if len(sources) == before:
            raise UserError(
                f"splits.{split} must match at least one file, {pattern!r} matches none in "
                f"{folder}; check the pattern"
            )
        if len(sources) - before > MOST:
            raise UserError(
                f"splits.{split} must match at most {MOST} files, {pattern!r} matches "
                f"{len(sources) - before}; make the pattern narrower"
            )
    return sources


def content_hash(path: Path) -> str:
    """16 hex digits from the task file and the content of its files."""
    file = read(path)
    digest = hashlib.sha256(SINCE.encode() + file.model_dump_json(exclude_defaults=True).encode())
    for source in locate(file, path.parent, path.name):
        digest.update(
            f"{source.split} {source.path.relative_to(path.parent.resolve()).as_posix()} "
            f"{sum_of(source.path)}".encode()
        )
    return digest.hexdigest()[:16]
