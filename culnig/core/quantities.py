"""Quantities as text, each in one unit wherever it is shown: on terminals, in the report, in figures.

Shares of 1 (accuracy, P(gold), option mass) are percent, and their changes percentage points. Every number
has three significant digits; a p-value below 0.0001 is shown as that bound.
"""

from __future__ import annotations

from collections.abc import Sequence

IN_PERCENT = ("accuracy", "option_accuracy", "p_gold", "option_mass", "together_accuracy", "similarity")
"""Metrics that are shares of 1."""
MISSING = "–"
LEAST_P = 0.0001


def number(value: float | None, *, signed: bool = False) -> str:
    """Three significant digits, with thousands separated, and an exponent below 0.0001."""
    if value is None:
        return MISSING
    sign = "+" if signed else ""
    if value == 0 or not abs(value) < float("inf"):
        return f"{value:g}"
    if abs(value) >= 999.5:
        return f"{float(f'{value:.2e}'):{sign},.0f}"
    if abs(value) < 0.0001:
        return f"{value:{sign}.2e}"
    return f"{value:{sign}#.3g}".rstrip(".")


def percent(share: float | None) -> str:
    """A share of 1 in percent."""
    return MISSING if share is None else f"{number(100 * share)} %"


def points(change: float | None) -> str:
    """A change of a share of 1, in percentage points, with its sign; the heading names the unit."""
    return MISSING if change is None else number(100 * change, signed=True)


def p_text(p: float | None) -> str:
    """A p-value, or the bound that it is below."""
    if p is None:
        return MISSING
    return f"< {LEAST_P:.4f}" if p < LEAST_P else number(p)


def metric_value(metric: str, value: float | None) -> str:
    """A metric in its unit."""
    return percent(value) if metric in IN_PERCENT else number(value)


def metric_change(metric: str, change: float | None) -> str:
    """A change of a metric in its unit, with its sign."""
    return points(change) if metric in IN_PERCENT else number(change, signed=True)


def change_in_words(metric: str, change: float, *, signed: bool = True) -> str:
    """A change of a metric in a sentence, such as `−4.20 points`; only its size unless `signed`."""
    text = metric_change(metric, change if signed else abs(change))
    text = "−" + text[1:] if text.startswith("-") else text if signed else text.removeprefix("+")
    return f"{text} points" if metric in IN_PERCENT else text


def interval_in_words(metric: str, interval: Sequence[float | None]) -> str:
    """An interval of changes, such as `−3.00 to −1.00 points`; empty where an end is unknown."""
    low, high = interval
    if low is None or high is None:
        return ""
    return f"{change_in_words(metric, low).removesuffix(' points')} to {change_in_words(metric, high)}"


def metric_interval(metric: str, interval: Sequence[float | None]) -> str:
    """An interval of a change of a metric in its unit; a dash where an end is unknown."""
    low, high = interval
    if low is None or high is None:
        return MISSING
    return f"{metric_change(metric, low)} … {metric_change(metric, high)}"
