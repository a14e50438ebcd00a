"""What the columns of labelled text are usually called. Needs no torch."""

from __future__ import annotations

from collections.abc import Collection

# what columns are usually called, the best name first
COLUMN_NAMES = {
    "text": (
        "text",
        "sentence1",
        "premise",
        "query",
        "question",
        "utt",
        "sentence",
        "utterance",
        "content",
        "review",
        "title",
    ),
    "second": (
        "second",
        "sentence2",
        "hypothesis",
        "passage",
        "document",
        "answer",
        "body",
        "snippet",
    ),
    "label": ("label", "gold_label", "category", "intent", "class", "target", "sentiment", "stars"),
    "tokens": ("tokens", "words", "form", "token", "word"),
    "tags": ("tags", "upos", "ner_tags", "pos_tags", "ner", "pos", "tag", "ner_tag", "pos_tag"),
    "language": ("language", "lang", "locale"),
    "split": ("split", "partition", "set"),
    "id": ("id", "index_id", "sent_id", "uid", "idx"),
    "group": ("group", "query_id", "qid"),
}
_ALL_USUAL = {name for names in COLUMN_NAMES.values() for name in names}
_OF_WORDS = {*COLUMN_NAMES["tokens"], "text"}
_OF_TAGS = {
    *COLUMN_NAMES["tags"],
    "label",
    "labels",
    "ner-tag",
    "pos-tag",
    "entity",
    "chunk",
    "lemma",
}


def names_columns(fields: Collection[str], words: bool = False) -> bool:
    """Whether all fields of a first line are what columns are usually called; `words`: of CoNLL,
    where one is of words and one of tags."""
    names = {field.strip(" ").lower() for field in fields if field.strip(" ")}
    if words and not (names & _OF_WORDS and names & _OF_TAGS):
        return False
    return len(names) > 1 and names <= _ALL_USUAL | _OF_TAGS
