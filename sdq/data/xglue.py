"""The eight understanding tasks of an extracted XGLUE archive (Liang et al. 2020), read from its
official files. Needs no torch.

File names and fields: Data_Format.txt of github.com/microsoft/XGLUE; what makes the two texts of an
input: the processors of github.com/microsoft/Unicoder; scores: evaluation/xglue_evaluate.py there.
A task is named `xglue:DIR/NC`; `xglue:DIR/NC@200` takes the first 200 rows of every file, to see
that everything runs.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from sdq.data.assemble import Builder
from sdq.data.lines import ended, lines_of_any_size
from sdq.data.rows import Row
from sdq.data.task import Task
from sdq.data.taskfile import Columns, Kind, Source, TaskFile
from sdq.io.sealed import sum_of
from sdq.settings import UserError

XNLI = "ar bg de el en es fr hi ru sw th tr ur vi zh"
_NEWS = (
    "foodanddrink",
    "sports",
    "news",
    "entertainment",
    "health",
    "video",
    "finance",
    "travel",
    "lifestyle",
    "autos",
)
_NLI = {label: label for label in ("entailment", "neutral", "contradiction")} | {
    "contradictory": "contradiction"
}


@dataclass(frozen=True)
class Official:
    """One task: where its files are, which fields make its texts (the last is the label), and how
    it is scored."""

    kind: Kind
    languages: str  # with spaces between
    train: str
    other: str  # of dev and test; {split} and {language} are filled in
    text: int = 0
    second: tuple[int, ...] = ()  # joined by a space
    labels: tuple[str, ...] | dict[str, str] = ()
    metric: str = "accuracy"
    beside: tuple[str, ...] = ()
    longest: int = 256
    header: bool = False


def _bing(
    name: str,
    kind: Kind,
    languages: str,
    second: tuple[int, ...],
    labels: tuple[str, ...],
    metric: str = "accuracy",
    beside: tuple[str, ...] = (),
) -> Official:
    """A task whose files are called xglue.NAME.LANGUAGE.SPLIT."""
    return Official(
        kind,
        languages,
        f"xglue.{name}.en.train",
        f"xglue.{name}.{{language}}.{{split}}",
        0,
        second,
        labels,
        metric,
        beside,
    )


# folder -> task, in the order of the paper's table
TASKS: dict[str, Official] = {
    "NER": Official("token", "de en es nl", "en.train", "{language}.{split}", metric="f1"),
    "POS": Official(
        "token",
        "ar bg de el en es fr hi it nl pl pt ru th tr ur vi zh",
        "en.train",
        "{language}.{split}",
        metric="precision",
        beside=("token_accuracy",),
        longest=128,
    ),
    "NC": _bing("nc", "pair", "de en es fr ru", (1,), _NEWS),
    "XNLI": Official("pair", XNLI, "multinli.train.en.tsv", "{language}.{split}", 0, (1,), _NLI),
    "PAWSX": Official(
        "pair",
        "de en es fr",
        "en/train.tsv",
        "{language}/{split}_2k.tsv",
        1,
        (2,),
        ("0", "1"),
        header=True,
    ),
    "QADSM": _bing("qadsm", "pair", "de en fr", (1, 2), ("Bad", "Good")),
    "WPR": _bing(
        "wpr",
        "ranking",
        "de en es fr it pt zh",
        (1, 2),
        ("0", "1", "2", "3", "4"),
        "ndcg",
        ("accuracy",),
    ),
    "QAM": _bing("qam", "pair", "de en fr", (1,), ("0", "1")),
}


def _which(path: Path) -> tuple[Path, str, int | None]:
    """(folder, task, rows to take of each file) of `DIR/NC` or `DIR/NC@200`."""
    match = re.fullmatch(r"(\w+?)(?:@([1-9]\d{0,8}))?", path.name)
    if match is None or match[1] not in TASKS:
        raise UserError(
            f"an XGLUE task must be one of {', '.join(TASKS)}, got {path.name[:40]!r}; write "
            "xglue:DIR/NC"
        )
    folder = path.parent / match[1]
    if not folder.is_dir():
        raise UserError(
            f"the XGLUE archive must be extracted with its folder {match[1]}, {folder} is not "
            "there; extract xglue_full_dataset.tar.gz and name its folder"
        )
    return folder, match[1], int(match[2]) if match[2] else None


def sources(folder: Path, task: str) -> list[Source]:
    """The files of a task that are there. UserError without English ones; XNLI's dev and test may
    be one file for all languages."""
    official = TASKS[task]
    sources = [Source("train", "en", folder / official.train)]
    for split in ("dev", "test"):
        tested = [
            Source(split, code, folder / official.other.format(language=code, split=split))
            for code in official.languages.split()
        ]
        tested = [source for source in tested if source.path.is_file()]
        if not tested and task == "XNLI":
            tested = [
                Source(split, code, folder / f"xnli.{split}.tsv")
                for code in official.languages.split()
            ]
        sources += tested
        if not any(source.language == "en" for source in tested):
            raise UserError(
                f"the folder {folder} must hold "
                f"{official.other.format(language='en', split=split)}, it does not; extract "
                "xglue_full_dataset.tar.gz again"
            )
    for source in sources:
        if not source.path.is_file():
            raise UserError(
                f"the folder {folder} must hold {source.path.relative_to(folder)}, it does not; "
                "extract xglue_full_dataset.tar.gz again"
            )
    return sources


def content_hash(path: Path) -> str:
    """16 hex digits from the content of the task's files and how they are read."""
    folder, task, most = _which(path)
    # earlier runs joined tags to words by order, and labels to a head's outputs by order
    how = "answers by word number" if TASKS[task].kind == "token" else "outputs by label name"
    digest = hashlib.sha256(f"{task} {most} {TASKS[task]} {how}".encode())
    for source in sources(folder, task):
        digest.update(f"{source.split} {source.language} {sum_of(source.path)}".encode())
    return digest.hexdigest()[:16]


