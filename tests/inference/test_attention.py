"""Attention on the CPU takes grouped keys and values under a mask; tests of sharing and trees use it."""

from __future__ import annotations

import os

import pytest
import torch
from transformers.integrations.sdpa_attention import use_gqa_in_sdpa

from culnig.inference.attention import SWITCH, grouped_heads

MASK = torch.ones(1, 1, 2, 4, dtype=torch.bool)
KEYS = torch.zeros(1, 3, 4, 8)


def takes_groups() -> bool:
    return bool(use_gqa_in_sdpa(MASK, KEYS, KEYS))


def test_grouped_on_the_cpu_and_only_inside() -> None:
    assert not takes_groups()
    with grouped_heads(torch.device("cpu")):
        assert takes_groups()
    assert not takes_groups()
    with grouped_heads(torch.device("cuda")):
        assert not takes_groups()


def test_what_the_user_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SWITCH, "0")
    with grouped_heads(torch.device("cpu")):
        assert not takes_groups()
    assert os.environ[SWITCH] == "0"


def test_it_is_undone_after_an_error() -> None:
    with pytest.raises(MemoryError), grouped_heads(torch.device("cpu")):
        raise MemoryError
    assert SWITCH not in os.environ
