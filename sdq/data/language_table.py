"""Languages, scripts and regions: those in XNLI, PAWS-X, XGLUE, SIB-200 and most treebanks of
Universal Dependencies.

Codes are ISO 639-1 (ISO 639-3 where that has none). Scripts are ISO 15924, that in which the data
sets above write the language. Families are the topmost of Glottolog, where an isolate is a family
of its own.
"""

from __future__ import annotations

from typing import NamedTuple

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


def _pairs(text: str) -> dict[str, str]:
    """Code -> name, of entries such as `gd Scottish Gaelic` with commas between."""
    return {code: name for code, _, name in (entry.partition(" ") for entry in text.split(", "))}


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
    for code, name in _pairs(listed).items()
}
# ISO 639-3 as SIB-200 writes it -> ISO 639-1
ISO_639_3 = _pairs(
    "afr af, amh am, arb ar, azj az, bel be, ben bn, bul bg, cat ca, ces cs, cym cy, dan da, "
    "deu de, ell el, eng en, est et, eus eu, fao fo, fin fi, fra fr, gla gd, gle ga, glg gl, "
    "guj gu, hat ht, hau ha, heb he, hin hi, hrv hr, hun hu, hye hy, ind id, isl is, ita it, "
    "jav jv, jpn ja, kan kn, kat ka, kaz kk, khm km, khk mn, kir ky, kor ko, lao lo, lit lt, "
    "ltz lb, lvs lv, mal ml, mar mr, mkd mk, mlt mt, mya my, nld nl, nno nn, nob nb, npi ne, "
    "oci oc, ory or, pan pa, pes fa, plt mg, pol pl, por pt, ron ro, rus ru, san sa, sin si, "
    "slk sk, slv sl, som so, spa es, srp sr, swe sv, swh sw, tam ta, tat tt, tel te, tgl tl, "
    "tha th, tur tr, uig ug, ukr uk, urd ur, uzn uz, vie vi, wol wo, xho xh, yor yo, zho zh, "
    "zsm ms, zul zu"
)
# codes of ISO 639-2 (B), of macrolanguages, outdated ones, and extended subtags -> what they are
# today
OTHER_CODES = _pairs(
    "alb sq, als sq, arm hy, baq eu, bur my, chi zh, cmn zh, cze cs, dut nl, ekk et, fil tl, "
    "fre fr, geo ka, ger de, gre el, ice is, in id, iw he, jw jv, lav lv, mac mk, mao mi, may ms, "
    "mo ro, mol ro, mon mn, msa ms, nep ne, nor no, ori or, per fa, fas fa, rum ro, sh sr, "
    "slo sk, sqi sq, ara ar, aze az, bre br, ltg lv, mlg mg, swa sw, tib bo, uzb uz, wel cy, "
    "scc sr, scr hr"
)
# (language, script) -> the regions that tell this script (CLDR, likely subtags)
_REGIONAL = {
    ("zh", "Hant"): "TW HK MO AU GB US ID TH VN PH PA BN FR GF PF SR",
    ("zh", "Hans"): "CN SG MY",
    ("yue", "Hans"): "CN",
    ("sr", "Latn"): "ME RO RU TR",
    ("uz", "Arab"): "AF",
    ("uz", "Cyrl"): "CN",
    ("pa", "Arab"): "PK",
    ("az", "Arab"): "IQ IR",
    ("az", "Cyrl"): "RU",
    ("kk", "Arab"): "AF CN IR MN",
    ("ky", "Arab"): "CN",
    ("ky", "Latn"): "TR",
    ("mn", "Mong"): "CN",
    ("ms", "Arab"): "CC",
    ("ug", "Cyrl"): "KZ MN",
    ("ha", "Arab"): "CM SD",
}
SCRIPT_OF_REGION = {
    (code, region): script
    for (code, script), regions in _REGIONAL.items()
    for region in regions.split(" ")
}
REGIONS = _pairs(
    "AE United Arab Emirates, AF Afghanistan, AR Argentina, AT Austria, AU Australia, "
    "AZ Azerbaijan, BA Bosnia and Herzegovina, BD Bangladesh, BE Belgium, BR Brazil, CA Canada, "
    "CH Switzerland, CL Chile, CN China, CO Colombia, CZ Czechia, DE Germany, DK Denmark, "
    "DZ Algeria, EG Egypt, ES Spain, FI Finland, FR France, GB United Kingdom, GR Greece, "
    "HK Hong Kong, HR Croatia, HU Hungary, ID Indonesia, IE Ireland, IL Israel, IN India, "
    "IQ Iraq, IR Iran, IS Iceland, IT Italy, JP Japan, KE Kenya, KR South Korea, KZ Kazakhstan, "
    "LK Sri Lanka, LT Lithuania, LU Luxembourg, MA Morocco, ME Montenegro, MO Macao, MX Mexico, "
    "MY Malaysia, NG Nigeria, NL Netherlands, NO Norway, NP Nepal, NZ New Zealand, PE Peru, "
    "PH Philippines, PK Pakistan, PL Poland, PT Portugal, RO Romania, RS Serbia, RU Russia, "
    "SA Saudi Arabia, SE Sweden, SG Singapore, SK Slovakia, TH Thailand, TN Tunisia, TR Turkey, "
    "TW Taiwan, TZ Tanzania, UA Ukraine, US United States, UZ Uzbekistan, VN Vietnam, "
    "ZA South Africa, 001 world, 150 Europe, 419 Latin America"
)
