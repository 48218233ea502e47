"""Every way in which the files of a run can be wrong: a named error each time.

`scores.h5` has its own tests in test_run.py; here are item scores, tensors, parts of unfinished runs, folders
that cannot be written, and writers that meet.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import h5py
import numpy as np
import pytest

from culnig.benchmarks.base import ChosenItems
from culnig.errors import CulnigError, EnvironmentProblem, StoreError
from culnig.scoring.levels import StoredTensors
from culnig.scoring.run import RunSettings, score_run
from culnig.scoring.scoring import ScoreSettings
from culnig.store.heap import HEAPS
from culnig.store.run import Run
from culnig.store.writer import RunWriter
from tests.forked import Child, in_child
from tests.stored import assert_same, contents
from tests.tiny_models import tiny_items, tiny_model
from tests.toy import record, toy_layout

BENCHMARKS = {"toy-target": ChosenItems("target", "identify", tiny_items(4), {})}
PART = {
    "item": "items/part-toy-target-000-000000.h5",
    "token": "tensors/part-toy-target-000-000000.h5",
}
DATASET = {"item": "scores", "token": "layers/0/mlp.gate_proj/gradient"}


def score(folder, level, items=4, **options):
    how = RunSettings(
        level=level, tensors=StoredTensors(("gate_proj",)) if level == "token" else StoredTensors()
    )
    chosen = {"toy-target": ChosenItems("target", "identify", tiny_items(items), {})}
    return score_run(tiny_model(), chosen, ScoreSettings(), folder, run_settings=how, **options)


@pytest.fixture(scope="module")
def finished(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("finished")
    for level in PART:
        score(folder / level, level)
        score(folder / f"other {level}", level, items=3)
    return folder


@pytest.fixture(params=list(PART))
def level(request) -> str:
    return request.param


@pytest.fixture
def folder(finished, tmp_path, level) -> Path:
    return Path(shutil.copytree(finished / level, tmp_path / "run"))


@pytest.fixture
def part(folder, level) -> Path:
    return folder / PART[level]


def read(folder):
    run = Run(folder)
    if run.level == "item":
        for part in run.item_parts("toy-target"):
            with run.open_item_scores(part) as scores:
                scores.scores()
                scores.peak_tokens()
    else:
        for part in run.tensor_parts("toy-target"):
            with run.open_tensors(part) as tensors:
                for segment in tensors.segments:
                    tensors.pair(segment)


def assert_refused(part, message):
    with pytest.raises(StoreError, match=message) as caught:
        read(part.parents[1])
    assert str(part) in str(caught.value)


def test_intact_parts_are_read(folder):
    read(folder)


@pytest.mark.parametrize("content", [b"", b"\x00" * 4096, b"%PDF-1.7\n", b"\x89HDF\r\n\x1a\n"], ids=ascii)
def test_a_part_that_is_not_hdf5(part, content):
    part.write_bytes(content)
    assert_refused(part, "not a readable HDF5 file of culnig, or damaged")


def test_a_part_cut_short_anywhere(part):
    content = part.read_bytes()
    for length in np.linspace(0, len(content) - 1, 23).astype(int):
        part.write_bytes(content[:length])
        assert_refused(part, "not a readable HDF5 file of culnig, or damaged")


def test_a_part_of_another_program(part):
    with h5py.File(part, "w") as file:
        file["weights"] = np.zeros(3)
    assert_refused(part, "format is None, expected 'culnig-")


def test_a_part_of_another_version(part):
    with h5py.File(part, "a") as file:
        file.attrs["format_version"] = 2
    assert_refused(part, "format version 2, this culnig reads 1")


def test_scores_in_place_of_a_part(part):
    shutil.copy(part.parents[1] / "scores.h5", part)
    assert_refused(part, "format is 'culnig-run', expected 'culnig-")


@pytest.mark.parametrize("instead", ["nothing", "shape", "type", "group"])
def test_a_dataset_that_is_wrong_is_named(part, level, instead):
    name = DATASET[level]
    with h5py.File(part, "a") as file:
        shape = file[name].shape
        del file[name]
        if instead == "shape":
            file[name] = np.zeros((shape[0] + 1, shape[1]), np.float32)
        elif instead == "type":
            file[name] = np.zeros(shape, np.complex64)
        elif instead == "group":
            file.create_group(name)
    assert_refused(part, f"{name}\\b")


def test_a_flipped_byte_in_any_chunk_is_found(part, level):
    with h5py.File(part) as file:
        dataset = file[DATASET[level]].id
        if level == "token":  # in one piece, with a hash of every item
            places = [dataset.get_offset(), dataset.get_offset() + dataset.get_storage_size() - 11]
        else:
            places = [dataset.get_chunk_info(n).byte_offset for n in range(dataset.get_num_chunks())]
    intact = part.read_bytes()
    for place in places:
        content = bytearray(intact)
        content[place + 10] ^= 0x40
        part.write_bytes(content)
        assert_refused(part, f"{DATASET[level]} (cannot be read, it )?is damaged")


def test_a_missing_part(part):
    part.unlink()
    assert_refused(part, "is missing")


def test_a_part_of_another_run(part, finished, level):
    shutil.copy(finished / f"other {level}" / PART[level], part)
    assert_refused(part, "belongs to another run")


@pytest.mark.parametrize(
    ("level", "name"),
    [("item", DATASET["item"]), ("token", DATASET["token"]), ("token", "layers/0"), ("token", "layers")],
    indirect=["level"],
)
@pytest.mark.parametrize("kind", ["external", "soft"])
def test_links_are_not_followed(part, level, kind, name, finished, tmp_path):
    with h5py.File(part, "a") as file:
        file.move(name, "elsewhere")
        if kind == "soft":
            file[name] = h5py.SoftLink("/elsewhere")
        else:
            shutil.copy(finished / level / PART[level], tmp_path / "elsewhere.h5")
            file[name] = h5py.ExternalLink(str(tmp_path / "elsewhere.h5"), name)
    assert_refused(part, f"{name} is a link to .*elsewhere.*; links are not followed")


@pytest.mark.parametrize("kind", ["external storage", "virtual"])
def test_numbers_that_lie_in_another_file_are_not_read(part, level, kind, tmp_path):
    with h5py.File(part, "a") as file:
        shape, dtype = file[DATASET[level]].shape, file[DATASET[level]].dtype
        attributes = dict(file[DATASET[level]].attrs)
        del file[DATASET[level]]
        if kind == "virtual":
            with h5py.File(tmp_path / "secret.h5", "w") as secret:
                secret["x"] = np.ones(shape, dtype)
            layout = h5py.VirtualLayout(shape, dtype)
            layout[...] = h5py.VirtualSource(tmp_path / "secret.h5", "x", shape)
            made = file.create_virtual_dataset(DATASET[level], layout)
        else:
            (tmp_path / "secret").write_bytes(np.ones(shape, dtype).tobytes())
            made = file.create_dataset(
                DATASET[level], shape, dtype, external=[(str(tmp_path / "secret"), 0, h5py.h5f.UNLIMITED)]
            )
        made.attrs.update(attributes)
        del file.attrs[HEAPS]  # of the text that was changed
    assert_refused(part, f"{DATASET[level]} stores its data in another file")


# Unfinished runs


class Killed(Exception):
    pass


def unfinished(folder, level, monkeypatch):
    """A run whose portions are complete and not added up yet."""

    def stop(self, portions):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(RunWriter, "finish", stop)
        with pytest.raises(Killed):
            score(folder, level)
    return folder / "parts" / "toy-target-000.h5"


def test_a_portion_that_is_missing_at_the_end_is_named(tmp_path, level, monkeypatch):
    finish = RunWriter.finish

    def lose(self, portions):
        (tmp_path / "run" / "parts" / "toy-target-000.h5").unlink()
        finish(self, portions)

    monkeypatch.setattr(RunWriter, "finish", lose)
    with pytest.raises(StoreError, match=r"toy-target-000\.h5 is missing; to finish it, repeat the"):
        score(tmp_path / "run", level)
    assert not (tmp_path / "run" / "scores.h5").exists()
    monkeypatch.undo()
    read(score(tmp_path / "run", level, resume=True).folder)


def test_a_portion_of_another_run_is_not_continued(tmp_path, level, monkeypatch):
    portion = unfinished(tmp_path / "run", level, monkeypatch)
    with h5py.File(portion, "a") as file:
        file.attrs["run"] = "0" * 64
    with pytest.raises(StoreError, match=r"toy-target-000\.h5: belongs to another run"):
        score(tmp_path / "run", level, resume=True)


def test_a_damaged_portion_is_named_and_scored_again_when_it_is_removed(
    tmp_path, level, finished, monkeypatch
):
    portion = unfinished(tmp_path / "run", level, monkeypatch)
    content = bytearray(portion.read_bytes())
    portion.write_bytes(content[: len(content) // 2])
    with pytest.raises(StoreError, match=r"toy-target-000\.h5: not a readable HDF5 file"):
        score(tmp_path / "run", level, resume=True)
    portion.unlink()
    score(tmp_path / "run", level, resume=True)
    assert_same(contents(tmp_path / "run"), contents(finished / level))


def test_stored_data_that_is_missing_when_a_run_is_resumed_is_named(tmp_path, level, monkeypatch):
    unfinished(tmp_path / "run", level, monkeypatch)
    (tmp_path / "run" / PART[level]).unlink()
    with pytest.raises(
        StoreError, match=r"part-toy-target-000-000000\.h5 is missing.*toy-target-000\.h5"
    ) as caught:
        score(tmp_path / "run", level, resume=True)
    (tmp_path / "run" / "parts" / "toy-target-000.h5").unlink()  # as the message says
    assert "resume=True" in str(caught.value)
    read(score(tmp_path / "run", level, resume=True).folder)


# Folders and writers


def as_nobody(work):
    """`work` in a process that may write only what anybody may."""

    def change_and_work():
        if os.geteuid() == 0:
            os.setgroups([])
            os.setgid(65_534)
            os.setuid(65_534)
        try:
            work()
        except CulnigError as error:
            return type(error).__name__, str(error)
        return None

    return in_child(change_and_work)


@pytest.fixture
def public():
    """A folder that everybody can reach: pytest's own belong to one user."""
    folder = Path(tempfile.mkdtemp(dir="/tmp", prefix="culnig-tests-"))
    folder.chmod(0o755)
    yield folder
    for path in folder.rglob("*"):
        path.chmod(0o755)
    shutil.rmtree(folder)


