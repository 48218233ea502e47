"""A model's answers: one entry per item, in file order.

The forward pass fills them, runs and evaluations store them, and every statistic reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culnig.core.items import Item
from culnig.core.notebook import optional_package
from culnig.errors import InputError

LABEL_SEPARATOR = "\t"
"""Between labels that are one text; neither a label nor the text of an option holds a tab."""
Texts = NDArray[np.object_]
"""One string per item, shape (item,)."""


_COLUMNS = (
    *("id", "question_id", "culture", "topic", "split", "gold", "predicted"),
    *("correct", "p_gold", "alignment", "similarity", "n_tokens", "routed_tokens", "also_right", "together"),
)
"""Fields of `Outcomes` with one value per item, or one row."""
_BY_OPTION = ("option_probabilities", "log_probabilities")
"""Those with a column for each option, as many as the item with the most options has, or none."""


@dataclass
class Outcomes:
    """Answers to a list of items, with the fields that identify each item."""

    id: Texts
    question_id: Texts
    culture: Texts
    topic: Texts
    split: Texts
    gold: Texts
    """The gold label, or the most common of the accepted short answers."""
    options: list[tuple[str, ...]]
    """The labels of each item, in the order shown."""
    predicted: Texts
    """Text of the most probable next token over the whole vocabulary, or the short answer as written."""
    correct: NDArray[np.bool_]
    """Whether that token is the gold label, or the short answer is accepted, shape (item,)."""
    p_gold: NDArray[np.float64]
    """P(gold), softmax over the whole vocabulary, shape (item,); NaN for short answers. Where options are
    read as texts, the share of the gold option among them (`culnig.core.likelihood`)."""
    option_probabilities: NDArray[np.float64]
    """Probability of each label in the item's order, padded with NaN, shape (item, option); of texts their
    shares."""
    log_probabilities: NDArray[np.float64]
    """Where options are read as texts: log-probability of each after the prompt, summed over its tokens,
    padded with NaN, shape (item, option). No columns where options are labels."""
    alignment: NDArray[np.float64]
    """How close the answer is to gold on the item's scale, 0 to 100, shape (item,); NaN without a scale."""
    similarity: NDArray[np.float64]
    """How near the probabilities of the labels are to the item's distribution, 0 to 1 (see `similarity`),
    shape (item,); NaN without a distribution."""
    also_right: Texts
    """Further right labels, separated by tabs."""
    together: Texts
    """What items that are right or wrong together share; empty for an item that stands for itself."""
    n_tokens: NDArray[np.int64]
    """Tokens of the prompt, shape (item,); 0 if they were not counted."""
    routed_tokens: NDArray[np.int64]
    """Tokens of the prompt that each expert saw, shape (item, expert of a layer), in the order of
    `Layout.experts`. No columns for models without experts, and where nothing was scored."""

    @classmethod
    def empty(cls, items: Sequence[Item], n_experts: int = 0) -> Outcomes:
        """Empty answers to `items`, to be filled in; `n_experts` are those of all layers."""

        def texts(values: list[str]) -> Texts:
            return np.array(values, dtype=object)

        n, widest = len(items), max((len(item.options) for item in items), default=0)
        by_likelihood = {item.likelihood is not None for item in items}
        if len(by_likelihood) > 1:
            raise InputError(
                "some of the items have labels as options and some have texts; put them into two benchmarks"
            )
        return cls(
            id=texts([item.id for item in items]),
            question_id=texts([item.question for item in items]),
            culture=texts([item.culture for item in items]),
            topic=texts([item.topic for item in items]),
            split=texts([item.split for item in items]),
            gold=texts([item.answer for item in items]),
            options=[item.options for item in items],
            predicted=texts([""] * n),
            correct=np.zeros(n, dtype=bool),
            p_gold=np.array([0.0 if item.options else np.nan for item in items]),
            option_probabilities=np.full((n, widest), np.nan),
            log_probabilities=np.full((n, widest if True in by_likelihood else 0), np.nan),
            alignment=np.array([0.0 if item.ordinal else np.nan for item in items]),
            similarity=np.array([0.0 if item.distribution else np.nan for item in items]),
            also_right=texts([LABEL_SEPARATOR.join(item.also_right) for item in items]),
            together=texts([item.together for item in items]),
            n_tokens=np.zeros(n, dtype=np.int64),
            routed_tokens=np.zeros((n, n_experts), dtype=np.int64),
        )

    def take(self, indices: NDArray[np.int64]) -> Outcomes:
        """The answers to the items with these indices, in that order."""
        options = [self.options[index] for index in indices]
        widest = max(map(len, options), default=0)
        columns = {name: getattr(self, name)[indices] for name in _COLUMNS}
        columns |= {name: getattr(self, name)[indices, :widest] for name in _BY_OPTION}
        return Outcomes(options=options, **columns)

    def put(self, indices: NDArray[np.int64], answers: Outcomes) -> None:
        """Write the answers to the items with these indices; the inverse of `take`.

        Log-probabilities that they do not have are left: a process may have read only some of the options.
        """
        for name in _COLUMNS:
            getattr(self, name)[indices] = getattr(answers, name)
        for index, labels in zip(indices, answers.options, strict=True):
            self.options[index] = labels
        widest = answers.option_probabilities.shape[1]
        self.option_probabilities[indices, :widest] = answers.option_probabilities
        widest = answers.log_probabilities.shape[1]
        before = self.log_probabilities[indices, :widest]
        known = ~np.isnan(answers.log_probabilities)
        self.log_probabilities[indices, :widest] = np.where(known, answers.log_probabilities, before)

    @classmethod
    def joined(cls, parts: Sequence[tuple[NDArray[np.int64], Outcomes]]) -> Outcomes:
        """The whole table from parts, pairs of item indices and answers, that hold each item once."""
        indices = np.concatenate([indices for indices, _ in parts])
        options = [labels for _, answers in parts for labels in answers.options]
        columns = {
            name: np.concatenate([getattr(answers, name) for _, answers in parts]) for name in _COLUMNS
        }
        columns |= {name: _stacked([getattr(answers, name) for _, answers in parts]) for name in _BY_OPTION}
        return cls(options=options, **columns).take(np.argsort(indices))

    def asked_as(self, items: Sequence[Item]) -> Outcomes:
        """The same answers with the questions of `items`: an earlier version may have stored other units."""
        return replace(self, question_id=np.array([item.question for item in items], dtype=object))

    def to_pandas(self) -> Any:
        """One row per item as a pandas DataFrame; EnvironmentProblem if pandas is not installed."""
        pandas = optional_package("pandas")
        columns = ("id", "question_id", "culture", "topic", "split", "gold", "predicted", "correct")
        numbers = ("p_gold", "option_mass", "alignment")
        return pandas.DataFrame({column: getattr(self, column) for column in (*columns, *numbers)})

    @property
    def has_options(self) -> bool:
        """Whether the answers are labels; short answers have no probabilities."""
        return all(self.options)

    @property
    def by_likelihood(self) -> bool:
        """Whether the options are read as texts, by their log-probabilities."""
        return bool(self.log_probabilities.shape[1])

    @property
    def gold_log_probability(self) -> NDArray[np.float64]:
        """Log-probability of the gold option's text, summed over its tokens, shape (item,)."""
        golds = [texts.index(gold) for texts, gold in zip(self.options, self.gold, strict=True)]
        return np.asarray(self.log_probabilities[np.arange(len(golds)), golds])

    @property
    def gold_bytes(self) -> NDArray[np.int64]:
        """Bytes of the gold option in UTF-8, shape (item,)."""
        return np.array([n_bytes(gold) for gold in self.gold], dtype=np.int64)

    @property
    def is_ordinal(self) -> bool:
        """Whether the labels are steps of a scale."""
        return not bool(np.isnan(self.alignment).any())

    @property
    def has_distributions(self) -> bool:
        """Whether people's answers are known as shares of the options."""
        return not bool(np.isnan(self.similarity).any())

    @property
    def are_together(self) -> bool:
        """Whether every item is right or wrong together with others."""
        return all(self.together)

    @property
    def all_correct(self) -> NDArray[np.bool_]:
        """Whether an item and all items together with it are right, shape (item,)."""
        wrong = {text for text, right in zip(self.together, self.correct, strict=True) if text and not right}
        alone = zip(self.together, self.correct, strict=True)
        return np.array([text not in wrong if text else bool(right) for text, right in alone], dtype=bool)

    @property
    def chance(self) -> NDArray[np.float64]:
        """Probability that a label drawn at random is right, shape (item,)."""
        right = (1 + len(texts.split(LABEL_SEPARATOR)) if texts else 1 for texts in self.also_right)
        return np.array([n / len(labels) for n, labels in zip(right, self.options, strict=True)])

    @property
    def option_mass(self) -> NDArray[np.float64]:
        """Total probability of the labels, shape (item,). A low mass means that the answer format is lost.

        NaN where options are read as texts: their shares always sum to 1.
        """
        if self.by_likelihood:
            return np.full(len(self.id), np.nan)
        return np.asarray(np.nansum(self.option_probabilities, axis=1))

    @property
    def option_correct(self) -> NDArray[np.bool_]:
        """Whether a right label is the most probable *among the labels*, shape (item,)."""
        if not self.options:
            return np.zeros(0, dtype=bool)
        best = np.nanargmax(self.option_probabilities, axis=1)
        chosen = [labels[index] for labels, index in zip(self.options, best, strict=True)]
        return np.array(
            [
                label == answer or (bool(also) and label in also.split(LABEL_SEPARATOR))
                for label, answer, also in zip(chosen, self.gold, self.also_right, strict=True)
            ]
        )

    @property
    def units(self) -> Texts:
        """Independent unit of each item for the statistics: its question, shape (item,).

        Rows, wordings and cultures of one question share most of their text, so they are one unit.
        """
        return self.question_id


