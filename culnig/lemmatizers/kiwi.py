"""Kiwi: Korean morphological analysis (LGPL)."""

from __future__ import annotations

from culnig.lemmatizers.base import Lemmatizer

_ENDINGS = ("J", "E", "VCP", "SF", "SP", "SS", "SE", "SO", "SW", "SB")
"""Tags of particles, verb endings, the copula and punctuation."""


class Kiwi(Lemmatizer):
    """Content morphemes without particles and endings."""

    languages = frozenset({"ko"})
    package = "kiwipiepy"

    def __init__(self, language: str) -> None:
        """Load the model, which takes about three seconds."""
        from kiwipiepy import Kiwi as Analyser

        self._analyser = Analyser(num_workers=1)

    def lemmas(self, text: str) -> list[str]:
        """The dictionary form of each content morpheme."""
        return [
            str(token.lemma) for token in self._analyser.tokenize(text) if not token.tag.startswith(_ENDINGS)
        ]
