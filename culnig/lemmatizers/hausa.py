"""hausastemmer: Hausa stems after Bimba et al. 2015 (BSD); unchanged since 2016, small, no dependencies."""

from __future__ import annotations

from culnig.lemmatizers.base import Lemmatizer, words


class HausaStemmer(Lemmatizer):
    """Words without affixes."""

    languages = frozenset({"ha"})
    package = "hausastemmer"

    def __init__(self, language: str) -> None:
        """Load the word list."""
        import hausastemmer

        self._stem = hausastemmer.stem

    def lemmas(self, text: str) -> list[str]:
        """The stem of each word."""
        return [str(self._stem(word)) for word in words(text)]
