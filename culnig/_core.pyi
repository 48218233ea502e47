from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from culnig.kernels.arguments import ScoreBatch, ScoreTables
from culnig.kernels.routing import RoutedRows

def score_reduce(
    activation: NDArray[Any],
    gradient: NDArray[Any],
    dtype: int,
    aggregator: int,
    batch: ScoreBatch,
    tables: ScoreTables,
    threads: int,
    /,
) -> tuple[int, int, int, int] | None: ...
def routed_scores(
    activation: NDArray[Any],
    gradient: NDArray[Any],
    dtype: int,
    aggregator: int,
    rows: RoutedRows,
    tables: ScoreTables,
    threads: int,
    /,
) -> tuple[int, int, int, int] | None: ...
def add_scores(batch: ScoreBatch, tables: ScoreTables, threads: int, /) -> None: ...
def token_sums(
    activation: Any, gradient: Any, dtype: int, token_mask: NDArray[np.uint8], sums: Any, threads: int, /
) -> None: ...
def top_k(
    scores: NDArray[np.float64], k: int, excluded: NDArray[np.uint8] | None, threads: int, /
) -> NDArray[np.int64]: ...
def rank(
    target: NDArray[np.float64],
    control: NDArray[np.float64],
    exclusion: NDArray[np.float64] | None,
    pools: Sequence[NDArray[np.int64]],
    counts: Sequence[int],
    exclusion_counts: Sequence[int],
    threads: int,
    /,
) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]: ...
