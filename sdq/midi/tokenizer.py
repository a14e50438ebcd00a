"""The tokenizer of `midi`: the package's own word pieces with their ids, and ours after them.

English text must give exactly the package's ids, so that the frozen body reads it as it always did.
The package strips accents, which would take the vowel signs of Hindi and Thai away and the tones of
Vietnamese; here they stay. A character that no piece has stands alone, so that it costs one [UNK]
and not the whole word, which in Chinese and Thai is half a sentence.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import Regex, Tokenizer, decoders, normalizers, pre_tokenizers, processors
from tokenizers.models import WordPiece
from transformers import PreTrainedTokenizerFast

SPECIAL = {
    "pad_token": "[PAD]",
    "unk_token": "[UNK]",
    "cls_token": "[CLS]",
    "sep_token": "[SEP]",
    "mask_token": "[MASK]",
    "bos_token": "[CLS]",
    "eos_token": "[SEP]",
}
END = "▁"  # of a piece that is a whole word
LONGEST_WORD = 400  # characters; a clause of Thai or Chinese is one word
LONGEST = 128  # tokens
# scripts that put no spaces between words: Thai and Chinese
SPACELESS = r"\u0E01-\u0E4E\u3400-\u4DBF\u4E00-\u9FFF"
# marks that writers of Arabic and Urdu leave out as they like, and the dot that is left of a small
# Turkish İ
_OPTIONAL = r"[\u0307\u064B-\u0652\u0670\u0640]"
_APART = re.compile(f"[{SPACELESS}]")


def package_vocabulary(body: Path) -> dict[str, int]:
    """Piece -> id of the published model's folder. Its ids must be 0, 1, 2, ... without a gap.

    Raises ValueError if they are not.
    """
    read = json.loads((body / "tokenizer.json").read_text("utf-8"))["model"]["vocab"]
    vocabulary = {str(piece): int(i) for piece, i in read.items()}
    if sorted(vocabulary.values()) != list(range(len(vocabulary))):
        raise ValueError(f"the ids of the vocabulary in {body} must be 0, 1, 2, ..., they are not")
    return vocabulary


def normalizer(whole: Sequence[str] = ()) -> Any:
    """What is done to a text before it is cut into words.

    whole: words in small letters that get END after them where they stand alone, so that they are
        pieces which no part of a longer word can be taken for
    """
    steps = [
        normalizers.BertNormalizer(
            clean_text=True, handle_chinese_chars=False, strip_accents=False, lowercase=True
        ),
        normalizers.NFC(),
        normalizers.Replace(Regex(_OPTIONAL), ""),
    ]
    if whole:
        letter = r"[\p{L}\p{M}\p{N}]"
        # \K: what is replaced is the empty place after the word
        steps.append(
            normalizers.Replace(Regex(f"(?<!{letter}){_any_of(whole)}(?!{letter})\\K"), END)
        )
    return normalizers.Sequence(steps)


def _any_of(strings: Sequence[str]) -> str:
    """A regular expression for any of some strings of letters: their tree of prefixes, which is
    searched in the time that a word is long, however many there are."""
    tree: dict[str, Any] = {}
    for string in strings:
        node = tree
        for letter in string:
            node = node.setdefault(letter, {})
        node[""] = {}

    def text(node: dict[str, Any]) -> str:
        ends = "" in node
        parts = [letter + text(node[letter]) for letter in sorted(node) if letter]
        if len(parts) == 1 and not ends:
            return parts[0]
        if not parts:
            return ""
        return f"(?:{'|'.join(parts)})" + ("?" if ends else "")

    return text(tree)


def words(alphabet: Sequence[str]) -> Any:
    """How a text is cut into words: at spaces, around marks, between scripts with spaces and those
    without, and around every character that is not in the alphabet (none given: of any)."""
    steps = [
        pre_tokenizers.BertPreTokenizer(),
        pre_tokenizers.Split(Regex(f"[{SPACELESS}]+"), "isolated"),
    ]
    if alphabet:
        known = "".join(re.escape(letter) for letter in alphabet)
        steps.append(pre_tokenizers.Split(Regex(f"[^{known}]"), "isolated"))
    return pre_tokenizers.Sequence(steps)


def assembled(package: dict[str, int], ours: Sequence[str]) -> Tokenizer:
    """One WordPiece tokenizer over both vocabularies.

    package: piece -> id, 0 ... P-1
    ours: pieces of ids P, P+1, ...; with END after them whole words. One that the package has too
        is taken from it: its old id stays, under a name that no text gives

    Of the other pieces the longest that fits is taken, whosever it is.
    """
    mine = set(ours)
    vocabulary = {f"[{p}]" if p in mine else p: i for p, i in package.items()}
    vocabulary |= {piece: len(package) + i for i, piece in enumerate(ours)}
    tokenizer = Tokenizer(
        WordPiece(
            vocabulary,
            unk_token=SPECIAL["unk_token"],
            max_input_chars_per_word=LONGEST_WORD,
            continuing_subword_prefix="##",
        )
    )
    tokenizer.normalizer = normalizer([p[:-1] for p in ours if p.endswith(END)])
    letters = {p for p in vocabulary if len(p) == 1} & {
        p[2:] for p in vocabulary if len(p) == 3 and p.startswith("##")
    }
    tokenizer.pre_tokenizer = words([*sorted(letters), END])
    tokenizer.decoder = decoders.WordPiece(prefix="##")
    first, last = SPECIAL["cls_token"], SPECIAL["sep_token"]
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{first} $A {last}",
        pair=f"{first} $A {last} {last} $B {last}",
        special_tokens=[(name, vocabulary[name]) for name in (first, last)],
    )
    tokenizer.add_special_tokens(sorted(set(SPECIAL.values())))
    return tokenizer


def spaceless(piece: str) -> bool:
    """Whether a piece is of a script without spaces between words."""
    return _APART.search(piece) is not None


def meaning(piece: str) -> str:
    """What a piece stands for: in a script without spaces the same at the start of a clause (`x`)
    and inside it (`##x`)."""
    return piece.removeprefix("##") if spaceless(piece) else piece


def forms(meanings: Sequence[str]) -> list[str]:
    """The pieces of these meanings: both forms of those in scripts without spaces."""
    return [
        piece for one in meanings for piece in ((one, f"##{one}") if spaceless(one) else (one,))
    ]


def shared_rows(ours: Sequence[str]) -> list[int]:
    """The row of the embedding that each of our pieces has: pieces of one meaning share one.

    Rows are numbered in the order of their first piece.
    """
    rows: dict[str, int] = {}
    return [rows.setdefault(meaning(piece), len(rows)) for piece in ours]


def save(tokenizer: Tokenizer, folder: Path) -> PreTrainedTokenizerFast:
    """Write what `AutoTokenizer.from_pretrained` reads, and return it."""
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, **SPECIAL, model_max_length=LONGEST, padding_side="right"
    )
    fast.save_pretrained(folder)
    return fast


def load(folder: Path) -> PreTrainedTokenizerFast:
    """The trained tokenizer, as any user's AutoTokenizer gives it."""
    from transformers import AutoTokenizer

    loaded: PreTrainedTokenizerFast = AutoTokenizer.from_pretrained(folder)  # type: ignore[assignment]
    return loaded
