"""No tool at all: the words as they are written. The end of every chain."""

from __future__ import annotations

import re

from culnig.lemmatizers.base import Lemmatizer, words

_HAN = re.compile(r"([\u3400-\u9fff\uf900-\ufaff])")


class Normalised(Lemmatizer):
    """Words of a folded text; each Chinese character is a word, since none are set apart."""

    languages = frozenset({"*"})
    package = "culnig-engine"

    def __init__(self, language: str) -> None:
        """Any language will do."""

    def lemmas(self, text: str) -> list[str]:
        """The words."""
        return words(_HAN.sub(r" \1 ", text))
