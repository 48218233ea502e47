"""A finished evaluation folder as an object."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from culnig.core.notebook import html_table
from culnig.core.quantities import number, p_text, percent
from culnig.core.text import metric_text
from culnig.errors import UnknownNameError
from culnig.evaluation.agreement import check_rows
from culnig.evaluation.conditions import UNMASKED, current_name
from culnig.evaluation.folder import HASHES, RESULTS_FILE, read_answers, read_results
from culnig.evaluation.matrix import matrix_questions
from culnig.store.warnings import NumberWarning, answer_warnings, check_warnings

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from culnig.evaluation.runner import Answers


@dataclass(frozen=True, repr=False)
class Evaluation:
    """A finished evaluation folder."""

    folder: Path
    results: dict[str, Any]
    answers: Answers
    """Outcomes by (benchmark, condition)."""

    @property
    def benchmarks(self) -> list[str]:
        """Names of the benchmarks, in the order of the evaluation."""
        return list(dict.fromkeys(benchmark for benchmark, _ in self.answers))

    @property
    def conditions(self) -> list[str]:
        """Names of the conditions, in the order of the evaluation."""
        return list(dict.fromkeys(condition for _, condition in self.answers))

    @property
    def seed(self) -> int:
        """Seed of the random baselines and of the resamples; 0 in evaluations of earlier versions."""
        return int(self.results.get("settings", {}).get("seed", 0))

    def baselines(self, condition: str) -> list[str]:
        """Conditions that are random baselines of this one."""
        like = {row["condition"]: row.get("like") for row in self.rows}
        return [name for name in self.conditions if like.get(name) == condition]

    @property
    def sets(self) -> list[str]:
        """Conditions that are neither the unmasked model nor a baseline."""
        random = {name for condition in self.conditions for name in self.baselines(condition)}
        return [name for name in self.conditions if name != UNMASKED and name not in random]

    @property
    def rows(self) -> list[dict[str, Any]]:
        """Metrics of each benchmark and condition, with changes, intervals and p-values."""
        rows: list[dict[str, Any]] = self.results["rows"]
        return rows

    @property
    def warnings(self) -> list[NumberWarning]:
        """Reasons to doubt the numbers, from the unmasked model's answers and its quick checks."""
        warnings = [*check_warnings(self.results)]
        for (benchmark, condition), outcomes in self.answers.items():
            if condition == UNMASKED:
                warnings += answer_warnings(benchmark, outcomes)
        return warnings

    def to_pandas(self, benchmark: str, condition: str = UNMASKED) -> Any:
        """Items of a benchmark under a condition as a pandas DataFrame, one row per item in file order.

        UnknownNameError for an unknown benchmark or condition, EnvironmentProblem without pandas.
        """
        if benchmark not in self.benchmarks:
            raise UnknownNameError(f"benchmark of {self.folder}:", benchmark, self.benchmarks)
        return self.answers[benchmark, self.check(condition)].to_pandas()

    def plot(self, metric: str = "accuracy") -> Figure:
        """A matplotlib figure of what each mask did to a metric; UnknownNameError for another metric."""
        from culnig.core.plots import masking_figure

        known = {name for row in self.rows for name in row["change"] or ()}
        if metric not in known:
            raise UnknownNameError(f"metric of {self.folder}:", metric, known)
        return masking_figure(self.rows, metric)

    def plot_matrix(self, metric: str = "accuracy") -> Figure:
        """A matplotlib figure of the selectivity matrix in a metric; UnknownNameError where there is none."""
        from culnig.core.plots import matrix_figure

        matrices = {matrix["metric"]: matrix for matrix in self.results.get("matrix", ())}
        if metric not in matrices:
            raise UnknownNameError(f"selectivity matrix of {self.folder}:", metric, matrices)
        matrix = matrices[metric]
        title = f"change of {metric_text(metric)}, points{matrix_questions(matrix)}"
        change = np.array(matrix["change"], dtype=float)
        return matrix_figure(title, matrix["masked"], matrix["evaluated"], change)

    def __repr__(self) -> str:
        model = self.results.get("model", {}).get("source", "?")
        n_items = sum(len(self.answers[benchmark, self.conditions[0]].id) for benchmark in self.benchmarks)
        return (
            f"<Evaluation {self.folder}: {model}, {', '.join(self.benchmarks)}, {n_items:,} items, "
            f"{len(self.conditions)} conditions>"
        )

    def _repr_html_(self) -> str:
        """For notebooks: accuracy and P(gold) of every condition."""
        return html_table(
            f"evaluation {self.folder.name}",
            ("benchmark", "condition", "factor", "items", "questions", "accuracy", "P(gold)", "p"),
            [
                (
                    *(row.get(key) for key in ("benchmark", "condition")),
                    number(row.get("factor")),
                    *(row.get(key) for key in ("n", "n_questions")),
                    *(percent(row.get(key)) for key in ("accuracy", "p_gold")),
                    p_text(row.get("p_value")),
                )
                for row in self.rows
            ],
        )

    def check(self, condition: str) -> str:
        """The current name of a condition; UnknownNameError if the evaluation does not have it."""
        condition = current_name(condition)
        if condition not in self.conditions:
            raise UnknownNameError(f"condition of {self.folder}:", condition, self.conditions)
        return condition


def open_evaluation(folder: Path | str) -> Evaluation:
    """Read an evaluation folder; StoreError if it is missing, unfinished or damaged."""
    folder = Path(folder)
    results, answers = read_results(folder), read_answers(folder)
    if HASHES not in results:
        check_rows(folder / RESULTS_FILE, results["rows"], answers)
    return Evaluation(folder, results, answers)
