"""What a lemmatizer offers, and how text is folded before it is compared.

A lemmatizer is registered in the entry-point group `culnig.lemmatizers` under its tool's name.
"""

from __future__ import annotations

import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar


class Lemmatizer(ABC):
    """Cuts a text into lemmas (or stems). Made once per language; ImportError where its tool is missing."""

    languages: ClassVar[frozenset[str]]
    """BCP-47 codes of the languages it knows."""
    package: ClassVar[str]
    """Distribution that holds the tool; its version is recorded."""

    @abstractmethod
    def __init__(self, language: str) -> None:
        """Load the tool for a language."""

    @abstractmethod
    def lemmas(self, text: str) -> Sequence[str]:
        """The lemmas of a folded text in their order; punctuation left out."""


def _series(*pairs: tuple[int, int]) -> dict[int, int]:
    """Ethiopic letters that sound alike: the seven orders of one series onto those of another."""
    return {first + order: second + order for first, second in pairs for order in range(7)}


_ALIKE: dict[str, dict[int, int | None]] = {
    # Arabic: vowel signs and the stretching stroke are optional. Persian: its own yeh and kaf.
    "ar": dict.fromkeys([*range(0x064B, 0x0653), 0x0670, 0x0640]),
    "fa": {**dict.fromkeys([*range(0x064B, 0x0653), 0x0640]), 0x064A: 0x06CC, 0x0643: 0x06A9},
    "am": {
        **_series((0x1210, 0x1200), (0x1280, 0x1200), (0x1220, 0x1230), (0x12D0, 0x12A0), (0x1340, 0x1338))
    },
}


def fold(text: str, language: str) -> str:
    """Compatible composed form (NFKC), lower case, one spelling for letters that a language uses alike."""
    if language == "az":  # dotted and dotless i are two letters
        text = text.replace("İ", "i").replace("I", "ı")
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text).casefold())
    return folded.translate(_ALIKE.get(language, {}))


def words(text: str) -> list[str]:
    """Runs of letters, digits and combining marks; apostrophes and joiners inside a word belong to it."""
    kept = "".join(c if _in_word(c) else " " for c in text)
    return [word for part in kept.split() if (word := part.strip("'’ʼ\u200c\u200d"))]


def _in_word(character: str) -> bool:
    return character.isalnum() or unicodedata.category(character)[0] == "M" or character in "'’ʼ\u200c\u200d"
