"""Neurons that are on for few groups: language activation probability entropy (Tang et al. 2024; METHOD §8).

p(n,g) is the share of group g's tokens at which neuron n is positive. Among the neurons whose p exceeds the
95th percentile of all p for at least one group, those with the lowest entropy over groups are kept, and each
belongs to every group in which its p exceeds that percentile. With cultures for languages it is CAPE
(arXiv 2508.02241).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culnig import kernels
from culnig.core.neurons import Layout
from culnig.errors import SelectionError
from culnig.selection.neuron_set import NeuronSet
from culnig.selection.pools import pool_positions
from culnig.selection.ranking import check_fraction
from culnig.selection.tables import choose_roles
from culnig.store.run import Run

SCORER = "positive-tokens"
"""The scorer whose counts these selections need."""


@dataclass(frozen=True)
class LapeSettings:
    """The paper's settings."""

    top: float = 0.01
    """Share of all neurons of the pool that is kept, those of lowest entropy."""
    percentile: float = 95.0
    """Of p over all neurons and groups: what a neuron must exceed for a group."""
    pool: str = "mlp"


@dataclass(frozen=True)
class ActivationShares:
    """How often each neuron is on, per culture."""

    layout: Layout
    cultures: tuple[str, ...]
    shares: NDArray[np.float64]
    """p, shape (culture, neuron)."""
    model: str
    source: dict[str, Any]


def entropies(shares: NDArray[np.float64]) -> NDArray[np.float64]:
    """−Σ_g q log q of q = p / Σ_g p, shape (neuron,); infinite for a neuron that is never on."""
    total = shares.sum(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        q = shares / total
        terms = np.where(q > 0, q * np.log(q), 0.0)
    return np.where(total > 0, -terms.sum(axis=0), np.inf)


def select_lape(
    shares: ActivationShares, settings: LapeSettings | None = None, method: str = "lape"
) -> dict[str, NeuronSet]:
    """A set of neurons per culture, lowest entropy first; scores are −entropy.

    SelectionError for fewer than two cultures, or where no neuron exceeds the percentile.
    """
    settings = settings or LapeSettings()
    check_fraction("top", settings.top)
    if not 0 <= settings.percentile < 100:
        raise SelectionError(f"percentile is {settings.percentile}; from 0 to below 100 is allowed")
    if len(shares.cultures) < 2:
        raise SelectionError(
            f"{method} compares cultures and there is one, {shares.cultures[0]}; score at least two"
        )
    pool = pool_positions(shares.layout, settings.pool)
    p = shares.shares[:, pool]
    threshold = float(np.percentile(p, settings.percentile))
    exceeds = p > threshold
    candidate = exceeds.any(axis=0)
    if not candidate.any():
        raise SelectionError(
            f"no neuron of pool {settings.pool!r} is on more often than the {settings.percentile:g}th "
            f"percentile of all ({threshold:.3g}); lower --percentile"
        )
    entropy = entropies(p)
    count = min(int(settings.top * len(pool)), int(candidate.sum()))
    best = kernels.top_k(-entropy, count, ~candidate)
    return {
        culture: _set_of(shares, settings, method, culture, pool, best[exceeds[row, best]], entropy)
        for row, culture in enumerate(shares.cultures)
    }


def _set_of(
    shares: ActivationShares,
    settings: LapeSettings,
    method: str,
    culture: str,
    pool: NDArray[np.int64],
    chosen: NDArray[np.int64],
    entropy: NDArray[np.float64],
) -> NeuronSet:
    return NeuronSet(
        name=f"{method} {culture}",
        model=shares.model,
        layout_hash=shares.layout.hash,
        method={
            "name": method,
            "culture": culture,
            "top": settings.top,
            "percentile": settings.percentile,
            "pools": {settings.pool: {"neurons": len(pool), "kept": len(chosen)}},
        },
        sources=[shares.source],
        neurons=tuple(shares.layout.neurons(pool[chosen])),
        scores=-entropy[chosen],
    )


def activation_shares(run: Run, target: str | None = None) -> ActivationShares:
    """How often each neuron is on, from a run that was opened with the scorer `positive-tokens`."""
    roles = choose_roles(run, target=target, use_control=False, use_exclusion=False)
    moments, answers = run.moments(roles.target.name), run.outcomes(roles.target.name)
    n_tokens = np.array(
        [answers.n_tokens[answers.culture == culture].sum() for culture in moments.cultures], dtype=float
    )
    return ActivationShares(
        run.layout, moments.cultures, moments.sum / n_tokens[:, None], run.model, roles.source(run)
    )
