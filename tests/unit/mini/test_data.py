"""The hand-written text of mini: complete, parallel, without a leak between splits, and
taggable."""

from __future__ import annotations

import itertools
import json
import re

import pandas as pd
import pytest

from sdq.mini import frames
from sdq.mini.data import PER_FRAME, sentences

LANGUAGE = pytest.mark.parametrize("code", frames.LANGUAGES)


@pytest.fixture(scope="session")
def table() -> pd.DataFrame:
    return sentences()


@LANGUAGE
def test_no_problems(code: str) -> None:
    assert list(frames.problems(code)) == []


def test_fifteen_languages_in_all_splits(table: pd.DataFrame) -> None:
    assert len(frames.LANGUAGES) == 15
    assert sorted(p.stem for p in frames.TEXT.glob("*.txt")) == sorted(frames.LANGUAGES)
    assert set(zip(table["language"], table["split"], strict=True)) == set(
        itertools.product(frames.LANGUAGES, frames.SPLITS)
    )


@LANGUAGE
def test_no_frame_and_no_sentence_in_two_splits(code: str, table: pd.DataFrame) -> None:
    rows = table[table["language"] == code]
    for a, b in itertools.combinations(frames.SPLITS, 2):
        one, other = rows[rows["split"] == a], rows[rows["split"] == b]
        assert not set(one["frame"]) & set(other["frame"])
        assert not {t.casefold() for t in one["text"]} & {t.casefold() for t in other["text"]}


@LANGUAGE
def test_no_frame_says_the_same_in_two_splits(code: str) -> None:
    """Their texts, not only their names; small letters, no final mark, no grammatical form of the
    slot."""
    plain: dict[str, str] = {}
    for frame in (
        frames.read(code).frames | (frames.more().frames if code == "en" else {})
    ).values():
        text = (
            re.sub(r"\{([a-z0-9_]+)[^}]*\}", r"{\1}", frame.text).casefold().rstrip(" .!?。؟！？।")
        )
        assert plain.setdefault(text, frame.split) == frame.split, frame


@LANGUAGE
def test_test_only_values_occur_nowhere_else(code: str, table: pd.DataFrame) -> None:
    rows = table[table["language"] == code]
    english = frames.read("en")
    kept = {slot: n for slot, n in english.kept.items() if n < len(english.values[slot])}
    assert kept
    seen: dict[bool, dict[str, set[str]]] = {True: {}, False: {}}
    for row in rows.itertuples():
        surfaces, positions = json.loads(row.surfaces), json.loads(row.values)
        assert surfaces.keys() == positions.keys()
        for slot, position in positions.items():
            if slot in kept:
                assert not row.parallel or (position >= kept[slot]) is (row.split == "test")
                seen[row.split == "test"].setdefault(slot, set()).add(surfaces[slot].casefold())
    for slot, surfaces in seen[True].items():
        assert not surfaces & seen[False].get(slot, set()), slot


@LANGUAGE
def test_classes_are_balanced(code: str, table: pd.DataFrame) -> None:
    """Every class has equally many sentences in each split."""
    rows = table[table["language"] == code]
    counts = rows.groupby(["split", "intent"]).size().unstack("split")
    assert not counts.isna().any().any()
    assert counts["dev"].nunique() == counts["test"].nunique() == 1
    assert counts["train"].nunique() == 1


@LANGUAGE
def test_enough_test_sentences(code: str, table: pd.DataFrame) -> None:
    rows = table[(table["language"] == code) & (table["split"] == "test")]
    assert len(rows) >= 600
    assert rows["frame"].nunique() >= 120


def test_english_only_frames_are_for_training() -> None:
    """They add to the parallel frames, equally many per class, and repeat none of them."""
    english, written = frames.read("en").frames, frames.read("en", frames.TEXT / "more").frames
    assert {frame.split for frame in frames.more().frames.values()} == {"train"}
    assert not written.keys() & english.keys()
    assert (
        len(
            {
                [f.intent for f in written.values()].count(intent)
                for intent in {f.intent for f in english.values()}
            }
        )
        == 1
    )
    texts = [
        re.sub(r"[^a-z{}]", "", re.sub(r"\{([a-z0-9_]+)[^}]*\}", r"{\1}", f.text.casefold()))
        for f in (english | written).values()
    ]
    assert len(set(texts)) == len(texts)


def test_languages_are_parallel(table: pd.DataFrame) -> None:
    """The same ids in every language, with the same intent, split, values and number of tagged
    spans."""
    table = table[table["parallel"]]
    english = table[table["language"] == "en"].set_index("id")
    assert english.index.is_unique
    spans = [sorted(t[2:] for t in tags if t.startswith("B-")) for tags in english["tags"]]
    for code in frames.LANGUAGES:
        rows = table[table["language"] == code].set_index("id")
        assert list(rows.index) == list(english.index)
        for column in ("intent", "split", "frame", "values"):
            assert (rows[column] == english[column]).all(), (code, column)
        for key, ours, theirs in zip(rows.index, rows["tags"], spans, strict=True):
            assert sorted(t[2:] for t in ours if t.startswith("B-")) == theirs, (code, key)


@LANGUAGE
def test_tags_are_bio_and_tokens_rebuild_the_text(code: str, table: pd.DataFrame) -> None:
    for row in table[table["language"] == code].itertuples():
        assert len(row.tokens) == len(row.tags)
        assert all(row.tokens)
        assert not any(c.isspace() for t in row.tokens for c in t)
        before = "O"
        for tag in row.tags:
            assert re.fullmatch(r"O|[BI]-[a-z_]+", tag)
            assert not tag.startswith("I-") or before[2:] == tag[2:], (row.id, row.tags)
            before = tag
        assert "".join(row.tokens) == re.sub(r"\s", "", row.text), row.id
        assert frames.BOUNDARY not in row.text
        assert not re.search(r"[{}\[\]|]", row.text)


@LANGUAGE
def test_tagged_tokens_are_the_values(code: str, table: pd.DataFrame) -> None:
    for row in table[table["language"] == code].itertuples():
        spans: list[str] = []
        for token, tag in zip(row.tokens, row.tags, strict=True):
            if tag.startswith("B-"):
                spans.append(token)
            elif tag.startswith("I-"):
                spans[-1] += token
        wanted = [re.sub(r"\s", "", s).casefold() for s in json.loads(row.surfaces).values()]
        assert sorted(s.casefold() for s in spans) == sorted(wanted), row.id


def test_choices_are_drawn_without_repetition_and_always_alike() -> None:
    english = frames.read("en")
    for frame in itertools.islice(english.frames.values(), 0, None, 9):
        n = PER_FRAME[frame.split]
        drawn = frames.choices(english, frame, n)
        assert drawn == frames.choices(english, frame, n)
        assert len({json.dumps(c, sort_keys=True) for c in drawn}) == len(drawn) <= n
        assert drawn == frames.choices(english, frame, n, seed=0)
        for choice in drawn:
            assert all(
                position in frames.allowed(english, slot, frame.split)
                for slot, position in choice.items()
            )
