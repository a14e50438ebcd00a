"""Which word pieces `midi` adds to the package's: those that the other languages use and English
does not.

Pieces are learned on each language's own sentences and then chosen by use. A piece of the letters
that English has must be used MARGIN times (a whole word WHOLE_MARGIN times) as often in its
language as in English text; what English needs stays the package's, so that English is cut as the
package cuts it but for rare words.
"""

from __future__ import annotations

import itertools
import random
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from unicodedata import category

from tokenizers import Tokenizer
from tokenizers.models import WordPiece
from tokenizers.trainers import WordPieceTrainer

from sdq.midi import tokenizer as pieces
from sdq.mini.corpus import SOURCE_WEIGHT, Pair

SIZE = 24_000
# how many times as often a piece must be used in its language as in English: a part of a word may
# turn up in any English name, a whole word costs English no more than itself. Of SIB-200's English
# 0.4 % of the package's pieces are cut otherwise; with 300 for both a quarter of German words fell
# into English fragments, whose rows are frozen, with these an eighth
MARGIN, WHOLE_MARGIN = 30, 5
WEIGHT = SOURCE_WEIGHT | {"mini": 1.0}  # frames are many sentences of few words


def sampled(pairs: Sequence[Pair], each: int, seed: int) -> dict[str, list[str]]:
    """`each` sentences of every language, drawn with the weights of their sources (with repetition:
    a language of few sentences counts as much as the others)."""
    rng = random.Random(seed)
    by_language: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_language.setdefault(pair.language, []).append(pair)
    return {
        code: [
            pair.text
            for pair in rng.choices(those, [WEIGHT.get(pair.source, 1.0) for pair in those], k=each)
        ]
        for code, those in sorted(by_language.items())
    }


def candidates(texts: dict[str, list[str]], each: int) -> list[str]:
    """Meanings of pieces (see `tokenizer.meaning`) of each language: every letter, at the start of
    a word and inside it, the `each` longer ones that a WordPiece trainer learns, and in scripts
    that English shares the `each` most frequent words."""
    found: dict[str, None] = {}
    for sentences in texts.values():
        trained = Tokenizer(WordPiece(unk_token="[UNK]"))
        trained.normalizer = pieces.normalizer()
        trained.pre_tokenizer = pieces.words(())
        trained.train_from_iterator(
            sentences,
            WordPieceTrainer(
                vocab_size=each + 2 * len(set("".join(sentences))),
                min_frequency=3,
                special_tokens=["[UNK]"],
                show_progress=False,
            ),
        )
        vocabulary = trained.get_vocab()
        del vocabulary["[UNK]"]
        for piece in sorted(vocabulary, key=lambda piece: vocabulary[piece]):
            for form in (piece, *(_both(piece) if _letter(piece) else ())):
                found.setdefault(pieces.meaning(form))
        for word in _frequent(sentences, each):
            found.setdefault(word + pieces.END)
    return list(found)


def letters(pairs: Iterable[Pair]) -> list[str]:
    """Meanings of every letter of the sentences, at the start of a word and inside it: one that no
    piece has would be unknown, and in Chinese the rare ones are people's names and food."""
    plain = pieces.normalizer()
    used: set[str] = set()
    for pair in pairs:
        used.update(pair.text)
    single = {letter for text in map(plain.normalize_str, sorted(used)) for letter in text}
    found = (form for letter in sorted(single) if _letter(letter) for form in _both(letter))
    return list(dict.fromkeys(map(pieces.meaning, found)))


def _frequent(sentences: Iterable[str], most: int) -> list[str]:
    """The most frequent words of Latin letters."""
    plain, cut = pieces.normalizer(), pieces.words(())
    counts = Counter(
        word
        for text in sentences
        for word, _ in cut.pre_tokenize_str(plain.normalize_str(text))
        if word.isalpha() and len(word) > 1 and not _foreign(word)
    )
    return [word for word, n in counts.most_common(most) if n >= 3]


def _letter(piece: str) -> bool:
    """Whether a piece is one letter, a mark of a vowel or the like: what only the ASCII letters of
    the package's vocabulary are not."""
    letter = piece.removeprefix("##")
    return len(letter) == 1 and letter > "\x7f" and category(letter)[0] in "LM"


def _both(piece: str) -> tuple[str, str]:
    letter = piece.removeprefix("##")
    return letter, f"##{letter}"


def use(cut: Tokenizer, texts: Iterable[str], more: int = 0) -> Counter[str]:
    """How often each meaning is used per million pieces of these texts.

    cut: the tokenizer
    texts: sentences
    more: is added to the count of each part of a word in plain letters: any name may have it, seen
        or not
    """
    counts: Counter[int] = Counter()
    for encoding in cut.encode_batch_fast(list(texts), add_special_tokens=False):
        counts.update(encoding.ids)
    rates: Counter[str] = Counter()
    for piece, i in cut.get_vocab().items():
        rates[pieces.meaning(piece)] += counts[i] + (more if piece.isascii() else 0)
    total = counts.total() or 1
    return Counter({piece: 1e6 * n / total for piece, n in rates.items()})


def choose(
    package: dict[str, int],
    pairs: Sequence[Pair],
    english: Mapping[str, Sequence[str]],
    size: int = SIZE,
    each: int = 12_000,
    margin: float = MARGIN,
    whole_margin: float = WHOLE_MARGIN,
    seed: int = 0,
) -> list[str]:
    """Our pieces, the most used first.

    package: piece -> id of the published vocabulary
    pairs: sentences of the other languages
    english: source -> English sentences
    size: how many meanings at most
    each: sentences of a language that are looked at
    margin: how many times as often as in English a part of a word of Latin letters must be used
    whole_margin: the same for a whole word
    seed: of the draw
    """
    texts = sampled(pairs, each, seed)
    left = list(dict.fromkeys([*candidates(texts, 3 * size // len(texts)), *letters(pairs)]))
    while True:
        cut = pieces.assembled(package, pieces.forms(left))
        own = [use(cut, sentences) for sentences in texts.values()]
        most = {one: max(rates[one] for rates in own) for one in left}
        in_english = use(cut, itertools.chain.from_iterable(english.values()), more=1)
        for sentences in english.values():  # news and everyday talk are few beside manuals
            in_english |= use(cut, sentences)
        # a part of a word that the package has, too, stays the package's
        apart = {
            one
            for one in left
            if _foreign(one)
            or (
                one not in package
                and (whole_margin if one.endswith(pieces.END) else margin) * in_english[one]
                <= most[one]
            )
        }
        kept = [one for one in left if _letter(one) or (one in apart and most[one] > 0)]
        kept.sort(key=lambda one: (_letter(one), most[one]), reverse=True)
        if len(kept) == len(left) <= size:
            return pieces.forms(kept)
        # fewer by steps: what a rare piece leaves is taken by others, which then count anew
        left = kept[: max(size, int(0.8 * len(left)))]


def _foreign(piece: str) -> bool:
    """Whether a piece has a letter that no English word has."""
    return any(category(letter)[0] in "LM" and letter > "\u024f" for letter in piece)
