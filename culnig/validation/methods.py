"""The compared methods: a registered scorer, the steps before neurons are ranked, and what ranks them.

To add a method, add a row to METHODS. `judging` says how well each finds the planted neurons of a world.
"""

from __future__ import annotations

from dataclasses import dataclass

from culnig.scorers.base import GRADIENT_ACTIVATION
from culnig.scoring.culture_swap import OTHER_CULTURES, Baseline
from culnig.selection.culture_ranking import RankBy

CONTRIBUTION = GRADIENT_ACTIVATION
RANDOM = "random"
"""Name of the method that ranks by nothing."""
SHRINKS = (0.5, 0.8, 0.9)
"""Quantiles of the rows with shrunken z."""


@dataclass(frozen=True)
class Method:
    """One row of the table."""

    statistic: str
    """Name of the scorer."""
    control: bool = False
    """Whether the control's score is subtracted."""
    exclusion: bool = False
    """Whether the top 1 % by exclusion score are removed."""
    z: bool = False
    """Whether neurons with z < 0.5 over the cultures are removed; only for specific neurons."""
    rank_by: RankBy = "difference"
    """What ranks specific neurons (`select specific --rank-by`); general ones are ranked by the sum."""
    shrink: float | None = None
    """The quantile of the spread for shrunken z."""
    baseline: Baseline | None = None
    """What activations are counted from (`score --baseline`)."""

    @property
    def source(self) -> str:
        """Statistic and baseline, which name the run that is ranked."""
        return self.statistic if self.baseline is None else f"{self.statistic} from {self.baseline}"

    @property
    def name(self) -> str:
        """Statistic, baseline, steps and ranking as text."""
        steps = [step for step in ("control", "exclusion", "z") if getattr(self, step)]
        if self.rank_by != "difference":
            steps.append(self.rank_by if self.shrink is None else f"{self.rank_by} {self.shrink:g}")
        return " ".join([self.source, *(f"+ {step}" for step in steps)])

    @property
    def is_general(self) -> bool:
        """Whether it differs from other methods in how it ranks general neurons."""
        return not self.z and self.rank_by == "difference"


def _with_steps(statistic: str) -> tuple[Method, ...]:
    """A statistic alone, with the control, and with control and z or margin."""
    return (
        Method(statistic),
        Method(statistic, control=True),
        Method(statistic, control=True, z=True),
        Method(statistic, control=True, rank_by="margin"),
    )


def _by_shrunken_z(statistic: str) -> tuple[Method, ...]:
    """A statistic with the control, ranked by shrunken z with several quantiles."""
    return tuple(Method(statistic, control=True, rank_by="shrunken-z", shrink=shrink) for shrink in SHRINKS)


METHODS = (
    *_with_steps(CONTRIBUTION),
    Method(CONTRIBUTION, control=True, exclusion=True),
    Method(CONTRIBUTION, control=True, exclusion=True, z=True),
    *_by_shrunken_z(CONTRIBUTION),
    *_with_steps("relp"),
    *_by_shrunken_z("relp"),
    *_with_steps("relp-log-odds"),
    *_by_shrunken_z("relp-log-odds"),
    Method("relp-log-odds", control=True, exclusion=True, rank_by="shrunken-z", shrink=0.5),
    Method("relp-log-odds", control=True, baseline=OTHER_CULTURES),
    Method("relp-log-odds", control=True, rank_by="shrunken-z", shrink=0.5, baseline=OTHER_CULTURES),
    *_with_steps("log-probability"),
    *_with_steps("log-odds"),
    *_with_steps("integrated-gradients"),
    *_with_steps("crispr"),
    *_with_steps("gradient-norm"),
    *_with_steps("mean-activation"),
    *_with_steps("positive-tokens"),
    Method(RANDOM),
)
"""The methods that `validate` compares, in the order of its table."""

JUDGED = Method(CONTRIBUTION, control=True)
"""The method that the targets apply to."""
