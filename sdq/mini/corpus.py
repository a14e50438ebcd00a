"""The parallel text `mini` is pretrained on: read, cleaned and paired with English.

None of it is committed. The folder has one sub-folder per source; each is optional, and what was
used is recorded per language in the model card. Sources and licences: NTREX (CC BY-SA 4.0), Tatoeba
as packed by LASER (CC BY 2.0 FR), LibreOffice help (MPL-2.0), MediaWiki interface messages
(GPL-2.0-or-later), Debian package descriptions (free; translations GPL-2+).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pandas as pd

from sdq.mini import frames
from sdq.settings import UserError

# everyday language counts for more than software text, in the tokenizer's sample and in pretraining
SOURCE_WEIGHT = {
    "tatoeba": 3.0,
    "ntrex": 2.0,
    "mediawiki_i18n": 1.0,
    "libreoffice_help": 0.6,
    "debian_ddtp": 0.4,
    "mini": 3.0,
    "tatoeba_english": 12.0,
}
LATE = ("tatoeba_english", "mini")  # joins only in the second part of pretraining
SOURCES = ("ntrex", "tatoeba", "mediawiki_i18n", "libreoffice_help", "debian_ddtp")
_NTREX = dict(
    ar="arb",
    bg="bul",
    de="deu",
    el="ell",
    en="eng",
    es="spa",
    fr="fra",
    hi="hin",
    ru="rus",
    sw="swa",
    th="tha",
    tr="tur",
    ur="urd",
    vi="vie",
    zh="zho-CN",
)
_TATOEBA = dict(
    ar="ara",
    bg="bul",
    de="deu",
    el="ell",
    es="spa",
    fr="fra",
    hi="hin",
    ru="rus",
    sw="swh",
    th="tha",
    tr="tur",
    ur="urd",
    vi="vie",
    zh="cmn",
)
_MARKUP = re.compile(r"<[^>]*>|\{\{|\}\}|\[\[|\]\]|'''?")
MAX_CHARACTERS = 220


class Pair(NamedTuple):
    """One sentence in `language` and its English counterpart."""

    language: str
    text: str
    english: str
    source: str


def clean(text: object) -> str:
    """One line of plain text: no markup, no carriage returns, no doubled or no-break spaces."""
    return " ".join(
        _MARKUP.sub(" ", str(text)).replace("\u00a0", " ").replace("\u200b", "").split()
    )


def _join(
    left: pd.DataFrame, right: pd.DataFrame, key: str, xx: str, en: str
) -> Iterator[tuple[str, str]]:
    both = left.merge(right, on=key, suffixes=("", "_en"))
    yield from zip(both[xx], both[en], strict=True)


def _rows(folder: Path, source: str, language: str) -> Iterator[tuple[str, str]]:
    """(text, english) of one source and language; nothing if the source has no such language."""
    if source == "ntrex":
        table = pd.read_parquet(folder / "ntrex_61langs.parquet", columns=[_NTREX[language], "eng"])
        yield from zip(table[_NTREX[language]], table["eng"], strict=True)
        return
    if source == "tatoeba":
        path = folder / f"{_TATOEBA[language]}.parquet"
        if path.exists():
            table = pd.read_parquet(path)
            yield from zip(table["xx"], table["en"], strict=True)
    elif source == "mediawiki_i18n":
        path = folder / f"{'zh-hans' if language == 'zh' else language}.parquet"
        if path.exists():
            yield from _join(
                pd.read_parquet(path), pd.read_parquet(folder / "en.parquet"), "id", "xx", "en"
            )
    elif source == "libreoffice_help":
        path = folder / f"{'zh-CN' if language == 'zh' else language}.parquet"
        if path.exists():
            yield from _join(
                pd.read_parquet(path),
                pd.read_parquet(folder / "en-US.parquet"),
                "id",
                "text",
                "text_en",
            )
    elif source == "debian_ddtp":
        path = folder / "parallel" / f"{'zh_CN' if language == 'zh' else language}.parquet"
        if path.exists():
            table = pd.read_parquet(path)
            yield from zip(table["xx"], table["en"], strict=True)


def parallel(folder: Path) -> list[Pair]:
    """Every usable pair of the corpus folder, in a fixed order.

    UserError if the folder has none of the sources.
    """
    present = [s for s in SOURCES if (folder / s).is_dir()]
    if not present:
        raise UserError(
            f"the corpus must hold at least one of the folders {', '.join(SOURCES)}, {folder} "
            "holds none of them; correct --corpus"
        )
    pairs: dict[tuple[str, str], Pair] = {}
    for language in (code for code in frames.LANGUAGES if code != "en"):
        for source in present:
            for xx, en in _rows(folder / source, source, language):
                xx, en = clean(xx), clean(en)
                if (
                    xx != en
                    and 3 <= len(xx) <= MAX_CHARACTERS
                    and 5 <= len(en) <= MAX_CHARACTERS
                    and "$" not in en
                ):
                    pairs.setdefault((language, xx), Pair(language, xx, en, source))
    return list(pairs.values())


def english(folder: Path) -> list[Pair]:
    """Everyday English alone: the English side of every Tatoeba file, whatever its other
    language."""
    texts = {
        clean(t)
        for path in sorted((folder / "tatoeba").glob("*.parquet"))
        for t in pd.read_parquet(path, columns=["en"])["en"]
    }
    return [Pair("en", t, t, "tatoeba_english") for t in sorted(texts) if 5 <= len(t) <= 120]


def own(per_frame: int = 20, folder: Path = frames.TEXT) -> list[Pair]:
    """Our own *training* frames as unlabelled pairs: the same values in both languages, by
    position."""
    english = frames.read("en", folder)
    out = []
    for language in (frames.read(code, folder) for code in frames.LANGUAGES if code != "en"):
        for key, frame in english.frames.items():
            if frame.split != "train":
                continue
            for choice in frames.choices(english, frame, per_frame, seed=1):
                en = frames.fill(english, frame, choice)
                xx = frames.fill(language, language.frames[key], choice)
                out.append(Pair(language.code, xx.text, en.text, "mini"))
    return out
