"""Files as people bring them, with the task that is made of each."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet

from sdq.data.assemble import assemble
from sdq.data.task import Task
from sdq.data.taskfile import Source, TaskFile
from tests.helpers.parquet import bomb, classes, lists, parquet

CSV = "text,label\nfine,good\nsad,bad\n"
CONLLU = (
    "# sent_id = "
    "s1\n1\tIn\tin\tADP\t_\t_\t2\tcase\t_\t_\n2\tRome\tRome\tPROPN\t_\t_\t0\troot\t_\t_\n\n"
)
FIVE = (
    "In IN O 1 anna\nNew NNP B-city 2 bob\nYork NNP I-city 3 anna\n\nHe PRP O 4 bob\nis VBZ O "
    "5 anna\n"
)
TWO = "In O\nRome B-city\n\nHe O\n"


def _cells(tokens: str, tags: str) -> str:
    return pd.DataFrame({"tokens": [tokens, tokens], "tags": [tags, tags]}).to_csv(index=False)


SENTENCE: dict[str, Any] = {"kind": "sentence", "columns": {"text": "text", "label": "label"}}
TOKEN: dict[str, Any] = {"kind": "token", "columns": {"tokens": "tokens", "tags": "tags"}}
# what is brought -> (name of the file, its content, fields of the task file)
CASES: dict[str, tuple[str, bytes | str, dict[str, Any]]] = {
    "CSV (RFC 4180)": ("a.csv", 'text,label\n"fine, ""very"" fine",good\nsad,bad\n', SENTENCE),
    "CSV with semicolons, as spreadsheets of many countries write it": (
        "a.csv",
        "text;label\nfine;good\nsad;bad\n",
        SENTENCE,
    ),
    "CSV whose lines end with CR alone": ("a.csv", CSV.replace("\n", "\r"), SENTENCE),
    "CSV with a byte order mark": ("a.csv", b"\xef\xbb\xbf" + CSV.encode(), SENTENCE),
    "CSV with the index that pandas writes": (
        "a.csv",
        ",text,label\n0,fine,good\n1,sad,bad\n",
        SENTENCE,
    ),
    "CSV with a comma at the end of every line": (
        "a.csv",
        "text,label,\nfine,good,\nsad,bad,\n",
        SENTENCE,
    ),
    "CSV with a comma at the end of every row, not of the header": (
        "a.csv",
        "text,label\nfine,good,\nsad,bad,\n",
        SENTENCE,
    ),
    "a column without a name that holds something": (
        "a.csv",
        "text,label,\nfine,good,\nsad,bad,why\n",
        SENTENCE,
    ),
    "CSV with a first line sep=;": ("a.csv", "sep=;\ntext;label\nfine;good\nsad;bad\n", SENTENCE),
    "tabs in a file called .csv": ("a.csv", CSV.replace(",", "\t"), SENTENCE),
    "commas in a file called .tsv": ("a.tsv", CSV, SENTENCE),
    "CSV called .txt, .data or anything else": ("a.txt", CSV, SENTENCE),
    "an open quote in CSV": ("a.csv", 'text,label\n"fine,good\nsad,bad\n', SENTENCE),
    "CSV with a space before quoted fields": (
        "a.csv",
        'label, text\ngood, "fine, very"\nbad, "sad"\n',
        SENTENCE,
    ),
    "CSV with a space before one quoted field, far down": (
        "a.csv",
        "label,text\ngood,fine\nbad,sad\n" + "good,a fine day\n" * 5000 + 'bad, "grey"\n',
        SENTENCE,
    ),
    "CSV with single quotes": ("a.csv", "text,label\n'fine',good\n'sad',bad\n", SENTENCE),
    "CSV files joined, each with its header": ("a.csv", f"{CSV}\ufeff{CSV}", SENTENCE),
    "`names` for a file that names its columns otherwise": (
        "a.csv",
        CSV,
        SENTENCE | {"names": ["t", "l"], "columns": {"text": "t", "label": "l"}},
    ),
    "a line of another width": ("a.csv", "text,label\nfine, very fine,good\n", SENTENCE),
    "a header with a name twice": ("a.csv", "text,text\nfine,good\n", SENTENCE),
    "a header without rows": ("a.csv", "text,label\n", SENTENCE),
    "TSV": ("a.tsv", CSV.replace(",", "\t"), SENTENCE),
    "TSV called .txt, with a blank line": (
        "a.txt",
        "text\tlabel\nvery fine\tgood\n\n" + "so sad\tbad\n" * 8,
        SENTENCE,
    ),
    "TSV with a text in quotes": ("a.tsv", 'text\tlabel\n"fine"\tgood\nsad\tbad\n', SENTENCE),
    "TSV with a quoted header": ("a.tsv", '"text"\t"label"\n"fine"\t"good"\n', SENTENCE),
    "TSV with a quoted line end": ("a.tsv", 'text\tlabel\n"fine\nday"\tgood\n', SENTENCE),
    'TSV with quotes and "quoting": "double"': (
        "a.tsv",
        '"text"\t"label"\n"fine\nday"\t"good"\n"sad"\t"bad"\n',
        SENTENCE | {"quoting": "double"},
    ),
    "JSONL, also called .json, .ndjson or .txt": (
        "a.json",
        '{"text": "fine", "label": "good"}\n{"text": "sad", "label": "bad"}\n',
        SENTENCE,
    ),
    "a JSON array of objects": (
        "a.json",
        '[{"text": "fine", "label": "good"},\n {"text": "sad", "label": "bad"}]',
        SENTENCE,
    ),
    "one JSON object over several lines": ("a.json", '{\n "rows": []\n}\n', SENTENCE),
    "a JSON array with a comma after its last object": (
        "a.json",
        '[{"text": "fine", "label": "good"},\n {"text": "sad", "label": "bad"},\n]',
        SENTENCE,
    ),
    "a JSON array cut off": ("a.json", '[{"text": "fine", "label": "good"}', SENTENCE),
    "a line of JSONL that is no JSON": (
        "a.jsonl",
        '{"text": "fine", "label": "good"}\n{"text": "sad",\n',
        SENTENCE,
    ),
    "half a surrogate pair in JSON": (
        "a.jsonl",
        '{"text": "\\ud83d", "label": "good"}\n',
        SENTENCE,
    ),
    "a name twice in one JSON object": (
        "a.jsonl",
        '{"text": "fine", "text": "sad", "label": "good"}\n',
        SENTENCE,
    ),
    "NaN in JSON": ("a.jsonl", '{"text": NaN, "label": "good"}\n', SENTENCE),
    "a number too large in JSON": ("a.jsonl", '{"text": 1e999, "label": "good"}\n', SENTENCE),
    "U+0000 in a text": ("a.jsonl", '{"text": "fi\\u0000ne", "label": "good"}\n', SENTENCE),
    "Boolean labels": (
        "a.jsonl",
        '{"text": "fine", "label": true}\n{"text": "sad", "label": false}\n',
        SENTENCE,
    ),
    "Parquet": (
        "a.parquet",
        parquet(pa.table({"text": ["fine", "sad"], "label": ["good", "bad"]})),
        SENTENCE,
    ),
    "Parquet of `datasets` with ClassLabel": ("a.parquet", classes("bad", "good"), SENTENCE),
    "Parquet with ClassLabel in an order of its own, and names that no row has": (
        "a.parquet",
        classes("positive", "negative", "neutral"),
        SENTENCE,
    ),
    "Parquet with ClassLabel whose names are numbers, listed under `labels`": (
        "a.parquet",
        classes("1", "0"),
        SENTENCE | {"labels": ["0", "1"]},
    ),
    "a damaged Parquet file": ("a.parquet", parquet(pa.table({"text": ["fine"]}))[:-20], SENTENCE),
    "Parquet that names one long text thousands of times": ("a.parquet", bomb(), SENTENCE),
    "Parquet with lists of tens of millions": ("a.parquet", lists(), SENTENCE),
    "CoNLL of two columns": ("a.conll", TWO, TOKEN),
    "CoNLL called .iob2, .bio, .tsv or .txt": ("a.iob2", TWO, TOKEN),
    "CoNLL with a comment that names its columns": (
        "a.conll",
        "# global.columns = FORM POS NER\nIn IN O\nRome NNP B-city\n",
        TOKEN | {"columns": {"tokens": "FORM", "tags": "NER"}},
    ),
    "CoNLL of several columns, called by number": (
        "a.conll",
        FIVE,
        TOKEN | {"columns": {"tokens": "1", "tags": "3"}},
    ),
    "CoNLL of several columns, not named": ("a.conll", FIVE, TOKEN),
    "CoNLL of several columns, only the last with tags of spans": (
        "a.conll",
        "In IN O\nRome NNP B-city\n",
        TOKEN,
    ),
    "CoNLL of several columns, only the last with tags of spans, chosen by number": (
        "a.conll",
        "In IN O\nRome NNP B-city\n",
        TOKEN | {"columns": {"tokens": "1", "tags": "3"}},
    ),
    "CoNLL with a line that names its columns": (
        "a.conll",
        "token\tner\nIn\tO\nRome\tB-city\n\nHe\tO\n",
        TOKEN,
    ),
    "CoNLL with a language before every word (WikiANN, PAN-X)": (
        "a.txt",
        "en:In\tO\nen:Rome\tB-city\n\nen::\tO\n",
        TOKEN,
    ),
    "CoNLL with tabs at the ends of lines": ("a.conll", "In\tO\t\nRome\tB-city\t\n", TOKEN),
    "CoNLL with lines of another width": ("a.conll", "In O\nNew York B-city\n", TOKEN),
    "a no-break space (U+00A0, U+3000) in a word of CoNLL": (
        "a.conll",
        "10\u00a0000 B-NUM\neuros O\n",
        TOKEN,
    ),
    "CoNLL-U, also called .conllu.txt": (
        "a.conllu.txt",
        CONLLU,
        TOKEN | {"columns": {"tokens": "form", "tags": "upos"}},
    ),
    "CoNLL-U with spaces instead of tabs": (
        "a.conllu",
        CONLLU.replace("\t", " "),
        TOKEN | {"columns": {"tokens": "form", "tags": "upos"}},
    ),
    "CoNLL-U with a line of another width": (
        "a.conllu",
        CONLLU + "1\tHe\n",
        TOKEN | {"columns": {"tokens": "form", "tags": "upos"}},
    ),
    "lists as JSON, Python or pandas write them": (
        "a.csv",
        _cells("['Anna', \"O'Neill\"]", "['B-PER', 'O']"),
        TOKEN,
    ),
    "lists as numpy writes them": ("a.csv", _cells("['Anna' 'Smith']", "['B-PER' 'O']"), TOKEN),
    "a list that numpy shortened": (
        "a.csv",
        _cells("['Anna' ... 'Smith']", "['B-PER' ... 'O']"),
        TOKEN,
    ),
    "a list without quotes": ("a.csv", _cells("[Anna, Smith]", "[B-PER, O]"), TOKEN),
    "a list without quotes and commas": ("a.csv", _cells("[Anna Smith]", "[B-PER O]"), TOKEN),
    "JSON lists with white space after their brackets": (
        "a.csv",
        _cells('[ "Anna", "Smith" ]', '[\n "B-PER",\n "O"\n]'),
        TOKEN,
    ),
    "a list with commas here and none there": (
        "a.csv",
        _cells("['An' 'na', 'Smith']", "['B-PER', 'O']"),
        TOKEN,
    ),
    "a list that was encoded as JSON twice": (
        "a.csv",
        _cells(json.dumps('["Anna", "Smith"]'), json.dumps('["B-PER", "O"]')),
        TOKEN,
    ),
    "a list as R writes it": ("a.csv", _cells('c("Anna", "Smith")', 'c("B-PER", "O")'), TOKEN),
    "a list as PostgreSQL writes it": ("a.csv", _cells("{Anna,Smith}", "{B-PER,O}"), TOKEN),
    "words and tags with commas between, and no space": (
        "a.csv",
        _cells("Anna,Smith", "B-PER,O"),
        TOKEN,
    ),
    "a list as torch writes it": ("a.csv", _cells("['Anna', 'Smith']", "tensor([1, 0])"), TOKEN),
    "tags as numbers with a point": ("a.csv", _cells("['Anna' 'Smith']", "[1. 0.]"), TOKEN),
    "text that begins like a list, and is none": (
        "a.jsonl",
        '{"tokens": "(\\"So\\" he said)", "tags": "O O O"}\n{"tokens": "Rome", "tags": "B-city"}\n',
        TOKEN,
    ),
    "a list inside a list": ("a.jsonl", '{"tokens": [["Anna"]], "tags": ["O"]}\n', TOKEN),
    "words and tags of another number": (
        "a.jsonl",
        '{"tokens": ["Anna", "Smith"], "tags": ["O"]}\n',
        TOKEN,
    ),
    "a sentence without words": ("a.jsonl", '{"tokens": " ", "tags": "O"}\n', TOKEN),
    "-100, or -1 beside no other number below 0, as a tag": (
        "a.jsonl",
        '{"tokens": "In Rome", "tags": [0, 1]}\n{"tokens": "He is", "tags": [0, -100]}\n',
        TOKEN,
    ),
    "-1 as a label, as in the test sets of GLUE": (
        "a.csv",
        "text,label\nfine,1\nsad,0\ngrey,-1\n",
        SENTENCE,
    ),
    "white space around labels": ("a.csv", "text,label\nfine,good\nsad, bad\u00a0\n", SENTENCE),
    "labels like 1.0, nan, 1e3, --5": ("a.csv", "text,label\nfine,good\nsad,--5\n", SENTENCE),
    "an empty label": ("a.csv", "text,label\nfine,good\nsad,\n", SENTENCE),
    "a label longer than any label": (
        "a.csv",
        f"text,label\nfine,good\nsad,{'x' * 300}\n",
        SENTENCE,
    ),
    "a column that is not there": ("a.csv", "words,label\nfine,good\n", SENTENCE),
    "text that is not UTF-8": ("a.csv", CSV.encode() + "trüb,bad\n".encode("latin-1"), SENTENCE),
    "UTF-16": ("a.csv", CSV.encode("utf-16"), SENTENCE),
    "a compressed file": ("a.csv.gz", gzip.compress(CSV.encode(), mtime=0), SENTENCE),
    "a sheet of Excel": ("a.xlsx", b"PK\x03\x04rest", SENTENCE),
    "a web page instead of the file": ("a.csv", "<!DOCTYPE html>\n<html>", SENTENCE),
    "a table of HTML": ("a.xls", "<table><tr><td>text</td></tr></table>", SENTENCE),
    "XML": ("a.csv", '<?xml version="1.0"?>\n<corpus/>', SENTENCE),
    "RTF": ("a.csv", "{\\rtf1 text,label}", SENTENCE),
    "a table of Markdown": ("a.csv", "| text | label |\n|---|---|\n| fine | good |\n", SENTENCE),
    "a pointer of Git LFS": (
        "a.csv",
        "version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
        SENTENCE,
    ),
    "binary": ("a.csv", b"\x89PNG\r\n\x1a\n\x00\x00", SENTENCE),
    "an empty file": ("a.csv", b"", SENTENCE),
    "text without any structure": ("a.txt", "one word\nand another line here\n", SENTENCE),
    "more columns than the limit": (
        "a.csv",
        ",".join(f"c{i}" for i in range(501)) + "\n",
        SENTENCE,
    ),
}


def made(folder: Path, name: str, content: bytes | str, fields: dict[str, Any]) -> Task:
    """The task of one file, which holds all its splits."""
    path = folder / name
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    file = TaskFile.model_validate(
        {
            "name": "one",
            "splits": dict.fromkeys(("train", "dev", "test"), name),
            "training_language": "en",
        }
        | fields
    )
    return assemble(
        file, [Source(split, "en", path) for split in ("train", "dev", "test")], "one", "0"
    )
