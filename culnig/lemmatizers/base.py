"""Base class of lemmatizers, and the folding of text before it is compared.

A lemmatizer is registered under its tool's name in the entry-point group `culnig.lemmatizers`.
"""

from __future__ import annotations

import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar


class Lemmatizer(ABC):
    """Splits text into lemmas or stems. Created once per language; ImportError if its tool is missing."""

    languages: ClassVar[frozenset[str]]
    """BCP-47 codes of the languages it knows."""
    package: ClassVar[str]
    """Distribution that contains the tool; its version is recorded."""

    @abstractmethod
    def __init__(self, language: str) -> None:
        """Load the tool for a language."""

    @abstractmethod
    def lemmas(self, text: str) -> Sequence[str]:
        """The lemmas of a folded text in order, without punctuation."""


def _series(*pairs: tuple[int, int]) -> dict[int, int]:
    """Map the seven orders of one Ethiopic series of letters to those of another that sounds alike."""
    return {first + order: second + order for first, second in pairs for order in range(7)}


_ALIKE: dict[str, dict[int, int | None]] = {
    # Arabic: vowel signs and the stretching stroke are optional. Persian has its own yeh and kaf.
    "ar": dict.fromkeys([*range(0x064B, 0x0653), 0x0670, 0x0640]),
    "fa": {**dict.fromkeys([*range(0x064B, 0x0653), 0x0640]), 0x064A: 0x06CC, 0x0643: 0x06A9},
    "am": {
        **_series((0x1210, 0x1200), (0x1280, 0x1200), (0x1220, 0x1230), (0x12D0, 0x12A0), (0x1340, 0x1338))
    },
}


def fold(text: str, language: str) -> str:
    """Fold text to NFKC and lower case, with one spelling for letters that a language does not "
    "distinguish."""
    if language == "az":  # dotted and dotless i are different letters
        text = text.replace("İ", "i").replace("I", "ı")
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return folded.translate(_ALIKE.get(language, {}))


def words(text: str) -> list[str]:
    """Runs of letters, digits and combining marks, including apostrophes and joiners inside a word."""
    kept = "".join(c if _in_word(c) else " " for c in text)
    return [word for part in kept.split() if (word := part.strip("'’ʼ\u200c\u200d"))]


def _in_word(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character)[0] == "M" or character in "'’ʼ\u200c\u200d"
