"""Is a freely written answer right? Its lemmas must hold those of an accepted answer, one after the other.

Each language has a chain of lemmatizers. The first whose tool is installed is used; if none is, words are
compared as written. The results record which lemmatizer judged, in which version, and which were missing: an
answer judged without a lemmatizer counts as wrong where only its ending differs.
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
    "am": (),  # no maintained lemmatizer for these four installs on Python 3.11
    "as": (),
    "az": (),
    "su": (),
}
"""Lemmatizers by language, the best first; other languages try every lemmatizer that declares them."""

NORMALISED = "normalised"


class AnswerJudge:
    """Judges short answers; loads a lemmatizer at the first answer in its language."""

    def __init__(self, lemmatizers: Mapping[str, type[Lemmatizer]] | None = None) -> None:
        self._known = registry.lemmatizers() if lemmatizers is None else lemmatizers
        self._chosen: dict[str, Lemmatizer] = {}
        self._accepted: dict[tuple[str, str], tuple[str, ...]] = {}
        self.tools: dict[str, dict[str, object]] = {}
        """By language: the lemmatizer that judged, its package and version, and those that were missing."""

    def is_right(self, item: Item, answer: str) -> bool:
        """Whether `answer` holds one of the accepted answers of `item`."""
        lemmas = self._lemmas(answer, item.language)
        return any(contains(lemmas, self._accepted_lemmas(text, item.language)) for text in item.accepted)

    def load(self, items: Sequence[Item]) -> None:
        """Choose the lemmatizers of all languages of `items` now."""
        for language in sorted({item.language for item in items}):
            self._lemmatizer(language)

    def _accepted_lemmas(self, text: str, language: str) -> tuple[str, ...]:
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
        declared = tuple(name for name, kind in self._known.items() if language in kind.languages)
        missing: list[str] = []
        for name in CHAINS.get(language, declared):
            if name not in self._known:
                missing.append(name)
                continue
            kind = self._known[name]
            try:
                lemmatizer = kind(language)
            except ImportError:
                missing.append(name)
                continue
            self._note(language, name, kind, missing)
            return lemmatizer
        self._note(language, NORMALISED, Normalised, missing)
        return Normalised(language)

    def _note(self, language: str, name: str, kind: type[Lemmatizer], missing: list[str]) -> None:
        try:
            version = metadata.version(kind.package)
        except metadata.PackageNotFoundError:
            raise InputError(
                f"lemmatizer {name!r} names the package {kind.package!r}, which is not installed"
            ) from None
        self.tools[language] = {
            "lemmatizer": name,
            "package": kind.package,
            "version": version,
            "missing": missing,
        }


def contains(lemmas: Sequence[str], accepted: Sequence[str]) -> bool:
    """Whether `lemmas` contains `accepted` without a gap; never where `accepted` is empty."""
    n = len(accepted)
    return n > 0 and any(
        tuple(lemmas[start : start + n]) == tuple(accepted) for start in range(len(lemmas) - n + 1)
    )
