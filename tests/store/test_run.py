from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest

from culnig.errors import InputError, StoreError
from culnig.store.heap import HEAPS
from culnig.store.run import Run
from tests.stored import document_of
from tests.toy import CULTURES, random_moments, toy_layout, write_toy_run

BENCHMARK = "/benchmarks/toy-target"
READ = [
    *(f"/layout/{name}" for name in ("module", "layer", "start", "width")),
    *(f"{BENCHMARK}/{name}" for name in ("cultures", "n_items", "confidence_sum")),
    *(f"{BENCHMARK}/{name}" for name in ("sum", "sum_of_squares", "positive_count")),
    *(f"{BENCHMARK}/items/{name}" for name in ("id", "question_id", "culture", "topic", "split")),
    *(f"{BENCHMARK}/items/{name}" for name in ("gold", "predicted", "options", "correct")),
    *(f"{BENCHMARK}/items/{name}" for name in ("confidence", "option_probabilities", "alignment")),
]
"""Every dataset that is read."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    return write_toy_run(tmp_path_factory.mktemp("finished") / "run").folder


@pytest.fixture
def folder(finished, tmp_path) -> Path:
    """A copy of a finished run, to be damaged."""
    return Path(shutil.copytree(finished, tmp_path / "run"))


def read_all(folder):
    run = Run(folder)
    for name in run.benchmarks:
        run.moments(name)
        run.outcomes(name)
    return run


READ_ALL = """
import sys, h5py
def read(name, member):
    if isinstance(member, h5py.Dataset):
        print(name, member[()].nbytes)
