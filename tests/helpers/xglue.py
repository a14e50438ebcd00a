"""The official scorer of XGLUE, written a second time."""

from __future__ import annotations

from itertools import groupby
from pathlib import Path

LANGUAGES = ("en", "de")


def gold_of(
    archive: Path, task: str, language: str, split: str = "test"
) -> tuple[list[list[str]], list[str]]:
    """(labels of each example, queries) as evaluation/xglue_evaluate.py takes them: the last field
    of a line, or of a word's line."""
    names = {
        "XNLI": f"{language}.{split}",
        "PAWSX": f"{language}/{split}_2k.tsv",
        "NER": f"{language}.{split}",
        "POS": f"{language}.{split}",
    }
    lines = (
        (archive / task / names.get(task, f"xglue.{task.lower()}.{language}.{split}"))
        .read_text("utf-8")
        .split("\n")
    )
    if task in ("NER", "POS"):
        kept = ["" if line.startswith("-DOCSTART-") else line for line in lines]
        return [
            [line.split()[-1] for line in block]
            for words, block in groupby(kept, key=lambda line: bool(line.strip()))
            if words
        ], []
    rows = [line.split("\t") for line in lines[1 if task == "PAWSX" else 0 :] if line.strip()]
    return [[row[-1].strip()] for row in rows], [row[0] for row in rows]
