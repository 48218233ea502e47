"""Reading a run's tables in parts: the same numbers, little memory, damage named."""

from __future__ import annotations

import shutil

import h5py
import numpy as np
import pytest

from culnig.errors import StoreError
from culnig.store import schema
from culnig.store.run import Run, TableRows
from tests.toy import random_moments, toy_layout, write_run, write_toy_run

WIDE = toy_layout(3, {"self_attn.q_proj": 30_000, "mlp.gate_proj": 40_000})
"""210,000 neurons: several chunks of a table row."""


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    table = random_moments(0, WIDE.n_neurons)
    return write_run(tmp_path_factory.mktemp("wide") / "run", WIDE, {"t": ("target", table)})


def test_blocks_hold_every_cell_once_in_the_order_of_the_rows_asked_for(wide):
    whole = wide.moments("t")
    sums, squares = np.full((2, WIDE.n_neurons), np.nan), np.full((4, WIDE.n_neurons), np.nan)
    starts = []
    wanted = [TableRows("t", schema.SUM, [3, 0]), TableRows("t", schema.SUM_OF_SQUARES)]
    for columns, (first, second) in wide.blocks(wanted):
        sums[:, columns], squares[:, columns] = first, second
        starts.append(columns.start)
        first += 1  # the caller's to change
    assert sums.tobytes() == whole.sum[[3, 0]].tobytes()
    assert squares.tobytes() == whole.sum_of_squares.tobytes()
    assert len(starts) > 2


def test_the_total_is_the_sum_over_cultures_to_the_bit(wide):
    assert wide.total("t").tobytes() == wide.moments("t").sum.sum(axis=0).tobytes()


def test_a_file_without_totals_gives_the_same(wide, tmp_path):
    shutil.copytree(wide.folder, tmp_path / "run")
    with h5py.File(tmp_path / "run" / "scores.h5", "a") as file:
        del file["benchmarks/t"][schema.TOTAL]
    assert Run(tmp_path / "run").total("t").tobytes() == wide.total("t").tobytes()


def test_a_total_of_another_shape_is_named(wide, tmp_path):
    shutil.copytree(wide.folder, tmp_path / "run")
    with h5py.File(tmp_path / "run" / "scores.h5", "a") as file:
        group = file["benchmarks/t"]
        del group[schema.TOTAL]
        group[schema.TOTAL] = np.zeros(3)
    with pytest.raises(StoreError, match=schema.TOTAL):
        Run(tmp_path / "run").total("t")


def test_damaged_cells_raise_our_error(tmp_path):
    run = write_toy_run(tmp_path / "run")
    content = bytearray(run.scores_file.read_bytes())
    with h5py.File(run.scores_file) as file:
        chunk = file["benchmarks/toy-target/sum"].id.get_chunk_info(0)
    content[chunk.byte_offset + chunk.size // 2] ^= 0xFF
    run.scores_file.write_bytes(content)
    with pytest.raises(StoreError, match=r"toy-target/sum.*damaged"):
        list(Run(run.folder).blocks([TableRows("toy-target", schema.SUM)]))