def n_bytes(text: str) -> int:
    """Bytes of a text in UTF-8."""
    return len(text.encode())


def _stacked(tables: Sequence[NDArray[np.float64]]) -> NDArray[np.float64]:
    """The rows of all tables, padded with NaN to one number of columns."""
    widest = max((table.shape[1] for table in tables), default=0)
    missing = [((0, 0), (0, widest - table.shape[1])) for table in tables]
    pairs = zip(tables, missing, strict=True)
    padded = [np.pad(table, width, constant_values=np.nan) for table, width in pairs]
    return np.concatenate([np.empty((0, widest)), *padded])


def similarity(distribution: Sequence[float], probabilities: NDArray[np.float64]) -> float:
    """1 − Jensen–Shannon distance of the labels' probabilities and people's shares, 0 to 1.

    The distance is the root of the divergence in bits, so that shares without a common option are at 1. The
    probabilities, (option,), are first divided by their sum; without any, the similarity is 0.
    """
    mass = float(probabilities.sum())
    if not mass > 0:
        return 0.0
    pair = np.stack([np.asarray(distribution, dtype=np.float64) / sum(distribution), probabilities / mass])
    terms = np.where(pair > 0, pair, 1.0)
    middle = np.where(pair.mean(axis=0) > 0, pair.mean(axis=0), 1.0)
    divergence = float((pair * np.log2(terms / middle)).sum() / 2)
    return 1.0 - float(np.sqrt(np.clip(divergence, 0.0, 1.0)))


def alignment(options: Sequence[str], gold: str, answered: str | None) -> float:
    """100·(1 − |o−g| / max(|min−g|, |max−g|)) over the steps of the scale; 0 if the answer is no label.

    See docs/method.md, Masking and evaluation.
    """
    if answered is None:
        return 0.0
    right, given = options.index(gold), options.index(answered)
    return 100.0 * (1.0 - abs(given - right) / max(right, len(options) - 1 - right))
