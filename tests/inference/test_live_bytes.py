"""Memory of tensors, counted by hand."""

from __future__ import annotations

import torch
from torch import nn

from culnig.inference.live_bytes import LiveBytes


def test_the_peak_counts_what_lives_at_once_and_no_weights():
    model = nn.Linear(4, 4)
    with LiveBytes(model) as live:
        first = torch.zeros(100)
        second = first + 1
        del second
        third = torch.zeros(50)
        assert model.weight.t().shape == (4, 4)
    assert live.peak == 2 * 400
    assert live.live == 400 + 200
    assert len(third) == 50
