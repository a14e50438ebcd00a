"""What is no such file, what odd files mean, codes of languages, and limits."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sdq.data.languages import UNKNOWN, language
from tests.cases.build import checkpoint, conll, csv, jsonl, task_folder
from tests.cases.doors import Doors, either
from tests.helpers.tagged import TAGGED, WORDS, loaded

# contents that are no such file, and what the sentence must name besides the file
NO_FILE: dict[str, tuple[str, bytes, str]] = {
    "UTF-16 with a mark": (".csv", csv([("x", "a"), ("y", "b")]).encode("utf-16"), "UTF-8"),
    "UTF-16 without a mark": (".csv", csv([("x", "a"), ("y", "b")]).encode("utf-16-le"), "line 1"),
    "Latin-1": (".csv", "text,label\nx,a\ncafé,b\n".encode("latin-1"), "line 3"),
    "a lone surrogate (10)": (
        ".jsonl",
        b'{"text": "x", "label": "a"}\n{"text": "y \\ud83d", "label": "b"}\n',
        "line 2",
    ),
    "a lone surrogate in a label": (
        ".jsonl",
        b'{"text": "x", "label": "a"}\n{"text": "y", "label": "b\\udfff"}\n',
        "line 2",
    ),
    "a lone surrogate in a list": (
        ".jsonl",
        b'{"text": ["x", "\\ud83d"], "label": "a"}\n',
        "line 1",
    ),
    "surrogates as bytes": (".csv", b"text,label\nx,a\n\xed\xa0\xbd,b\n", "line 3"),
    "an empty label": (".csv", b"text,label\nx,a\ny,\nz,b\n", "line 3"),
    "a label of spaces": (".csv", b"text,label\nx,a\ny,   \nz,b\n", "line 3"),
    "a row too short": (".csv", b"text,label\nx,a\ny\n", "line 3"),
    "half a row": (".jsonl", b'{"text": "x", "label": "a"}\n{"text": "y", "lab', "line 2"),
    "a number too long": (".jsonl", b'{"text": "x", "label": ' + b"9" * 5000 + b"}\n", "line 1"),
    "nested": (".jsonl", b'{"text": ' + b"[" * 100_000 + b"}\n", "line 1"),
    "no Parquet": (".parquet", b"PAR1 and nothing else PAR1", ""),
    "an endless quote": (".csv", b'text,label\nx,a\n"y,b\nz,a\n', "line 3"),
}


@pytest.mark.parametrize("case", NO_FILE)
def test_what_is_no_such_file_is_refused_with_file_and_line(
    doors: Doors, tmp_path: Path, case: str
) -> None:
    ending, content, named = NO_FILE[case]
    doors.check_refused(task_folder(tmp_path, {"train/en": content}, ending), f"en{ending}", named)


# contents that are odd: read as their author meant, or refused with the file
MEANT: dict[str, tuple[str, bytes]] = {
    "a byte order mark": (".csv", csv([("x", "a"), ("y", "b")]).encode("utf-8-sig")),
    "carriage returns": (".csv", csv([("x", "a"), ("y", "b")]).replace("\n", "\r\n").encode()),
    "old carriage returns": (".csv", csv([("x", "a"), ("y", "b")]).replace("\n", "\r").encode()),
    "semicolons": (".csv", csv([("x", "a"), ("y", "b")], "text", "label", delimiter=";").encode()),
    "tabs": (".csv", csv([("x", "a"), ("y", "b")], "text", "label", delimiter="\t").encode()),
    "commas in a .tsv": (".tsv", csv([("x", "a"), ("y", "b")]).encode()),
    "quotes in a .tsv": (".tsv", b'text\tlabel\n"x"\ta\n"y"\tb\n'),
    "one array of JSON": (".jsonl", b'[{"text": "x", "label": "a"}, {"text": "y", "label": "b"}]'),
    "an array over lines": (
        ".jsonl",
        b'[\n{"text": "x", "label": "a"},\n{"text": "y", "label": "b"}\n]\n',
    ),
    "objects over lines": (
        ".jsonl",
        b'{\n"text": "x",\n"label": "a"\n}\n{\n"text": "y",\n"label": "b"\n}\n',
    ),
    "a byte order mark in JSONL": (
        ".jsonl",
        jsonl([{"text": "x", "label": "a"}, {"text": "y", "label": "b"}]).encode("utf-8-sig"),
    ),
    "JSONL called CSV": (
        ".csv",
        jsonl([{"text": "x", "label": "a"}, {"text": "y", "label": "b"}]).encode(),
    ),
    "an index column": (".csv", b",text,label\n0,x,a\n1,y,b\n"),
    "blank lines": (".csv", b"text,label\n\nx,a\n\n\ny,b\n\n"),
    "trailing tabs": (".tsv", b"text\tlabel\t\nx\ta\t\ny\tb\t\n"),
    "quoted labels and tabs": (".tsv", b'text\tlabel\nx\t"a"\t\ny\t"b"\t\n'),
}


@pytest.mark.parametrize("case", MEANT)
def test_odd_files_are_read_as_meant_or_refused(tmp_path: Path, case: str) -> None:
    ending, content = MEANT[case]
    task = loaded(task_folder(tmp_path, {"train/en": content}, ending))
    if isinstance(task, str):
        assert f"en{ending}" in task
    else:
        assert [(e.text.strip('"'), *e.targets) for e in task.examples("train")] == [
            ("x", "a"),
            ("y", "b"),
        ]
        assert task.labels == ("a", "b")


def test_a_quoted_tab_in_a_tsv_is_explained(doors: Doors, tmp_path: Path) -> None:
    path = task_folder(tmp_path, {"train/en": b'text\tlabel\n"x\ty"\ta\nz\tb\n'}, ".tsv")
    task = loaded(path)
    if isinstance(task, str):
        assert "en.tsv" in task
        assert "quote" in task.lower()
    else:
        assert task.examples("train")[0].text == "x\ty"


def test_columns_of_annotators_are_not_taken_for_tags(tmp_path: Path) -> None:
    """Five columns, of which the last is who annotated."""
    rows = (
        "".join(
            f"{w}\t{i}\t{t}\t_\t{who}\n"
            for i, (w, t, who) in enumerate(
                [("Anna", "B-PER", "mia"), ("visits", "O", "leo"), ("Oslo", "B-LOC", "mia")]
            )
        )
        + "\n"
    )
    task = loaded(task_folder(tmp_path, {"train/en": rows * 2}, ".conll", "token"))
    if isinstance(task, str):
        assert "en.conll" in task
        either(task, "names", "column")
    else:
        assert set(task.labels) == {"O", "B-PER", "B-LOC"}


@pytest.mark.parametrize(
    "ending", [".iob2", ".conllu.txt", ".txt", ".bio", ".CONLL", ".tsv", ".iob"]
)
def test_the_ending_is_a_hint(tmp_path: Path, ending: str) -> None:
    conllu = "1\tAnna\t_\tB-PER\t_\t_\t0\tdep\t_\t_\n2\tgoes\t_\tO\t_\t_\t0\tdep\t_\t_\n\n"
    if ".conllu" in ending:
        path = task_folder(
            tmp_path,
            {"train/en": conllu},
            ending,
            "token",
            columns={"tokens": "form", "tags": "upos"},
        )
    else:
        path = task_folder(
            tmp_path, {"train/en": conll([[("Anna", "B-PER"), ("goes", "O")]])}, ending, "token"
        )
    task = loaded(path)
    if ending in (".txt", ".tsv"):  # a sentence is enough
        assert not isinstance(task, str) or f"en{ending}" in task
    else:
        assert not isinstance(task, str), task
        assert task.examples("train")[0].words == ("Anna", "goes")


# code -> (script, family)
CODES = {
    "zh-hant": ("Hant", "Sino-Tibetan"),
    "zh_TW": ("Hant", "Sino-Tibetan"),
    "zh-HK": ("Hant", "Sino-Tibetan"),
    "zh-MO": ("Hant", "Sino-Tibetan"),
    "zh-Hant-TW": ("Hant", "Sino-Tibetan"),
    "zh-Hant-HK": ("Hant", "Sino-Tibetan"),
    "zh-Hans-HK": ("Hans", "Sino-Tibetan"),
    "zh-CN": ("Hans", "Sino-Tibetan"),
    "zh-SG": ("Hans", "Sino-Tibetan"),
    "ZH-tw": ("Hant", "Sino-Tibetan"),
    "zho_Hant": ("Hant", "Sino-Tibetan"),
    "zh": ("Hans", "Sino-Tibetan"),
    "uz-Cyrl-UZ": ("Cyrl", "Turkic"),
    "uz-UZ": ("Latn", "Turkic"),
    "sr_latn": ("Latn", "Indo-European"),
    "sr-Latn-RS": ("Latn", "Indo-European"),
    "sr-Cyrl": ("Cyrl", "Indo-European"),
    "pt-BR": ("Latn", "Indo-European"),
    "es-419": ("Latn", "Indo-European"),
    "en-US": ("Latn", "Indo-European"),
    "EN": ("Latn", "Indo-European"),
    "de-1996": ("Latn", "Indo-European"),
    "de-CH-1901": ("Latn", "Indo-European"),
    "deu_Latn": ("Latn", "Indo-European"),
    "az-Arab-IR": ("Arab", "Turkic"),
    "en-x-hant": ("Latn", "Indo-European"),
    "qqq": (UNKNOWN, UNKNOWN),
    "qqq-Cyrl": ("Cyrl", UNKNOWN),
    "qqq-TW": (UNKNOWN, UNKNOWN),
}


@pytest.mark.parametrize("code", CODES)
def test_language_codes(code: str) -> None:
    found = language(code)
    assert (found.script, found.family) == CODES[code]


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("zh-Hant-TW", "Chinese"),
        ("pt-BR", "Portuguese"),
        ("sr-Latn-RS", "Serbian"),
        ("EN-us", "English"),
        ("uz-Cyrl-UZ", "Uzbek"),
    ],
)
def test_languages_are_named(code: str, name: str) -> None:
    assert name in language(code).name


def test_an_extended_language_is_chinese() -> None:
    assert language("zh-yue").family == "Sino-Tibetan"
    assert language("zh-yue").script in ("Hant", "Hans")


@pytest.fixture
def little_room(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A limit of 1 MB per decoded file."""
    from sdq.io.limits import limits

    monkeypatch.setenv("SDQ_DECODED_MB", "1")
    limits.cache_clear()
    yield
    limits.cache_clear()


