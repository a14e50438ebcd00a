"""Languages: name, script and family of those in XNLI, PAWS-X, XGLUE, SIB-200 and most treebanks of Universal Dependencies.

Codes are ISO 639-1 (ISO 639-3 where that has none); a code with a script behind it, "deu_Latn", is read as well. Scripts are ISO 15924, that
in which the data sets above write the language. Families are the topmost of Glottolog, where an isolate is a family of its own.
"""

from __future__ import annotations

from typing import NamedTuple

UNKNOWN = "unknown"
SCRIPTS = {
    "Arab": "Arabic", "Armn": "Armenian", "Beng": "Bengali", "Cyrl": "Cyrillic", "Deva": "Devanagari", "Ethi": "Ethiopic", "Geor": "Georgian", "Grek": "Greek",
    "Gujr": "Gujarati", "Guru": "Gurmukhi", "Hang": "Hangul", "Hans": "Han, simplified", "Hant": "Han, traditional", "Hebr": "Hebrew", "Jpan": "Japanese",
    "Khmr": "Khmer", "Knda": "Kannada", "Laoo": "Lao", "Latn": "Latin", "Mlym": "Malayalam", "Mymr": "Myanmar", "Orya": "Odia", "Sinh": "Sinhala",
    "Taml": "Tamil", "Telu": "Telugu", "Thai": "Thai",
}  # fmt: skip


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
        "Arab": "ar Arabic", "Ethi": "am Amharic", "Hebr": "he Hebrew", "Latn": "ha Hausa, mt Maltese, so Somali",
    },
    "Atlantic-Congo": {"Latn": "sw Swahili, wo Wolof, xh Xhosa, yo Yoruba, zu Zulu"},
    "Austroasiatic": {"Khmr": "km Khmer", "Latn": "vi Vietnamese"},
    "Austronesian": {"Latn": "ceb Cebuano, id Indonesian, jv Javanese, mg Malagasy, ms Malay, tl Tagalog"},
    "Basque": {"Latn": "eu Basque"},
    "Dravidian": {"Knda": "kn Kannada", "Mlym": "ml Malayalam", "Taml": "ta Tamil", "Telu": "te Telugu"},
    "Indo-European": {
        "Arab": "fa Persian, ur Urdu",
        "Armn": "hy Armenian",
        "Beng": "as Assamese, bn Bengali",
        "Cyrl": "be Belarusian, bg Bulgarian, mk Macedonian, ru Russian, uk Ukrainian",
        "Deva": "hi Hindi, mr Marathi, ne Nepali, sa Sanskrit",
        "Grek": "el Greek",
        "Gujr": "gu Gujarati",
        "Guru": "pa Punjabi",
        "Latn": "af Afrikaans, br Breton, ca Catalan, cs Czech, cy Welsh, da Danish, de German, en English, es Spanish, fo Faroese, fr French, ga Irish, "
        "gd Scottish Gaelic, gl Galician, hr Croatian, hsb Upper Sorbian, ht Haitian Creole, is Icelandic, it Italian, la Latin, lb Luxembourgish, "
        "lt Lithuanian, lv Latvian, nb Norwegian Bokmål, nl Dutch, nn Norwegian Nynorsk, no Norwegian, oc Occitan, pcm Naija, pl Polish, pt Portuguese, "
        "ro Romanian, sk Slovak, sl Slovenian, sq Albanian, sr Serbian, sv Swedish",
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
    "Turkic": {"Arab": "ug Uyghur", "Cyrl": "kk Kazakh, ky Kyrgyz, sah Yakut, tt Tatar", "Latn": "az Azerbaijani, tr Turkish, uz Uzbek"},
    "Uralic": {"Cyrl": "kpv Komi Zyrian, myv Erzya", "Latn": "et Estonian, fi Finnish, hu Hungarian, se Northern Sami"},
}  # fmt: skip
LANGUAGES = {
    code: Language(name, script, family)
    for family, scripts in _LISTED.items()
    for script, listed in scripts.items()
    for code, _, name in (entry.partition(" ") for entry in listed.split(", "))
}
# ISO 639-3 as SIB-200 writes it -> ISO 639-1
_SHORT = {
    "afr": "af", "amh": "am", "arb": "ar", "azj": "az", "bel": "be", "ben": "bn", "bul": "bg", "cat": "ca", "ces": "cs", "cym": "cy", "dan": "da", "deu":
    "de", "ell": "el", "eng": "en", "est": "et", "eus": "eu", "fao": "fo", "fin": "fi", "fra": "fr", "gla": "gd", "gle": "ga", "glg": "gl", "guj": "gu",
    "hat": "ht", "hau": "ha", "heb": "he", "hin": "hi", "hrv": "hr", "hun": "hu", "hye": "hy", "ind": "id", "isl": "is", "ita": "it", "jav": "jv", "jpn":
    "ja", "kan": "kn", "kat": "ka", "kaz": "kk", "khm": "km", "khk": "mn", "kir": "ky", "kor": "ko", "lao": "lo", "lit": "lt", "ltz": "lb", "lvs": "lv",
    "mal": "ml", "mar": "mr", "mkd": "mk", "mlt": "mt", "mya": "my", "nld": "nl", "nno": "nn", "nob": "nb", "npi": "ne", "oci": "oc", "ory": "or", "pan":
    "pa", "pes": "fa", "plt": "mg", "pol": "pl", "por": "pt", "ron": "ro", "rus": "ru", "san": "sa", "sin": "si", "slk": "sk", "slv": "sl", "som": "so",
    "spa": "es", "srp": "sr", "swe": "sv", "swh": "sw", "tam": "ta", "tat": "tt", "tel": "te", "tgl": "tl", "tha": "th", "tur": "tr", "uig": "ug", "ukr":
    "uk", "urd": "ur", "uzn": "uz", "vie": "vi", "wol": "wo", "xho": "xh", "yor": "yo", "zho": "zh", "zsm": "ms", "zul": "zu",
}  # fmt: skip


def language(code: str) -> Language:
    """What is known of a language; its code as the name, and "unknown" script and family, of one that is not in the table.

    A script that the code names counts, and is named with the language if it is not the usual one: "Chinese (Han, traditional)".
    """
    base, _, script = code.replace("-", "_").partition("_")
    found = LANGUAGES.get(_SHORT.get(base, base))
    if found is None:
        return Language(code, script if script in SCRIPTS else UNKNOWN, UNKNOWN)
    if script in SCRIPTS and script != found.script:
        return Language(f"{found.name} ({SCRIPTS[script]})", script, found.family)
    return found
