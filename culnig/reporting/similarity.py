"""How similar neuron sets are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from culnig.core.plot_style import format_of
from culnig.reporting.overview import similarity_figure
from culnig.selection.neuron_set import NeuronSetOrPath
from culnig.selection.select import opened
from culnig.selection.sets import distinctly_named
from culnig.selection.similarity import Measure, similarity_matrix, tree
from culnig.store.output_folder import check_file, owned_file
from culnig.store.run import Run


def neurons_overlap(
    sets: Sequence[NeuronSetOrPath],
    *,
    measure: Measure = "jaccard",
    run: Run | Path | str | None = None,
    figure: Path | str | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """Compare sets: how similar they are, what chance would give, and which of them cluster.

    `measure` is jaccard (shared / in either) or overlap (shared / size of the smaller set). With a `run` of
    the model, chance keeps each set's counts per module and layer. The result has `sets`, `matrix`, shape
    (set, set), `pairs` and `tree` (average linkage). `figure` is a .pdf, .svg or .png file to draw the matrix
    and the tree to.
    """
    if figure is not None:
        format_of(Path(figure))
        check_file(Path(figure), overwrite=overwrite, inputs=(sets, run))
    named = distinctly_named(sets)
    layout = None if run is None else opened(run).layout
    matrix, pairs = similarity_matrix(named, measure, layout)
    names = [chosen.name for chosen in named]
    if figure is not None:
        with owned_file(Path(figure), overwrite=overwrite, inputs=(sets, run)):
            similarity_figure(Path(figure), names, matrix, measure)
    return {
        "measure": measure,
        "sets": [{"name": chosen.name, "n_neurons": len(chosen.neurons)} for chosen in named],
        "matrix": matrix.tolist(),
        "pairs": [asdict(pair) for pair in pairs],
        "tree": tree(names, matrix).document(),
    }