def test_a_file_that_decodes_to_too_much_is_refused(
    doors: Doors, tmp_path: Path, little_room: None
) -> None:
    """A few kB that decode to more than 1 MB."""
    out = io.BytesIO()
    pq.write_table(
        pa.table({"text": ["x " * 300_000] * 2, "label": ["a", "b"]}), out, compression="zstd"
    )
    assert len(out.getvalue()) < 10_000
    path = task_folder(tmp_path, {"train/en": out.getvalue()}, ".parquet")
    either(doors.check_refused(path, "en.parquet"), "MB", "decode")


def test_a_list_that_nobody_reads_is_refused_or_left(tmp_path: Path, little_room: None) -> None:
    out = io.BytesIO()
    lists = pa.array([[0] * 500_000] * 2, pa.list_(pa.int64()))
    pq.write_table(
        pa.table({"text": ["x", "y"], "label": ["a", "b"], "z": lists}), out, compression="zstd"
    )
    task = loaded(task_folder(tmp_path, {"train/en": out.getvalue()}, ".parquet"))
    assert not isinstance(task, str) or "en.parquet" in task


def test_a_run_whose_log_ends_in_half_a_line_goes_on(doors: Doors, tmp_path: Path) -> None:
    task = task_folder(tmp_path / "task", {"train/en": csv([("good", "a"), ("bad", "b")])}, ".csv")
    model = checkpoint(tmp_path / "model", {"good": 0, "bad": 1}, ("a", "b"), token=False)
    assert doors.run(model, task).mean == 1
    (log,) = (tmp_path / "data" / "runs").glob("*/events.jsonl")
    whole = log.read_bytes()
    for broken in (
        whole[:-9],
        whole + b'{"time": 1, "ev',
        b"\x00" * 40,
        whole.replace(b"{", b"", 1),
        b"[]\n5\nnull\n" + whole,
        b"\xff\xfe\n" + whole,
    ):
        log.write_bytes(broken)
        assert doors.run(model, task).mean == 1
        assert doors.call("runs")[0] == 0
    (log.parent / "done").unlink()
    log.write_bytes(whole[:-9])
    assert doors.run(model, task).mean == 1


@pytest.mark.parametrize("header", ["text,label", " text , label", "text,label\ngood,c"])
def test_a_header_that_names_repeats_is_no_row(tmp_path: Path, header: str) -> None:
    path = task_folder(
        tmp_path, {"train/en": f"{header}\ngood,a\nbad,b\n"}, ".csv", names=("text", "label")
    )
    said = loaded(path)
    assert isinstance(said, str)
    assert "`names`" in said
    assert "line 1" in said


@pytest.mark.parametrize("more", ["", "\t-\tanna"])
def test_numbers_of_words_are_no_words(tmp_path: Path, more: str) -> None:
    rows = "".join(
        f"{i}\t{word}\t{tag}{more}\n"
        for i, (word, tag) in enumerate(zip(WORDS[0], TAGGED[0], strict=True), 1)
    )
    path = task_folder(tmp_path, {"train/en": f"{rows}\n{rows}\n"}, ".conll", "token")
    said = loaded(path)
    assert isinstance(said, str)
    assert '"tokens": "2", "tags": "3"' in said
