"""The compiled arithmetic: gradient × activation, top-k and ranking.

The functions here take numpy arrays and do not import torch. On tensors, a `Backend` does the same:

| backend | device | implementation |
|---|---|---|
| `cpu` | cpu | compiled, on the tensors' own memory |
| `cuda` | cuda, where the CUDA module is built | compiled, on device pointers and the current stream |
| `torch` | any other | eager operations, in chunks |

All follow the arithmetic of csrc/core/score.h and give the same bits.
`culnig.kernels.choice.choose_backend` picks one; falling back to `torch` on a CUDA device is announced once.
"""

from culnig.kernels.arguments import AGGREGATORS, DTYPES, ScoreBatch, ScoreTables
from culnig.kernels.cpu import Ranked, add_scores, rank, routed_scores, score_reduce, thread_count, top_k
from culnig.kernels.routing import Routing

__all__ = [
    "AGGREGATORS",
    "DTYPES",
    "Ranked",
    "Routing",
    "ScoreBatch",
    "ScoreTables",
    "add_scores",
    "rank",
    "routed_scores",
    "score_reduce",
    "thread_count",
    "top_k",
]
