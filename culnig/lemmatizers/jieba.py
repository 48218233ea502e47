"""jieba: Chinese word segmentation (MIT). Chinese does not inflect, so its words are the lemmas."""

from __future__ import annotations

import logging

from culnig.lemmatizers.base import Lemmatizer, words


class Jieba(Lemmatizer):
    """Segmented words."""

    languages = frozenset({"zh"})
    package = "jieba"

    def __init__(self, language: str) -> None:
        """jieba reads its dictionary when the first text comes."""
        import jieba

        jieba.setLogLevel(logging.WARNING)
        self._cut = jieba.cut

    def lemmas(self, text: str) -> list[str]:
        """The words."""
        return [word for segment in self._cut(text) for word in words(segment)]
