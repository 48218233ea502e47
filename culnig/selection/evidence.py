"""Evidence for a selection: are its neurons significant over items, and would other items select them?"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal, TypedDict, get_args

from culnig.core.questions import count_by_culture, count_questions
from culnig.errors import SelectionError, argument, check_at_least, check_choice, option
from culnig.selection.neuron_set import NeuronSet
from culnig.selection.tables import Roles, SelectionTables
from culnig.store.run import Run

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from culnig.selection.significance import Against, Contrast

_SPLITS = 20
"""Random halvings that are averaged over."""

LeaveOut = Literal["wording", "topic", "question"]


class EvidenceOptions(TypedDict, total=False):
    """Keyword arguments that ask for evidence; the fields of `Evidence`."""

    significance: bool
    fdr: float | None
    permutations: int | None
    stability: bool
    stable: float | None
    resamples: int
    leave_out: LeaveOut | None
    seed: int


@dataclass(frozen=True)
class Evidence:
    """Which evidence is asked for."""

    significance: bool = False
    """Test every neuron over items and record how many of the selected neurons survive."""
    fdr: float | None = None
    """Keep only neurons that are significant at this false discovery rate."""
    permutations: int | None = None
    """Test by permuting whole questions, from item scores; 0 is Welch's test from the stored sums. None:
    9,999 where the run keeps item scores of the scorer, else Welch's test."""
    stability: bool = False
    """Select again from resampled items, or from the stored halves, and record how much stays the same."""
    stable: float | None = None
    """Keep only neurons that at least this share of the resamples select."""
    resamples: int = 50
    """Bootstrap resamples."""
    leave_out: LeaveOut | None = None
    """Groups to leave out one at a time; None: the first kind of which there are two or more."""
    seed: int = 0

    def __post_init__(self) -> None:
        check_at_least("permutations", self.permutations or 0, 0)
        check_at_least("resamples", self.resamples, 1)
        check_choice("leave_out", self.leave_out, (None, *get_args(LeaveOut)))

    @property
    def tested(self) -> bool:
        """Whether neurons are tested over items."""
        return self.significance or self.fdr is not None or bool(self.permutations)

    @property
    def resampled(self) -> bool:
        """Whether selections from resampled items are made."""
        return self.stability or self.stable is not None


