"""Tags of words, and which spans they make. Needs no torch.

A scheme says where a span begins and ends. Spans are counted as seqeval's strict mode counts them
(seqeval.scheme); what a scheme does not allow is in no span. `conlleval` is the lenient way of the
CoNLL script and of seqeval's default mode, which takes any tags. Which scheme tags are of is
recognised in sdq.data.schemes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

Scheme = Literal["IOB1", "IOB2", "IOBES", "BILOU", "IO", "conlleval"]
Span = tuple[str, int, int]  # kind, first word, last word
SPAN_METRICS = ("f1", "precision")
# stands in the place of a word that was not answered: no subword of it went into the model
NO_ANSWER = "∅"
COUNTED = {
    "IOB1": "a span begins with I-, or with B- after a span of the same kind (seqeval, strict)",
    "IOB2": "a span begins with B- and goes on with I- of the same kind (seqeval, strict)",
    "IOBES": "a span is S-, or B-, any I- and E- of the same kind (seqeval, strict)",
    "BILOU": "a span is U-, or B-, any I- and L- of the same kind (seqeval, strict)",
    "IO": "a span is a run of words with the same tag other than O",
    "conlleval": "as the CoNLL script and seqeval's default mode count, ill-formed spans too",
}
# also BMES, BMEWO
ROLES = {"B": "B", "I": "I", "M": "I", "E": "E", "L": "E", "S": "S", "U": "S", "W": "S"}
UPOS = frozenset(
    [
        "ADJ",
        "ADP",
        "ADV",
        "AUX",
        "CCONJ",
        "DET",
        "INTJ",
        "NOUN",
        "NUM",
        "PART",
        "PRON",
        "PROPN",
        "PUNCT",
        "SCONJ",
        "SYM",
        "VERB",
        "X",
    ]
)


@dataclass(frozen=True)
class Tagging:
    """How a task's tags make spans. `scheme`: None where they make none. The letter stands before
    its kind (B-PER), or after it (PER-B). `said`: one sentence for each thing that was decided
    without being asked, or looks wrong."""

    scheme: Scheme | None
    delimiter: str = "-"
    suffix: bool = False
    said: tuple[str, ...] = ()

    @property
    def counted(self) -> str:
        """How spans are counted, in words."""
        return (
            "tags make no spans, each word counts" if self.scheme is None else COUNTED[self.scheme]
        )

    def spans(self, tags: Sequence[str]) -> set[Span]:
        """The spans of one sentence. A word without an answer, or with a tag that the scheme does
        not have, is outside. ValueError without a scheme."""
        if self.scheme is None:
            raise ValueError(
                "spans need tags of a scheme, these have none; score each word (token accuracy)"
            )
        if self.scheme == "conlleval":
            return _lenient(tuple("O" if tag == NO_ANSWER else tag for tag in tags), self.suffix)
        if self.scheme == "IO":
            return _strict(
                [("O", "") if tag in ("O", NO_ANSWER) else ("I", tag) for tag in tags], "IOB1"
            )
        return _strict(
            [parsed(tag, self.delimiter, self.suffix) or ("O", "") for tag in tags], self.scheme
        )


CONLLEVAL = Tagging("conlleval")


@lru_cache(maxsize=4096)
def parsed(tag: str, delimiter: str, suffix: bool) -> tuple[str, str] | None:
    """A tag as (role of its letter: B, I, E, S or O; kind); None if it has no such letter.

    tag: as it is written
    delimiter: what stands between letter and kind
    suffix: whether the letter stands after the kind
    """
    if tag in ("O", NO_ANSWER):
        return "O", ""
    letter, rest = (tag[-1:], tag[:-1]) if suffix else (tag[:1], tag[1:])
    if letter not in ROLES or (
        rest and not (rest.endswith(delimiter) if suffix else rest.startswith(delimiter))
    ):
        return None
    return ROLES[letter], rest.strip(delimiter) or "_"


def _strict(tags: list[tuple[str, str]], scheme: str) -> set[Span]:
    """Spans as seqeval's strict mode finds them; BILOU is IOBES in other letters."""
    starts, inside, ends = _RULES["IOBES" if scheme == "BILOU" else scheme]
    tags = [*tags, ("O", "")]
    spans, at, before = set(), 0, ("O", "")
    while at < len(tags):
        end = at + 1
        if starts(before, tags[at]):
            while inside(tags[end - 1], tags[end]):  # never true of the O at the end
                end += 1
            if ends(tags[end - 1], tags[end]):
                spans.add((tags[at][1], at, end - 1))
        at, before = end, tags[end - 1]
    return spans


_Tag = tuple[str, str]


def _iob1_starts(before: _Tag, now: _Tag) -> bool:
    same = before[1] == now[1]
    return (now[0] == "I" and (before[0] in "OB" or not same)) or (
        now[0] == "B" and before[0] in "IB" and same
    )


def _iob1_ends(last: _Tag, after: _Tag) -> bool:
    # seqeval lets a B- end at a B- of the same kind alone
    return last[0] == "I" or after[0] != "B" or last[1] == after[1]


def _goes_on(before: _Tag, now: _Tag) -> bool:
    return before[0] in "BI" and now[0] == "I" and before[1] == now[1]


# scheme -> (does a span start here, does it go on here, does it end well before this tag)
_RULES = {
    "IOB1": (_iob1_starts, _goes_on, _iob1_ends),
    "IOB2": (lambda before, now: now[0] == "B", _goes_on, lambda last, after: True),
    "IOBES": (
        lambda before, now: now[0] in "BS",
        lambda before, now: before[0] in "BI" and now[0] in "IE" and before[1] == now[1],
        lambda last, after: last[0] in "SE",
    ),
}


def _lenient(tags: Sequence[str], suffix: bool) -> set[Span]:
    """Spans as seqeval.metrics.sequence_labeling.get_entities finds them, of any tags: the first
    letter is taken for B, I, E, S or O."""
    spans, begin, was, kind = set(), 0, "O", ""
    for at, tag in enumerate([*tags, "O"]):
        if suffix:
            now, of = tag[-1], tag[:-1].rsplit("-", 1)[0] or "_"
        else:
            now, of = tag[0], tag[1:].split("-", 1)[-1] or "_"
        other = kind != of
        if was in "ES" or (was in "BI" and now in "BSO") or (was not in "O." and other):
            spans.add((kind, begin, at - 1))
        if now in "BS" or (was in "ESO" and now in "EI") or (now not in "O." and other):
            begin = at
        was, kind = now, of
    return spans
