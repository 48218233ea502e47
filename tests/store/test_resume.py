"""A finished run that is resumed is compared with what it recorded; nothing is written over it."""

from __future__ import annotations

import errno
from pathlib import Path

import h5py
import pytest

from culnig.benchmarks.base import ChosenItems
from culnig.errors import InputError, StoreError
from culnig.reanalysis.reduce import Reducer, Reduction
from culnig.scoring import keepers
from culnig.scoring.run import RunSettings, score_run
from culnig.scoring.scoring import ScoreSettings
from culnig.store import hdf5
from culnig.store.hdf5 import open_hdf5
from culnig.store.run import Run
from tests.forked import Child, in_child
from tests.stored import document_of
from tests.tiny_models import tiny_items, tiny_model
from tests.toy import neuron_set, toy_layout

ITEMS = {"toy": ChosenItems("target", "identify", tiny_items(4), {})}


@pytest.fixture(params=["item", "token"])
def level(request) -> str:
    return str(request.param)


@pytest.fixture
def scored(tmp_path, level, monkeypatch) -> Path:
    monkeypatch.setattr(keepers, "PART_BYTES", 1)
    score(tmp_path / "run", level)
    return tmp_path / "run"


def score(folder: Path, level: str, **options: bool) -> Run:
    settings = RunSettings(level=level)
    return score_run(
        tiny_model(), ITEMS, ScoreSettings(token_budget=1), folder, run_settings=settings, **options
    )


def a_part(folder: Path) -> Path:
    return sorted([*folder.glob("items/*.h5"), *folder.glob("tensors/*.h5")])[1]


def test_a_lost_part_is_named_and_the_record_stays(scored, level):
    record = (scored / "run.json").read_bytes()
    a_part(scored).unlink()
    with pytest.raises(StoreError, match=r"part-toy-000-000001\.h5 is missing; put it back or score again"):
        score(scored, level, resume=True)
    assert (scored / "run.json").read_bytes() == record


def test_changed_scores_are_named_and_the_record_stays(scored, level):
    record = (scored / "run.json").read_bytes()
    with h5py.File(scored / "scores.h5", "r+") as file:
        file["benchmarks/toy/sum"][...] = 7
    with pytest.raises(StoreError, match=r"scores\.h5 changed after the run was finished"):
        score(scored, level, resume=True)
    assert (scored / "run.json").read_bytes() == record


def test_an_added_part_is_named(scored, level):
    part = a_part(scored)
    part.with_name("part-toy-009-000009.h5").write_bytes(part.read_bytes())
    with pytest.raises(StoreError, match="was not there when the run was finished"):
        score(scored, level, resume=True)


def test_reduce_misses_items_that_an_earlier_version_forgot(scored):
    """That version listed the files it found when it resumed a finished run."""
    import json

    document = document_of(scored / "run.json")
    part = a_part(scored)
    document["data_files"].remove(part.relative_to(scored).as_posix())
    (scored / "run.json").write_text(json.dumps(document))
    part.unlink()
    with pytest.raises(StoreError, match="hold 3 of 4 items; a part is missing"):
        Reducer(Run(scored), Reduction())


def test_scores_of_another_run_are_refused(tmp_path):
    first, other = score(tmp_path / "a", "culture"), tmp_path / "b"
    score_run(tiny_model(), ITEMS, ScoreSettings(aggregator="sum"), other)
    opened = Run(tmp_path / "a")
    first.scores_file.write_bytes((other / "scores.h5").read_bytes())
    for read in (lambda: Run(tmp_path / "a"), lambda: opened.moments("toy")):
        with pytest.raises(StoreError, match=r"scores\.h5: belongs to another run"):
            read()


def test_a_run_that_was_moved_while_open_says_so(tmp_path):
    run = score(tmp_path / "a", "culture")
    (tmp_path / "a").rename(tmp_path / "b")
    with pytest.raises(StoreError, match=r"scores\.h5: no such file; it may have been moved"):
        run.moments("toy")


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks_is_read_and_written(tmp_path, monkeypatch, number):
    opened = h5py.File

    def without_locks(path, mode="r", *, locking=None, **options):
        if isinstance(path, Path) and locking is not False:
            raise OSError(f"Unable to synchronously open file (unable to lock file, errno = {number}, ...)")
        return opened(path, mode, locking=locking, **options)

    def refuse(descriptor, operation):
        raise OSError(number, "no locks")

    monkeypatch.setattr(hdf5.h5py, "File", without_locks)
    monkeypatch.setattr("culnig.core.locks.fcntl.flock", refuse)
    run = score(tmp_path / "run", "item")
    assert run.item_scores("toy").shape[0] == 4
    assert score(tmp_path / "run", "item", resume=True).moments("toy").n_items.sum() == 4


