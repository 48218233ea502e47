"""How evenly batches are shared out: small runs by hand, and the real prompts of BLEnD."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from culnig.core.processes import Processes
from culnig.inference.batches import (
    DEFAULT_TOKEN_BUDGET,
    LARGEST_USEFUL_BUDGET,
    batch_shapes,
    split_by_budget,
)
from culnig.planning.sharing import Shares, announce_shares, shared_out, shares_of
from culnig.planning.work import BenchmarkSize

LENGTHS = Path(__file__).parents[1] / "fixtures" / "blend_lengths.json"


def size(*lengths: int) -> BenchmarkSize:
    """A benchmark with prompts of these lengths."""
    return BenchmarkSize(1, lengths)


@given(st.lists(st.integers(1, 60), max_size=40), st.integers(1, 200))
def test_shapes_are_those_of_the_batches(lengths: Sequence[int], budget: int) -> None:
    groups = split_by_budget(lengths, budget)
    assert batch_shapes(lengths, budget) == [
        (len(own), max(lengths[index] for index in own)) for own in groups
    ]
    for own in groups[:-1]:
        assert (len(own) + 1) * max(lengths[index] for index in own) > budget


def test_three_batches_of_two_processes_take_two_turns():
    assert shares_of([size(*[10] * 6)], 20, 2) == Shares((1, 2), (20, 40), 40)
    assert shares_of([size(*[10] * 6)], 20, 2).busy == 0.75
    assert shares_of([size(20, 5), size(7)], 20, 2) == Shares((1, 2), (20, 12), 27)  # 20 and 5, then 7


def test_whole_portions_are_shared_out_where_none_is_handed_over():
    """Each of 66 portions has two of 132 batches."""
    shares = shares_of([size(*[1] * 132)], 1, 5, hands_over=False)
    assert shares.passes == (28, 26, 26, 26, 26)
    assert shares_of([size(*[1] * 132)], 1, 5).passes == (26, 26, 27, 26, 27)


def test_a_turn_takes_as_long_as_its_longest_batch():
    shares = shares_of([size(100, 1)], 1, 2)
    assert (shares.tokens, shares.busy) == ((100, 1), 101 / 200)


def test_the_budget_is_the_one_with_which_the_run_ends_soonest():
    """Twelve prompts of 1,000 tokens: by fours three turns of two processes, by threes two."""
    sizes = [size(*[1000] * 12)]
    assert shares_of(sizes, 4000, 2).passes == (1, 2)
    chosen = shared_out(4000, sizes, 2)
    assert 3000 <= chosen < 4000
    assert shares_of(sizes, chosen, 2).passes == (2, 2)
    assert shared_out(500, sizes, 2) == 500
    assert shared_out(4000, [size()], 2) == 4000


@pytest.mark.parametrize(("of", "said"), [(2, False), (8, True)])
def test_few_batches_for_many_processes_are_said_with_their_number(of, said):
    lines = []
    bound = SimpleNamespace(sharding=SimpleNamespace(processes=Processes(0, of)))
    announce_shares(lines.append, bound, [size(*[100] * 40)], 400, "culture")
    assert bool(lines) == said
    if said:
        assert lines == [
            "Warning: 10 batches for 8 processes, so each is busy 62% of the time; a token budget of 380 "
            "would make that 83%"
        ]


def test_one_process_has_nothing_to_share():
    lines: list[str] = []
    announce_shares(lines.append, SimpleNamespace(sharding=None), [size(1)], 1, "culture")
    assert lines == []


@pytest.fixture(scope="module")
def blend():
    """The prompts of BLEnD and its control, by length, as the embedded model's tokenizer writes them."""
    counts = json.loads(LENGTHS.read_text())["items_by_length"].values()
    return [size(*(int(length) for length, n in own.items() for _ in range(n))) for own in counts]


def test_blend_keeps_1_to_64_processes_busy_nine_tenths_of_the_time(blend):
    for of in range(1, 65):
        shares = shares_of(blend, DEFAULT_TOKEN_BUDGET, of)
        assert max(shares.passes) == math.ceil(shares.n_batches / of)
        assert max(shares.passes) - min(shares.passes) <= 1
        assert shares.busy >= 0.9, of


def test_with_large_batches_blend_keeps_them_as_busy_as_whole_batches_can(blend):
    """Of 145 batches, each of 64 processes has two or three; a budget that is chosen by count is better."""
    shares = shares_of(blend, LARGEST_USEFUL_BUDGET, 64)
    assert (shares.n_batches, set(shares.passes)) == (145, {2, 3})
    assert 0.7 < shares.busy < 0.8
    for of in range(1, 65):
        fixed = shares_of(blend, LARGEST_USEFUL_BUDGET, of)
        assert max(fixed.passes) == math.ceil(fixed.n_batches / of)
        chosen = shares_of(blend, shared_out(LARGEST_USEFUL_BUDGET, blend, of), of)
        assert chosen.busy >= 0.9, of
        assert chosen.turn_tokens <= fixed.turn_tokens
