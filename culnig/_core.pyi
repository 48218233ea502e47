from typing import Any

import numpy as np
from numpy.typing import NDArray

def score_reduce(
    activation: NDArray[Any],
    gradient: NDArray[Any],
    dtype: int,
    aggregator: int,
    token_mask: NDArray[np.uint8],
    confidence: NDArray[np.float64],
    culture_index: NDArray[np.int64],
    clamp_at_zero: NDArray[np.uint8],
    sums: NDArray[np.float64],
    sums_of_squares: NDArray[np.float64] | None,
    positive_counts: NDArray[np.uint32] | None,
    item_scores: NDArray[np.float32] | None,
    peak_tokens: NDArray[np.int32] | None,
    threads: int,
    /,
) -> tuple[int, int, int, int] | None: ...
def add_scores(
    item_scores: NDArray[np.float32],
    confidence: NDArray[np.float64],
    culture_index: NDArray[np.int64],
    clamp_at_zero: NDArray[np.uint8],
    sums: NDArray[np.float64],
    sums_of_squares: NDArray[np.float64] | None,
    positive_counts: NDArray[np.uint32] | None,
    threads: int,
    /,
) -> None: ...
def token_sums(
    activation: NDArray[Any],
    gradient: NDArray[Any],
    dtype: int,
    token_mask: NDArray[np.uint8],
    threads: int,
    /,
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.float32]]: ...
def top_k(
    scores: NDArray[Any], k: int, excluded: NDArray[np.uint8] | None, threads: int, /
) -> NDArray[np.int64]: ...
def rank(
    target: NDArray[np.float64],
    control: NDArray[np.float64],
    exclusion: NDArray[np.float64] | None,
    pools: list[NDArray[np.int64]],
    counts: list[int],
    exclusion_counts: list[int],
    threads: int,
    /,
) -> list[tuple[NDArray[np.int64], NDArray[np.float64]]]: ...
