"""Picture of how alike neuron sets are: the matrix, ordered by the tree beside it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from culnig.selection.similarity import linkage
from culnig.store.files import whole_file


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
