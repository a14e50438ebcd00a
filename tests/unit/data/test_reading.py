"""Reading: random tables and sentences come back as csv, pandas and the writer have them; cells,
labels, languages and limits by kind."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import os
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet
import pytest

from sdq.data import cells
from sdq.data.check import _repeated, check, folded
from sdq.data.formats import READERS, accept, read
from sdq.data.languages import language, same, subtags
from sdq.data.recognise import recognise
from sdq.data.task import Example, Task
from sdq.intake.own_tasks import metrics, preview
from sdq.io.limits import limits
from sdq.settings import UserError
from tests.unit.data.test_files import SENTENCE, TOKEN, made

# what stands in texts: separators of all formats, quotes, white space of Unicode, right-to-left and
# combining marks
PIECES = [
    "a",
    "Zoë",
    "日本",
    "🙂",
    " ",
    ",",
    ";",
    "'",
    '"',
    "#",
    "-",
    "\u00a0",
    "\u3000",
    "\u2028",
    "\u0085",
    "\u200f",
    "e\u0301",
    "[",
    "]",
    "{",
    "=",
    "\\",
    "|",
    ".",
    "0",
]


def test_a_preview_shows_the_names_that_numbers_stand_for(tmp_path: Path) -> None:
    features = {
        "label": {"names": ["bad", "good"], "_type": "ClassLabel"},
        "tags": {"feature": {"names": ["O", "B-x"], "_type": "ClassLabel"}, "_type": "Sequence"},
        "n": {"dtype": "int64", "_type": "Value"},
    }
    content = pa.table({"label": [1, 0, -1, 7], "tags": [[0, 1], [1], [], [0]], "n": [0, 1, 2, 3]})
    about = {"huggingface": json.dumps({"info": {"features": features}})}
    pa.parquet.write_table(content.replace_schema_metadata(about), tmp_path / "a.parquet")
    shown = preview(tmp_path / "a.parquet")
    assert shown["label"].tolist() == ["good", "bad", "", "7"]
    assert shown["tags"].tolist() == ["O B-x", "B-x", "", "O"]
    assert shown["n"].tolist() == ["0", "1", "2", "3"]
    assert any(
        "in the column tags were read as the names" in said for said in shown.attrs["remarks"]
    )


def test_a_long_list_is_cut_between_two_items_in_a_preview(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text(
        json.dumps({"tokens": ["token"] * 200, "text": "x" * 400}) + "\n"
    )
    shown = preview(tmp_path / "a.jsonl").iloc[0]
    assert set(shown["tokens"].split(" ")) == {"token", "…"}
    assert len(shown["tokens"]) <= 302
    assert shown["text"] == f"{'x' * 300} …"


def text(chance: random.Random, extra: str = "", without: str = "") -> str:
    pieces = [piece for piece in (*PIECES, *extra) if piece not in without]
    return "w" + "".join(chance.choice(pieces) for _ in range(chance.randint(0, 8)))


def table(chance: random.Random, **how: str) -> list[dict[str, str]]:
    names = chance.sample(["text", "label", "Spalte", "名", "x y"], chance.randint(2, 4))
    return [{name: text(chance, **how) for name in names} for _ in range(chance.randint(1, 6))]


def _csv(rows: list[dict[str, str]], path: Path, chance: random.Random) -> None:
    delimiter, end = chance.choice(",,;"), chance.choice(["\n", "\r\n"])
    out = io.StringIO(newline="")
    writer = csv.DictWriter(
        out,
        list(rows[0]),
        delimiter=delimiter,
        lineterminator=end,
        quoting=chance.choice([csv.QUOTE_ALL, csv.QUOTE_MINIMAL]),
    )
    writer.writeheader()
    writer.writerows(rows)
    path.write_bytes(chance.choice([b"", b"\xef\xbb\xbf"]) + out.getvalue().encode())
    if chance.random() < 0.7:  # pandas is slow
        return
    reference = pd.read_csv(
        path,
        sep=delimiter,
        dtype=str,
        keep_default_na=False,
        encoding="utf-8-sig",
        lineterminator=None,
    )
    assert reference.to_dict("records") == rows, "the reference reads it otherwise"


def _tsv(rows: list[dict[str, str]], path: Path, chance: random.Random) -> None:
    end = chance.choice(["\n", "\r\n"])
    lines = ["\t".join(rows[0]), *("\t".join(row.values()) for row in rows)]
    path.write_bytes((end.join(lines) + chance.choice(["", end])).encode())


def _jsonl(rows: list[dict[str, str]], path: Path, chance: random.Random) -> None:
    ascii_only = chance.random() < 0.5
    path.write_text(
        "".join(
            json.dumps(row, ensure_ascii=ascii_only) + chance.choice(["\n", "\r\n", "\n\n"])
            for row in rows
        ),
        "utf-8",
        newline="",
    )


def _json(rows: list[dict[str, str]], path: Path, chance: random.Random) -> None:
    path.write_text(
        json.dumps(rows, ensure_ascii=chance.random() < 0.5, indent=chance.choice([None, 1])),
        "utf-8",
    )


def _parquet(rows: list[dict[str, str]], path: Path, chance: random.Random) -> None:
    pa.parquet.write_table(pa.Table.from_pylist(rows), path, use_dictionary=chance.random() < 0.5)


TABLES: dict[str, tuple[Callable[..., None], dict[str, str]]] = {
    "csv": (_csv, {"extra": "\t\n"}),
    "tsv": (_tsv, {}),
    "jsonl": (_jsonl, {"extra": "\t\n\r"}),
    "json": (_json, {"extra": "\t\n\r"}),
    "parquet": (_parquet, {"extra": "\t\n\r"}),
}


@pytest.mark.parametrize("ending", TABLES)
def test_random_tables_come_back_as_they_were_written(ending: str, tmp_path: Path) -> None:
    chance, (write, how) = random.Random(ending), TABLES[ending]
    for i in range(100):
        rows = table(chance, **how)
        path = tmp_path / f"{i}.{ending}"
        write(rows, path, chance)
        assert [row.cells for row in read(path)] == rows, path.read_bytes()


def test_random_sentences_come_back_as_they_were_written(tmp_path: Path) -> None:
    chance = random.Random(0)
    for i in range(120):
        path = tmp_path / f"{i}.{chance.choice(['conll', 'iob2', 'txt', 'bio'])}"
        between, width = chance.choice(["\t", " "]), chance.randint(2, 5)
        words = lambda: text(chance, without=" " if between == " " else "")  # noqa: B023, E731
        blocks = [
            [
                [words(), *("p" for _ in range(width - 2)), chance.choice(["O", "B-x", "I-x"])]
                for _ in range(chance.randint(1, 5))
            ]
            for _ in range(3)
        ]
        path.write_text(
            "\n\n".join("\n".join(between.join(fields) for fields in block) for block in blocks)
            + "\n",
            "utf-8",
            newline="",
        )
        found = [list(row.cells.values()) for row in read(path)]
        assert found == [
            [list(column) for column in zip(*block, strict=True)] for block in blocks
        ], path.read_bytes()


def test_every_format_is_tried_above_or_below() -> None:
    assert set(READERS) == {*TABLES, "conll", "conllu"}


# --- lists in cells

SPACED = " ".join


@pytest.mark.parametrize(
    "write",
    [
        str,
        repr,
        lambda words: str(tuple(words)),
        json.dumps,
        lambda words: json.dumps(words, ensure_ascii=False),
        lambda words: str(np.array(words)),
        lambda words: repr(np.array(words, dtype=object)),
        lambda words: str([np.str_(word) for word in words]),
        SPACED,
    ],
    ids=[
        "str",
        "repr",
        "tuple",
        "json",
        "json as it is",
        "numpy",
        "numpy repr",
        "numpy strings",
        "spaces",
    ],
)
def test_lists_are_read_as_whoever_wrote_them(write: Callable[[list[str]], str]) -> None:
    chance = random.Random(1)
    with np.printoptions(threshold=10**6, linewidth=60):
        for _ in range(60):
            words = [text(chance, without=" []{}'\"\\,") for _ in range(chance.randint(2, 7))]
            if write is not SPACED:
                words = [
                    chance.choice(["O'Neill", 'say "x"', "a b", "[", word])
                    if chance.random() < 0.3
                    else word
                    for word in words
                ]
            written = write(words)
            if "\\u" in written and "array" in written:
                continue
            assert cells.words_of(written) == tuple(words), written


@pytest.mark.parametrize(
    "tags", ["[0 1 2]", "[ 0  1 10]", "[0, 1, 2]", "(0, 1)", "[np.int64(3), np.int64(4)]", "[7]"]
)
def test_lists_of_numbers(tags: str) -> None:
    assert cells.words_of(tags, tags=True) == tuple(
        part
        for part in tags.replace("np.int64", "").translate(str.maketrans("[](),", "     ")).split()
    )


@pytest.mark.parametrize(
    ("cell", "words"),
    [
        ("(2)", "(2)"),
        ("(007)", "(007)"),
        ("[12]", "[12]"),
        ("[-3]", "[-3]"),
        ("[007, 8]", "007 8"),
        ("(2,)", "2"),
        ("(007, 08)", "007 08"),
    ],
)
def test_a_number_in_brackets_is_a_word_and_keeps_its_zeros(cell: str, words: str) -> None:
    assert cells.words_of(cell) == tuple(words.split())


@pytest.mark.parametrize(
    "plain",
    [
        "[ Applause ]",
        "( laughs )",
        "[UNK] is a word",
        "he said 'x' .",
        "[1] See there",
        "[ 1 ]",
        "a\u00a0b c\u3000d",
    ],
)
def test_text_in_brackets_is_text(plain: str) -> None:
    assert cells.words_of(plain) == tuple(plain.split(" "))


@pytest.mark.parametrize(
    "write",
    [
        lambda words: json.dumps(words, indent=1),
        lambda words: f"[ {json.dumps(words)[1:-1]} ]",
        lambda words: f"[ {str(words)[1:-1]} ]",
    ],
)
@pytest.mark.parametrize(
    "words", [["Anna"], ["Anna", "x"], ["O", "B-PER", "I-PER"], ["a b", "[", "don't"]]
)
@pytest.mark.parametrize("tags", [False, True])
def test_a_list_may_have_white_space_after_its_bracket(
    write: Callable[[list[str]], str], words: list[str], tags: bool
) -> None:
    assert cells.words_of(write(words), tags) == tuple(words)


def test_text_in_brackets_and_quotes_is_what_has_as_many_words_as_tags() -> None:
    assert cells.words_of('[ "So" ]', fitting=3) == ("[", '"So"', "]")
    assert cells.words_of('[ "So" ]', fitting=1) == ("So",)
    assert cells.words_of("[ 'tis so ]", fitting=4) == ("[", "'tis", "so", "]")


@pytest.mark.parametrize("tags", ["[\n 1,\n 2\n]", "[ 1, 2 ]"])
def test_tags_that_are_numbers_may_stand_apart(tags: str) -> None:
    assert cells.words_of(tags, tags=True) == ("1", "2")


@pytest.mark.parametrize(
    "tags",
    [
        "[O B-PER]",
        "[O]",
        "(O B-PER)",
        "[B-PER, O]",
        "[ B-PER, O ]",
        "[ 'O', None ]",
        '[ "O", null ]',
        "[ 1.5 ]",
    ],
)
def test_lists_of_tags_without_quotes_are_refused(tags: str) -> None:
    with pytest.raises(cells.Refused, match=";"):
        cells.words_of(tags, tags=True)


@pytest.mark.parametrize("tags", ["[ NN ]", "[PAD] O [PAD]", "(A0* * *)", "( NN )"])
def test_tags_may_hold_brackets(tags: str) -> None:
    assert cells.words_of(tags, tags=True) == tuple(tags.split(" "))


@pytest.mark.parametrize(
    "cell",
    [
        "['a' ... 'b']",
        "['a' 'b', 'c']",
        "['a', None]",
        "['a', nan]",
        "[Anna, Smith]",
        "{'a', 'b'}",
        "['a', ['b']]",
        "['a', 'b'",
        "[b'a']",
        '[b"a" b"b"]',
        "[b'a' b'b']",
        "[ 'a', None ]",
        '[ "a", null ]',
        "['a''b']",
        "['\\q']",
        {"a": 1},
        [1.5],
        [None],
        [["a"]],
        b"x",
        3,
        "[" + "'a'," * 3 + "os.system('x')]",
    ],
    ids=repr,
)
def test_what_is_no_list_is_refused_and_never_split(cell: Any) -> None:
    with pytest.raises(cells.Refused, match=";"):
        cells.words_of(cell)


# --- labels


def test_labels_have_an_order_whatever_they_are() -> None:
    chance = random.Random(2)
    odd = [
        "--5",
        "+3",
        "-",
        "+",
        "",
        "007",
        "7",
        "٣",
        "²",
        "1.0",
        "nan",
        "1e3",
        "O",
        "-0",
        "0",
        "\ud800",
        "½",
        "٣-",
        "-٣",
    ]
    for _ in range(500):
        labels = chance.sample(odd, 8) + [text(chance) for _ in range(3)]
        once = sorted(labels, key=cells.order)
        chance.shuffle(labels)
        assert sorted(labels, key=cells.order) == once
    assert (
        cells.order("9" * 6000)
        > cells.order("8" * 6000)
        > cells.order("-" + "8" * 6000)
        > cells.order("-" + "9" * 6000)
    )  # int() refuses these
    assert sorted(["10", "9", "-2", "-10", "O", "0"], key=cells.order) == [
        "O",
        "-10",
        "-2",
        "0",
        "9",
        "10",
    ]


@pytest.mark.parametrize(
    "label",
    ["1.0", "nan", "NaN", "inf", "-Infinity", "1e3", "1_000", "--5", "+-3", "5.", "1,", ".5"],
)
def test_broken_numbers_are_no_labels(label: str, tmp_path: Path) -> None:
    with pytest.raises(
        UserError, match=r"a\.jsonl, line 2, column label: a label must be a name or a whole number"
    ):
        made(
            tmp_path,
            "a.jsonl",
            "\n".join(json.dumps({"text": "x", "label": each}) for each in ("good", label)),
            SENTENCE,
        )


@pytest.mark.parametrize(
    "label", ["٣", "+3", "-3", "007", "²", "1st", "3D", "e3", "-", "_", "½ pound", "9" * 150]
)
def test_other_labels_are_names_or_numbers(label: str, tmp_path: Path) -> None:
    assert set(
        made(
            tmp_path,
            "a.jsonl",
            "\n".join(json.dumps({"text": "x", "label": each}) for each in ("good", label)),
            SENTENCE,
        ).labels
    ) == {"good", label}


@pytest.mark.parametrize("around", [" ", "\t", "\u00a0", "\u3000", "\u2028", "\r", "\ufeff"])
def test_white_space_around_labels_and_tags_is_taken_away(around: str, tmp_path: Path) -> None:
    task = made(
        tmp_path,
        "a.jsonl",
        "\n".join(
            json.dumps({"text": "x", "label": each})
            for each in ("good", f"{around}good", f"bad{around}")
        ),
        SENTENCE,
    )
    assert task.labels == ("bad", "good")
    assert any(
        "White space around" in warning and "a.jsonl, line 2" in warning
        for warning in check(task).warnings
    )
    task = made(
        tmp_path,
        "b.jsonl",
        json.dumps({"tokens": [f"a{around}b", "c"], "tags": [f"B-x{around}", "O"]}),
        TOKEN,
    )
    assert (task.labels, task.examples("test")[0].words[0]) == (("O", "B-x"), f"a{around}b")
    given = made(
        tmp_path,
        "c.jsonl",
        json.dumps({"text": "x", "label": f"1{around}"}),
        SENTENCE | {"labels": {"0": "no", "1": "yes"}},
    )
    assert given.examples("test")[0].targets == ("yes",)


def test_names_of_numbers_count_unless_the_task_file_says_otherwise(tmp_path: Path) -> None:
    features = {
        "ner": {"feature": {"names": ["O", "B-x"], "_type": "ClassLabel"}, "_type": "List"},
        "lang": {"names": ["en", "de"], "_type": "ClassLabel"},
    }
    columns = pa.table({"tokens": [["a", "b"], ["c"]], "ner": [[0, 1], [0]], "lang": [0, 1]})
    out = io.BytesIO()
    pa.parquet.write_table(
        columns.replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": features}})}
        ),
        out,
    )
    fields = TOKEN | {"columns": {"tokens": "tokens", "tags": "ner", "language": "lang"}}
    task = made(tmp_path, "a.parquet", out.getvalue(), fields)
    assert task.labels == ("O", "B-x")
    assert any("0 = O, 1 = B-x" in remark for remark in task.remarks)
    assert made(
        tmp_path, "a.parquet", out.getvalue(), fields | {"labels": {"0": "no", "1": "yes"}}
    ).labels == ("no", "yes")
    features["ner"]["feature"]["names"] = ["O"]
    out = io.BytesIO()
    pa.parquet.write_table(
        columns.replace_schema_metadata(
            {"huggingface": json.dumps({"info": {"features": features}})}
        ),
        out,
    )
    with pytest.raises(
        UserError, match=r"row 1, column ner: a number must stand for one of the 1 names"
    ):
        made(tmp_path, "a.parquet", out.getvalue(), fields)


# --- what spoils a result


def _task(
    *examples: tuple[str, str, str],
    labels: tuple[str, ...] = ("a", "b"),
    languages: tuple[str, ...] = ("en", "de"),
) -> Task:
    splits: dict[str, list[Example]] = {"train": [], "dev": [], "test": []}
    for i, (split, code, said) in enumerate(examples):
        splits[split].append(Example(str(i), code, said, (), (labels[i % 2],)))
    return Task("made", "sequence", labels, languages, "en", "accuracy", "0", splits)


@pytest.mark.parametrize(
    "other",
    ["cafe\u0301 ok", "CAFÉ OK", "café  ok ", "café\u00a0ok", "caf\u00e9 o\u200bk", "ｃａｆé ok"],
)
def test_copies_are_found_in_any_writing(other: str) -> None:
    warnings = list(_repeated(_task(("train", "en", "café ok"), ("test", "en", other))))
    assert any(
        "1 text is in train and in test (1 of them in another" in warning.said
        for warning in warnings
    ), warnings
    assert folded(other) == "café ok"
    assert not list(
        _repeated(
            _task(("train", "en", "café ok"), ("test", "de", other), ("test", "en", "cafe ok"))
        )
    )


def test_labels_and_languages_that_are_one_are_warned_about() -> None:
    found = check(
        _task(("train", "en", "x"), labels=("Good", "good"), languages=("zh_TW", "zh-tw", "en"))
    ).warnings
    assert any("'Good', 'good' differ only in how they are written" in w for w in found)
    assert any("zh_TW and zh-tw are one language" in w for w in found)


def test_a_task_of_xglue_says_which_languages_are_missing() -> None:
    found = check(
        replace(
            _task(("train", "en", "x"), ("test", "en", "y"), languages=("en",)),
            name="xglue:/data/NER",
        )
    ).warnings
    assert any(
        "XGLUE tests NER in 4 languages, files in de, es, nl are not there" in w for w in found
    )
    assert any("nothing can be said about transfer" in w for w in found)


# --- languages


@pytest.mark.parametrize(
    ("code", "script", "named"),
    [
        ("zh-hant", "Hant", "Chinese (Han, traditional)"),
        ("zh_TW", "Hant", "Taiwan"),
        ("zh-HK", "Hant", "Hong Kong"),
        ("zh-Hant-TW", "Hant", "Taiwan"),
        ("zh-MO", "Hant", "Macao"),
        ("zh-SG", "Hans", "Singapore"),
        ("ZH_hans_cn", "Hans", "China"),
        ("zh", "Hans", "Chinese"),
        ("zho_Hant", "Hant", "traditional"),
        ("cmn-Hant-TW", "Hant", "Taiwan"),
        ("zh-yue-HK", "Hant", "Cantonese"),
        ("uz-Cyrl-UZ", "Cyrl", "Uzbek (Cyrillic"),
        ("uz", "Latn", "Uzbek"),
        ("uz-AF", "Arab", "Arabic"),
        ("sr_latn", "Latn", "Serbian"),
        ("sr-Cyrl", "Cyrl", "Serbian (Cyrillic)"),
        ("sh", "Latn", "Serbian"),
        ("pa-PK", "Arab", "Punjabi"),
        ("de-1996", "Latn", "German"),
        ("de-u-co-phonebk", "Latn", "German"),
        ("en-x-mine", "Latn", "English"),
        ("es-419", "Latn", "Latin America"),
        ("pt-BR", "Latn", "Portuguese (Brazil)"),
        ("iw", "Hebr", "Hebrew"),
        ("ger", "Latn", "German"),
        ("xx-Cyrl", "Cyrl", "xx-Cyrl"),
        ("xx", "unknown", "xx"),
    ],
)
def test_codes_are_read_by_bcp_47(code: str, script: str, named: str) -> None:
    for written in (
        code,
        code.upper(),
        code.lower(),
        code.replace("-", "_"),
        code.replace("_", "-"),
    ):
        assert language(written).script == script
    assert named in language(code).name
    assert subtags(code).base in ("zh", "yue", "uz", "sr", "pa", "de", "en", "es", "pt", "he", "xx")


@pytest.mark.parametrize(
    ("one", "other", "are"),
    [
        ("zh_TW", "zh-tw", True),
        ("zh-TW", "zh-Hant-TW", True),
        ("de", "deu_Latn", True),
        ("zh", "zh-Hant", False),
        ("pt", "pt-BR", False),
        ("de", "de-1996", False),
        ("sr", "sr-Cyrl", False),
        ("ger", "de", True),
    ],
)
def test_codes_that_are_one_language(one: str, other: str, are: bool) -> None:
    assert same(one, other) is same(other, one) is are


# --- limits, and what is not worth opening


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> Any:
    for name, value in {
        "ROWS": "10",
        "COLUMNS": "5",
        "DECODED_MB": "1",
        "DATA_FILE_MB": "2",
    }.items():
        monkeypatch.setenv(f"SDQ_{name}", value)
    limits.cache_clear()
    yield
    limits.cache_clear()


def _rows(n: int, wide: int = 2, long: int = 1) -> list[dict[str, str]]:
    return [{f"c{j}": "x" * long for j in range(wide)} for _ in range(n)]


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        (_rows(11), "at most 10 rows"),
        (_rows(2, wide=6), "at most 5 columns"),
        (_rows(2, long=600_000), "at most 1 MB|at most 2 MB"),
    ],
)
@pytest.mark.parametrize("ending", TABLES)
def test_limits_hold_in_every_format(
    ending: str, rows: list[dict[str, str]], said: str, small: None, tmp_path: Path
) -> None:
    path = tmp_path / f"a.{ending}"
    if ending == "csv":
        pd.DataFrame(rows).to_csv(path, index=False)
    else:
        TABLES[ending][0](rows, path, random.Random(0))
    with pytest.raises(UserError, match=said) as error:
        list(read(path))
    assert "SDQ_" in str(error.value)
    TABLES[ending][0]([{"a": "x", "b": "y"}], path, random.Random(0))
    assert len(list(read(path))) == 1


def test_a_million_columns_and_sentences_are_refused_soon(small: None, tmp_path: Path) -> None:
    for name, content, said in (
        ("a.csv", "," * 1_500_000, "columns"),
        ("a.tsv", "a\t" * 900_000, "columns"),
        ("a.conll", "w " * 900_000 + "O\n", "columns"),
        ("b.conll", "w O\n\n" * 11, "rows"),
        ("c.jsonl", "[" * 1_000_000, "no JSON|too many brackets"),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(UserError, match=said):
            list(read(tmp_path / name))


def test_what_never_ends_is_not_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "zero.csv").symlink_to("/dev/zero")
    (tmp_path / "folder.csv").mkdir()
    for name in ("pipe.csv", "zero.csv", "folder.csv"):
        with pytest.raises(UserError, match="must be a regular file"):
            accept(tmp_path / name)
        with pytest.raises(UserError, match="must be a regular file"):
            list(read(tmp_path / name))
    for name in ("none.csv", "x\0.csv", "y" * 5000 + ".csv"):
        with pytest.raises(UserError, match="must be readable"):
            accept(tmp_path / name)


def test_random_bytes_leave_no_traceback(tmp_path: Path) -> None:
    chance = random.Random(3)
    whole = [
        b"text,label\nx,y\n",
        b'{"text": "x", "label": "y"}\n',
        b"In O\nRome B-x\n\n",
        b'[{"a": 1}]',
        b"a\tb\nc\td\n",
    ]
    out = io.BytesIO()
    pa.parquet.write_table(pa.table({"text": ["x", "y"], "words": [["a"], ["b", "c"]]}), out)
    for i in range(300):
        data = bytearray(chance.choice([*whole, out.getvalue()]))
        for _ in range(chance.randint(1, 6)):
            at = chance.randrange(len(data))
            data[at : at + chance.randint(0, 2)] = bytes(
                chance.choice([0, 9, 10, 13, 34, 44, 91, 123, 255, chance.randrange(256)])
                for _ in range(chance.randint(0, 2))
            )
            if not data:
                data = bytearray(b"x")
        endings = (".csv", ".tsv", ".json", ".jsonl", ".conll", ".conllu", ".parquet", ".txt", "")
        path = tmp_path / f"{i}{chance.choice(endings)}"
        path.write_bytes(bytes(data))
        with contextlib.suppress(UserError):
            list(read(path))


# --- what is shown before anything is taken


def test_a_preview_says_what_the_file_is_and_what_is_proposed(tmp_path: Path) -> None:
    (tmp_path / "a.data").write_text(
        "In IN O 1 anna\nNew NNP B-city 2 bob\n\nYork NNP I-city 3 anna\n"
    )
    about = preview(tmp_path / "a.data").attrs
    assert about["format"].startswith("CoNLL")
    assert (about["kind"], about["columns"], about["looks"]) == (
        "token",
        {"tokens": "tokens", "tags": "3"},
        "tags of spans",
    )
    (tmp_path / "b.csv").write_text("text;label\nx;y\n")
    about = preview(tmp_path / "b.csv").attrs
    assert (about["format"], about["columns"]) == ("CSV", {"text": "text", "label": "label"})
    assert "';'" in about["remarks"][0]


def test_a_metric_is_proposed_by_the_tags() -> None:
    assert metrics("token", ["O", "B-x"])[0] == "f1"
    assert metrics("token", ["NOUN", "VERB"])[0] == "token_accuracy"
    for spans in (
        ["B_PER", "I_PER", "O"],
        ["PER-B", "PER-I", "O"],
        ["PER", "LOC", "O"],
        ["O", "O"],
    ):
        assert metrics("token", spans)[0] == "f1"
    assert metrics("token", ["NOUN", "_", "O"])[0] == "token_accuracy"
    assert metrics("sentence") == ("accuracy",)
    assert metrics("ranking")[0] == "ndcg"


@pytest.mark.parametrize(
    "name",
    [
        "a.csv",
        "a.tsv",
        "a.jsonl",
        "a.conll",
        "a.parquet",
        "a.json",
        "a.conllu",
        "a",
        "a.conllu.txt",
        "a.iob2",
        "a.data",
    ],
)
def test_what_a_file_is_called_does_not_matter(name: str, tmp_path: Path) -> None:
    contents = {
        "csv": "text,label\nx,y\n",
        "tsv": "text\tlabel\nx\ty\n",
        "json": '[{"text": "x"}]',
        "conllu": "1\tIn\tin\tADP\t_\t_\t2\tcase\t_\t_\n",
        "conll": "In O\nRome B-x\n\nHe O\n",
    }
    if Path(name).suffix in (".conll", ".iob2"):
        del contents["tsv"]  # two fields between tabs: here the ending decides
    for kind, content in contents.items():
        (tmp_path / name).write_text(content)
        assert recognise(tmp_path / name).name == kind
    (tmp_path / name).write_text('{"text": "x", "label": "y"}\n')
    assert recognise(tmp_path / name).name == "jsonl"


@pytest.mark.parametrize(
    ("content", "words", "tags"),
    [
        (
            "# newdoc\nAnna\tB-PER\nran\tO\n",
            "Anna ran",
            "B-PER O",
        ),  # two fields by spaces, one by tabs
        ("#win=1 O\nyes O\n", "#win=1 yes", "O O"),
        ("#win\tO\nyes\tO\n", "#win yes", "O O"),
        ("# O\nyes O\n", "# yes", "O O"),
        ("#\tSYM\nyes\tINTJ\n", "# yes", "SYM INTJ"),
        ("# id 1a\tdomain=en\nAnna _ _ B-PER\nran _ _ O\n", "Anna ran", "B-PER O"),
        ("# text = a\tb\nAnna\tB-PER\nran\tO\n", "Anna ran", "B-PER O"),
        (
            "#id=1\n# a b c\n#begin document (x); part 000\nAnna B-PER\nran O\n",
            "Anna ran",
            "B-PER O",
        ),
    ],
)
def test_comments_and_words_with_a_hash_are_told_apart(
    content: str, words: str, tags: str, tmp_path: Path
) -> None:
    path = tmp_path / "a.conll"
    path.write_text(content)
    (row,) = read(path)
    assert [" ".join(row.cells["tokens"]), " ".join(row.cells["tags"])] == [words, tags]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("# newdoc\nAnna B-PER\nran O\n", "line 1 of a.conll may be either"),
        ("#win\nAnna B-PER\n", "line 1"),
    ],
)
def test_a_comment_that_may_be_a_word_is_refused(content: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.conll").write_text(content)
    with pytest.raises(UserError, match=said):
        list(read(tmp_path / "a.conll"))


SPANS_FIRST, SPEECH_FIRST = (
    "O\ta\nB-actor\tbob\nI-actor\thope\n\nO\tno\nO\tway\n",
    "DET the\nNOUN dog\nVERB ran\n\nDET a\nNOUN cat\n",
)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *((name, SPANS_FIRST) for name in ("a.conll", "a.bio", "a.txt", "a.tsv")),
        ("a.conll", SPEECH_FIRST),
        ("a.bio", SPEECH_FIRST),
    ],
)
def test_tags_before_words_are_never_taken_the_wrong_way_round(
    name: str, content: str, tmp_path: Path
) -> None:
    with pytest.raises(
        UserError, match=r'its columns are 1: .* \| 2: .*"tokens": "2", "tags": "1"'
    ):
        made(
            tmp_path,
            name,
            content,
            {"kind": "token", "columns": {"tokens": "tokens", "tags": "tags"}},
        )
    turned = preview(tmp_path / name).attrs["columns"]
    assert turned == {"tokens": "2", "tags": "1"}
    assert made(tmp_path, name, content, {"kind": "token", "columns": turned}).splits["train"][
        0
    ].words[0] in ("a", "the")


# --- tables and CoNLL

WORDS = ["In", "Rome", ".", "Он", "живёт", "в", "Берлине", "東京", "に"]


@pytest.mark.parametrize(
    ("written", "kind"),
    [
        ("text\tlabel\nvery fine\tgood\n\n" + "sad\tbad\nso sad\tbad\n" * 4, "tsv"),
        ("label\ttext\ngood\tvery fine\n\n" + "bad\tsad\n" * 8, "tsv"),
        (
            "text\tlabel\n"
            + "今天天气很好，我们去公园散步吧\t正面\n\n" * 5
            + "这部电影实在是太无聊了，浪费时间\t负面\n",
            "tsv",
        ),
        ("a text,label\nvery fine,good\n\n" + "so sad,bad\n" * 8, "csv"),
        ("a text;label\nvery fine;good\n\n" + "so sad;bad\n" * 8, "csv"),
        ("\n".join(f"{word}\tX{i % 3}" for i, word in enumerate(WORDS)) + "\n\nHe\tX1\n", "conll"),
        ("\n".join(f"{word} X{i % 3}" for i, word in enumerate(WORDS)) + "\n\nHe X1\n", "conll"),
        ("New York\tB-LOC\nis\tO\n\nHe\tO\n", "conll"),
        ("10 000\tNUM\neuros\tNOUN\n\n12 000\tNUM\nmen\tNOUN\n", "conll"),
        (
            "In\tCase=Nom|Gender=Masc\tX1\nRome\tCase=Nom|Gender=Masc\tX2\n\nHe\tCase=Nom|Gender=M"
            "asc\tX1\n",
            "conll",
        ),
    ],
)
def test_a_table_with_a_blank_line_is_no_conll(written: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text(written, "utf-8")
    assert recognise(tmp_path / "a.txt").name == kind


@pytest.mark.parametrize("end", [",]", ", ]", ",\n]", ",,]"])
def test_an_array_has_no_comma_after_its_last_object(end: str, tmp_path: Path) -> None:
    (tmp_path / "a.json").write_text('[{"text": "fine", "label": "good"}' + end)
    with pytest.raises(
        UserError,
        match="comma after its last, row 1"
        if end != ",,]"
        else "what stands in line 1 of a.json is no JSON",
    ):
        list(read(tmp_path / "a.json"))
