from __future__ import annotations

import unicodedata

import pytest

from culnig.core.folding import composed, folded


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Tea", "tEA"),
        (unicodedata.normalize("NFC", "Café"), unicodedata.normalize("NFD", "café")),
        ("Straße", "STRASSE"),
        ("ＡＢＣ１", "abc1"),  # full width
        ("ﾊﾞﾅﾅ", "バナナ"),  # half width, with a separate voicing mark
        ("green\u00a0 tea ", "green tea"),
        ("\ufefftea\u200b", "tea"),
        ("ﬁg", "fig"),
        ("ᾳ", "ΑΙ"),
        ("각", unicodedata.normalize("NFD", "각")),
    ],
)
def test_spellings_that_readers_take_for_one(one, other):
    assert folded(one) == folded(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("cafe", "café"),
        ("10²", "102"),
        ("1½", "112"),
        ("H₂O", "H2O"),
        ("می\u200cخواهم", "میخواهم"),  # the joiner is part of Persian spelling
        ("sık", "sik"),
        ("ice cream", "icecream"),
    ],
)
def test_spellings_that_differ(one, other):
    assert folded(one) != folded(other)


def test_composition_keeps_case_and_width():
    assert composed("Cafe\u0301Ａ") == "Caf\u00e9Ａ"
