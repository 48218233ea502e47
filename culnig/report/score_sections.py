"""Where the neurons are and what a run's scores say: layers and modules, depth, cultures."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from culnig.core.neurons import Layout
from culnig.report.drawing import Line, heat_map, lines
from culnig.report.profiles import Profile
from culnig.report.sections import Panel, Section, slug
from culnig.report.sources import Sources
from culnig.report.tables import Table
from culnig.selection.neuron_set import NeuronSet
from culnig.selection.similarity import linkage, similarity_matrix

TOP_NEURONS = 40
"""Columns of the heat map of cultures × neurons."""
SCALE_QUANTILE = 0.98
"""Where its colours end, so that a few large scores do not hide all others."""


def where_section(sources: Sources) -> Section:
    """Neurons by layer and module: each set, and the sets of single cultures together."""
    panels = []
    specific = [those for those in sources.neuron_sets if those.method.get("culture")]
    if len(specific) > 1:
        panels.append(_stacked_panel(specific, sources.layout_of(specific[0])))
    panels += [_where_panel(those, sources.layout_of(those)) for those in sources.neuron_sets]
    return Section(
        "where",
        "Where the neurons are",
        "Selected neurons by layer (from left, the first layer is 0) and module. The more a cell stands "
        "out, the more "
        "neurons it holds.",
        panels,
        "culnig-engine select general RUN -o general.neurons.json",
    )


def _where_panel(those: NeuronSet, layout: Layout | None) -> Panel:
    counts = those.count_by_module_and_layer()
    modules, table = those.table(layout)
    n_layers = table.shape[1]
    fullest = max(counts, key=lambda place: counts[place]) if counts else None
    said = "" if fullest is None else f" Most ({counts[fullest]}) lie in {fullest[0]} of layer {fullest[1]}."
    return Panel(
        those.name,
        heat_map(
            table,
            modules,
            [str(layer) for layer in range(n_layers)],
            title=f"{those.name}: neurons by layer and module",
            description=f"{len(those.neurons):,} neurons.{said}",
            form="{:.0f}".format,
            numbers=True,
            cell=(26, 26),
            column_step=max(1, n_layers // 30),
            names=[f"layer {layer}" for layer in range(n_layers)],
            axis="layer →",
        ),
        f"{len(those.neurons):,} neurons.{said}",
        Table(
            slug("layers", those.name),
            f"Neurons of {those.name} by layer and module",
            ("layer", *modules),
            [(layer, *map(int, table[:, layer])) for layer in range(n_layers)],
        ),
    )


def by_culture(sets: Sequence[NeuronSet], layout: Layout | None) -> tuple[list[str], NDArray[np.float64]]:
    """Cultures of sets, and neurons of each (culture, layer), all modules together."""
    tables = [those.table(layout)[1].sum(axis=0) for those in sets]
    found = np.zeros((len(sets), max(len(table) for table in tables)))
    for row, table in zip(found, tables, strict=True):
        row[: len(table)] = table
    return [str(those.method["culture"]) for those in sets], found


def _stacked_panel(sets: Sequence[NeuronSet], layout: Layout | None) -> Panel:
    """Cultures above each other, layers across, all modules together."""
    names, table = by_culture(sets, layout)
    n_layers = table.shape[1]
    return Panel(
        "all cultures",
        heat_map(
            table,
            names,
            [str(layer) for layer in range(n_layers)],
            title="Culture-specific neurons by culture and layer",
            description=f"{len(sets)} cultures, all modules together.",
            form="{:.0f}".format,
            numbers=True,
            cell=(26, 24),
            column_step=max(1, n_layers // 30),
            names=[f"layer {layer}" for layer in range(n_layers)],
            axis="layer →",
        ),
        f"{len(sets)} sets of single cultures, all modules together.",
        Table(
            "layers-by-culture",
            "Culture-specific neurons by culture and layer",
            ("culture", *(str(layer) for layer in range(n_layers))),
            [(name, *map(int, row)) for name, row in zip(names, table, strict=True)],
        ),
    )


def depth_section(profiles: Sequence[Profile]) -> Section:
    """Share of the positive score by depth, by module and by culture."""
    panels = []
    for one in profiles:
        total = one.layers.sum() or 1.0
        by_module = one.layers.sum(axis=0) / total
        n_layers = by_module.shape[1]
        where = int(by_module.sum(axis=0).argmax())
        panels.append(
            Panel(
                f"{one.target}: modules",
                lines(
                    [
                        Line(module, range(n_layers), row.tolist())
                        for module, row in zip(one.modules, by_module, strict=True)
                    ],
                    title=f"Score over depth, {_difference(one)}",
                    description=f"Share of all positive scores; the highest layer is {where}.",
                    x_axis="layer",
                    y_axis="share of positive score",
                    percent=True,
                ),
                f"Sum of the positive scores ({_difference(one)}) of each module and layer, as a share of "
                "all. "
                f"Layer {where} holds most ({by_module.sum(axis=0)[where]:.1%}).",
                Table(
                    slug("depth", one.target),
                    f"Share of the positive score by layer and module, {_difference(one)}",
                    ("layer", *one.modules),
                    [(layer, *by_module[:, layer].tolist()) for layer in range(n_layers)],
                    ("", *[".2%"] * len(one.modules)),
                ),
            )
        )
        own = one.layers.sum(axis=1)
        shares = own / np.maximum(own.sum(axis=1, keepdims=True), np.finfo(float).tiny)
        panels.append(
            Panel(
                f"{one.target}: cultures",
                heat_map(
                    shares,
                    one.cultures,
                    [str(layer) for layer in range(n_layers)],
                    title=f"Score over depth by culture, {_difference(one)}",
                    description=(
                        "Each row is one culture's positive score, all modules, and adds up to 100 %."
                    ),
                    form="{:.1%}".format,
                    cell=(26, 24),
                    column_step=max(1, n_layers // 30),
                    names=[f"layer {layer}" for layer in range(n_layers)],
                    axis="layer →",
                ),
                "Each row adds up to 100 %: where in the model a culture's score lies.",
                Table(
                    slug("depth-cultures", one.target),
                    f"Share of each culture's positive score by layer, {_difference(one)}",
                    ("culture", *(str(layer) for layer in range(n_layers))),
                    [(name, *row) for name, row in zip(one.cultures, shares.tolist(), strict=True)],
                    ("", *[".2%"] * n_layers),
                ),
            )
        )
    return Section(
        "depth",
        "Scores over depth",
        "How much of the attribution lies in which layers, over all neurons of the model and not only the "
        "selected ones.",
        panels,
        "culnig-engine score --model MODEL --benchmark BENCHMARK -o RUN",
    )


def cultures_section(profiles: Sequence[Profile], names: dict[int, str]) -> Section:
    """Cultures × top neurons, both clustered. `names`: how a flat position is written."""
    panels = []
    for one in profiles:
        if len(one.cultures) < 2 or not len(one.best):
            continue
        places = one.best[:TOP_NEURONS].tolist()
        scores = np.stack([one.columns[flat] for flat in places], axis=1)
        rows, columns = leaf_order(scores), leaf_order(scores.T)
        ordered = scores[np.ix_(rows, columns)]
        cultures = [one.cultures[row] for row in rows]
        neurons = [names[places[column]] for column in columns]
        panels.append(
            Panel(
                one.target,
                heat_map(
                    ordered,
                    cultures,
                    neurons,
                    title=f"Scores of the top neurons by culture, {_difference(one)}",
                    description=f"{len(places)} neurons with the highest sum over cultures; similar rows and "
                    "columns lie side by side.",
                    form="{:.2e}".format,
                    diverging=True,
                    cell=(22, 24),
                    limit=float(np.quantile(np.abs(scores), SCALE_QUANTILE)),
                ),
                f"The {len(places)} neurons with the highest {_difference(one)} over all cultures, written "
                "module layer·index. Rows and columns are ordered by average linkage, so that similar ones "
                "lie "
                f"side by side. The colours end at the {SCALE_QUANTILE:.0%} quantile; what is beyond looks "
                "like it.",
                Table(
                    slug("top-neurons", one.target),
                    f"Score of the top neurons by culture, {_difference(one)}",
                    ("neuron", *cultures),
                    [(name, *column) for name, column in zip(neurons, ordered.T.tolist(), strict=True)],
                    ("", *[".2e"] * len(cultures)),
                ),
            )
        )
    return Section(
        "cultures",
        "Cultures and top neurons",
        "Blue raises the probability of the right answer more with the question than without it, orange "
        "less.",
        panels,
        "culnig-engine score --model MODEL --benchmark BENCHMARK -o RUN   (items of two or more cultures)",
    )


def similarity_section(profiles: Sequence[Profile], sets: Sequence[NeuronSet]) -> Section:
    """Correlation of cultures over neurons, and Jaccard of neuron sets."""
    panels = []
    for one in profiles:
        if len(one.cultures) < 2:
            continue
        order = leaf_order(np.nan_to_num(one.correlation))
        names = [one.cultures[place] for place in order]
        matrix = one.correlation[np.ix_(order, order)]
        off = np.where(np.eye(len(matrix), dtype=bool), np.nan, matrix)
        said = ""
        if np.isfinite(off).any():
            first, second = divmod(int(np.nanargmax(off)), len(off))
            said = f" Most alike: {names[first]} and {names[second]} ({off[first, second]:.2f})."
        panels.append(
            _matrix_panel(
                f"{one.target}: scores",
                names,
                matrix,
                f"Pearson correlation of {_difference(one)} over all neurons.{said}",
                slug("similarity", one.target),
                diverging=True,
            )
        )
    for layout_hash in dict.fromkeys(those.layout_hash for those in sets):
        alike = [those for those in sets if those.layout_hash == layout_hash]
        if len(alike) > 1:
            matrix, _ = similarity_matrix(alike, "jaccard")
            order = leaf_order(matrix)
            panels.append(
                _matrix_panel(
                    "neuron sets",
                    [alike[place].name for place in order],
                    matrix[np.ix_(order, order)],
                    "Jaccard index: shared neurons as a part of all neurons of two sets.",
                    slug("similarity-sets", *([layout_hash[:6]] if len(panels) > 1 else [])),
                    diverging=False,
                )
            )
    return Section(
        "similarity",
        "Similarity of cultures",
        "Similar cultures lie side by side (average linkage).",
        panels,
        "culnig-engine select specific RUN --culture A -o a.neurons.json   (and the same for B)",
    )


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
                (row, *(None if np.isnan(value) else float(value) for value in values))
                for row, values in zip(names, matrix, strict=True)
            ],
            ("", *[".3f"] * len(names)),
        ),
    )


def leaf_order(vectors: NDArray[np.float64]) -> list[int]:
    """Order of rows in which similar ones are neighbours: average linkage, optimal leaf order.

    A matrix of similarities is taken as it is, other rows by 1 − their correlation.
    """
    if len(vectors) < 3:
        return list(range(len(vectors)))
    from scipy.cluster import hierarchy

    square = vectors.shape[0] == vectors.shape[1] and np.allclose(vectors, vectors.T)
    if not square:
        with warnings.catch_warnings(), np.errstate(invalid="ignore", divide="ignore"):
            warnings.simplefilter("ignore", RuntimeWarning)  # a constant row correlates with nothing
            vectors = np.nan_to_num(np.corrcoef(vectors))
    vectors = np.clip((vectors + vectors.T) / 2, -1, 1)
    np.fill_diagonal(vectors, 1.0)
    order: list[int] = hierarchy.leaves_list(linkage(vectors)).tolist()
    return order


def _difference(one: Profile) -> str:
    return one.target if one.control is None else f"{one.target} − {one.control}"
