"""Qalsadi: Arabic morphological analysis (GPL, so an extra of its own)."""

from __future__ import annotations

from culnig.lemmatizers.base import Lemmatizer, words


class Qalsadi(Lemmatizer):
    """Dictionary forms without article, conjunctions and prepositions."""

    languages = frozenset({"ar"})
    package = "qalsadi"

    def __init__(self, language: str) -> None:
        """Open the dictionary."""
        from qalsadi.lemmatizer import Lemmatizer as Analyser

        self._lemmatize = Analyser().lemmatize_text

    def lemmas(self, text: str) -> list[str]:
        """The lemma of each word."""
        return [word for lemma in self._lemmatize(text) for word in words(str(lemma))]
