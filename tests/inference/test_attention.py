"""Attention takes grouped keys and values under a mask on the CPU, and is reproducible on CUDA devices.

Tests of trees use the former. For the latter CPU tensors stand in: the mode is on where a device sees it.
"""

from __future__ import annotations

import os

import pytest
import torch
from transformers.integrations.sdpa_attention import use_gqa_in_sdpa

from culnig.inference import attention
from culnig.inference.attention import SWITCH, WORKSPACE, grouped_heads, reproducible_attention

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


CUDA = torch.device("cuda")


@pytest.fixture(autouse=True)
def no_workspace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(WORKSPACE, ":16:8")  # so that what a test sets is undone


def queries() -> torch.Tensor:
    return torch.randn(2, 3, 5, 8, generator=torch.Generator().manual_seed(0)).requires_grad_()


def attended(values: torch.Tensor) -> torch.Tensor:
    return torch.nn.functional.scaled_dot_product_attention(values, values, values, is_causal=True)


def test_only_attention_is_in_the_deterministic_mode() -> None:
    enabled = torch.are_deterministic_algorithms_enabled
    seen: dict[str, bool] = {}
    values, usual = queries(), queries()
    attended(usual).sum().backward()
    with reproducible_attention(CUDA):
        output = attended(values)
        seen["after the forward pass"] = enabled()
        output.grad_fn.register_prehook(lambda gradients: seen.update(inside=enabled()))
        doubled = output * 2
        doubled.register_hook(lambda gradient: seen.update(before=enabled()))
        values.register_hook(lambda gradient: seen.update(behind=enabled()))
        (doubled.sum() / 2).backward()
    assert seen == {"after the forward pass": False, "before": False, "inside": True, "behind": False}
    assert torch.equal(values.grad, usual.grad)
    assert torch.utils.deterministic.fill_uninitialized_memory


def test_views_of_attention_are_seen_through() -> None:
    inside: list[bool] = []
    with reproducible_attention(CUDA):
        values = queries()
        output = attended(values)
        node = output.transpose(1, 2)[..., :4].grad_fn
        assert attention._attention_node(node) is output.grad_fn
        output.grad_fn.register_prehook(
            lambda gradients: inside.append(torch.are_deterministic_algorithms_enabled())
        )
        output.transpose(1, 2)[..., :4].sum().backward()
    assert inside == [True]


def test_an_error_inside_attention_does_not_leave_the_mode_on() -> None:
    def fail(gradients: object) -> None:
        raise MemoryError

    def attend() -> None:
        with reproducible_attention(CUDA):
            output = attended(queries())
            output.grad_fn.register_prehook(fail)
            output.sum().backward()

    with pytest.raises(MemoryError):
        attend()
    assert not torch.are_deterministic_algorithms_enabled()


def test_other_devices_are_left_alone() -> None:
    with reproducible_attention(torch.device("cpu")):
        output = attended(queries())
        output.grad_fn.register_prehook(
            lambda gradients: pytest.fail("on") if torch.are_deterministic_algorithms_enabled() else None
        )
        output.sum().backward()
