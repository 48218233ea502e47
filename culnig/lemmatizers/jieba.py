"""jieba: Chinese word segmentation (MIT). Chinese does not inflect, so its words are the lemmas."""

from __future__ import annotations

import logging

from culnig.lemmatizers.base import Lemmatizer, words


class Jieba(Lemmatizer):
    """Segmented words."""

    languages = frozenset({"zh"})
    package = "jieba"

    def __init__(self, language: str) -> None:
        """Its dictionary is read at the first text."""
        import jieba

        jieba.setLogLevel(logging.WARNING)
        self._cut = jieba.cut

    def lemmas(self, text: str) -> list[str]:
        """The words."""
        return [word for piece in self._cut(text) for word in words(piece)]
