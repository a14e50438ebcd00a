"""Reading: random tables and sentences come back as csv, pandas and the writer have them."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet
import pytest

from sdq.data.formats import READERS, read
from sdq.intake.preview import preview
from tests.helpers.tables import TABLES, text


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


def table(chance: random.Random, **how: str) -> list[dict[str, str]]:
    names = chance.sample(["text", "label", "Spalte", "名", "x y"], chance.randint(2, 4))
    return [{name: text(chance, **how) for name in names} for _ in range(chance.randint(1, 6))]


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
        cells = [list(row.cells.values()) for row in read(path)]
        assert cells == [
            [list(column) for column in zip(*block, strict=True)] for block in blocks
        ], path.read_bytes()


def test_every_format_is_tried_above_or_below() -> None:
    assert set(READERS) == {*TABLES, "conll", "conllu"}


def test_a_column_that_was_asked_for_is_not_said_to_be_guessed(tmp_path: Path) -> None:
    path, said = tmp_path / "a.conll", list[str]()
    path.write_text("In IN O\nRome NNP B-city\n\nHe PRP O\n")
    list(read(path, remark=said.append, used=frozenset({"1", "3"})))
    assert not said
    for used in (frozenset[str](), frozenset({"tokens", "tags"})):
        list(read(path, remark=said.append, used=used))
        assert said.pop().startswith("of 3 columns the last was taken as tags")