@pytest.mark.parametrize("place", ["run", "parent"])
def test_a_read_only_folder_is_the_machines_problem_or_named(public, place):
    folder = public / "deep" / "run"
    folder.mkdir(parents=True)
    if place == "parent":
        folder.rmdir()
    for path in (folder, folder.parent):
        if path.exists():
            path.chmod(0o555)
    kind, message = as_nobody(lambda: RunWriter.open(folder, record(), toy_layout()))
    assert kind == ("EnvironmentProblem" if place == "run" else "StoreError")
    assert str(folder) in message
    assert "Permission denied" in message


def test_leftovers_in_a_read_only_folder_are_the_machines_problem(public):
    folder = public / "run"
    RunWriter.open(folder, record(), toy_layout()).close()
    (folder / "scores.h5.tmp").write_bytes(b"half")
    for path in (folder / "parts", folder):
        path.chmod(0o555)
    kind, message = as_nobody(lambda: RunWriter.open(folder, record(), toy_layout(), resume=True))
    assert kind == "EnvironmentProblem"
    assert str(folder) in message


def test_a_folder_that_could_not_be_opened_is_not_kept_locked(tmp_path, monkeypatch):
    def full(path, document):
        raise EnvironmentProblem("no space")

    with monkeypatch.context() as patch:
        patch.setattr("culnig.store.output_folder.write_json", full)
        with pytest.raises(EnvironmentProblem):
            RunWriter.open(tmp_path / "run", record(), toy_layout())
    RunWriter.open(tmp_path / "run", record(), toy_layout()).close()


