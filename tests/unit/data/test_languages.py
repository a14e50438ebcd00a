"""Languages of files are codes of BCP 47."""

from __future__ import annotations

import pytest

from sdq.data.languages import language, same, subtags


@pytest.mark.parametrize(
    ("code", "script", "named"),
    [
        ("zh-hant", "Hant", "Chinese (Han, traditional)"),
        ("zh_TW", "Hant", "Taiwan"),
        ("zh-HK", "Hant", "Hong Kong"),
        ("zh-Hant-TW", "Hant", "Taiwan"),
        ("zh-MO", "Hant", "Macao"),
        ("zh-SG", "Hans", "Singapore"),
        ("ZH_hans_cn", "Hans", "China"),
        ("zh", "Hans", "Chinese"),
        ("zho_Hant", "Hant", "traditional"),
        ("cmn-Hant-TW", "Hant", "Taiwan"),
        ("zh-yue-HK", "Hant", "Cantonese"),
        ("uz-Cyrl-UZ", "Cyrl", "Uzbek (Cyrillic"),
        ("uz", "Latn", "Uzbek"),
        ("uz-AF", "Arab", "Arabic"),
        ("sr_latn", "Latn", "Serbian"),
        ("sr-Cyrl", "Cyrl", "Serbian (Cyrillic)"),
        ("sh", "Latn", "Serbian"),
        ("pa-PK", "Arab", "Punjabi"),
        ("de-1996", "Latn", "German"),
        ("de-u-co-phonebk", "Latn", "German"),
        ("en-x-mine", "Latn", "English"),
        ("es-419", "Latn", "Latin America"),
        ("pt-BR", "Latn", "Portuguese (Brazil)"),
        ("iw", "Hebr", "Hebrew"),
        ("ger", "Latn", "German"),
        ("xx-Cyrl", "Cyrl", "xx-Cyrl"),
        ("xx", "unknown", "xx"),
    ],
)
def test_codes_are_read_by_bcp_47(code: str, script: str, named: str) -> None:
    for written in (
        code,
        code.upper(),
        code.lower(),
        code.replace("-", "_"),
        code.replace("_", "-"),
    ):
        assert language(written).script == script
    assert named in language(code).name
    assert subtags(code).base in ("zh", "yue", "uz", "sr", "pa", "de", "en", "es", "pt", "he", "xx")


@pytest.mark.parametrize(
    ("one", "other", "are"),
    [
        ("zh_TW", "zh-tw", True),
        ("zh-TW", "zh-Hant-TW", True),
        ("de", "deu_Latn", True),
        ("zh", "zh-Hant", False),
        ("pt", "pt-BR", False),
        ("de", "de-1996", False),
        ("sr", "sr-Cyrl", False),
        ("ger", "de", True),
    ],
)
def test_codes_that_are_one_language(one: str, other: str, are: bool) -> None:
    assert same(one, other) is same(other, one) is are
