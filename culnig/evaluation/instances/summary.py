"""Summary of the instance level: how many items neurons serve, of which topics and cultures.

`positive` of a group is the fraction of its items on which the summed score of all chosen neurons is above
zero. `neuron_positive` is the fraction of positive scores over single neurons and items; the paper's 29 % is
of this kind (docs/method.md).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from culnig.core.items import Item
from culnig.core.neurons import Layout, Neuron
from culnig.core.questions import count_questions
from culnig.errors import InputError
from culnig.evaluation.instances.scores import InstanceScores

Measure = Literal["raw", "difference"]
By = Literal["topic", "culture"]

_KEYS: dict[By, Callable[[Item], str]] = {
    "topic": lambda item: item.topic or "–",
    "culture": lambda item: item.culture,
}


@dataclass(frozen=True)
class GroupScores:
    """Scores of the chosen neurons on a group of items."""

    group: str
    n: int
    """Items."""
    n_questions: int
    """Independent questions."""
    mean_sum: float
    """Mean over items of the scores summed over neurons."""
    positive: float
    """Fraction of the items whose summed score is positive."""
    neuron_positive: float
    """Fraction of (item, neuron) pairs with a positive score."""


@dataclass(frozen=True)
class NeuronTopic:
    """The topic that a neuron serves most."""

    neuron: Neuron
    mean: float
    """Mean score over items."""
    positive: float
    """Fraction of the items with a positive score."""
    topic: str
    """The topic with the largest mean score."""
    topic_mean: float
    """Its mean score."""
    topic_share: float
    """Its fraction of the positive scores, by mean of each topic: 1 / topics is even, 1 is a single topic."""


def _values(scores: InstanceScores, measure: Measure) -> NDArray[np.float64]:
    return scores.raw if measure == "raw" else scores.difference


def overall(scores: InstanceScores, measure: Measure = "difference") -> GroupScores:
    """All items together; InputError if there are none."""
    return _group("all", _values(scores, measure), scores.items)


def by_group(scores: InstanceScores, by: By, measure: Measure = "difference") -> list[GroupScores]:
    """Items by topic or culture, in order of first appearance."""
    values, keys = _values(scores, measure), _keys(scores.items, by)
    return [
        _group(
            name, values[keys == name], [i for i, key in zip(scores.items, keys, strict=True) if key == name]
        )
        for name in dict.fromkeys(keys)
    ]


def _keys(items: Sequence[Item], by: By) -> NDArray[np.object_]:
    return np.array([_KEYS[by](item) for item in items], dtype=object)


def _group(name: str, values: NDArray[np.float64], items: Sequence[Item]) -> GroupScores:
    if not values.size:
        raise InputError("no items or no neurons to summarise")
    sums = values.sum(axis=1)
    return GroupScores(
        name,
        len(values),
        count_questions(items),
        float(sums.mean()),
        float(np.mean(sums > 0)),
        float(np.mean(values > 0)),
    )


def neuron_topics(
    scores: InstanceScores, layout: Layout, measure: Measure = "difference", by: By = "topic"
) -> list[NeuronTopic]:
    """The topic (or culture) that each neuron serves most, in the order of the neurons."""
    values, keys = _values(scores, measure), _keys(scores.items, by)
    names = list(dict.fromkeys(keys))
    means = np.stack([values[keys == name].mean(axis=0) for name in names])  # (topic, neuron)
    positive = np.stack([np.maximum(values[keys == name], 0).mean(axis=0) for name in names])
    mass = positive.sum(axis=0)
    best = means.argmax(axis=0)
    return [
        NeuronTopic(
            neuron=neuron,
            mean=float(values[:, column].mean()),
            positive=float(np.mean(values[:, column] > 0)),
            topic=names[best[column]],
            topic_mean=float(means[best[column], column]),
            topic_share=float(positive[best[column], column] / mass[column]) if mass[column] > 0 else 0.0,
        )
        for column, neuron in enumerate(layout.neurons(scores.flat))
    ]


def summary(scores: InstanceScores, layout: Layout) -> dict[str, Any]:
    """All groups and neurons by both measures, ready for JSON."""
    measures: tuple[Measure, ...] = ("raw",) if scores.control is None else ("difference", "raw")
    return {
        "n_items": len(scores.items),
        "n_questions": count_questions(scores.items),
        "n_neurons": len(scores.flat),
        "measures": {
            measure: {
                "overall": asdict(overall(scores, measure)),
                "by_topic": [asdict(group) for group in by_group(scores, "topic", measure)],
                "by_culture": [asdict(group) for group in by_group(scores, "culture", measure)],
                "neurons": [
                    {**asdict(topic), "neuron": list(topic.neuron)}
                    for topic in neuron_topics(scores, layout, measure)
                ],
            }
            for measure in measures
        },
    }
