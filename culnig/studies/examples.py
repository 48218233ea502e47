"""Studies that come with the program: `small`, which takes minutes, and `paper`, that of the paper."""

from __future__ import annotations

from typing import Literal

from culnig.core.data_files import own_data, read_small_text
from culnig.errors import check_choice

EXAMPLES = ("small", "paper")


def study_example(name: Literal["small", "paper"]) -> str:
    """The text of a study to start from.

    `small` has every part of a study, with the embedded model and our own questions. `paper` is the study of
    the paper that culnig-engine implements, with its six models; it needs the benchmarks' data and large
    GPUs.
    """
    check_choice("init", name, EXAMPLES)
    return read_small_text(own_data("studies") / f"{name}.yaml")
