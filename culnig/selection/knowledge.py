"""Knowledge neurons: neurons with a high score in most prompts (Dai et al. 2022).

A neuron stands out in a prompt if it reaches 0.2 of the prompt's largest score. A neuron that stands out in
at least 0.7 of a culture's prompts is selected for that culture. The rule compares neurons within one prompt,
so it needs the scores of single items, and their weights do not affect it (docs/method.md, Neighbouring
methods).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culnig.core.neurons import Layout
from culnig.errors import SelectionError, UnknownNameError
from culnig.selection.neuron_set import NeuronSet
from culnig.selection.tables import choose_roles
from culnig.store.run import Run

METHOD = "knowledge-neurons"

_CELLS = 1 << 24
"""Item scores in memory at once."""


@dataclass(frozen=True)
class KnowledgeSettings:
    """The two thresholds and the pool."""

    threshold: float = 0.2
    """Share of a prompt's largest score that a neuron must reach to stand out."""
    shared: float = 0.7
    """Share of a culture's prompts in which it must stand out."""
    pool: str = "mlp"
    """Pool or module whose neurons are compared."""

    def check(self) -> None:
        """SelectionError if a threshold is not a share above 0."""
        for name in ("threshold", "shared"):
            value = getattr(self, name)
            if not 0 < value <= 1:
                raise SelectionError(f"{name} is {value}; give a number above 0 and up to 1")


@dataclass(frozen=True)
class PromptCounts:
    """Number of prompts of each culture in which each neuron of a pool stands out."""

    layout: Layout
    cultures: tuple[str, ...]
    n_prompts: NDArray[np.int64]
    """(culture,)."""
    counts: NDArray[np.int64]
    """(culture, neuron of the pool)."""
    flat: NDArray[np.int64]
    """Flat indices of the pool's neurons."""
    model: str
    source: dict[str, Any]


def standing_out(scores: NDArray[np.floating[Any]], threshold: float) -> NDArray[np.bool_]:
    """Which neurons reach `threshold` of the largest score of their item, shape (item, neuron).

    No neuron stands out in an item without a positive score.
    """
    largest = scores.max(axis=1, keepdims=True, initial=0).astype(np.float64)
    reach: NDArray[np.bool_] = (scores >= threshold * largest) & (largest > 0)
    return reach


def prompt_counts(
    run: Run, settings: KnowledgeSettings | None = None, target: str | None = None
) -> PromptCounts:
    """Count over the items of a run, a few at a time; StoreError if it keeps no item scores."""
    settings = settings or KnowledgeSettings()
    settings.check()
    roles = choose_roles(run, target=target, use_control=False, use_exclusion=False)
    parts = run.item_parts(roles.target.name)
    cultures, of_item = roles.target.cultures, run.outcomes(roles.target.name).culture
    row_of = {culture: row for row, culture in enumerate(cultures)}
    rows = np.array([row_of[culture] for culture in of_item], dtype=np.int64)
    flat = run.layout.pool(settings.pool)
    counts = np.zeros((len(cultures), len(flat)), dtype=np.int64)
    step = max(1, _CELLS // run.layout.n_neurons)
    for part in parts:
        with run.open_item_scores(part) as stored:
            for first in range(0, part.prompts.n_items, step):
                items = slice(first, first + step)
                reached = standing_out(stored.scores(items)[:, flat], settings.threshold)
                row_of_item = rows[part.prompts.item[items]]
                for row in np.unique(row_of_item):
                    counts[row] += reached[row_of_item == row].sum(axis=0)
    n_prompts = np.bincount(rows, minlength=len(cultures)).astype(np.int64)
    return PromptCounts(run.layout, cultures, n_prompts, counts, flat, run.model, roles.source(run))


def select_knowledge(
    counted: PromptCounts, culture: str, settings: KnowledgeSettings | None = None
) -> NeuronSet:
    """Neurons that stand out in a culture's prompts, by the share of prompts; ties to the lower flat index.

    `settings` must be the ones that the counts were made with.
    """
    settings = settings or KnowledgeSettings()
    settings.check()
    if culture not in counted.cultures:
        raise UnknownNameError("culture of this run:", culture, counted.cultures)
    row = counted.cultures.index(culture)
    share = counted.counts[row] / counted.n_prompts[row]
    chosen = np.flatnonzero(share >= settings.shared)
    chosen = chosen[np.argsort(-share[chosen], kind="stable")]
    return NeuronSet(
        name=f"{METHOD} {culture}",
        model=counted.model,
        layout_hash=counted.layout.hash,
        method={
            "name": METHOD,
            "culture": culture,
            **asdict(settings),
            "prompts": int(counted.n_prompts[row]),
            "pools": {settings.pool: {"neurons": len(counted.flat), "kept": len(chosen)}},
        },
        sources=[counted.source],
        neurons=tuple(counted.layout.neurons(counted.flat[chosen])),
        scores=share[chosen],
    )
