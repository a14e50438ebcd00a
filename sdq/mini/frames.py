"""The hand-written text of `mini`: frames with slots, parallel across 15 languages.

A language file `text/<language>.txt` has two kinds of lines:

* ``slot[.form]: value | value || value`` lists the values of a slot. Values at the same position
  mean the same thing in every language (or are its local counterpart: names, cities). A *form* is
  the same list in another grammatical shape (``city.in: в Москве | в Туле``), so that a frame never
  breaks agreement. ``||`` starts the values that only test sentences use. ``[...]`` marks the
  tagged part when it is not all of the value (``on [12 May]``).
* ``intent.split.number = text`` is a frame. ``{slot}`` or ``{slot.form}`` is replaced by a value. A
  middle dot ``·`` is a word boundary without a space, for scripts that write none (Thai, Chinese).

``text/more/en.txt`` holds frames and values for training that exist in English only, so that the
tasks are learnt from more wordings and names than were translated.
"""

from __future__ import annotations

import random
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

LANGUAGES = (
    "ar",
    "bg",
    "de",
    "el",
    "en",
    "es",
    "fr",
    "hi",
    "ru",
    "sw",
    "th",
    "tr",
    "ur",
    "vi",
    "zh",
)
SPLITS = ("train", "dev", "test")
TEXT = Path(__file__).parent / "text"
BOUNDARY = "·"
_WORD = re.compile(rf"[^\s{BOUNDARY}]+")
_HOLE = re.compile(r"\{([a-z0-9_.]+)\}")
_FRAME = re.compile(r"([a-z_]+)\.(train|dev|test)\.(\d\d) = (.+)")


@dataclass(frozen=True)
class Frame:
    """One sentence pattern: ``id`` is ``intent.split.number`` and is shared by its translations."""

    id: str
    intent: str
    split: str
    text: str

    @property
    def slots(self) -> list[str]:
        """Slot names in reading order, without their grammatical form."""
        return [hole.split(".")[0] for hole in _HOLE.findall(self.text)]


@dataclass(frozen=True)
class Sentence:
    """A filled frame: ``tokens[i]`` carries ``tags[i]`` (BIO); ``values`` maps each slot to its
    position."""

    frame: str
    intent: str
    text: str
    tokens: tuple[str, ...]
    tags: tuple[str, ...]
    values: dict[str, int]
    surfaces: dict[str, str]


@dataclass(frozen=True)
class Language:
    """The frames and slot values of one language. ``kept`` is the position of the first test-only
    value."""

    code: str
    values: dict[str, list[str]]
    kept: dict[str, int]
    frames: dict[str, Frame]


def read(code: str, folder: Path = TEXT) -> Language:
    """Parse ``text/<code>.txt``. Raises ValueError that names the line if it is neither slot nor
    frame."""
    values: dict[str, list[str]] = {}
    kept: dict[str, int] = {}
    frames: dict[str, Frame] = {}
    for number, line in enumerate((folder / f"{code}.txt").read_text("utf-8").splitlines(), 1):
        line = unicodedata.normalize("NFC", line).strip()
        where = f"{code}.txt:{number}"
        if not line or line.startswith("#"):
            continue
        if match := _FRAME.fullmatch(line):
            intent, split, _, text = match.groups()
            key = line.split(" = ")[0]
            if key in frames:
                raise ValueError(f"{where}: frame {key} is written twice")
            frames[key] = Frame(key, intent, split, text)
        elif match := re.fullmatch(r"([a-z0-9_]+(?:\.[a-z0-9_]+)?): (.+)", line):
            halves = [[v.strip() for v in half.split(" | ")] for half in match[2].split(" || ")]
            values[match[1]] = [value for half in halves for value in half]
            kept[match[1]] = len(halves[0])
        else:
            raise ValueError(
                f"{where}: must be 'slot: a | b' or 'intent.split.01 = text', got {line[:60]!r}"
            )
    return Language(code, values, kept, frames)


