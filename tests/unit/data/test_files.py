"""What files are accepted and refused: docs/files.md is what the code does, line by line.
`python -m tests.unit.data.test_files` writes its table anew."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from sdq.data.task import Task
from sdq.settings import ROOT, UserError
from tests.helpers.brought_files import CASES, made

DOC = ROOT / "docs" / "files.md"
BEGIN, END = "<!-- rows -->", "<!-- end of rows -->"


def outcome(folder: Path, case: str) -> tuple[str, str]:
    """(taken or refused, the sentence; a dash where nothing is to be said)."""
    try:
        task = made(folder, *CASES[case])
    except UserError as error:
        return "refused", str(error)
    said = " ".join(
        dict.fromkeys(re.sub(r"^(\S+?)(?:, \1)*: ", "", remark) for remark in task.remarks)
    )
    return "taken", said or "-"


def rows() -> dict[str, tuple[str, str]]:
    """The table of docs/files.md: what is brought -> (taken or refused, the sentence)."""
    text = DOC.read_text("utf-8").partition(BEGIN)[2].partition(END)[0]
    cells = [re.split(r"(?<!\\) \| ", line.strip("| ")) for line in text.strip().splitlines()[2:]]
    return {case: (what, said.replace("\\|", "|")) for case, what, said in cells}


def table(folder: Path) -> str:
    lines = [
        "| what is brought | what happens | the sentence (in `task check`, on the page, and "
        "beside a result) |",
        "|---|---|---|",
    ]
    for case in CASES:
        what, said = outcome(folder, case)
        lines.append(f"| {case} | {what} | {said.replace('|', chr(92) + '|')} |")
    return "\n".join(lines)


@pytest.mark.parametrize("case", CASES)
def test_the_table_is_what_happens(case: str, tmp_path: Path) -> None:
    assert rows()[case] == outcome(tmp_path, case)


def test_the_table_has_no_line_that_nothing_checks() -> None:
    assert list(rows()) == list(CASES)


def test_every_refusal_is_one_sentence_with_a_remedy() -> None:
    for case, (what, said) in rows().items():
        assert what == "taken" or (";" in said and "\n" not in said), case
    assert sum(what == "refused" for what, _ in rows().values()) > 25


RIGHT: dict[str, Callable[[Task], bool]] = {
    "CSV (RFC 4180)": lambda task: task.examples("test")[0].text == 'fine, "very" fine',
    "CSV whose lines end with CR alone": lambda task: (
        [e.targets for e in task.examples("test")] == [("good",), ("bad",)]
    ),
    "CSV with a byte order mark": lambda task: task.labels == ("bad", "good"),
    'TSV with quotes and "quoting": "double"': lambda task: (
        task.examples("test")[0].text == "fine\nday"
    ),
    "TSV with a text in quotes": lambda task: task.examples("test")[0].text == '"fine"',
    "Boolean labels": lambda task: task.labels == ("false", "true"),
    "Parquet of `datasets` with ClassLabel": lambda task: (
        [e.targets for e in task.examples("test")] == [("good",), ("bad",)]
    ),
    "Parquet with ClassLabel in an order of its own, and names that no row has": lambda task: (
        task.labels == ("positive", "negative", "neutral")
    ),
    "Parquet with ClassLabel whose names are numbers, listed under `labels`": lambda task: (
        [e.targets for e in task.examples("test")] == [("0",), ("1",)]
    ),
    "CSV with a space before quoted fields": lambda task: (
        [e.text for e in task.examples("test")] == ["fine, very", "sad"]
    ),
    "CSV files joined, each with its header": lambda task: (
        [e.text for e in task.examples("test")] == ["fine", "sad"] * 2
    ),
    "CoNLL with a line that names its columns": lambda task: (
        task.examples("test")[0].words == ("In", "Rome")
    ),
    "CoNLL with a language before every word (WikiANN, PAN-X)": lambda task: (
        [e.words for e in task.examples("test")] == [("In", "Rome"), (":",)]
    ),
    "a list that was encoded as JSON twice": lambda task: (
        task.examples("test")[0].words == ("Anna", "Smith")
    ),
    "CoNLL of several columns, called by number": lambda task: (
        task.labels == ("O", "B-city", "I-city")
    ),
    "CoNLL with a comment that names its columns": lambda task: (
        task.examples("test")[0].targets == ("O", "B-city")
    ),
    "a no-break space (U+00A0, U+3000) in a word of CoNLL": lambda task: (
        task.examples("test")[0].words == ("10\u00a0000", "euros")
    ),
    "CoNLL-U, also called .conllu.txt": lambda task: (
        task.examples("test")[0].targets == ("ADP", "PROPN")
    ),
    "lists as JSON, Python or pandas write them": lambda task: (
        task.examples("test")[0].words == ("Anna", "O'Neill")
    ),
    "CSV with a first line sep=;": lambda task: (
        [e.text for e in task.examples("test")] == ["fine", "sad"]
    ),
    "CSV with the index that pandas writes": lambda task: task.examples("test")[0].text == "fine",
    "CoNLL with tabs at the ends of lines": lambda task: (
        task.examples("test")[0].words == ("In", "Rome")
    ),
    "CoNLL-U with spaces instead of tabs": lambda task: (
        task.examples("test")[0].targets == ("ADP", "PROPN")
    ),
    "text that begins like a list, and is none": lambda task: (
        task.examples("test")[0].words == ('("So"', "he", "said)")
    ),
    "TSV called .txt, with a blank line": lambda task: (
        [e.text for e in task.examples("test")] == ["very fine"] + ["so sad"] * 8
    ),
    "JSON lists with white space after their brackets": lambda task: (
        task.examples("test")[0].words == ("Anna", "Smith")
    ),
    "lists as numpy writes them": lambda task: task.examples("test")[0].targets == ("B-PER", "O"),
    "white space around labels": lambda task: task.labels == ("bad", "good"),
}


@pytest.mark.parametrize("case", RIGHT)
def test_what_is_taken_is_read_rightly(case: str, tmp_path: Path) -> None:
    assert RIGHT[case](made(tmp_path, *CASES[case]))


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as place:
        before, _, rest = DOC.read_text("utf-8").partition(BEGIN)
        DOC.write_text(
            f"{before}{BEGIN}\n{table(Path(place))}\n{END}{rest.partition(END)[2]}", "utf-8"
        )
