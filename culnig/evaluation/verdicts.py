"""What a comparison with random baselines shows, in one place for the report and the demo."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LEVEL = 0.05
LEAST_FOR_RANK = 19
"""Fewest random sets of which the rank p can reach 0.05."""


def adjusted_p(test: Mapping[str, Any]) -> float:
    """p adjusted for several benchmarks; the p itself in evaluations that stored no other."""
    p_holm = test.get("p_holm")
    return float(test["p_value"] if p_holm is None else p_holm)


def beyond_random(test: Mapping[str, Any]) -> bool:
    """Whether a metric (an entry of `against_random`) falls more than under random sets.

    It must be lower than other random sets would be (the prediction t, adjusted), and lower for other
    questions as well (the test over questions): both are samples.
    """
    return adjusted_p(test) < LEVEL and test.get("questions_p", 0.0) < LEVEL


def tested_p(row: Mapping[str, Any], metric: str) -> tuple[float, float]:
    """p over random sets and over questions of a row with random baselines, before any adjustment.

    Masks are expected to lower a metric: both tests are the stored ones, one-sided. Neurons that are scaled
    up (a factor above 1) may raise it or lower it: twice the smaller tail of the prediction t, and the
    two-sided test against the unmasked model, 1 if it changes in the other direction. Random sets that do not
    vary have no prediction t, and their rank p knows no rise.
    """
    test = row["against_random"][metric]
    if row["factor"] <= 1:
        return float(test["p_value"]), float(test.get("questions_p", 0.0))
    change, lower = row["change"][metric], float(test["p_value"])
    higher = 1.0 if None in test["interval"] else 1.0 - lower
    agrees = (change["effect"] > 0) == (test["effect"] > 0)
    return min(1.0, 2 * min(lower, higher)), float(change["p_value"]) if agrees else 1.0


def rank_text(test: Mapping[str, Any]) -> str:
    """The rank among the random sets, and what so few of them cannot show."""
    n_random, least = test["n_random"], test.get("least_empirical_p", 1 / (1 + test["n_random"]))
    text = f"rank p {test['empirical_p']:.3f} of {n_random} random {'set' if n_random == 1 else 'sets'}"
    return text if least <= LEVEL else f"{text}, which cannot be below {least:.3f}"
