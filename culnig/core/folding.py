"""Text without the differences of spelling that readers do not see, to compare names and answers."""

from __future__ import annotations

import unicodedata
from functools import lru_cache

_DIFFERENT = ("<super>", "<sub>", "<fraction>")
"""Compatible characters that readers do tell apart: 10² is not 102."""
_JOINERS = "\u200c\u200d"
"""Invisible characters that change how Persian and Indic words are written."""


def composed(text: str) -> str:
    """Text in Unicode composed form (NFC), in which an accented letter has one spelling."""
    return unicodedata.normalize("NFC", text)


def folded(text: str) -> str:
    """Text without differences of case, width, composition, white space and invisible characters."""
    if not text.isascii():
        letters = (_unmarked(character) for character in unicodedata.normalize("NFC", text))
        text = unicodedata.normalize("NFC", unicodedata.normalize("NFD", "".join(letters)).casefold())
    return " ".join(text.casefold().split())


@lru_cache(maxsize=4096)
def _unmarked(character: str) -> str:
    if unicodedata.category(character) == "Cf" and character not in _JOINERS:
        return ""
    if unicodedata.decomposition(character).startswith(_DIFFERENT):
        return character
    return unicodedata.normalize("NFKC", character)
