"""Is a freely written answer right? Its lemmas must hold those of an accepted answer, one after the other.

Each language has a chain of lemmatizers; the first whose tool is installed is used, at the end the words as
they are written. Which one it was, in which version, and what was missing goes into the results: an answer
judged without a lemmatizer counts as wrong where only its ending differs.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from importlib import metadata

from culnig import registry
from culnig.core.items import Item
from culnig.errors import InputError
from culnig.lemmatizers.base import Lemmatizer, fold
from culnig.lemmatizers.normalised import Normalised

CHAINS: Mapping[str, tuple[str, ...]] = {
    "ar": ("qalsadi",),
    "id": ("sastrawi", "simplemma"),
    "ko": ("kiwi",),
    "zh": ("jieba",),
    "ha": ("hausastemmer",),
    "am": (),  # no maintained lemmatizer installs on Python 3.11 for these four
    "as": (),
    "az": (),
    "su": (),
}
"""Lemmatizers by language, the best first; a language that is not here tries those that claim to know it."""

NORMALISED = "normalised"


class AnswerJudge:
    """Judges short answers; loads a lemmatizer when the first answer of its language comes."""

    def __init__(self, lemmatizers: Mapping[str, type[Lemmatizer]] | None = None) -> None:
        self._known = registry.lemmatizers() if lemmatizers is None else lemmatizers
        self._chosen: dict[str, Lemmatizer] = {}
        self._accepted: dict[tuple[str, str], tuple[str, ...]] = {}
        self.tools: dict[str, dict[str, object]] = {}
        """By language: the lemmatizer that judged, its package and version, and those that were missing."""

    def is_right(self, item: Item, answer: str) -> bool:
        """Whether `answer` holds one of the accepted answers of `item`."""
        lemmas = self._lemmas(answer, item.language)
        return any(contains(lemmas, self._wanted(text, item.language)) for text in item.accepted)

    def load(self, items: Sequence[Item]) -> None:
        """Choose the lemmatizers of all languages of `items` now."""
        for language in sorted({item.language for item in items}):
            self._lemmatizer(language)

    def _wanted(self, text: str, language: str) -> tuple[str, ...]:
        key = (language, text)
        if key not in self._accepted:
            self._accepted[key] = self._lemmas(text, language)
        return self._accepted[key]

    def _lemmas(self, text: str, language: str) -> tuple[str, ...]:
        folded = fold(text, language)
        return tuple(fold(lemma, language) for lemma in self._lemmatizer(language).lemmas(folded))

    def _lemmatizer(self, language: str) -> Lemmatizer:
        if language not in self._chosen:
            self._chosen[language] = self._choose(language)
        return self._chosen[language]

    def _choose(self, language: str) -> Lemmatizer:
        claims = tuple(name for name, made in self._known.items() if language in made.languages)
        missing: list[str] = []
        for name in CHAINS.get(language, claims):
            if name not in self._known:
                missing.append(name)
                continue
            kind = self._known[name]
            try:
                made = kind(language)
            except ImportError:
                missing.append(name)
                continue
            self._note(language, name, kind, missing)
            return made
        self._note(language, NORMALISED, Normalised, missing)
        return Normalised(language)

    def _note(self, language: str, name: str, kind: type[Lemmatizer], missing: list[str]) -> None:
        try:
            version = metadata.version(kind.package)
        except metadata.PackageNotFoundError:
            raise InputError(
                f"lemmatizer {name!r} names a package {kind.package!r} that is not there"
            ) from None
        self.tools[language] = {
            "lemmatizer": name,
            "package": kind.package,
            "version": version,
            "missing": missing,
        }


def contains(lemmas: Sequence[str], wanted: Sequence[str]) -> bool:
    """Whether `wanted` stands in `lemmas` without a gap; an empty one stands nowhere."""
    n = len(wanted)
    return n > 0 and any(
        tuple(lemmas[start : start + n]) == tuple(wanted) for start in range(len(lemmas) - n + 1)
    )
