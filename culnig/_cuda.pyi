import torch

from culnig.kernels.arguments import ScoreBatch, ScoreTables
from culnig.kernels.base import TokenSums

def device_available() -> bool: ...
def runs_on(device: int, /) -> bool: ...
def score_items(
    activation: torch.Tensor,
    gradient: torch.Tensor,
    dtype: int,
    aggregator: int,
    batch: ScoreBatch,
    tables: ScoreTables,
    status: torch.Tensor,
    stream: int,
    /,
) -> None: ...
def add_scores(batch: ScoreBatch, tables: ScoreTables, stream: int, /) -> None: ...
def token_sums(
    activation: torch.Tensor,
    gradient: torch.Tensor,
    dtype: int,
    token_mask: torch.Tensor,
    sums: TokenSums,
    stream: int,
    /,
) -> None: ...
