from __future__ import annotations

import numpy as np
import pandas
import pytest

from culnig.errors import OutputExistsError, UnknownNameError
from culnig.store import schema
from tests.toy import write_toy_run


@pytest.fixture
def run(tmp_path):
    return write_toy_run(tmp_path / "run")


def test_parquet_has_a_row_for_each_culture_and_neuron(run, tmp_path):
    name = next(iter(run.benchmarks))
    path = run.to_parquet(name, tmp_path / "scores.parquet")
    frame = pandas.read_parquet(path)
    moments = run.moments(name)
    assert len(frame) == len(moments.cultures) * run.layout.n_neurons
    for row, culture in enumerate(moments.cultures):
        own = frame[frame.culture == culture]
        for table in schema.TABLES:
            assert np.array_equal(own[table], getattr(moments, table)[row]), table
        assert set(own.n_items) == {moments.n_items[row]}
        neurons = list(zip(own.module, own.layer, own["index"], strict=True))
        assert neurons == [tuple(neuron) for neuron in run.layout.neurons(np.arange(run.layout.n_neurons))]


def test_parquet_files_are_kept(run, tmp_path):
    name = next(iter(run.benchmarks))
    run.to_parquet(name, tmp_path / "scores.parquet")
    with pytest.raises(OutputExistsError, match=r"scores\.parquet exists"):
        run.to_parquet(name, tmp_path / "scores.parquet")
    run.to_parquet(name, tmp_path / "scores.parquet", overwrite=True)
    with pytest.raises(UnknownNameError, match="unknown benchmark"):
        run.to_parquet("other", tmp_path / "other.parquet")


def test_xarray_has_dimensions_culture_and_neuron(run):
    pytest.importorskip("xarray", reason="xarray is not installed (pip install culnig-engine[xarray])")
    name = next(iter(run.benchmarks))
    data, moments = run.to_xarray(name), run.moments(name)
    assert data["sum"].dims == ("culture", "neuron")
    assert np.array_equal(data["sum"].sel(culture=moments.cultures[1]), moments.sum[1])
    assert data.attrs["benchmark"] == name
    assert data.coords["layer"].values.tolist() == [
        neuron.layer for neuron in run.layout.neurons(np.arange(run.layout.n_neurons))
    ]
