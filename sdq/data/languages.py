"""Languages: name, script and family of those in XNLI, PAWS-X, XGLUE, SIB-200 and most treebanks of
Universal Dependencies.

Codes are ISO 639-1 (ISO 639-3 where that has none), and whatever BCP 47 makes of these: "deu_Latn",
"zh_TW", "uz-Cyrl-UZ". Scripts are ISO 15924, that in which the data sets above write the language.
Families are the topmost of Glottolog, where an isolate is a family of its own.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Collection, Sequence
from itertools import takewhile
from typing import NamedTuple

UNKNOWN = "unknown"
SCRIPTS = {
    "Arab": "Arabic",
    "Armn": "Armenian",
    "Beng": "Bengali",
    "Cyrl": "Cyrillic",
    "Deva": "Devanagari",
    "Ethi": "Ethiopic",
    "Geor": "Georgian",
    "Grek": "Greek",
    "Gujr": "Gujarati",
    "Guru": "Gurmukhi",
    "Hang": "Hangul",
    "Hans": "Han, simplified",
    "Hant": "Han, traditional",
    "Hebr": "Hebrew",
    "Jpan": "Japanese",
    "Khmr": "Khmer",
    "Knda": "Kannada",
    "Laoo": "Lao",
    "Latn": "Latin",
    "Mlym": "Malayalam",
    "Mymr": "Myanmar",
    "Orya": "Odia",
    "Sinh": "Sinhala",
    "Taml": "Tamil",
    "Telu": "Telugu",
    "Thai": "Thai",
    "Mong": "Mongolian",
    "Tibt": "Tibetan",
    "Tfng": "Tifinagh",
    "Olck": "Ol Chiki",
    "Thaa": "Thaana",
    "Syrc": "Syriac",
    "Cher": "Cherokee",
    "Cans": "Canadian syllabics",
    "Hani": "Han",
    "Kore": "Korean",
    "Hrkt": "Kana",
    "Kana": "Katakana",
    "Hira": "Hiragana",
}


class Language(NamedTuple):
    """English name, ISO 15924 code of the script, topmost family in Glottolog."""

    name: str
    script: str
    family: str

    @property
    def script_name(self) -> str:
        """English name of the script, or its code."""
        return SCRIPTS.get(self.script, self.script)


# family -> script -> "code name" of each language, separated by commas
_LISTED: dict[str, dict[str, str]] = {
    "Afro-Asiatic": {
        "Arab": "ar Arabic",
        "Ethi": "am Amharic",
        "Hebr": "he Hebrew",
        "Latn": "ha Hausa, mt Maltese, so Somali",
    },
    "Atlantic-Congo": {"Latn": "sw Swahili, wo Wolof, xh Xhosa, yo Yoruba, zu Zulu"},
    "Austroasiatic": {"Khmr": "km Khmer", "Latn": "vi Vietnamese"},
    "Austronesian": {
        "Latn": "ceb Cebuano, id Indonesian, jv Javanese, mg Malagasy, ms Malay, tl Tagalog"
    },
    "Basque": {"Latn": "eu Basque"},
    "Dravidian": {
        "Knda": "kn Kannada",
        "Mlym": "ml Malayalam",
        "Taml": "ta Tamil",
        "Telu": "te Telugu",
    },
    "Indo-European": {
        "Arab": "fa Persian, ur Urdu",
        "Armn": "hy Armenian",
        "Beng": "as Assamese, bn Bengali",
        "Cyrl": "be Belarusian, bg Bulgarian, mk Macedonian, ru Russian, uk Ukrainian",
        "Deva": "hi Hindi, mr Marathi, ne Nepali, sa Sanskrit",
        "Grek": "el Greek",
        "Gujr": "gu Gujarati",
        "Guru": "pa Punjabi",
        "Latn": "af Afrikaans, br Breton, ca Catalan, cs Czech, cy Welsh, da Danish, de German, "
        "en English, es Spanish, fo Faroese, fr French, ga Irish, gd Scottish Gaelic, gl "
        "Galician, hr Croatian, hsb Upper Sorbian, ht Haitian Creole, is Icelandic, it Italian, "
        "la Latin, lb Luxembourgish, lt Lithuanian, lv Latvian, nb Norwegian Bokmål, nl Dutch, "
        "nn Norwegian Nynorsk, no Norwegian, oc Occitan, pcm Naija, pl Polish, pt Portuguese, ro "
        "Romanian, sk Slovak, sl Slovenian, sq Albanian, sr Serbian, sv Swedish",
        "Orya": "or Odia",
        "Sinh": "si Sinhala",
    },
    "Japonic": {"Jpan": "ja Japanese"},
    "Kartvelian": {"Geor": "ka Georgian"},
    "Koreanic": {"Hang": "ko Korean"},
    "Mongolic-Khitan": {"Cyrl": "bxr Buryat, mn Mongolian"},
    "Sino-Tibetan": {"Hans": "zh Chinese", "Hant": "yue Cantonese", "Mymr": "my Burmese"},
    "Tai-Kadai": {"Laoo": "lo Lao", "Thai": "th Thai"},
    "Tupian": {"Latn": "gn Guarani"},
    "Turkic": {
        "Arab": "ug Uyghur",
        "Cyrl": "kk Kazakh, ky Kyrgyz, sah Yakut, tt Tatar",
        "Latn": "az Azerbaijani, tr Turkish, uz Uzbek",
    },
    "Uralic": {
        "Cyrl": "kpv Komi Zyrian, myv Erzya",
        "Latn": "et Estonian, fi Finnish, hu Hungarian, se Northern Sami",
    },
}
LANGUAGES = {
    code: Language(name, script, family)
    for family, scripts in _LISTED.items()
    for script, listed in scripts.items()
    for code, _, name in (entry.partition(" ") for entry in listed.split(", "))
}
# ISO 639-3 as SIB-200 writes it -> ISO 639-1
_SHORT = {
    "afr": "af",
    "amh": "am",
    "arb": "ar",
    "azj": "az",
    "bel": "be",
    "ben": "bn",
    "bul": "bg",
    "cat": "ca",
    "ces": "cs",
    "cym": "cy",
    "dan": "da",
    "deu": "de",
    "ell": "el",
    "eng": "en",
    "est": "et",
    "eus": "eu",
    "fao": "fo",
    "fin": "fi",
    "fra": "fr",
    "gla": "gd",
    "gle": "ga",
    "glg": "gl",
    "guj": "gu",
    "hat": "ht",
    "hau": "ha",
    "heb": "he",
    "hin": "hi",
    "hrv": "hr",
    "hun": "hu",
    "hye": "hy",
    "ind": "id",
    "isl": "is",
    "ita": "it",
    "jav": "jv",
    "jpn": "ja",
    "kan": "kn",
    "kat": "ka",
    "kaz": "kk",
    "khm": "km",
    "khk": "mn",
    "kir": "ky",
    "kor": "ko",
    "lao": "lo",
    "lit": "lt",
    "ltz": "lb",
    "lvs": "lv",
    "mal": "ml",
    "mar": "mr",
    "mkd": "mk",
    "mlt": "mt",
    "mya": "my",
    "nld": "nl",
    "nno": "nn",
    "nob": "nb",
    "npi": "ne",
    "oci": "oc",
    "ory": "or",
    "pan": "pa",
    "pes": "fa",
    "plt": "mg",
    "pol": "pl",
    "por": "pt",
    "ron": "ro",
    "rus": "ru",
    "san": "sa",
    "sin": "si",
    "slk": "sk",
    "slv": "sl",
    "som": "so",
    "spa": "es",
    "srp": "sr",
    "swe": "sv",
    "swh": "sw",
    "tam": "ta",
    "tat": "tt",
    "tel": "te",
    "tgl": "tl",
    "tha": "th",
    "tur": "tr",
    "uig": "ug",
    "ukr": "uk",
    "urd": "ur",
    "uzn": "uz",
    "vie": "vi",
    "wol": "wo",
    "xho": "xh",
    "yor": "yo",
    "zho": "zh",
    "zsm": "ms",
    "zul": "zu",
}


# codes of ISO 639-2 (B), of macrolanguages, outdated ones, and extended subtags -> what they are
# today
_OTHER = {
    "alb": "sq",
    "als": "sq",
    "arm": "hy",
    "baq": "eu",
    "bur": "my",
    "chi": "zh",
    "cmn": "zh",
    "cze": "cs",
    "dut": "nl",
    "ekk": "et",
    "fil": "tl",
    "fre": "fr",
    "geo": "ka",
    "ger": "de",
    "gre": "el",
    "ice": "is",
    "in": "id",
    "iw": "he",
    "jw": "jv",
    "lav": "lv",
    "mac": "mk",
    "mao": "mi",
    "may": "ms",
    "mo": "ro",
    "mol": "ro",
    "mon": "mn",
    "msa": "ms",
    "nep": "ne",
    "nor": "no",
    "ori": "or",
    "per": "fa",
    "fas": "fa",
    "rum": "ro",
    "sh": "sr",
    "slo": "sk",
    "sqi": "sq",
    "ara": "ar",
    "aze": "az",
    "bre": "br",
    "ltg": "lv",
    "mlg": "mg",
    "swa": "sw",
    "tib": "bo",
    "uzb": "uz",
    "wel": "cy",
    "scc": "sr",
    "scr": "hr",
}
# where the region tells the script (CLDR, likely subtags)
_BY_REGION = {
    ("zh", "TW"): "Hant",
    ("zh", "HK"): "Hant",
    ("zh", "MO"): "Hant",
    ("zh", "AU"): "Hant",
    ("zh", "GB"): "Hant",
    ("zh", "US"): "Hant",
    ("zh", "ID"): "Hant",
    ("zh", "TH"): "Hant",
    ("zh", "VN"): "Hant",
    ("zh", "PH"): "Hant",
    ("zh", "PA"): "Hant",
    ("zh", "BN"): "Hant",
    ("zh", "FR"): "Hant",
    ("zh", "GF"): "Hant",
    ("zh", "PF"): "Hant",
    ("zh", "SR"): "Hant",
    ("zh", "CN"): "Hans",
    ("zh", "SG"): "Hans",
    ("zh", "MY"): "Hans",
    ("yue", "CN"): "Hans",
    ("sr", "ME"): "Latn",
    ("sr", "RO"): "Latn",
    ("sr", "RU"): "Latn",
    ("sr", "TR"): "Latn",
    ("uz", "AF"): "Arab",
    ("uz", "CN"): "Cyrl",
    ("pa", "PK"): "Arab",
    ("az", "IQ"): "Arab",
    ("az", "IR"): "Arab",
    ("az", "RU"): "Cyrl",
    ("kk", "AF"): "Arab",
    ("kk", "CN"): "Arab",
    ("kk", "IR"): "Arab",
    ("kk", "MN"): "Arab",
    ("ky", "CN"): "Arab",
    ("ky", "TR"): "Latn",
    ("mn", "CN"): "Mong",
    ("ms", "CC"): "Arab",
    ("ug", "KZ"): "Cyrl",
    ("ug", "MN"): "Cyrl",
    ("ha", "CM"): "Arab",
    ("ha", "SD"): "Arab",
}
REGIONS = {
    "AE": "United Arab Emirates",
    "AF": "Afghanistan",
    "AR": "Argentina",
    "AT": "Austria",
    "AU": "Australia",
    "AZ": "Azerbaijan",
    "BA": "Bosnia and Herzegovina",
    "BD": "Bangladesh",
    "BE": "Belgium",
    "BR": "Brazil",
    "CA": "Canada",
    "CH": "Switzerland",
    "CL": "Chile",
    "CN": "China",
    "CO": "Colombia",
    "CZ": "Czechia",
    "DE": "Germany",
    "DK": "Denmark",
    "DZ": "Algeria",
    "EG": "Egypt",
    "ES": "Spain",
    "FI": "Finland",
    "FR": "France",
    "GB": "United Kingdom",
    "GR": "Greece",
    "HK": "Hong Kong",
    "HR": "Croatia",
    "HU": "Hungary",
    "ID": "Indonesia",
    "IE": "Ireland",
    "IL": "Israel",
    "IN": "India",
    "IQ": "Iraq",
    "IR": "Iran",
    "IS": "Iceland",
    "IT": "Italy",
    "JP": "Japan",
    "KE": "Kenya",
    "KR": "South Korea",
    "KZ": "Kazakhstan",
    "LK": "Sri Lanka",
    "LT": "Lithuania",
    "LU": "Luxembourg",
    "MA": "Morocco",
    "ME": "Montenegro",
    "MO": "Macao",
    "MX": "Mexico",
    "MY": "Malaysia",
    "NG": "Nigeria",
    "NL": "Netherlands",
    "NO": "Norway",
    "NP": "Nepal",
    "NZ": "New Zealand",
    "PE": "Peru",
    "PH": "Philippines",
    "PK": "Pakistan",
    "PL": "Poland",
    "PT": "Portugal",
    "RO": "Romania",
    "RS": "Serbia",
    "RU": "Russia",
    "SA": "Saudi Arabia",
    "SE": "Sweden",
    "SG": "Singapore",
    "SK": "Slovakia",
    "TH": "Thailand",
    "TN": "Tunisia",
    "TR": "Turkey",
    "TW": "Taiwan",
    "TZ": "Tanzania",
    "UA": "Ukraine",
    "US": "United States",
    "UZ": "Uzbekistan",
    "VN": "Vietnam",
    "ZA": "South Africa",
    "001": "world",
    "150": "Europe",
    "419": "Latin America",
}


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
        return self.script or _BY_REGION.get((self.base, self.region), "") or usual


def subtags(code: str) -> Subtags:
    """The parts of a code by the rules of BCP 47 (RFC 5646): in any case, with - or _ between:
    zh_TW, zh-Hant-TW, zh-yue-HK, uz-Cyrl-UZ, deu_Latn.

    Variants, extensions (-u-...) and private use (-x-...) tell nothing about language, script or
    region.
    """
    parts = code.replace("_", "-").split("-")
    base = parts.pop(0)
    base = base.lower()
    if base == "zh" and [part.lower() for part in parts[:2]] == ["min", "nan"]:
        base, parts = "nan", parts[2:]
    was = base
    base = _SHORT.get(base, _OTHER.get(base, base))
    for _ in range(3):  # extended language subtags: zh-yue is yue, ar-arb is ar
        if parts and len(parts[0]) == 3 and parts[0].isalpha():
            found = parts.pop(0).lower()
            base = _SHORT.get(found, _OTHER.get(found, found))
    script = (
        parts.pop(0).title()
        if parts and len(parts[0]) == 4 and parts[0].isalpha()
        else "Latn"
        if was == "sh"
        else ""
    )
    region = ""
    if parts and (
        (len(parts[0]) == 2 and parts[0].isalpha())
        or (len(parts[0]) == 3 and parts[0].isascii() and parts[0].isdigit())
    ):
        region = parts.pop(0).upper()
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
    found = LANGUAGES.get(said.base)
    if found is None:
        return Language(code, said.script or UNKNOWN, UNKNOWN)
    script = said.resolved
    notes = [SCRIPTS.get(script, script)] if script != found.script else []
    notes += [REGIONS.get(said.region, said.region)] if said.region else []
    return Language(
        f"{found.name} ({'; '.join(notes)})" if notes else found.name, script, found.family
    )


# codes that are English words, and those that are usual abbreviations (machine learning, named
# entities): in a file name they mean a language only where nothing else can be meant
_WORDS = (
    "als am as be cat dan est fin he her id ice in ind is lo mac mar may me mo mon my no nor or "
    "pan per pol rum se sh sin so tam tat tel"
)
_SHORTENED = "br cs ga ha hr it la ml ms mt ne pa sa sk te tr"


def in_name(stem: str, known: Collection[str]) -> str:
    """The language code in the name of a file (without its ending), "" if there is none, or two.

    A code with its script or region, as written (deu_Latn, zh_TW, es-419), counts before one alone
    (de, deu). `known`: words of the name that say something else (train, test).
    """
    parts = re.findall(r"[^\W_]+|[\W_]+", stem)
    parts = parts if parts and parts[0][0].isalnum() else parts[1:]
    words, gaps = parts[::2], ["", *parts[1::2], ""]
    long, short, i = list[str](), list[str](), 0
    while i < len(words):
        length = _length(words[i:], gaps[i + 1 :])
        if length > 1:
            long.append("".join(parts[2 * i : 2 * (i + length) - 1]))
        elif length and _plausible(i, words, gaps, known):
            short.append(words[i].lower())
        i += max(length, 1)
    found = set(long or short)
    return found.pop() if len(found) == 1 else ""


def _length(words: Sequence[str], gaps: Sequence[str]) -> int:
    """How many of the words, from the first, make one code; 0 if the first is none."""
    base = words[0].lower()
    if not (base in LANGUAGES or base in _SHORT or base in _OTHER):
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


def _plausible(i: int, words: Sequence[str], gaps: Sequence[str], known: Collection[str]) -> bool:
    """Whether a short code in the name of a file means a language there."""
    word, before, after = words[i].lower(), gaps[i], gaps[i + 1]
    follows = i > 0 and words[i - 1].lower() in known
    alone = before in ("", ".") and after in ("", ".")
    if word in _WORDS.split(" "):
        return alone or (follows and after in ("", "."))
    if word in _SHORTENED.split(" "):
        leads = i + 1 < len(words) and words[i + 1].lower() in known
        return follows or leads or alone or not after
    return True