@dataclass(frozen=True)
class Selection:
    """A selection with fixed settings, which can be made again from other items."""

    run: Run
    roles: Roles
    select: Callable[[SelectionTables], NeuronSet]
    pools: Sequence[str]
    """Pools whose neurons are tested together."""
    culture: str | None = None
    """The culture that is selected for; None for all together."""
    against: Against = "others"
    """What `fdr` tests a culture against."""

    def with_evidence(self, chosen: NeuronSet, evidence: Evidence) -> NeuronSet:
        """The selected set with the evidence asked for, and only the neurons that meet its rules."""
        if evidence.resampled:
            chosen = self._resampled(chosen, evidence) if self._has_items else self._halved(chosen, evidence)
        return self._tested(chosen, evidence) if evidence.tested else chosen

    @property
    def _has_items(self) -> bool:
        """Whether the run keeps item scores of the scorer."""
        return self.run.level == "item" and self.run.scorer is None

    def _resampled(self, chosen: NeuronSet, evidence: Evidence) -> NeuronSet:
        from culnig.selection.resampling import bootstrap, leave_out, resampled_tables, split_halves
        from culnig.selection.stability import bootstrapped, left_out, split_half, with_stability
        from culnig.selection.stored_items import groups_of_run, items_of_run

        items = items_of_run(self.run, self.roles)
        draws = bootstrap(items, evidence.resamples, evidence.seed)
        again, frequency = bootstrapped(resampled_tables(items, draws), chosen, self.select)
        halves = [half for pair in split_halves(items, _SPLITS, evidence.seed) for half in pair]
        of_halves = resampled_tables(items, halves)
        kind, groups = groups_of_run(self.run, self.roles, evidence.leave_out)
        without = [draw for _, draw in leave_out(items, groups)]
        agreements = [
            again,
            split_half(zip(of_halves, of_halves, strict=True), self.select),
            left_out(kind, resampled_tables(items, without), chosen, self.select),
        ]
        level = {} if evidence.stable is None else {"level": evidence.stable}
        return with_stability(
            chosen,
            agreements,
            frequency,
            n_questions=self._n_questions(),
            rule=evidence.stable is not None,
            **level,
        )

    def _halved(self, chosen: NeuronSet, evidence: Evidence) -> NeuronSet:
        """Stability from stored halves, where the run has no item scores of the scorer."""
        from culnig.selection.halves import half_kind, half_tables
        from culnig.selection.stability import split_half, with_agreement

        if evidence.stable is not None:
            raise SelectionError(
                f"{argument('stable')} counts resamples, which need item scores of gradient × activation; "
                f"score it again with {option('level', 'item')}, or use {option('stability')}"
            )
        drawn = half_kind(self.run)
        agreement = split_half([half_tables(self.run, self.roles)], self.select, drawn)
        return with_agreement(chosen, [agreement], self._n_questions())

    def _tested(self, chosen: NeuronSet, evidence: Evidence) -> NeuronSet:
        """Tests a culture against both where there is a control; the one that `against` names is the rule."""
        from culnig.selection.significance import culture_contrast, general_contrast, joined_pools

        if self.culture is None:
            contrasts = [(general_contrast(self.roles), evidence.fdr)]
        else:
            asked = culture_contrast(self.roles, self.culture, self.against)  # refused without a control
            other: Against = "control" if self.against == "others" else "others"
            contrasts = [(asked, evidence.fdr)]
            if other == "others" or self.roles.control is not None:
                contrasts.insert(0, (culture_contrast(self.roles, self.culture, other), None))
        positions = joined_pools([self.run.layout.pool(pool) for pool in self.pools])
        for contrast, fdr in contrasts:
            chosen = self._against_chance(chosen, contrast, positions, replace(evidence, fdr=fdr))
        return chosen

    def _against_chance(
        self, chosen: NeuronSet, contrast: Contrast, positions: NDArray[np.int64], evidence: Evidence
    ) -> NeuronSet:
        import numpy as np

        from culnig.selection.permutation import PERMUTATIONS
        from culnig.selection.significance import p_values, q_values, uncertain_tails, with_significance

        permutations = evidence.permutations
        if permutations is None:
            permutations = PERMUTATIONS if self._has_items else 0
        flat = chosen.flat(self.run.layout)
        details: dict[str, Any] = {"n_questions": self._n_questions()}
        if permutations:
            from culnig.selection.stored_items import permuted_p_values

            p = permuted_p_values(
                *(self.run, self.roles, contrast, positions), permutations, evidence.seed, self.culture
            )
            details["least_p"] = 1 / (1 + permutations)
        else:
            p = p_values(self.run, self.roles, contrast, positions)
            uncertain = uncertain_tails(self.run, self.roles, contrast, positions, p)
            details["uncertain_tails"] = int(uncertain[np.searchsorted(positions, flat)].sum())
            details["repeats_questions"] = self._repeats_questions(contrast)
        return with_significance(
            chosen,
            flat,
            positions,
            q_values(p),
            contrast,
            fdr=evidence.fdr,
            test="permutation of questions" if permutations else "Welch",
            details=details,
        )

    def _repeats_questions(self, contrast: Contrast) -> bool:
        """Whether several of the target items that are compared belong to one question."""
        outcomes = self.run.outcomes(self.roles.target.name)
        cultures = [
            c for c, weight in zip(self.roles.target.cultures, contrast.target, strict=True) if weight
        ]
        asked = [
            unit
            for unit, culture in zip(outcomes.units, outcomes.culture, strict=True)
            if culture in cultures
        ]
        return len(set(asked)) < len(asked)

    def _n_questions(self) -> int | None:
        """Questions of the target, in the culture where there is one; None for imported scores."""
        outcomes = self.run.outcomes(self.roles.target.name)
        if self.culture is None:
            return count_questions(outcomes) or None
        return count_by_culture(outcomes).get(self.culture)
