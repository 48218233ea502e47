"""PySastrawi: Indonesian stems (MIT)."""

from __future__ import annotations

from culnig.lemmatizers.base import Lemmatizer, words


class Sastrawi(Lemmatizer):
    """Words without prefixes, suffixes and reduplication."""

    languages = frozenset({"id"})
    package = "PySastrawi"

    def __init__(self, language: str) -> None:
        """Load the word list."""
        from Sastrawi.Stemmer.StemmerFactory import StemmerFactory

        self._stem = StemmerFactory().create_stemmer().stem

    def lemmas(self, text: str) -> list[str]:
        """The stem of each word; hyphens stay, because Sastrawi treats hyphenated words as one."""
        return [word for word in words(self._stem(text)) if word]