def load(path: Path) -> Task:
    """The task whose folder this is."""
    folder, task, most = _which(path)
    official = TASKS[task]
    there = sources(folder, task)
    columns = (
        Columns(tokens="tokens", tags="tags")
        if official.kind == "token"
        else Columns(text="text", second="second", label="label")
    )
    file = TaskFile(
        name=task.lower(),
        kind=official.kind,
        columns=columns,
        labels=official.labels,
        training_language="en",
        metric=official.metric,
        splits={"train": official.train, "dev": "x", "test": "x"},
        beside=official.beside,
        longest=official.longest,
        scheme="conlleval"
        if official.kind == "token"
        else None,  # as the official scorer takes any tags, parts of speech too
    )
    builder = Builder(file)
    for source in there:
        builder.add(
            source,
            islice(
                _sentences(source.path) if official.kind == "token" else _rows(source, official),
                most,
            ),
        )
    return builder.task(f"xglue:{path}", content_hash(path))


def _rows(source: Source, official: Official) -> Iterator[Row]:
    """Rows of a file of fields between tabs: text, second, label."""
    # language, gold_label, four parses, sentence1, sentence2, ...
    joint = source.path.name.startswith("xnli.")
    text, second, label = (6, (7,), 1) if joint else (official.text, official.second, -1)
    needed = max(text, *second) + (1 if joint else 2)
    for number, line in lines_of_any_size(source.path):
        if not line.strip() or (number == 1 and (official.header or source.path.suffix == ".tsv")):
            continue
        fields = ended(line).split("\t")
        if joint and fields[0] != source.language:
            continue
        if len(fields) < needed:
            raise UserError(
                f"every line must have {needed} fields, the last of them the label, line {number} "
                f"of {source.path.name} has {len(fields)}; test files have labels in "
                "xglue_full_dataset.tar.gz"
            )
        yield Row(
            f"line {number}",
            {
                "text": fields[text],
                "second": " ".join(fields[i] for i in second),
                "label": fields[label].strip(),
            },
        )


def _sentences(path: Path) -> Iterator[Row]:
    """Sentences of a file of one word and tag a line; a word may hold spaces, the tag is what
    follows the last one (as the scorer takes it)."""
    words: list[tuple[str, str]] = []
    start = 0
    for number, line in lines_of_any_size(path):
        if not line.strip() or line.startswith("-DOCSTART-"):
            if words:
                yield Row(
                    f"line {start}",
                    {"tokens": [w for w, _ in words], "tags": [t for _, t in words]},
                )
            words = []
            continue
        word, space, tag = line.strip().rpartition(" ")
        if not space:
            raise UserError(
                f"every line must have a word, a space and a tag, line {number} of {path.name} has "
                "not; extract the archive again"
            )
        start = start if words else number
        words.append((word, tag))
    if words:
        yield Row(f"line {start}", {"tokens": [w for w, _ in words], "tags": [t for _, t in words]})
