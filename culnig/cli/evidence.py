"""Options of `select` that ask for evidence: is a neuron significant over items, would it be found again."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import click

from culnig.cli.options import Command, together
from culnig.cli.output import print_line
from culnig.errors import SelectionError
from culnig.selection.neuron_set import NeuronSet
from culnig.selection.tables import Roles, SelectionTables
from culnig.store.run import Run

if TYPE_CHECKING:
    from culnig.selection.significance import Against, Contrast

_SPLITS = 20
"""Random halvings that are averaged over."""


@dataclass(frozen=True)
class Evidence:
    """What the options ask for."""

    significance: bool
    fdr: float | None
    permutations: int
    stability: bool
    stable: float | None
    resamples: int
    leave_out: Any
    seed: int

    @property
    def tested(self) -> bool:
        """Whether neurons are tested over items."""
        return self.significance or self.fdr is not None or self.permutations > 0

    @property
    def resampled(self) -> bool:
        """Whether selections from resampled items are made."""
        return self.stability or self.stable is not None


_OPTIONS = (
    click.option(
        "--significance",
        is_flag=True,
        help="Test every neuron over items and say how many of the selected ones survive.",
    ),
    click.option(
        "--fdr",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        help="Keep only neurons that are significant at this false discovery rate.",
    ),
    click.option(
        "--permutations",
        type=click.IntRange(min=0),
        default=0,
        show_default=True,
        help="Test by so many permutations of whole questions, from the items of a run of --level item; 0 is "
        "Welch's test from the stored sums.",
    ),
    click.option(
        "--stability",
        is_flag=True,
        help="Select again from resampled items of a run of --level item, or from the halves of a run of "
        "--halves, and say how much stays the same.",
    ),
    click.option(
        "--stable",
        type=click.FloatRange(0, 1, min_open=True),
        help="Keep only neurons that at least this share of the resamples select, such as 0.8.",
    ),
    click.option(
        "--resamples", type=click.IntRange(min=1), default=50, show_default=True, help="Bootstrap resamples."
    ),
    click.option(
        "--leave-out",
        type=click.Choice(["wording", "topic", "question"]),
        help="Groups that are left out in turn; without it the first of these that has two or more.",
    ),
    click.option("--seed", type=click.IntRange(min=0), default=0, show_default=True),
)
_NAMES = tuple(Evidence.__dataclass_fields__)


def evidence_options(command: Command) -> Command:
    """The options above; the command gets one `evidence: Evidence`."""

    @functools.wraps(command)
    def with_evidence(**options: Any) -> Any:
        return command(evidence=Evidence(**{name: options.pop(name) for name in _NAMES}), **options)

    return cast(Command, together(*_OPTIONS)(with_evidence))


def gather(
    run: Run,
    roles: Roles,
    chosen: NeuronSet,
    select: Callable[[SelectionTables], NeuronSet],
    pools: Sequence[str],
    evidence: Evidence,
    *,
    culture: str | None = None,
    against: Against = "others",
) -> NeuronSet:
    """The set with the evidence that was asked for, and only the neurons that meet its rules."""
    if evidence.resampled:
        chosen = _resampled(run, roles, chosen, select, evidence)
    if evidence.tested:
        chosen = _tested(run, roles, chosen, pools, evidence, culture, against)
    return chosen


def _resampled(
    run: Run,
    roles: Roles,
    chosen: NeuronSet,
    select: Callable[[SelectionTables], NeuronSet],
    evidence: Evidence,
) -> NeuronSet:
    if run.level != "item" or run.scorer is not None:
        return _halved(run, roles, chosen, select, evidence)
    from culnig.selection.resampling import bootstrap, leave_out, resampled_tables, split_halves
    from culnig.selection.stability import bootstrapped, left_out, split_half, with_stability
    from culnig.selection.stored_items import groups_of_run, items_of_run

    items = items_of_run(run, roles)
    draws = bootstrap(items, evidence.resamples, evidence.seed)
    again, frequency = bootstrapped(resampled_tables(items, draws), chosen, select)
    halves = [half for pair in split_halves(items, _SPLITS, evidence.seed) for half in pair]
    of_halves = resampled_tables(items, halves)
    kind, groups = groups_of_run(run, roles, evidence.leave_out)
    without = [draw for _, draw in leave_out(items, groups)]
    agreements = [
        again,
        split_half(zip(of_halves, of_halves, strict=True), select),
        left_out(kind, resampled_tables(items, without), chosen, select),
    ]
    level = {} if evidence.stable is None else {"level": evidence.stable}
    return with_stability(chosen, agreements, frequency, rule=evidence.stable is not None, **level)


def _halved(
    run: Run,
    roles: Roles,
    chosen: NeuronSet,
    select: Callable[[SelectionTables], NeuronSet],
    evidence: Evidence,
) -> NeuronSet:
    """What can be said without item scores of the scorer."""
    from culnig.selection.halves import half_tables
    from culnig.selection.stability import split_half, with_agreement

    if evidence.stable is not None:
        raise SelectionError(
            "--stable counts resamples, which need item scores of gradient × activation; score it again with "
            "--level item, or use --stability"
        )
    return with_agreement(chosen, [split_half([half_tables(run, roles)], select)])


def _tested(
    run: Run,
    roles: Roles,
    chosen: NeuronSet,
    pools: Sequence[str],
    evidence: Evidence,
    culture: str | None,
    against: Against,
) -> NeuronSet:
    """Both tests of a culture where there is a control; the one that `against` names is the rule."""
    from culnig.selection.significance import culture_contrast, general_contrast

    if culture is None:
        contrasts = [(general_contrast(roles), evidence.fdr)]
    else:
        asked = culture_contrast(roles, culture, against)  # refused where there is no control
        other: Against = "control" if against == "others" else "others"
        contrasts = [(asked, evidence.fdr)]
        if other == "others" or roles.control is not None:
            contrasts.insert(0, (culture_contrast(roles, culture, other), None))
    return _against_chance(run, roles, chosen, contrasts, pools, evidence, culture)


def _against_chance(
    run: Run,
    roles: Roles,
    chosen: NeuronSet,
    contrasts: Sequence[tuple[Contrast, float | None]],
    pools: Sequence[str],
    evidence: Evidence,
    culture: str | None,
) -> NeuronSet:
    from culnig.selection.significance import joined_pools, p_values, q_values, with_significance

    positions = joined_pools([run.layout.pool(pool) for pool in pools])
    for contrast, fdr in contrasts:
        if evidence.permutations:
            from culnig.selection.stored_items import permuted_p_values

            p = permuted_p_values(
                run, roles, contrast, positions, evidence.permutations, evidence.seed, culture
            )
        else:
            p = p_values(run, roles, contrast, positions)
        test = "permutation of questions" if evidence.permutations else "Welch"
        chosen = with_significance(
            chosen, chosen.flat(run.layout), positions, q_values(p), contrast, fdr=fdr, test=test
        )
    return chosen


def print_evidence(chosen: NeuronSet) -> None:
    """Print what the tests and the resamples found."""
    for found in chosen.method.get("significance", []):
        print_line(_survivors(chosen.name, found))
    if stability := chosen.method.get("stability"):
        _print_stability(chosen.name, stability)


def evidence_headings(chosen: NeuronSet) -> list[str]:
    """Headings of what `evidence_cells` tells of a set."""
    tests = [f"significant against {found['against']}" for found in chosen.method.get("significance", [])]
    return [*tests, *(["stable"] if "selected_stable" in chosen.method.get("stability", {}) else [])]


def evidence_cells(chosen: NeuronSet) -> list[str]:
    """How many of the selected neurons passed each test, in a few characters."""
    tests = [
        f"{found['selected_significant']:,} of {found['selected']:,}"
        for found in chosen.method.get("significance", [])
    ]
    stability = chosen.method.get("stability")
    if stability and "selected_stable" in stability:
        tests.append(f"{stability['selected_stable']:,} of {stability['selected']:,}")
    return tests


def _survivors(name: str, found: Mapping[str, Any]) -> str:
    verb = "kept" if found["is_rule"] else "survive"
    return (
        f"{name}: {found['selected_significant']:,} of {found['selected']:,} {verb} at a false discovery "
        f"rate of {found['fdr']:g} ({found['tested_significant']:,} of {found['tested']:,} tested would; "
        f"{found['test']}). Null hypothesis: {found['null']}"
    )


def _print_stability(name: str, found: Mapping[str, Any]) -> None:
    for those in found["agreement"]:
        chance = those["by_chance"]
        by_chance = "" if chance is None else f", by chance {chance:.3f}"
        print_line(
            f"{name}: {those['kind']}: Jaccard {those['jaccard']:.3f} ({those['lowest']:.3f} to "
            f"{those['highest']:.3f} in {those['n_pairs']}){by_chance}"
        )
    if "selected_stable" not in found:
        return
    verb = "kept" if found["is_rule"] else "selected"
    print_line(
        f"{name}: {found['selected_stable']:,} of {found['selected']:,} {verb} in at least "
        f"{100 * found['level']:g} % of the bootstrap resamples"
    )
