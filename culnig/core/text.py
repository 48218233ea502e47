"""Numbers and names as text."""

from __future__ import annotations

METRIC_NAMES = {
    "accuracy": "accuracy",
    "option_accuracy": "option accuracy",
    "p_gold": "P(gold)",
    "option_mass": "option mass",
    "alignment": "alignment",
}
"""Metrics that reports and figures show, with the names that readers see."""


def size_text(n_bytes: int) -> str:
    """Bytes for people."""
    for unit, factor in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if n_bytes >= factor:
            return f"{n_bytes / factor:.2f} {unit}"
    return f"{n_bytes / 1000:.0f} kB"


def metric_text(metric: str) -> str:
    """A metric's name for people."""
    return METRIC_NAMES.get(metric, metric.replace("_", " "))


def counted(n: int, word: str) -> str:
    """A number with its noun, such as `1 seed` and `2 seeds`."""
    return f"{n:,} {word}" if n == 1 else f"{n:,} {word}s"
