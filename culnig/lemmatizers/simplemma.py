"""simplemma: dictionaries and rules for some fifty languages; pure Python, MIT."""

from __future__ import annotations

from culnig.lemmatizers.base import Lemmatizer, words

_LANGUAGES = """
ast bg ca cs cy da de el en es et fa fi fr ga gd gl gv hbs hi hu hy id is it ka la lb lt lv mk ms nb nl nn pl
pt ro ru se sk sl sq sv sw tl tr uk
"""


class Simplemma(Lemmatizer):
    """The dictionary form of each word."""

    languages = frozenset(_LANGUAGES.split())
    package = "simplemma"

    def __init__(self, language: str) -> None:
        """simplemma reads its dictionaries when the first word comes."""
        import simplemma

        self._lemmatize = simplemma.lemmatize
        self._language = language

    def lemmas(self, text: str) -> list[str]:
        """The dictionary form of each word, in lower case."""
        return [self._lemmatize(word, lang=self._language).lower() for word in words(text)]