@pytest.mark.parametrize("options", [{"resume": True}, {"overwrite": True}], ids=str)
def test_a_second_writer_is_kept_out_until_the_first_has_gone(tmp_path, options):
    first = RunWriter.open(tmp_path / "run", record(), toy_layout())

    def second():
        try:
            RunWriter.open(tmp_path / "run", record(), toy_layout(), **options).close()
        except StoreError as error:
            return str(error)
        return "opened"

    assert "another process is writing this folder; wait for it" in in_child(second)
    first.close()
    assert in_child(second) == "opened"


def test_a_killed_writer_keeps_nobody_out(tmp_path):
    def hold():
        RunWriter.open(tmp_path / "run", record(), toy_layout())
        os.kill(os.getpid(), 9)

    assert Child(hold).wait() is None
    RunWriter.open(tmp_path / "run", record(), toy_layout(), resume=True).close()


@pytest.mark.parametrize(
    "name",
    ["Läufe/실행 🍲 «1»", "with space/and'quote\"s", "line\nbreak", "x" * 255, "/".join(["deep" * 10] * 40)],
    ids=["unicode", "quotes", "newline", "long name", "long path"],
)
def test_any_name_that_the_file_system_takes_will_do(tmp_path, finished, level, name):
    run = score(tmp_path / name, level)
    read(run.folder)
    assert_same(contents(run.folder), contents(finished / level))


def test_a_path_that_the_file_system_rejects_raises_our_error(tmp_path, level):
    with pytest.raises(StoreError, match="cannot make the folder"):
        score(tmp_path / ("x" * 300), level)


def test_a_benchmark_with_a_long_name_is_scored(tmp_path, level):
    """Its parts have short names; 250 letters and a suffix are more than a file system takes."""
    name = "b" * 250
    chosen = {name: ChosenItems("target", "identify", tiny_items(2), {})}
    score_run(tiny_model(), chosen, ScoreSettings(), tmp_path / "run", run_settings=RunSettings(level=level))
    scored = Run(tmp_path / "run")
    assert list(scored.benchmarks) == [name]
    assert len(scored.item_parts(name) if level == "item" else scored.tensor_parts(name)) == 1
