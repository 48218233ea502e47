"""How cultures and neuron sets compare: top neurons by culture, and similarities."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from culnig.reporting.heat_maps import heat_map
from culnig.reporting.profiles import TOP_NEURONS, Profile
from culnig.reporting.sections.panels import Panel, Section, slug
from culnig.reporting.tables import Table
from culnig.selection.neuron_set import NeuronSet
from culnig.selection.similarity import linkage, similarity_matrix

SCALE_QUANTILE = 0.98
"""Quantile of the scores where its colours end, so that a few large scores do not hide all others."""


def cultures_section(profiles: Sequence[Profile], names: dict[int, str]) -> Section:
    """Cultures × top neurons, both clustered. `names` are the short names of neurons by flat index."""
    return Section(
        "cultures",
        "Cultures and top neurons",
        "Blue: the neuron raises the probability of the correct answer more with the question than without "
        "it. Orange: it raises it less.",
        [
            _top_neurons_panel(profile, names)
            for profile in profiles
            if len(profile.cultures) > 1 and len(profile.best)
        ],
        "culnig-engine score --model MODEL --benchmark BENCHMARK -o RUN   (items of two or more cultures)",
    )


def ordered_scores(
    profile: Profile, names: dict[int, str]
) -> tuple[list[str], list[str], NDArray[np.float64]]:
    """Names of the top neurons, cultures, and their scores (culture, neuron); similar ones are neighbours."""
    top = profile.best[:TOP_NEURONS].tolist()
    scores = np.stack([profile.columns[flat] for flat in top], axis=1)
    rows, columns = leaf_order(scores), leaf_order(scores.T)
    cultures = [profile.cultures[row] for row in rows]
    return [names[top[column]] for column in columns], cultures, scores[np.ix_(rows, columns)]


def _top_neurons_panel(profile: Profile, names: dict[int, str]) -> Panel:
    neurons, cultures, ordered = ordered_scores(profile, names)
    title = f"Scores of the top neurons by culture, {profile.difference}"
    return Panel(
        profile.target,
        heat_map(
            ordered,
            cultures,
            neurons,
            title=title,
            description=f"The {len(neurons)} neurons with the highest sum over cultures; similar rows and "
            "columns are next to each other.",
            diverging=True,
            cell=(22, 24),
            limit=float(np.quantile(np.abs(ordered), SCALE_QUANTILE)),
        ),
        f"The {len(neurons)} neurons with the highest {profile.difference} over all cultures, labelled "
        "module layer·index. Average linkage orders rows and columns, so that similar ones are next to each "
        f"other. The colours end at the {100 * SCALE_QUANTILE:g} % quantile; larger scores have the same "
        "colour.",
        Table(
            slug("top-neurons", profile.target),
            f"Scores of the top neurons by culture, {profile.basis}",
            ("neuron", *cultures),
            [(name, *column) for name, column in zip(neurons, ordered.T.tolist(), strict=True)],
            ("", *["3"] * len(cultures)),
        ),
    )


def similarity_section(profiles: Sequence[Profile], sets: Sequence[NeuronSet]) -> Section:
    """Correlation of cultures and Jaccard index of neuron sets, where their stability is known."""
    panels = [panel for profile in profiles if (panel := _halves_panel(profile)) is not None]
    for layout_hash in dict.fromkeys(neurons.layout_hash for neurons in sets):
        of_model = [neurons for neurons in sets if neurons.layout_hash == layout_hash]
        stabilities = [_stability(neurons) for neurons in of_model]
        if len(of_model) > 1 and None not in stabilities:
            matrix, _ = similarity_matrix(of_model, "jaccard")
            order = leaf_order(matrix)
            np.fill_diagonal(matrix, stabilities)
            panels.append(
                _matrix_panel(
                    "neuron sets",
                    [of_model[index].name for index in order],
                    matrix[np.ix_(order, order)],
                    "Jaccard index: shared neurons as a share of all neurons of the two sets. The diagonal "
                    "compares a set with the same selection from other questions: no two sets can be "
                    "expected to share more.",
                    slug("similarity-sets", *([layout_hash[:6]] if len(panels) > 1 else [])),
                    diverging=False,
                )
            )
    return Section(
        "similarity",
        "Similarity of cultures",
        "Similar cultures are next to each other (average linkage). The diagonal says how much stays the "
        "same with other questions; compare the similarity of two cultures with it.",
        panels,
        "culnig-engine score --model MODEL --benchmark BENCHMARK --halves -o RUN",
    )


def _stability(neurons: NeuronSet) -> float | None:
    """Jaccard index of a set and its selections from other questions; None if it was not tested."""
    agreements = (neurons.method.get("stability") or {}).get("agreement", ())
    by_kind = {agreement["kind"]: float(agreement["jaccard"]) for agreement in agreements}
    return by_kind.get("bootstrap", next(iter(by_kind.values()), None))


def _halves_panel(profile: Profile) -> Panel | None:
    between = profile.between_halves
    if between is None or len(profile.cultures) < 2:
        return None
    order = leaf_order(np.nan_to_num(profile.correlation))
    names = [profile.cultures[index] for index in order]
    matrix = between[np.ix_(order, order)]
    stable = np.diagonal(matrix)
    note = (
        f"Pearson correlation over all neurons of the scores ({profile.basis}) from one half of the "
        "questions "
        "(rows) with those from the other half (columns). "
    )
    if np.isfinite(stable).any():
        note += f"A culture's own two halves correlate at {np.nanmin(stable):.2f} to {np.nanmax(stable):.2f}."
    title, name = f"{profile.target}: scores", slug("similarity", profile.target)
    return _matrix_panel(title, names, matrix, note, name, diverging=True)


def _matrix_panel(
    title: str, names: Sequence[str], matrix: NDArray[np.float64], note: str, name: str, *, diverging: bool
) -> Panel:
    return Panel(
        title,
        heat_map(
            matrix,
            names,
            names,
            title=title,
            description=note,
            form="{:.2f}".format,
            diverging=diverging,
            numbers=True,
            cell=(36, 26),
            limit=1.0,
        ),
        note,
        Table(
            name,
            note,
            ("", *names),
            [
                (row, *(None if np.isnan(value) else value for value in values))
                for row, values in zip(names, matrix.tolist(), strict=True)
            ],
            ("", *[".3f"] * len(names)),
        ),
    )


def leaf_order(vectors: NDArray[np.float64]) -> list[int]:
    """Order in which similar rows are neighbours: average linkage with optimal leaf order.

    A symmetric matrix is taken as similarities of the rows; other rows are compared by their correlation.
    """
    if len(vectors) < 3:
        return list(range(len(vectors)))
    from scipy.cluster import hierarchy

    if vectors.shape[0] != vectors.shape[1] or not np.allclose(vectors, vectors.T):
        with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
            warnings.simplefilter("ignore", RuntimeWarning)  # a constant row correlates with nothing
            vectors = np.nan_to_num(np.corrcoef(vectors))
    vectors = np.clip((vectors + vectors.T) / 2, -1, 1)
    np.fill_diagonal(vectors, 1.0)
    order: list[int] = hierarchy.leaves_list(linkage(vectors)).tolist()
    return order
