"""Options of `select` that ask for evidence: significance and stability."""

from __future__ import annotations

from typing import get_args

import click

from culnig.cli.options.base import together
from culnig.selection.evidence import Evidence, LeaveOut

EVIDENCE = tuple(Evidence.__dataclass_fields__)
"""Names of the arguments that a command gets."""

evidence_options = together(
    click.option(
        "--significance",
        is_flag=True,
        help="Test every neuron over items and report how many of the selected neurons survive.",
    ),
    click.option(
        "--fdr",
        type=click.FloatRange(0, 1, min_open=True, max_open=True),
        help="Keep only neurons that are significant at this false discovery rate.",
    ),
    click.option(
        "--permutations",
        type=click.IntRange(min=0),
        default=Evidence.permutations,
        help="Test with this many permutations of whole questions (needs a run of --level item); 0 uses "
        "Welch's test on the stored sums.  [default: 9999 for a run of --level item, else 0]",
    ),
    click.option(
        "--stability",
        is_flag=True,
        help="Repeat the selection on resampled items (a run of --level item) or on the two halves (a run "
        "of --halves), and report how much stays the same.",
    ),
    click.option(
        "--stable",
        type=click.FloatRange(0, 1, min_open=True),
        help="Keep only neurons that at least this share of the resamples select, such as 0.8.",
    ),
    click.option(
        "--resamples",
        type=click.IntRange(min=1),
        default=Evidence.resamples,
        show_default=True,
        help="Bootstrap resamples.",
    ),
    click.option(
        "--leave-out",
        type=click.Choice(get_args(LeaveOut)),
        help="Kind of group to leave out, one group at a time; by default the first kind with at least two "
        "groups.",
    ),
    click.option(
        "--seed",
        type=click.IntRange(min=0),
        default=Evidence.seed,
        show_default=True,
        help="Seed of permutations and resamples.",
    ),
)