def more(folder: Path = TEXT) -> Language:
    """English training text without translations: `more/en.txt` adds values and frames to the
    training part of `en.txt`.

    Only English is labelled, so that wordings cost nothing in the other languages. Values kept for
    test are left out.
    """
    main, extra = read("en", folder), read("en", folder / "more")
    values = {
        slot: [*(all_[: main.kept[slot]]), *extra.values.get(slot, [])]
        for slot, all_ in main.values.items()
    }
    trained = {key: frame for key, frame in main.frames.items() if frame.split == "train"}
    return Language(
        "en", values, {slot: len(v) for slot, v in values.items()}, trained | extra.frames
    )


def fill(language: Language, frame: Frame, choice: dict[str, int]) -> Sentence:
    """Put the chosen values into the frame and tag the words.

    language: of the sentence
    frame: whose holes are filled
    choice: slot -> number of the value

    Raises ValueError if a word is only partly inside a slot (then the value needs a form of its
    own).
    """
    filled = ""
    marked: list[str] = []  # of each character its tag: "", "B-x" or "I-x"
    surfaces: dict[str, str] = {}
    position = 0
    for hole in _HOLE.finditer(frame.text):
        slot = hole[1].split(".")[0]
        value = language.values[hole[1]][choice[slot]]
        name = slot.rstrip("2")  # `item2` is a second `item`
        # a value may have words around it that are not tagged: "the [blue car]"
        start, end = (value.index("["), value.index("]")) if "[" in value else (-1, len(value))
        inside = value[start + 1 : end]
        before = frame.text[position : hole.start()] + value[: max(start, 0)]
        after = value[end + 1 :]
        filled += before + inside + after
        marked += [""] * len(before)
        marked += [f"B-{name}", *[f"I-{name}"] * (len(inside) - 1)][: len(inside)]
        marked += [""] * len(after)
        surfaces[slot] = inside.replace(BOUNDARY, "")
        position = hole.end()
    filled += frame.text[position:]
    marked += [""] * (len(filled) - len(marked))
    tokens, tags = _words(filled, marked, frame.id)
    text = filled.replace(BOUNDARY, "")
    text = text[:1].upper() + text[1:]
    tokens[0] = tokens[0][:1].upper() + tokens[0][1:]
    return Sentence(
        frame.id, frame.intent, text, tuple(tokens), tuple(tags), dict(choice), surfaces
    )


def _words(text: str, marked: list[str], frame: str) -> tuple[list[str], list[str]]:
    """Split at spaces and boundaries, and split punctuation off the ends of words."""
    tokens: list[str] = []
    tags: list[str] = []
    for word in _WORD.finditer(text):
        first, last = word.span()
        left, right = first, last
        while left < right and not marked[left] and _is_punctuation(text[left]):
            left += 1
        while right > left and not marked[right - 1] and _is_punctuation(text[right - 1]):
            right -= 1
        tokens += text[first:left]
        tags += ["O"] * (left - first)
        if left < right:
            tokens.append(text[left:right])
            tags.append(_tag(text[left:right], set(marked[left:right]), frame))
        tokens += text[right:last]
        tags += ["O"] * (last - right)
    return tokens, tags


def _tag(word: str, marked: set[str], frame: str) -> str:
    """The tag of a word whose characters have these, of which B- comes before I-."""
    if len({tag[2:] for tag in marked}) > 1:
        raise ValueError(
            f"{frame}: the word {word!r} is only partly a slot; give the value a form for it"
        )
    return min(marked) or "O"


@cache
def _is_punctuation(character: str) -> bool:
    return unicodedata.category(character)[0] == "P"


def allowed(language: Language, slot: str, split: str) -> range:
    """Positions a split may use: test takes the kept values where a slot has some, train and dev
    the others.

    language: of the values
    slot: their name
    split: train, dev or test
    """
    total, kept = len(language.values[slot]), language.kept[slot]
    if kept == total:
        return range(total)
    return range(kept, total) if split == "test" else range(kept)


def choices(english: Language, frame: Frame, count: int, seed: int = 0) -> list[dict[str, int]]:
    """Different value choices for a frame, the same for every language (drawn from the English
    file).

    english: the English file
    frame: whose slots are filled
    count: how many, if there are so many
    seed: of the draw
    """
    rng = random.Random(f"{seed}/{frame.id}")
    slots = sorted(set(frame.slots))
    ranges = [allowed(english, slot, frame.split) for slot in slots]
    total = 1
    for r in ranges:
        total *= len(r)
    picked = rng.sample(range(total), min(count, total))
    out = []
    for index in picked:
        choice = {}
        for slot, r in zip(slots, ranges, strict=True):
            index, rest = divmod(index, len(r))
            choice[slot] = r[rest]
        out.append(choice)
    return out


