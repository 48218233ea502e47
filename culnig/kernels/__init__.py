"""The compiled arithmetic: gradient × activation, sums over tokens, top-k and ranking.

The functions here take numpy arrays and do not import torch. The same on tensors of any device is a
`Backend`:

| backend | device | how |
|---|---|---|
| `cpu` | cpu | compiled, on the tensors' own memory |
| `cuda` | cuda, where the CUDA module is built | compiled, on device pointers and the current stream |
| `torch` | any other | chunks of eager operations |

All do the arithmetic of csrc/core/score.h and give the same bits.
`culnig.kernels.choice.choose_backend` picks one; falling back to `torch` on a CUDA device is announced once.
"""

from culnig.kernels.arguments import AGGREGATORS, DTYPES
from culnig.kernels.arrays import (
    Ranked,
    TokenSums,
    add_scores,
    rank,
    score_reduce,
    thread_count,
    token_sums,
    top_k,
)

__all__ = [
    "AGGREGATORS",
    "DTYPES",
    "Ranked",
    "TokenSums",
    "add_scores",
    "rank",
    "score_reduce",
    "thread_count",
    "token_sums",
    "top_k",
]