h5py.File(sys.argv[1]).visititems(read)
assert "hdf5plugin" not in sys.modules
"""


def test_scores_are_read_by_any_hdf5_reader(finished):
    environment = {name: text for name, text in os.environ.items() if name != "HDF5_PLUGIN_PATH"}
    done = subprocess.run(
        [sys.executable, "-c", READ_ALL, finished / "scores.h5"],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    assert set(READ) <= {f"/{line.split()[0]}" for line in done.stdout.splitlines()}


def change_record(folder, **changes):
    document = document_of(folder / "run.json")
    (folder / "run.json").write_text(json.dumps(document | changes))


def test_a_run_says_what_it_holds(finished):
    run = read_all(finished)
    assert run.layout == toy_layout()
    assert run.model == "toy"
    assert set(run.benchmarks) == {"toy-target", "toy-control", "toy-exclusion"}
    target = run.benchmarks["toy-target"]
    assert (target.role, target.split, target.cultures, target.n_items) == (
        "target",
        "identify",
        CULTURES,
        12,
    )
    assert [stored.name for stored in run.with_role("exclusion")] == ["toy-exclusion"]
    assert run.record["complete"] is True


def test_a_run_prints_as_one_line(finished):
    n_items = sum(stored.n_items for stored in Run(finished).benchmarks.values())
    assert repr(Run(finished)) == (
        f"<Run {finished}: 3 benchmarks, {n_items} items, {len(CULTURES)} cultures, 84 neurons of toy, "
        "level culture>"
    )


def test_tables_come_back_to_the_bit(finished):
    expected, found = random_moments(0, 84), Run(finished).moments("toy-target")
    for name in ("n_items", "p_gold_sum", "sum", "sum_of_squares", "positive_count"):
        assert getattr(found, name).tobytes() == getattr(expected, name).tobytes()


def test_the_names_in_the_file_are_those_promised(finished):
    with h5py.File(finished / "scores.h5") as file:
        assert set(file.attrs) == {"format", "format_version", "run", HEAPS}
        assert (file.attrs["format"], file.attrs["format_version"]) == ("culnig-run", 1)
        group = file[BENCHMARK]
        assert dict(group.attrs) == {"role": "target", "split": "identify"}
        assert group["sum"].shape == group["sum_of_squares"].shape == (4, 84)
        assert (group["sum"].dtype, group["positive_count"].dtype) == (np.float64, np.uint32)
        assert set(READ) <= {
            f"{group.name}/{name}" for group in (file["layout"], file[BENCHMARK]) for name in group
        } | {f"{BENCHMARK}/items/{name}" for name in file[BENCHMARK]["items"]}


def test_the_hash_follows_the_scores(finished, tmp_path):
    again = write_toy_run(tmp_path / "again")
    other = write_toy_run(tmp_path / "other", cultures=CULTURES[:3])
    assert again.scores_hash == Run(finished).scores_hash
    assert other.scores_hash != again.scores_hash


@pytest.mark.parametrize("name", ["Läufe/실행 🍲 «1»", "with space/and'quote", "x" * 255])
def test_any_name_that_the_file_system_takes_will_do(tmp_path, name):
    assert write_toy_run(tmp_path / name).layout == toy_layout()


# Every way in which a run can be wrong


def test_no_folder(tmp_path):
    with pytest.raises(StoreError, match=r"no such run; make one with `culnig\.score"):
        Run(tmp_path / "nothing")


def test_a_name_that_no_file_system_accepts():
    with pytest.raises(StoreError, match="xxx"):
        Run("x" * 300)


def test_a_file_in_place_of_the_folder(folder):
    with pytest.raises(StoreError, match="not a folder"):
        Run(folder / "scores.h5")


def test_no_record(folder):
    (folder / "run.json").unlink()
    with pytest.raises(StoreError, match=r"run\.json: no such file"):
        Run(folder)


def test_a_record_that_is_not_json(folder):
    (folder / "run.json").write_text("{")
    with pytest.raises(StoreError, match=r"run\.json: not the record of a run"):
        Run(folder)


@pytest.mark.parametrize(
    "changes", [{"format": "culnig-neurons"}, {"format": None}, {"format": ["culnig-run"]}]
)
def test_a_record_of_something_else(folder, changes):
    change_record(folder, **changes)
    with pytest.raises(StoreError, match=r"run\.json: format is .*expected 'culnig-run'"):
        Run(folder)


def test_a_record_of_another_version(folder):
    change_record(folder, format_version=99)
    with pytest.raises(StoreError, match=r"run\.json: format version 99, this culnig reads 1"):
        Run(folder)


@pytest.mark.parametrize("model", [None, {}, "toy"])
def test_a_record_without_its_model(folder, model):
    change_record(folder, model=model)
    with pytest.raises(StoreError, match=r"run\.json.*model"):
        assert Run(folder).model


def test_scores_that_are_not_there_yet(folder):
    (folder / "scores.h5").unlink()
    with pytest.raises(StoreError, match="not finished; repeat the same scoring with resume=True"):
        Run(folder)


@pytest.mark.parametrize("content", [b"", b"\x00" * 4096, b'{"format": "culnig-run"}'])
def test_scores_that_are_not_hdf5(folder, content):
    (folder / "scores.h5").write_bytes(content)
    with pytest.raises(StoreError, match=r"scores\.h5: not a readable HDF5 file"):
        Run(folder)


def test_scores_cut_short_anywhere(folder):
    content = (folder / "scores.h5").read_bytes()
    for length in range(0, len(content), 397):
        (folder / "scores.h5").write_bytes(content[:length])
        with pytest.raises(StoreError, match=r"scores\.h5: not a readable HDF5 file"):
            read_all(folder)


def test_scores_of_another_program(folder):
    with h5py.File(folder / "scores.h5", "w") as file:
        file["weights"] = np.zeros(3)
    with pytest.raises(StoreError, match="format is None, expected 'culnig-run'"):
        Run(folder)


def test_scores_of_another_version(folder):
    with h5py.File(folder / "scores.h5", "a") as file:
        file.attrs["format_version"] = 2
    with pytest.raises(StoreError, match=r"scores\.h5: format version 2, this culnig reads 1"):
        Run(folder)


@pytest.mark.parametrize("attribute", ["format", "format_version"])
def test_an_array_in_place_of_a_format_attribute(folder, attribute):
    with h5py.File(folder / "scores.h5", "a") as file:
        file.attrs[attribute] = [1, 2]
    with pytest.raises(StoreError, match="format"):
        Run(folder)


@pytest.mark.parametrize("name", ["layout", "benchmarks", f"{BENCHMARK}/items"])
@pytest.mark.parametrize("instead", ["nothing", "dataset"])
def test_a_group_that_is_missing_or_no_group_is_named(folder, name, instead):
    with h5py.File(folder / "scores.h5", "a") as file:
        del file[name]
        if instead == "dataset":
            file[name] = np.zeros(3)
    with pytest.raises(StoreError, match=f"{name.rpartition('/')[2]} is missing"):
        read_all(folder)


def test_a_dataset_in_place_of_a_benchmark_is_named(folder):
    with h5py.File(folder / "scores.h5", "a") as file:
        del file[BENCHMARK]
        file[BENCHMARK] = np.zeros(3)
    with pytest.raises(StoreError, match="toy-target"):
        read_all(folder)


@pytest.mark.parametrize("role", [None, "aim", 3])
def test_a_benchmark_without_a_role_is_named(folder, role):
    with h5py.File(folder / "scores.h5", "a") as file:
        del file[BENCHMARK].attrs["role"]
        if role is not None:
            file[BENCHMARK].attrs["role"] = role
    with pytest.raises(
        StoreError, match=f"{BENCHMARK}: role is .*expected one of target, control, exclusion"
    ):
        Run(folder)


def missing(file, name):
    del file[name]


def another_shape(file, name):
    values = file[name][()]
    del file[name]
    file.create_dataset(name, data=values[np.newaxis], dtype=values.dtype if values.dtype != object else None)


def another_type(file, name):
    old = file[name]
    text = h5py.check_string_dtype(old.dtype) is not None
    shape = old.shape
    del file[name]
    file[name] = np.zeros(shape, dtype="c16") if not text else np.zeros(shape)


def a_group(file, name):
    del file[name]
    file.create_group(name)


@pytest.mark.parametrize("damage", [missing, another_shape, another_type, a_group])
@pytest.mark.parametrize("name", READ)
def test_a_dataset_that_is_wrong_is_named(folder, name, damage):
    with h5py.File(folder / "scores.h5", "a") as file:
        damage(file, name)
    with pytest.raises(StoreError, match=rf"{name}\b"):
        read_all(folder)


def test_a_link_out_of_the_file_is_not_followed(folder, tmp_path):
    name = f"{BENCHMARK}/confidence_sum"
    with h5py.File(tmp_path / "elsewhere.h5", "w") as elsewhere:
        elsewhere["secret"] = np.zeros(len(CULTURES))
    with h5py.File(folder / "scores.h5", "a") as file:
        del file[name]
        file[name] = h5py.ExternalLink(str(tmp_path / "elsewhere.h5"), "/secret")
    with pytest.raises(StoreError, match=name):
        read_all(folder)


def test_a_benchmark_that_is_not_in_the_run_raises_our_error(finished):
    with pytest.raises(InputError, match="nothing-like-it"):
        Run(finished).moments("nothing-like-it")
