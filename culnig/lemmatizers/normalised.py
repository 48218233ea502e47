"""Words as they are written, without any tool: the last resort for every language."""

from __future__ import annotations

import re

from culnig.lemmatizers.base import Lemmatizer, words

_HAN = re.compile(r"([\u3400-\u9fff\uf900-\ufaff])")


class Normalised(Lemmatizer):
    """Words of a folded text; each Chinese character counts as a word."""

    languages = frozenset({"*"})
    package = "culnig-engine"

    def __init__(self, language: str) -> None:
        """Accepts any language."""

    def lemmas(self, text: str) -> list[str]:
        """The words."""
        return words(_HAN.sub(r" \1 ", text))
