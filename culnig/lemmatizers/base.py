"""What a lemmatizer offers. Registered in the entry-point group `culnig.lemmatizers`, by the tool's name."""

from __future__ import annotations

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
        """The lemmas of a text in their order; punctuation left out."""
