"""How alike neuron sets are, in numbers and as a picture: the matrix, ordered by the tree beside it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culnig.selection.sets import NeuronSetOrPath, distinctly_named, opened_run
from culnig.selection.similarity import Measure, linkage, similarity_matrix, tree
from culnig.store.files import whole_file
from culnig.store.output_folder import check_file
from culnig.store.run import Run


def neurons_overlap(
    sets: Sequence[NeuronSetOrPath],
    *,
    measure: Measure = "jaccard",
    run: Run | Path | str | None = None,
    figure: Path | str | None = None,
    overwrite: bool = False,
) -> dict[str, Any]:
    """How alike sets are, next to what chance would give, and which of them go together.

    `measure` is jaccard (shared / in either) or overlap (shared / size of the smaller set). With a `run` of
    the model, chance keeps each set's counts per module and layer. The result has `sets`, `matrix`, shape
    (set, set), `pairs` and `tree` (average linkage). `figure` is a PNG file to draw matrix and tree into.
    """
    if figure is not None:
        check_file(Path(figure), overwrite=overwrite)
    named = distinctly_named(sets)
    layout = None if run is None else opened_run(run).layout
    matrix, pairs = similarity_matrix(named, measure, layout)
    names = [chosen.name for chosen in named]
    if figure is not None:
        similarity_figure(Path(figure), names, matrix, measure)
    return {
        "measure": measure,
        "sets": [{"name": chosen.name, "n_neurons": len(chosen.neurons)} for chosen in named],
        "matrix": matrix.tolist(),
        "pairs": [asdict(pair) for pair in pairs],
        "tree": tree(names, matrix).document(),
    }


def similarity_figure(path: Path, names: Sequence[str], matrix: NDArray[np.float64], measure: str) -> None:
    """Dendrogram (average linkage of 1 − similarity) and matrix in its order, written as PNG."""
    from matplotlib.figure import Figure
    from scipy.cluster import hierarchy

    side = 3.0 + 0.4 * len(names)
    figure = Figure(figsize=(side + 3.0, side), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 2.2))
    found = hierarchy.dendrogram(
        linkage(matrix),
        labels=list(names),
        orientation="left",
        ax=left,
        color_threshold=0,
        above_threshold_color="#20242c",
    )
    left.set_xlabel(f"1 − {measure}")
    left.spines[["top", "right", "left"]].set_visible(False)
    order = found["leaves"][::-1]
    ordered = matrix[np.ix_(order, order)]
    image = right.imshow(ordered, cmap="viridis", vmin=0, vmax=1, aspect="auto")  # rows beside their leaves
    for row in range(len(names)):
        for column in range(len(names)):
            value = ordered[row, column]
            color = "black" if value > 0.6 else "white"
            right.text(column, row, f"{value:.2f}", ha="center", va="center", fontsize=7, color=color)
    right.set_xticks(range(len(names)), [names[i] for i in order], rotation=90)
    right.set_yticks([])
    figure.colorbar(image, ax=right, label=measure)
    with whole_file(path) as temporary:
        figure.savefig(temporary, dpi=140, format="png", metadata={"Software": None})