def test_a_file_that_another_program_writes_is_not_called_damaged(tmp_path):
    path = score(tmp_path / "run", "culture").scores_file
    held = tmp_path / "held"

    def hold() -> None:
        import time

        with h5py.File(path, "r+"):
            held.touch()
            time.sleep(60)

    child = Child(hold)
    while not held.exists():
        pass
    with pytest.raises(StoreError, match="another program has it open for writing"), open_hdf5(path):
        pass
    child.kill()
    assert child.wait() is None


def test_nothing_is_written_where_a_run_is_read(tmp_path, monkeypatch):
    """As on a medium that cannot be written."""
    run = score(tmp_path / "run", "item")
    opened = hdf5.os.open

    def reading_only(path, flags, *rest, **options):
        assert not flags & (hdf5.os.O_WRONLY | hdf5.os.O_RDWR | hdf5.os.O_CREAT), path
        return opened(path, flags, *rest, **options)

    monkeypatch.setattr("os.open", reading_only)
    tree = sorted((p, p.stat().st_mtime_ns) for p in run.folder.rglob("*"))
    again = Run(run.folder)
    again.moments("toy")
    again.item_scores("toy")
    assert sorted((p, p.stat().st_mtime_ns) for p in run.folder.rglob("*")) == tree


def test_inputs_and_outputs_inside_each_other_are_refused(tmp_path):
    from culnig.store.output_folder import check_file, check_folder
    from culnig.store.record import RUN

    run = score(tmp_path / "run", "item")
    for name in ("scores.h5", "run.json", "items", "items/x/y.json", "tensors"):
        with pytest.raises(InputError, match="belongs to the output in"):
            check_file(run.folder / name, overwrite=True, inputs=()) if "." in name else check_folder(
                run.folder / name, RUN, overwrite=True, inputs=()
            )
    check_file(run.folder / "general.neurons.json", overwrite=False, inputs=[run])
    with pytest.raises(InputError, match="is read by this command and cannot be its output"):
        check_folder(run.folder, RUN, overwrite=True, inputs=[run])
    with pytest.raises(InputError, match=r"would remove .*scores\.h5, which this command reads"):
        check_folder(run.folder, RUN, overwrite=True, inputs=[("x.json", run.folder / "scores.h5")])
    (run.folder / "sets").mkdir()
    check_folder(run.folder, RUN, overwrite=True, inputs=[run.folder / "sets", "gpt2", None, tmp_path])


def test_a_file_of_somebody_else_in_a_folder_that_is_read_is_not_replaced(tmp_path):
    from culnig.store.output_folder import check_file

    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text("{}")
    toy_set = neuron_set(toy_layout(), [0])
    toy_set.write(model / "general.neurons.json")
    with pytest.raises(InputError, match=r"config\.json is a file of .*model, which this command reads, and"):
        check_file(model / "config.json", overwrite=True, inputs=[str(model)])
    for name in ("general.neurons.json", "new.csv"):
        check_file(model / name, overwrite=True, inputs=[model])
    run = score(tmp_path / "run", "item")
    (run.folder / "layers.svg").write_text("<svg/>")
    check_file(run.folder / "layers.svg", overwrite=True, inputs=[run])


def test_a_link_in_a_run_is_not_written_through(tmp_path):
    run = score(tmp_path / "run", "item")
    (run.folder / "items").rename(tmp_path / "elsewhere")
    (run.folder / "items").symlink_to(tmp_path / "elsewhere")
    before = sorted((tmp_path / "elsewhere").iterdir())
    with pytest.raises(StoreError, match="items is a symbolic link; outputs are not written through links"):
        score(run.folder, "item", overwrite=True)
    assert sorted((tmp_path / "elsewhere").iterdir()) == before
    assert in_child(lambda: len(Run(run.folder).item_parts("toy"))) == len(before)
