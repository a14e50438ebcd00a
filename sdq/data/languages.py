"""Codes of languages, and what they say: the language, its script and its region.

Codes are those of sdq.data.language_table, and whatever BCP 47 makes of these: "deu_Latn", "zh_TW",
"uz-Cyrl-UZ".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from itertools import takewhile
from typing import NamedTuple

from sdq.data.language_table import (
    ISO_639_3,
    LANGUAGES,
    OTHER_CODES,
    REGIONS,
    SCRIPT_OF_REGION,
    SCRIPTS,
    Language,
)

UNKNOWN = "unknown"
_UNSPACED = ("CJK UNIFIED", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")


class Subtags(NamedTuple):
    """What a code says: the language (ISO 639-1 where there is one), and script and region, ""
    where it does not say."""

    base: str
    script: str
    region: str

    @property
    def resolved(self) -> str:
        """The script that is meant: said, told by the region, or the usual one; "" if nothing is
        known."""
        usual = LANGUAGES[self.base].script if self.base in LANGUAGES else ""
        return self.script or SCRIPT_OF_REGION.get((self.base, self.region), "") or usual


def subtags(code: str) -> Subtags:
    """The parts of a code by the rules of BCP 47 (RFC 5646): in any case, with - or _ between:
    zh_TW, zh-Hant-TW, zh-yue-HK, uz-Cyrl-UZ, deu_Latn.

    Variants, extensions (-u-...) and private use (-x-...) tell nothing about language, script or
    region.
    """
    rest = code.replace("_", "-").split("-")
    base = rest.pop(0)
    base = base.lower()
    if base == "zh" and [part.lower() for part in rest[:2]] == ["min", "nan"]:
        base, rest = "nan", rest[2:]
    was = base
    base = ISO_639_3.get(base, OTHER_CODES.get(base, base))
    for _ in range(3):  # extended language subtags: zh-yue is yue, ar-arb is ar
        if rest and len(rest[0]) == 3 and rest[0].isalpha():
            extended = rest.pop(0).lower()
            base = ISO_639_3.get(extended, OTHER_CODES.get(extended, extended))
    script = (
        rest.pop(0).title()
        if rest and len(rest[0]) == 4 and rest[0].isalpha()
        else "Latn"
        if was == "sh"
        else ""
    )
    region = ""
    if rest and (
        (len(rest[0]) == 2 and rest[0].isalpha())
        or (len(rest[0]) == 3 and rest[0].isascii() and rest[0].isdigit())
    ):
        region = rest.pop(0).upper()
    return Subtags(base, script, region)


def same(one: str, other: str) -> bool:
    """Whether two codes mean the same: zh_TW and zh-tw, de and deu_Latn, zh-Hant-TW and zh-TW."""
    return _meant(one) == _meant(other)


def _meant(code: str) -> tuple[str, ...]:
    said = subtags(code)
    rest = code.replace("_", "-").lower().split("-")
    end = next(
        (
            i
            for i, part in enumerate(rest)
            if i and (len(part) == 1 or len(part) > 4 or (part[:1].isdigit() and len(part) == 4))
        ),
        len(rest),
    )
    return said.base, said.resolved, said.region, *rest[end:]


def unspaced(letter: str) -> bool:
    """Whether a letter belongs to a script that is written without spaces between words."""
    return unicodedata.name(letter, "").startswith(_UNSPACED)


def language(code: str) -> Language:
    """What is known of a language; its code as the name, and "unknown" script and family, of one
    that is not in the table.

    A script that the code or its region tells counts, and is named with the language if it is not
    the usual one; so is a region: "Chinese (Han, traditional)", "Chinese (Han, traditional;
    Taiwan)", "Portuguese (Brazil)".
    """
    said = subtags(code)
    usual = LANGUAGES.get(said.base)
    if usual is None:
        return Language(code, said.script or UNKNOWN, UNKNOWN)
    script = said.resolved
    notes = [SCRIPTS.get(script, script)] if script != usual.script else []
    notes += [REGIONS.get(said.region, said.region)] if said.region else []
    return Language(
        f"{usual.name} ({'; '.join(notes)})" if notes else usual.name, script, usual.family
    )


# codes that are English words, and those that are usual abbreviations (machine learning, named
# entities): in a file name they mean a language only where nothing else can be meant
_WORDS = (
    "als am as be cat dan est fin he her id ice in ind is lo mac mar may me mo mon my no nor or "
    "pan per pol rum se sh sin so tam tat tel"
)
_SHORTENED = "br cs ga ha hr it la ml ms mt ne pa sa sk te tr"


def language_in_name(stem: str, other_words: Collection[str]) -> str:
    """The language code in the name of a file (without its ending), "" if there is none, or two.

    A code with its script or region, as written (deu_Latn, zh_TW, es-419), counts before one alone
    (de, deu). `other_words`: words of the name that say something else (train, test).
    """
    parts = re.findall(r"[^\W_]+|[\W_]+", stem)
    parts = parts if parts and parts[0][0].isalnum() else parts[1:]
    words, gaps = parts[::2], ["", *parts[1::2], ""]
    long, short, i = list[str](), list[str](), 0
    while i < len(words):
        length = _length(words[i:], gaps[i + 1 :])
        if length > 1:
            long.append("".join(parts[2 * i : 2 * (i + length) - 1]))
        elif length and _plausible(i, words, gaps, other_words):
            short.append(words[i].lower())
        i += max(length, 1)
    codes = set(long or short)
    return codes.pop() if len(codes) == 1 else ""


def _length(words: Sequence[str], gaps: Sequence[str]) -> int:
    """How many of the words, from the first, make one code; 0 if the first is none."""
    base = words[0].lower()
    if not (base in LANGUAGES or base in ISO_639_3 or base in OTHER_CODES):
        return 0
    pairs = zip(words[1:3], gaps, strict=False)
    near = [word for word, _ in takewhile(lambda pair: pair[1] in ("-", "_"), pairs)]
    script = bool(near) and near[0].title() in SCRIPTS
    near = near[script:]
    return 1 + script + (bool(near) and _is_region(words[0], near[0]))


def _is_region(base: str, word: str) -> bool:
    """Whether a word after a code is its region; what may be another language (en-de) is none."""
    if word.upper() not in REGIONS:
        return False
    return word.isdigit() or (word.isupper() and base.islower()) or word.lower() not in LANGUAGES


def _plausible(
    i: int, words: Sequence[str], gaps: Sequence[str], other_words: Collection[str]
) -> bool:
    """Whether a short code in the name of a file means a language there."""
    word, before, after = words[i].lower(), gaps[i], gaps[i + 1]
    follows = i > 0 and words[i - 1].lower() in other_words
    alone = before in ("", ".") and after in ("", ".")
    if word in _WORDS.split(" "):
        return alone or (follows and after in ("", "."))
    if word in _SHORTENED.split(" "):
        leads = i + 1 < len(words) and words[i + 1].lower() in other_words
        return follows or leads or alone or not after
    return True
