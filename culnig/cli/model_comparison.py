"""Prints a comparison of two models' neuron sets."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from culnig.cli.output import p_text, print_line, print_table
from culnig.models.embedded import model_name


def print_comparison(document: Mapping[str, Any]) -> None:
    """Print the result of `neurons_compare`, part by part."""
    names = [f"{chosen['name']} of {model_name(chosen['model'])}" for chosen in document["sets"]]
    if document["depth"] is not None:
        _print_depth(document["depth"], names)
    else:
        print_line("Depth: unknown, because a set does not say how many layers its model has; add both --run")
    if document["profiles"] is not None:
        _print_profiles(document["profiles"])
    if document["matrices"] is not None:
        matrices = document["matrices"]
        rho = (
            "undefined"
            if matrices["rho"] is None
            else f"{matrices['rho']:.2f}, p {p_text(matrices['p_value'])}"
        )
        print_line(f"Selectivity matrices of {len(matrices['cultures'])} cultures: rank correlation {rho}")
    if document["same_layout"] is not None:
        _print_overlap(document["same_layout"])


def _print_depth(depth: Mapping[str, Any], names: list[str]) -> None:
    n_bins = depth["n_bins"]
    headings = ("set", "module", *(f"{(number + 0.5) / n_bins:.2f}" for number in range(n_bins)))
    rows = [
        (name, module, *counts)
        for name, table in zip(names, depth["counts"], strict=True)
        for module, counts in zip(depth["modules"], table, strict=True)
    ]
    print_table("Neurons by module and relative depth", headings, rows)
    if depth["distance"] is not None:
        print_line(
            f"{depth['distance']:.0%} of the neurons would have to move for both to be distributed alike "
            f"(p {p_text(depth['p_value'])}, by permuting neurons between the sets)"
        )


def _print_profiles(profiles: Mapping[str, Any]) -> None:
    print_table(
        f"Where scores lie by module and relative depth ({' and '.join(profiles['targets'])})",
        ("culture", "rank correlation"),
        list(zip(profiles["cultures"], profiles["rho"], strict=True)),
    )
    if profiles["p_value"] is not None:
        print_line(
            f"After subtracting what all cultures share: {profiles['own']:.2f} with the same culture in the "
            f"other model, {profiles['other']:.2f} with other cultures (p {p_text(profiles['p_value'])}, by "
            "permuting the cultures)"
        )


def _print_overlap(same: Mapping[str, Any]) -> None:
    chance = "" if same["expected_shared"] is None else f", by chance {same['expected_shared']:.1f}"
    print_table(
        f"Models with the same layout: {same['shared']:,} shared neurons{chance}",
        ("module", "both", "only first", "only second"),
        [(row["module"], row["both"], row["only_first"], row["only_second"]) for row in same["by_module"]],
    )
