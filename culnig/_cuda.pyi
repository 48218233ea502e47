Address = int
TableAddress = tuple[int, int]
TokenAddress = tuple[int, int, int]

def device_available() -> bool: ...
def score_items(
    activation: TokenAddress,
    gradient: TokenAddress,
    shape: tuple[int, int, int],
    dtype: int,
    aggregator: int,
    token_mask: Address,
    item_scores: TableAddress,
    peak_tokens: TableAddress,
    status: Address,
    stream: int,
    /,
) -> None: ...
def add_scores(
    item_scores: TableAddress,
    shape: tuple[int, int],
    confidence: Address,
    culture_index: Address,
    clamp_at_zero: Address,
    sums: TableAddress,
    sums_of_squares: TableAddress,
    positive_counts: TableAddress,
    status: Address,
    stream: int,
    /,
) -> None: ...
def token_sums(
    activation: TokenAddress,
    gradient: TokenAddress,
    shape: tuple[int, int, int],
    dtype: int,
    token_mask: Address,
    magnitude: TableAddress,
    positive_tokens: TableAddress,
    gradient_norm: TableAddress,
    stream: int,
    /,
) -> None: ...
def top_k_workspace(n_rows: int, k: int, /) -> int: ...
def top_k(
    scores: TableAddress,
    shape: tuple[int, int],
    narrow: bool,
    excluded: TableAddress,
    k: int,
    best: Address,
    workspace: Address,
    stream: int,
    /,
) -> None: ...
