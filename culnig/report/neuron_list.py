"""The neurons that a report lists, with their scores by culture and the items and words that raise them.

The list is data for the page's script: numbers with few digits, each question once. Places of words are in
UTF-16 units, which is what JavaScript counts in.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from culnig.core.neurons import Neuron
from culnig.report.profiles import Profile
from culnig.report.tables import Cell, Table
from culnig.selection.neuron_set import NeuronSet
from culnig.store.run import Run

MOST_TEXT = 4000
"""Characters of a question that are kept."""
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
    """Significance and stability, where the set has them."""
    by_culture: dict[str, float] = field(default_factory=dict)
    drivers: list[dict[str, Any]] = field(default_factory=list)
    """Items that raise it: place in the list of questions, score, and where the word begins and ends."""

    @property
    def culture(self) -> str:
        """Culture with the highest score."""
        return max(self.by_culture, key=lambda name: self.by_culture[name]) if self.by_culture else ""


def listed_of_set(those: NeuronSet, most: int) -> list[Listed]:
    """The best neurons of a set."""
    return [
        Listed(
            those.name,
            place + 1,
            neuron,
            float(those.scores[place]),
            {
                short: float(those.columns[name][place])
                for name, short in _EXTRA.items()
                if name in those.columns
            },
        )
        for place, neuron in enumerate(those.neurons[:most])
    ]


def listed_of_profile(run: Run, one: Profile, most: int) -> list[Listed]:
    """The neurons with the highest scores of a run, where no set is given."""
    best = one.best[:most]
    return [
        Listed(f"highest in {one.target}", place + 1, neuron, float(one.columns[flat].sum()))
        for place, (flat, neuron) in enumerate(zip(best.tolist(), run.layout.neurons(best), strict=True))
    ]


def add_scores(listed: Sequence[Listed], run: Run, one: Profile) -> None:
    """Fill in the scores by culture."""
    for each in listed:
        column = one.columns.get(run.layout.flat(each.neuron))
        if column is not None:
            each.by_culture = dict(zip(one.cultures, column.tolist(), strict=True))


def add_drivers(listed: Sequence[Listed], run: Run, benchmark: str, questions: Questions) -> None:
    """Fill in the items and words that raise each neuron, where the run stores them."""
    from culnig.reanalysis.drivers import drivers

    if run.level == "culture" or not listed:
        return
    flat = np.array([run.layout.flat(each.neuron) for each in listed], dtype=np.int64)
    parts = run.item_parts(benchmark) if run.level == "item" else run.tensor_parts(benchmark)
    rows = {int(place): (part, row) for part in parts for row, place in enumerate(part.prompts.item)}
    answers = run.outcomes(benchmark)
    for each, found in zip(listed, drivers(run, benchmark, flat), strict=True):
        for driver in found:
            part, row = rows[driver.place]
            words = [part.prompts.vocabulary.get(int(token), "") for token in part.prompts.tokens(row)]
            number = questions.number(
                (run.run_id, benchmark, driver.place),
                {
                    "id": str(answers.id[driver.place]),
                    "culture": str(answers.culture[driver.place]),
                    "topic": str(answers.topic[driver.place]),
                    "gold": str(answers.gold[driver.place]),
                    "predicted": str(answers.predicted[driver.place]),
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
    """Questions that drivers refer to, each once."""

    items: list[dict[str, str]] = field(default_factory=list)
    places: dict[tuple[str, str, int], int] = field(default_factory=dict)

    def number(self, key: tuple[str, str, int], item: dict[str, str]) -> int:
        """Place of a question in `items`."""
        if key not in self.places:
            self.places[key] = len(self.items)
            self.items.append(item)
        return self.places[key]


def document(listed: Sequence[Listed], questions: Questions) -> dict[str, Any]:
    """What the page's script reads."""
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


def table(listed: Sequence[Listed], questions: Questions) -> Table:
    """The same as a table."""
    extras: list[str] = list(dict.fromkeys(name for each in listed for name in each.extra))

    def row(each: Listed) -> tuple[Cell, ...]:
        items = "; ".join(
            f"{questions.items[driver['item']]['id']} {driver['word']!r}" for driver in each.drivers
        )
        place = (each.group, each.rank, each.neuron.module, each.neuron.layer, each.neuron.index)
        return (*place, each.score, each.culture, *(each.extra.get(name) for name in extras), items)

    return Table(
        "neurons",
        "Neurons with the culture of their highest score and the items and words that raise them",
        ("set", "rank", "module", "layer", "index", "score", "culture", *extras, "raised by"),
        [row(each) for each in listed],
        ("", "", "", "", "", ".3e", "", *[".3g"] * len(extras)),
    )


def short(value: float) -> float | None:
    """A number with four digits; None for what is none."""
    if not np.isfinite(value):
        return None
    return float(f"{value:.4g}")


def utf16_length(text: str) -> int:
    """Length in JavaScript's units."""
    return len(text.encode("utf-16-le", "surrogatepass")) // 2


def shortened(text: str) -> str:
    """At most MOST_TEXT characters; an ellipsis says that there are more."""
    return text if len(text) <= MOST_TEXT else text[:MOST_TEXT] + " …"