def problems(code: str, folder: Path = TEXT) -> Iterator[str]:
    """What is wrong with a language file, one sentence each: missing frames, slots, values,
    untaggable words."""
    english, language = read("en", folder), read(code, folder)
    for slot in language.values:
        yield from _slot_problems(language, english, slot)
    for frame in english.frames.values():
        yield from _frame_problems(language, english, frame)
    yield from (
        f"{code}: frame {key} is not in en.txt"
        for key in language.frames
        if key not in english.frames
    )
    yield from _repeated(language)


def _slot_problems(language: Language, english: Language, slot: str) -> Iterator[str]:
    """What is wrong with the values of a slot."""
    code, values, base = language.code, language.values[slot], slot.split(".")[0]
    if base not in english.values:
        yield f"{code}: slot {slot} is not in en.txt"
    elif (len(values), language.kept[slot]) != (len(english.values[base]), english.kept[base]):
        yield (
            f"{code}: {slot} must have {english.kept[base]} | then {len(english.values[base])} "
            f"values in all, got {language.kept[slot]} then {len(values)}"
        )
    yield from (f"{code}: {slot} repeats {v!r}" for v in {v for v in values if values.count(v) > 1})
    yield from (
        f"{code}: {slot} has a broken value {v!r}"
        for v in values
        if not v or v.count("[") != v.count("]")
    )


def _frame_problems(language: Language, english: Language, frame: Frame) -> Iterator[str]:
    """What is wrong with the translation of an English frame; of what its values spoil, the
    first."""
    code, translated = language.code, language.frames.get(frame.id)
    if translated is None:
        yield f"{code}: frame {frame.id} is missing"
        return
    if sorted(translated.slots) != sorted(frame.slots):
        yield (
            f"{code}: {frame.id} must use the slots {sorted(frame.slots)}, got "
            f"{sorted(translated.slots)}"
        )
        return
    for hole in _HOLE.findall(translated.text):
        if hole not in language.values:
            yield f"{code}: {frame.id} uses {{{hole}}}, which has no line of values"
            return
    wanted = sorted(slot.rstrip("2") for slot in frame.slots)
    for choice in choices(english, frame, 10):
        try:
            sentence = fill(language, translated, choice)
        except (ValueError, IndexError) as error:
            yield f"{code}: {error}"
            return
        got = sorted(tag[2:] for tag in sentence.tags if tag.startswith("B-"))
        if wanted != got:
            yield f"{code}: {frame.id} must tag {wanted}, got {got} in {' '.join(sentence.tokens)}"
            return


def _repeated(language: Language) -> Iterator[str]:
    """Frames that say the same as an earlier one."""
    texts: dict[str, str] = {}
    for key, frame in language.frames.items():
        holes = _HOLE.sub(lambda m: "{" + m[1].split(".")[0] + "}", frame.text)
        plain = holes.casefold().rstrip(".!?。؟！？")
        if plain in texts:
            yield f"{language.code}: {key} says the same as {texts[plain]}: {frame.text}"
        texts.setdefault(plain, key)


if __name__ == "__main__":
    import sys

    codes = sys.argv[1:] or LANGUAGES
    issues = [line for code in codes for line in problems(code)]
    print("\n".join(issues) or f"{', '.join(codes)}: no problem found")
    if len(codes) == 1 and not issues:
        en, lang = read("en"), read(codes[0])
        for i, (key, frame) in enumerate(en.frames.items()):
            if i % 12 == 0:
                s = fill(lang, lang.frames[key], choices(en, frame, 1)[0])
                print(
                    s.text,
                    "||",
                    " ".join(
                        f"{w}/{t}" if t != "O" else w for w, t in zip(s.tokens, s.tags, strict=True)
                    ),
                )
    sys.exit(bool(issues))
