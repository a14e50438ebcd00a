"""Which sentences change their answer when the model is quantized: every test sentence by its
margin before and after.

`pair` puts the answers of two runs side by side, `summary` and `flipped` are the tables, `reading`
says them in words, sdq.figures.margins draws them. The margin of a sentence is the lead of the
first answer over the second, in logits (for tasks with a tag per word the smallest lead of all
words). Here it is signed: positive if the sentence is answered right, negative if not.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from sdq.data.tagging import NO_ANSWER
from sdq.evaluate.significance import named_test
from sdq.evaluate.statistics import p_text, right
from sdq.labels import language_name
from sdq.settings import UserError

GROUPS = ("kept right", "lost", "gained", "still wrong")
MOST = 600
_REST = 150  # so many unflipped sentences are drawn even where flips alone fill the picture
_LETTER = re.compile(r"([BIESULMW])[-_](.+)")
_JOINED = ("ja", "th", "zh")  # words are written without a space between them


def pair(fp32: pd.DataFrame, table: pd.DataFrame, texts: pd.DataFrame) -> pd.DataFrame:
    """One row per sentence: id, language, text, gold, words, FP32 answer, answer, FP32 margin,
    margin (signed, logits), group (one of GROUPS).

    `fp32` and `table` are per-sentence tables of two runs, `texts` has id, language, text, gold and
    words. UserError if they share no sentence.
    """
    sides = []
    for part, prefix in ((fp32, "FP32 "), (table, "")):
        good = right(part)
        margin = part["margin"].where(good, -part["margin"])
        answered = {
            f"{prefix}answer": part["answer"],
            f"{prefix}margin": margin,
            f"{prefix}right": good,
        }
        sides.append(pd.DataFrame({"id": part["id"], "language": part["language"], **answered}))
    both = sides[0].merge(sides[1], on=["id", "language"]).merge(texts, on=["id", "language"])
    if both.empty:
        raise UserError(
            "both runs must have answered the task's test sentences, they share none; run both "
            "recipes again"
        )
    before, after = both["FP32 right"], both["right"]
    both["group"] = np.select(
        [before & after, before & ~after, ~before & after], GROUPS[:3], GROUPS[3]
    )
    return both[
        [
            "id",
            "language",
            "text",
            "gold",
            "words",
            "FP32 answer",
            "answer",
            "FP32 margin",
            "margin",
            "group",
        ]
    ]


def counts(pairs: pd.DataFrame) -> dict[str, int]:
    """Group -> number of sentences, in the order of GROUPS."""
    sizes = pairs["group"].value_counts()
    return {group: int(sizes.get(group, 0)) for group in GROUPS}


def summary(pairs: pd.DataFrame) -> pd.DataFrame:
    """One row per language, most net loss first: sentences, the four groups, the net change in
    sentences and in points of the sentences right."""
    rows = []
    for code, part in pairs.groupby("language", sort=False):
        groups = counts(part)
        net = groups["gained"] - groups["lost"]
        rows.append(
            {
                "language": language_name(str(code)),
                "sentences": len(part),
                **groups,
                "net": net,
                "net, points": 100 * net / len(part),
            }
        )
    return pd.DataFrame(rows).sort_values("net", ignore_index=True)


def reading(pairs: pd.DataFrame, verdict: Mapping[str, Any], setting: str, where: str) -> str:
    """How many answers are lost and gained, the net, and whether chance splits flips so unevenly.
    `verdict` is a row of sdq.evaluate.significance.paired_tests."""
    lost, gained, p = verdict["lost"], verdict["gained"], verdict["p"]
    n, net = len(pairs), gained - lost
    if not lost + gained:
        return (
            f"{setting} leaves right answers right and wrong ones wrong: none of the {n:,} "
            f"sentences in {where} flips."
        )
    text = f"{setting} loses {lost:,} right answers and gains {gained:,} that were wrong before: "
    text += f"net {net:+,} of {n:,} sentences in {where} ({100 * net / n:+.1f} points)."
    if p < 0.05:
        text += (
            " If losing and gaining were equally likely, such an uneven split would be rare "
            f"({named_test(verdict)}, {p_text(p)})."
        )
    else:
        text += (
            " If losing and gaining were equally likely, a split like this would not be unusual "
            f"({named_test(verdict)}, {p_text(p)})."
        )
    other = int(
        ((pairs["group"] == "still wrong") & (pairs["FP32 answer"] != pairs["answer"])).sum()
    )
    return text + (f" Another {other:,} went from one wrong answer to another." if other else "")


def flipped(pairs: pd.DataFrame, kind: str = "both") -> pd.DataFrame:
    """The pairs that are lost, gained or (`both`) either, largest move of the margin first.
    ValueError for another kind."""
    wanted = {"lost": ("lost",), "gained": ("gained",), "both": ("lost", "gained")}
    if kind not in wanted:
        raise ValueError(f"kind must be lost, gained or both, got {kind!r}")
    flips = pairs[pairs["group"].isin(wanted[kind])]
    order = (
        (flips["margin"] - flips["FP32 margin"])
        .abs()
        .sort_values(ascending=False, kind="stable")
        .index
    )
    return flips.loc[order].reset_index(drop=True)


def spot(pairs: pd.DataFrame, example: str | None) -> pd.Series | None:
    """The sentence to show: that with the id (a flipped one, if several languages have it); else
    the largest flip; None if nothing flips."""
    named = pairs[pairs["id"] == example]
    flips = flipped(named)
    if flips.empty:
        flips = named if len(named) else flipped(pairs)
    return None if flips.empty else flips.iloc[0]


def thinned(pairs: pd.DataFrame, most: int = MOST, seed: int = 0) -> pd.DataFrame:
    """At most `most` sentences to draw: all flips (be they more), and of the others a seeded sample
    of what is left to `most`, but 150 at least."""
    flips = pairs["group"].isin(("lost", "gained"))
    rest = pairs[~flips]
    room = max(most - int(flips.sum()), _REST)
    return pairs[
        flips | pairs.index.isin(rest.sample(min(len(rest), room), random_state=seed).index)
    ]


def phrases(words: Sequence[str], tags: Sequence[str], language: str = "") -> str:
    """Tags of words as phrases, "time: 6:30 Uhr · date: morgen"; "nothing found" without any.
    Missing tags count as O. A tag without a letter that says whether a phrase begins (IO, parts of
    speech) goes on with the one before if that is the same."""
    spans: list[tuple[str, list[str]]] = []
    before = ""  # the kind of the word before, if it is in a phrase
    for word, tag in zip(words, [*tags, *["O"] * (len(words) - len(tags))], strict=False):
        letter, kind = match.groups() if (match := _LETTER.fullmatch(tag)) else ("", tag)
        kind = "" if tag in ("O", NO_ANSWER) else kind
        if kind:
            if letter not in ("B", "S", "U") and before == kind:
                spans[-1][1].append(word)
            else:
                spans.append((kind, [word]))
        before = kind
    glue = "" if language in _JOINED else " "
    return " · ".join(f"{kind}: {glue.join(part)}" for kind, part in spans) or "nothing found"


def tag_rows(words: Sequence[str], gold: str, given: Mapping[str, str]) -> pd.DataFrame:
    """One row per word: word, gold, and each run's tag as "–" (outside), "date" (a phrase begins)
    or "… date" (it goes on), and other tags as they are; ✗ marks a wrong one."""

    def said(tag: str) -> str:
        if tag in ("O", NO_ANSWER):
            return "–" if tag == "O" else "no answer"
        return f"… {tag.removeprefix('I-')}" if tag.startswith("I-") else tag.removeprefix("B-")

    right_tags = gold.split()
    table = {"word": list(words), "gold": [said(tag) for tag in right_tags]}
    for name, answer in given.items():
        tags = answer.split()
        tags += ["O"] * (len(words) - len(tags))
        table[name] = [
            said(tag) if tag == wanted or (tag, wanted) == (NO_ANSWER, "O") else f"✗ {said(tag)}"
            for tag, wanted in zip(tags, right_tags, strict=False)
        ]
    return pd.DataFrame(table)


def listing(flips: pd.DataFrame, label: str) -> pd.DataFrame:
    """The flipped pairs as people read them: language, text, flip, gold, FP32, `label` (its answer)
    and both margins."""
    tagged = bool((flips["words"] != "").any())

    def said(column: str) -> list[str]:
        if not tagged:
            return list(flips[column])
        parts = zip(flips["words"], flips[column], flips["language"], strict=True)
        return [
            phrases(words.split("\t"), tags.split(), language) for words, tags, language in parts
        ]

    return pd.DataFrame(
        {
            "language": [language_name(code) for code in flips["language"]],
            "text": flips["text"].to_numpy(),
            "flip": flips["group"].to_numpy(),
            "gold": said("gold"),
            "FP32": said("FP32 answer"),
            label: said("answer"),
            "margin FP32": flips["FP32 margin"].to_numpy(),
            f"margin {label}": flips["margin"].to_numpy(),
        }
    )
