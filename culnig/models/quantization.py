"""bitsandbytes: whether it is here, gradients through its modules, and its warnings once, not per product."""

from __future__ import annotations

import logging
from typing import Any

from culnig.errors import EnvironmentProblem, argument

_LOGGERS = ("bitsandbytes.autograd._functions", "bitsandbytes.nn.modules", "bitsandbytes.backends.cpu.ops")


class OncePerMessage(logging.Filter):
    """Lets each message through once."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: set[str] = set()

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether the message is new."""
        message = record.getMessage()
        is_new = message not in self._seen
        self._seen.add(message)
        return is_new


def check_bitsandbytes() -> None:
    """EnvironmentProblem without bitsandbytes; from now on it says each thing once."""
    try:
        import bitsandbytes  # noqa: F401
    except ModuleNotFoundError:
        raise EnvironmentProblem(
            f"{argument('quantize')} needs the package bitsandbytes; run `pip install bitsandbytes`"
        ) from None
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(own, OncePerMessage) for own in logger.filters):
            logger.addFilter(OncePerMessage())


def keep_differentiable(model: Any) -> None:
    """Let gradients pass through quantized modules on a CPU.

    On processors with bfloat16 instructions, bitsandbytes repacks 4-bit weights at the first pass without
    gradients, for a kernel without a backward pass. Its 8-bit products change float16 inputs in place and
    change them back, which autograd refuses; they get a copy.
    """
    for module in model.modules():
        if hasattr(module, "support_avx512bf16_for_cpu"):
            module.support_avx512bf16_for_cpu = False
        if type(module).__name__ == "Linear8bitLt":
            module.register_forward_pre_hook(_with_own_input)


def _with_own_input(module: Any, inputs: tuple[Any, ...]) -> tuple[Any, ...]:
    (rows,) = inputs
    in_place = str(rows.dtype) == "torch.float16" and rows.device.type == "cpu"
    return (rows.clone() if in_place else rows,)
