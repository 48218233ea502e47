"""Paired comparisons of conditions from stored evaluations; no model is needed.

Within one evaluation a condition is compared with the unmasked model and with its random baselines; between
two, a condition of the later one with the same condition of the first, over the same items. All statistics
are computed from the items, so folders of earlier versions get the tests of this one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from culnig.core.notebook import html_table
from culnig.core.outcomes import Outcomes
from culnig.core.statistics import holm
from culnig.errors import InputError, MismatchError, UnknownNameError
from culnig.evaluation.conditions import UNMASKED
from culnig.evaluation.folder import read_answers, read_results
from culnig.evaluation.results import comparison, metric_name, random_comparison
from culnig.store.run import item_frame

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from culnig.evaluation.runner import Answers


@dataclass(frozen=True)
class StoredEvaluation:
    """A finished evaluation folder."""

    folder: Path
    results: dict[str, Any]
    answers: Answers
    """Outcomes by (benchmark, condition)."""

    @property
    def benchmarks(self) -> list[str]:
        """Benchmarks, in their order."""
        return list(dict.fromkeys(benchmark for benchmark, _ in self.answers))

    @property
    def conditions(self) -> list[str]:
        """Conditions, in their order."""
        return list(dict.fromkeys(condition for _, condition in self.answers))

    def baselines(self, condition: str) -> list[str]:
        """Conditions that are random baselines of this one."""
        like = {row["condition"]: row.get("like") for row in self.results["rows"]}
        return [name for name in self.conditions if like.get(name) == condition]

    @property
    def sets(self) -> list[str]:
        """Conditions that are neither the unmasked model nor a baseline."""
        random = {name for condition in self.conditions for name in self.baselines(condition)}
        return [name for name in self.conditions if name != UNMASKED and name not in random]

    def to_pandas(self, benchmark: str, condition: str = UNMASKED) -> Any:
        """Items of a benchmark under a condition as a pandas DataFrame, one row per item in file order.

        UnknownNameError where there is no such benchmark or condition, EnvironmentProblem where pandas is not
        installed.
        """
        if benchmark not in self.benchmarks:
            raise UnknownNameError(f"benchmark of {self.folder}:", benchmark, self.benchmarks)
        self.check(condition)
        return item_frame(self.answers[benchmark, condition])

    def plot(self, metric: str = "accuracy") -> Figure:
        """A matplotlib figure of what each mask did to a metric; UnknownNameError for another metric."""
        from culnig.core.plots import masking_figure

        known = {name for row in self.results["rows"] for name in row["change"] or ()}
        if metric not in known:
            raise UnknownNameError(f"metric of {self.folder}:", metric, known)
        return masking_figure(self.results["rows"], metric, metric_name(metric))

    def _repr_html_(self) -> str:
        """For notebooks: accuracy and P(gold) of every condition."""
        shown = ("benchmark", "condition", "factor", "n", "accuracy", "p_gold", "p_value")
        rows = [[row.get(name) for name in shown] for row in self.results["rows"]]
        return html_table(f"evaluation {self.folder.name}", shown, rows)

    def check(self, condition: str) -> None:
        """UnknownNameError where there is no such condition."""
        if condition not in self.conditions:
            raise UnknownNameError(f"condition of {self.folder}:", condition, self.conditions)


def open_evaluation(folder: Path | str) -> StoredEvaluation:
    """Read an evaluation folder; StoreError where it is missing, unfinished or damaged."""
    folder = Path(folder)
    return StoredEvaluation(folder, read_results(folder), read_answers(folder))


def compare_within(
    evaluation: StoredEvaluation, conditions: Sequence[str] = (), against: str = UNMASKED
) -> list[dict[str, Any]]:
    """Each condition (by default each set) minus `against`, in every benchmark, ready for JSON."""
    evaluation.check(against)
    chosen = list(conditions) or [name for name in evaluation.sets if name != against]
    for condition in chosen:
        evaluation.check(condition)
    if not chosen:
        raise InputError(
            f"{evaluation.folder} has the condition {against!r} alone; evaluate with --neurons FILE, or give "
            "a second evaluation to compare with"
        )
    rows = []
    for benchmark in evaluation.benchmarks:
        for condition in chosen:
            after = evaluation.answers[benchmark, condition]
            random = [evaluation.answers[benchmark, name] for name in evaluation.baselines(condition)]
            rows.append(
                _row(benchmark, condition, against, evaluation.answers[benchmark, against], after)
                | {"against_random": random_comparison(after, random) if random else None}
            )
    return _adjusted(rows)


def compare_between(
    first: StoredEvaluation,
    second: StoredEvaluation,
    conditions: Sequence[str] = (),
    against: str | None = None,
) -> list[dict[str, Any]]:
    """Conditions of `second` minus the same conditions of `first` (or minus `against` there).

    By default the conditions are those of both that are no baselines. MismatchError where the items of a
    shared benchmark differ, InputError where the two share no benchmark or condition.
    """
    shared = [name for name in first.benchmarks if name in second.benchmarks]
    if not shared:
        raise InputError(
            f"{first.folder} has {', '.join(first.benchmarks)} and {second.folder} has "
            f"{', '.join(second.benchmarks)}: no benchmark is in both"
        )
    for name in shared:
        _check_same_items(first, second, name)
    chosen = list(conditions) or [
        name for name in (UNMASKED, *second.sets) if against is not None or name in first.conditions
    ]
    for condition in chosen:
        second.check(condition)
        first.check(against or condition)
    return _adjusted(
        [
            _row(
                benchmark,
                f"{second.folder.name}: {condition}",
                f"{first.folder.name}: {against or condition}",
                first.answers[benchmark, against or condition],
                second.answers[benchmark, condition],
            )
            | {"against_random": None}
            for benchmark in shared
            for condition in chosen
        ]
    )


def _check_same_items(first: StoredEvaluation, second: StoredEvaluation, benchmark: str) -> None:
    ids = [evaluation.answers[benchmark, UNMASKED].id.tolist() for evaluation in (first, second)]
    hashes = [
        evaluation.results.get("benchmarks", {}).get(benchmark, {}).get("items_hash")
        for evaluation in (first, second)
    ]
    if ids[0] != ids[1] or (None not in hashes and hashes[0] != hashes[1]):
        raise MismatchError(
            f"{first.folder} and {second.folder} do not hold the same items of {benchmark!r} ({len(ids[0])} "
            f"and {len(ids[1])} items, {len(set(ids[0]) & set(ids[1]))} ids in both); a paired comparison "
            "needs both evaluated with the same --split, --limit, --culture and data"
        )


def _row(benchmark: str, condition: str, against: str, before: Outcomes, after: Outcomes) -> dict[str, Any]:
    return {
        "benchmark": benchmark,
        "condition": condition,
        "against": against,
        "n": len(after.correct),
        "n_units": len(set(after.units)),
        **comparison(before, after),
    }


def _adjusted(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows with p adjusted (Holm) over the benchmarks of each condition, metric by metric."""
    for condition in dict.fromkeys(row["condition"] for row in rows):
        own = [row for row in rows if row["condition"] == condition]
        for kind in ("change", "against_random"):
            metrics = dict.fromkeys(metric for row in own for metric in row[kind] or {})
            for metric in metrics:
                tests = [row[kind][metric] for row in own if metric in (row[kind] or {})]
                for test, adjusted in zip(tests, holm([t["p_value"] for t in tests]), strict=True):
                    test["p_holm"] = adjusted
        for row in own:
            row["p_value"] = row["change"]["accuracy"]["p_value"]
            row["p_holm"] = row["change"]["accuracy"]["p_holm"]
    return rows
