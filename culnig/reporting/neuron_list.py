"""The neurons that a report lists, with their scores by culture and the items and words that raise it.

The list is data for the page's script: numbers are rounded, and each question is stored once. Offsets of
words are in UTF-16 units, which JavaScript counts in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from culnig.core.neurons import Neuron
from culnig.reporting.profiles import Profile
from culnig.reporting.tables import Cell, Table
from culnig.selection.neuron_set import NeuronSet
from culnig.store.run import Run

MOST_TEXT = 4000
"""Most characters kept of a question."""
_EXTRA = {"q_value": "q", "frequency": "stability"}


@dataclass
class Listed:
    """One listed neuron."""

    group: str
    """Name of its set."""
    rank: int
    neuron: Neuron
    score: float
    extra: dict[str, float] = field(default_factory=dict)
    """Significance and stability, if the set has them."""
    by_culture: dict[str, float] = field(default_factory=dict)
    drivers: list[dict[str, Any]] = field(default_factory=list)
    """Items that raise its score: index in the list of questions, score, start and end offset of the word."""

    @property
    def culture(self) -> str:
        """Culture with the highest score."""
        return max(self.by_culture, key=lambda name: self.by_culture[name]) if self.by_culture else ""


def listed_of_set(neurons: NeuronSet, most: int) -> list[Listed]:
    """The top neurons of a set."""
    return [
        Listed(
            neurons.name,
            row + 1,
            neuron,
            float(neurons.scores[row]),
            {
                short: float(neurons.columns[name][row])
                for name, short in _EXTRA.items()
                if name in neurons.columns
            },
        )
        for row, neuron in enumerate(neurons.neurons[:most])
    ]


def listed_of_profile(run: Run, profile: Profile, most: int) -> list[Listed]:
    """The neurons with the highest scores of a run, for a report without neuron sets."""
    best = profile.best[:most]
    return [
        Listed(f"highest in {profile.target}", rank, neuron, float(profile.columns[flat].sum()))
        for rank, (flat, neuron) in enumerate(zip(best.tolist(), run.layout.neurons(best), strict=True), 1)
    ]


def add_scores(listed: Sequence[Listed], run: Run, profile: Profile) -> None:
    """Fill in the scores by culture."""
    for each in listed:
        column = profile.columns.get(run.layout.flat(each.neuron))
        if column is not None:
            each.by_culture = dict(zip(profile.cultures, column.tolist(), strict=True))


def add_drivers(listed: Sequence[Listed], run: Run, benchmark: str, questions: Questions) -> None:
    """Fill in the items and words that raise each neuron's score, if the run stores them."""
    from culnig.reanalysis.drivers import drivers

    if run.level == "culture" or not listed:
        return
    flat = np.array([run.layout.flat(each.neuron) for each in listed], dtype=np.int64)
    parts = run.item_parts(benchmark) if run.level == "item" else run.tensor_parts(benchmark)
    rows = {int(item): (part, row) for part in parts for row, item in enumerate(part.prompts.item)}
    answers = run.outcomes(benchmark)
    for each, own_drivers in zip(listed, drivers(run, benchmark, flat), strict=True):
        for driver in own_drivers:
            part, row = rows[driver.item]
            words = [part.prompts.vocabulary.get(int(token), "") for token in part.prompts.tokens(row)]
            number = questions.number(
                (run.run_id, benchmark, driver.item),
                {
                    "id": str(answers.id[driver.item]),
                    "culture": str(answers.culture[driver.item]),
                    "topic": str(answers.topic[driver.item]),
                    "gold": str(answers.gold[driver.item]),
                    "predicted": str(answers.predicted[driver.item]),
                    "text": shortened("".join(words)),
                },
            )
            start = utf16_length("".join(words[: driver.token]))
            each.drivers.append(
                {
                    "item": number,
                    "score": short(driver.score),
                    "start": start,
                    "end": start + utf16_length(driver.text),
                    "word": driver.text,
                }
            )


@dataclass
class Questions:
    """Questions that drivers refer to, each stored once."""

    items: list[dict[str, str]] = field(default_factory=list)
    indices: dict[tuple[str, str, int], int] = field(default_factory=dict)

    def number(self, key: tuple[str, str, int], item: dict[str, str]) -> int:
        """Index of a question in `items`, to which it is added if it is new."""
        if key not in self.indices:
            self.indices[key] = len(self.items)
            self.items.append(item)
        return self.indices[key]


def document(listed: Sequence[Listed], questions: Questions) -> dict[str, Any]:
    """The data that the page's script reads."""
    cultures = list(dict.fromkeys(name for each in listed for name in each.by_culture))
    return {
        "cultures": cultures,
        "items": questions.items,
        "neurons": [
            {
                "set": each.group,
                "rank": each.rank,
                "module": each.neuron.module,
                "layer": each.neuron.layer,
                "index": each.neuron.index,
                "score": short(each.score),
                "culture": each.culture,
                "values": [
                    None if name not in each.by_culture else short(each.by_culture[name]) for name in cultures
                ],
                "extra": {name: short(value) for name, value in each.extra.items()},
                "drivers": each.drivers,
            }
            for each in listed
        ],
    }


def table(listed: Sequence[Listed], questions: Questions, basis: str) -> Table:
    """The list as a table; `basis` names the scores and what they rest on."""
    extras: list[str] = list(dict.fromkeys(name for each in listed for name in each.extra))

    def row(each: Listed) -> tuple[Cell, ...]:
        items = "; ".join(
            f"{questions.items[driver['item']]['id']} {driver['word']!r}" for driver in each.drivers
        )
        return (
            each.group,
            each.rank,
            *each.neuron,
            each.score,
            each.culture,
            *(each.extra.get(name) for name in extras),
            items,
        )

    return Table(
        "neurons",
        "Neurons with the culture of their highest score and the items and words that raise it"
        + (f" ({basis})" if basis else ""),
        ("set", "rank", "module", "layer", "index", "score", "culture", *extras, "raised by"),
        [row(each) for each in listed],
        ("", "", "", "", "", ".3e", "", *[".3g"] * len(extras)),
    )


def short(value: float) -> float | None:
    """A number rounded to four digits; None if it is not finite."""
    if not np.isfinite(value):
        return None
    return float(f"{value:.4g}")


def utf16_length(text: str) -> int:
    """Length in UTF-16 units."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def shortened(text: str) -> str:
    """At most MOST_TEXT characters, with an ellipsis if more follow."""
    return text if len(text) <= MOST_TEXT else text[:MOST_TEXT] + " …"
