"""The table of `train --arms`: what each arm gained on the task and lost elsewhere. No model, no torch.

A value of an arm is the mean over its seeds, item by item; differences are paired over items with the
question as independent unit, as everywhere. Seeds are a sample as well: with two or more, p is the larger of
the test over questions and the t test over seeds, and the interval the wider of the two. The range over
seeds is listed next to them.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from culnig.core.items import NO_CULTURE
from culnig.core.outcomes import Outcomes
from culnig.core.statistics import ROUNDING, holm, paired_differences, t_quantile
from culnig.core.text import csv_row
from culnig.evaluation.folder import with_todays_names
from culnig.evaluation.results import as_json, metrics_of, values_of
from culnig.store.files import read_json, write_text
from culnig.store.formats import check_format
from culnig.training.folder import ARMS_FORMAT

FORMAT_VERSION = 1
ARMS_FILE = "arms.json"
TABLE_FILE = "arms.csv"
METRICS = ("accuracy", "option_accuracy", "p_gold")

After = Mapping[Any, Sequence[Mapping[str, Outcomes]]]
"""Outcomes by benchmark for each seed, by arm."""
Kind = Literal["task", "culture", "other"]


def kind_of(benchmark: str, task: str, outcomes: Outcomes) -> Kind:
    """Whether a benchmark is the task, a cultural benchmark, or neither."""
    if benchmark == task:
        return "task"
    return "culture" if any(culture != NO_CULTURE for culture in outcomes.culture) else "other"


def change_rows(before: Mapping[str, Outcomes], after: After, task: str) -> list[dict[str, Any]]:
    """Each arm against the untrained model: one row per arm, benchmark and metric.

    `before` holds outcomes by benchmark, `after` the same for each seed, by arm. `p_holm` is adjusted over
    arms and benchmarks, metric by metric.
    """
    rows = []
    for arm, seeds in after.items():
        for benchmark, base in before.items():
            names = [name for name in METRICS if name in metrics_of(base)]
            first = values_of(base, names)
            ends = np.stack([values_of(outcomes[benchmark], names) for outcomes in seeds])
            changes = ends - first
            compared = paired_differences(changes.mean(axis=0), base.units)
            for column, (name, difference) in enumerate(zip(names, compared, strict=True)):
                by_seed = changes[:, column].mean(axis=1)
                rows.append(
                    {
                        "arm": arm,
                        "benchmark": benchmark,
                        "kind": kind_of(benchmark, task, base),
                        "metric": name,
                        "before": float(first[column].mean()),
                        "after": float(ends[:, column].mean()),
                        "change": _over_seeds(as_json(difference), by_seed),
                        "by_seed": by_seed.tolist(),
                    }
                )
    return _adjusted(rows)


def contrast_rows(before: Mapping[str, Outcomes], after: After, task: str) -> list[dict[str, Any]]:
    """Every arm minus every one before it, over the same items: one row per pair, benchmark and metric."""
    rows = []
    arms = list(after)
    for number, arm in enumerate(arms):
        for against in arms[:number]:
            for benchmark, base in before.items():
                names = [name for name in METRICS if name in metrics_of(base)]
                changes = _values(after[arm], benchmark, names) - _values(after[against], benchmark, names)
                compared = paired_differences(changes.mean(axis=0), base.units)
                by_seed = changes.mean(axis=2).T
                rows += [
                    {
                        "arm": arm,
                        "against": against,
                        "benchmark": benchmark,
                        "kind": kind_of(benchmark, task, base),
                        "metric": name,
                        "change": _over_seeds(as_json(change), own),
                    }
                    for name, change, own in zip(names, compared, by_seed, strict=True)
                ]
    return _adjusted(rows)


def _values(
    seeds: Sequence[Mapping[str, Outcomes]], benchmark: str, names: Sequence[str]
) -> NDArray[np.float64]:
    """Values of each seed, (seed, metric, item)."""
    return np.stack([values_of(outcomes[benchmark], names) for outcomes in seeds])


def _over_seeds(change: dict[str, Any], by_seed: NDArray[np.float64]) -> dict[str, Any]:
    """A change over questions that also holds over seeds; `by_seed` are its means, (seed,).

    Adds `questions_p` and `seeds_p`, which is null for a single seed and where seeds do not differ.
    """
    change |= {"questions_p": change["p_value"], "seeds_p": None}
    if len(by_seed) < 2 or np.ptp(by_seed) <= ROUNDING:
        return change
    seeds_p = float(stats.ttest_1samp(by_seed, 0.0).pvalue)
    error = float(by_seed.std(ddof=1) / np.sqrt(len(by_seed)))
    half = t_quantile(0.975, len(by_seed) - 1) * error
    low, high = change["interval"]
    if low is None or high - low < 2 * half:
        change["interval"] = [change["effect"] - half, change["effect"] + half]
    change |= {"p_value": max(change["p_value"], seeds_p), "seeds_p": seeds_p}
    return change


def _adjusted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    for metric in dict.fromkeys(row["metric"] for row in rows):
        own = [row for row in rows if row["metric"] == metric]
        for row, adjusted in zip(own, holm([row["change"]["p_value"] for row in own]), strict=True):
            row["p_holm"] = adjusted
    return rows


_CSV = ("arm", "against", "benchmark", "kind", "metric", "before", "after")


def write_table(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write changes and contrasts as CSV; `against` is empty where it is the untrained model."""
    columns = (*_CSV, "n_questions", "change", "low", "high", "p_value", "p_holm", "seeds_low", "seeds_high")
    text = io.StringIO()
    writer = csv.writer(text)
    writer.writerow(columns)
    for row in rows:
        change, seeds = row["change"], row.get("by_seed") or [None]
        writer.writerow(
            csv_row(
                [
                    *(row.get(name) for name in _CSV),
                    change["n_questions"],
                    *(change["effect"], *change["interval"], change["p_value"], row["p_holm"]),
                    *(min(seeds), max(seeds)),
                ]
            )
        )
    write_text(path, text.getvalue())


def read_arms(folder: Path) -> dict[str, Any]:
    """`arms.json` of a comparison of arms; StoreError if it is missing, unfinished or foreign."""
    stored = read_json(folder / ARMS_FILE, "a comparison of arms (`train --arms`)")
    document: dict[str, Any] = with_todays_names(stored)
    named = (document.get("format"), document.get("format_version"))
    check_format(folder / ARMS_FILE, *named, ARMS_FORMAT, FORMAT_VERSION)
    return document
