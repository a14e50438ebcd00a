"""A miniature of the extracted XGLUE archive: official folders, file names and fields, sentences of
our own in English, German and French."""

from __future__ import annotations

import random
from pathlib import Path

SPLITS = {"train": 24, "dev": 8, "test": 9}
# per language: people, places, things with their topic, verbs, function words
WORDS = {
    "en": (
        ["Anna", "Omar", "Mary Jones"],
        ["Paris", "New York", "Oslo"],
        {"soup": "foodanddrink", "goal": "sports", "film": "entertainment"},
        ["sees", "likes"],
        ("the", "in", "and"),
    ),
    "de": (
        ["Anna", "Jürgen", "Maria Kurz"],
        ["Paris", "Köln", "Oslo"],
        {"Suppe": "foodanddrink", "Tor": "sports", "Film": "entertainment"},
        ["sieht", "mag"],
        ("die", "in", "und"),
    ),
    "fr": (
        ["Anne", "François", "Marie Petit"],
        ["Paris", "Nîmes", "Oslo"],
        {"soupe": "foodanddrink", "but": "sports", "film": "entertainment"},
        ["voit", "aime"],
        ("le", "à", "et"),
    ),
}
NLI = ("entailment", "neutral", "contradiction")


class Writer:
    """Sentences of one language, at random from a seed."""

    def __init__(self, language: str, seed: int) -> None:
        self.people, self.places, self.topics, self.verbs, (self.the, self.at, self.too) = WORDS[
            language
        ]
        self.rng = random.Random(f"{language} {seed}")

    def thing(self) -> tuple[str, str]:
        return self.rng.choice(list(self.topics.items()))

    def tagged(self) -> list[tuple[str, str, str]]:
        """(word, part of speech, entity) of a sentence."""
        who, where = self.rng.choice(self.people).split(), self.rng.choice(self.places).split()
        thing = self.thing()[0]
        words = [(w, "PROPN", "B-PER" if i == 0 else "I-PER") for i, w in enumerate(who)]
        words += [
            (self.rng.choice(self.verbs), "VERB", "O"),
            (self.the, "DET", "O"),
            (thing, "NOUN", "O"),
            (self.at, "ADP", "O"),
        ]
        words += [(w, "PROPN", "B-LOC" if i == 0 else "I-LOC") for i, w in enumerate(where)]
        return [*words, (".", "PUNCT", "O")]

    def sentence(self) -> str:
        return " ".join(word for word, _, _ in self.tagged())


def _lines(path: Path, lines: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{line}\n" for line in lines), "utf-8")


def _tab(*fields: str) -> str:
    return "\t".join(fields)


def _sentences(folder: Path, w: Writer, code: str, split: str, n: int) -> None:
    """The folders of tags, of news, and of pairs that are no inference."""
    _lines(folder / "NER" / f"{code}.{split}", ["-DOCSTART- O", "", *_words(w, n, 2)])
    _lines(folder / "POS" / f"{code}.{split}", _words(w, n, 1))
    _lines(
        folder / "NC" / f"xglue.nc.{code}.{split}",
        [
            _tab(thing.title(), f'{w.sentence()} "{w.sentence()}', topic)
            for thing, topic in (w.thing() for _ in range(n))
        ],
    )
    _lines(
        folder / "QADSM" / f"xglue.qadsm.{code}.{split}",
        [_tab(w.thing()[0], w.thing()[0], w.sentence(), ("Bad", "Good")[i % 2]) for i in range(n)],
    )
    _lines(
        folder / "QAM" / f"xglue.qam.{code}.{split}",
        [_tab(f"{w.sentence()}?", w.sentence(), str(i % 2)) for i in range(n)],
    )
    # queries of three documents, and the last one of a single one, which the official scorer
    # leaves out
    _lines(
        folder / "WPR" / f"xglue.wpr.{code}.{split}",
        [
            _tab(
                f"{w.topics and list(w.topics)[i // 3 % 3]} {i // 3}",
                w.sentence(),
                w.sentence(),
                str(w.rng.randrange(5)),
            )
            for i in range(n + 1)
        ],
    )


def _inference(folder: Path, w: Writer, code: str, split: str, n: int) -> list[str]:
    """XNLI, whose training file is MultiNLI's; the lines of the file for all languages."""
    pairs = [(w.sentence(), w.sentence(), NLI[i % 3]) for i in range(n)]
    if split == "train":
        lines = [_tab(a, b, c.replace("ction", "ctory")) for a, b, c in pairs]
        _lines(
            folder / "XNLI" / "multinli.train.en.tsv", [_tab("premise", "hypo", "label"), *lines]
        )
        return []
    _lines(folder / "XNLI" / f"{code}.{split}", [_tab(*pair) for pair in pairs])
    return [_tab(code, label, *["( )"] * 4, one, two, "7") for one, two, label in pairs]


def _paraphrases(folder: Path, w: Writer, code: str, split: str, n: int) -> None:
    name = "train.tsv" if split == "train" else f"{split}_2k.tsv"
    lines = [_tab(str(i + 1), w.sentence(), w.sentence(), str(i % 2)) for i in range(n)]
    _lines(folder / "PAWSX" / code / name, [_tab("id", "sentence1", "sentence2", "label"), *lines])


def build(
    folder: Path, languages: tuple[str, ...] = ("en", "de"), joint_xnli: bool = False
) -> Path:
    """Write all eight folders. Only English has a train split. `joint_xnli`: dev and test of XNLI
    in one file for all languages."""
    header = _tab("language", "gold_label", *["parse"] * 4, "sentence1", "sentence2", "promptID")
    joint = {split: [header] for split in SPLITS}
    for split, n in SPLITS.items():
        for code in languages if split != "train" else ("en",):
            w = Writer(code, {"train": 1, "dev": 2, "test": 3}[split])
            _sentences(folder, w, code, split, n)
            joint[split] += _inference(folder, w, code, split, n)
            _paraphrases(folder, w, code, split, n)
    if joint_xnli:
        for split in ("dev", "test"):
            for code in languages:
                (folder / "XNLI" / f"{code}.{split}").unlink()
            _lines(folder / "XNLI" / f"xnli.{split}.tsv", joint[split])
    return folder


def _words(w: Writer, n: int, which: int) -> list[str]:
    return [
        line
        for _ in range(n)
        for line in [*(f"{word[0]} {word[which]}" for word in w.tagged()), ""]
    ]
