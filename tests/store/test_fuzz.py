"""1,000 damaged files: each is refused with an error of ours, or read to the right bits. Nothing else.

Probes run in forked children, so that a crash or a hang inside HDF5 is a failed test and not the end of it.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from culnig.benchmarks.base import ChosenItems

from culnig.errors import CulnigError
from culnig.scoring.levels import StoredTensors
from culnig.scoring.run import RunSettings, score_run
from culnig.scoring.scoring import ScoreSettings
from culnig.store.run import Run
from tests.forked import in_child
from tests.tiny_models import tiny_items, tiny_model

BENCHMARKS = {
    "toy-target": ChosenItems("target", "identify", tiny_items(4), {}),
    "toy-control": ChosenItems("control", "identify", tiny_items(2), {}),
}
SMALL = StoredTensors(("k_proj", "v_proj"), (0, 2), ("item-0", "item-1"))
PROBES_PER_CHILD = 50


def bits(value: Any) -> Any:
    """Something that is equal only where every bit is."""
    if isinstance(value, np.ndarray) and value.dtype != object:
        return str(value.dtype), value.shape, value.tobytes()
    if isinstance(value, np.ndarray | list | tuple):
        return [bits(one) for one in value]
    return {name: bits(one) for name, one in vars(value).items()} if hasattr(value, "__dict__") else value


def read_scores(folder: Path) -> Any:
    run = Run(folder)
    return [
        bits(run.layout.segments),
        {
            name: [stored, bits(run.moments(name)), bits(run.outcomes(name))]
            for name, stored in run.benchmarks.items()
        },
    ]


def read_items(folder: Path) -> Any:
    run, found = Run(folder), {}
    for name in run.benchmarks:
        parts = run.item_parts(name)
        for part in parts:
            with run.open_item_scores(part) as stored:
                found[name] = [
                    part.name,
                    bits(part.prompts),
                    bits(stored.scores()),
                    bits(stored.peak_tokens()),
                ]
    return found


def read_tensors(folder: Path) -> Any:
    run, found = Run(folder), {}
    for name in run.benchmarks:
        for part in run.tensor_parts(name):
            with run.open_tensors(part) as stored:
                found[name, part.name] = [
                    bits(part.prompts),
                    [(s, stored.number_format(s), bits(stored.pair(s))) for s in stored.segments],
                ]
    return found


def flip(content: bytearray, draw: random.Random) -> None:
    content[draw.randrange(len(content))] ^= draw.randrange(1, 256)


def flip_several(content: bytearray, draw: random.Random) -> None:
    for _ in range(draw.randrange(2, 9)):
        flip(content, draw)


def truncate(content: bytearray, draw: random.Random) -> None:
    del content[draw.randrange(len(content)) :]


def scribble(content: bytearray, draw: random.Random) -> None:
    place = draw.randrange(len(content))
    length = min(draw.randrange(1, 600), len(content) - place)
    content[place : place + length] = draw.randbytes(length)


DAMAGES = (flip, flip, flip, flip_several, truncate, scribble)

FILES: dict[str, tuple[str, str, Callable[[Path], Any]]] = {
    "scores": ("item", "scores.h5", read_scores),
    "item scores": ("item", "items/part-toy-target-000-000000.h5", read_items),
    "float16 item scores": ("float16", "items/part-toy-target-000-000000.h5", read_items),
    "tensors": ("token", "tensors/part-toy-target-000-000000.h5", read_tensors),
}
N_PROBES = {"scores": 400, "item scores": 200, "float16 item scores": 100, "tensors": 300}


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("runs")
    ways = {
        "item": RunSettings(level="item"),
        "float16": RunSettings(level="item", score_type="float16"),
        "token": RunSettings(level="token", tensors=SMALL),
    }
    for name, how in ways.items():
        score_run(tiny_model(), BENCHMARKS, ScoreSettings(), folder / name, how=how)
    return {name: folder / name for name in ways}


def probe(path: Path, intact: bytes, read: Callable[[], Any], right: Any, numbers: range) -> list[str]:
    """What was wrong: a wrong answer, or an error that is not ours."""
    wrong = []
    for number in numbers:
        draw = random.Random(f"{path.parent.name} {number}")
        damage = draw.choice(DAMAGES)
        content = bytearray(intact)
        damage(content, draw)
        path.write_bytes(content)
        path.with_name("probe").write_text(f"{number} {damage.__name__}")  # what a crash came from
        try:
            if read() != right:
                wrong.append(f"probe {number} ({damage.__name__}): a wrong answer")
        except CulnigError:
            pass
        except Exception as error:
            wrong.append(f"probe {number} ({damage.__name__}): {type(error).__name__}: {error}")
    return wrong


@pytest.mark.slow
@pytest.mark.parametrize("what", FILES)
def test_a_damaged_file_never_gives_a_wrong_answer_a_crash_or_a_hang(runs, tmp_path, what):
    run, name, read = FILES[what]
    folder = Path(shutil.copytree(runs[run], tmp_path / "run"))
    intact, right = (folder / name).read_bytes(), read(folder)
    wrong = []
    for first in range(0, N_PROBES[what], PROBES_PER_CHILD):
        numbers = range(first, min(first + PROBES_PER_CHILD, N_PROBES[what]))
        wrong += in_child(
            lambda numbers=numbers: probe(folder / name, intact, lambda: read(folder), right, numbers)
        )
    assert wrong == []


@pytest.mark.parametrize("what", FILES)
def test_the_probes_hit(runs, tmp_path, what):
    """Most damage is noticed: a reader that looked at nothing would pass the test above."""
    run, name, read = FILES[what]
    folder = Path(shutil.copytree(runs[run], tmp_path / "run"))
    intact = (folder / name).read_bytes()
    refused = 0
    for number in range(40):
        content = bytearray(intact)
        truncate(content, random.Random(number))
        (folder / name).write_bytes(content)
        try:
            read(folder)
        except CulnigError as error:
            refused += str(folder / name) in str(error)
    assert refused == 40
