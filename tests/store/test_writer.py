from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path

import h5py
import numpy as np
import pytest

from culnig.errors import CulnigError, EnvironmentProblem, MismatchError, OutputExistsError, StoreError
from culnig.store import files, writer
from culnig.store.run import Run
from culnig.store.writer import Portion, RunWriter
from tests.stored import document_of
from tests.toy import answered, items, random_moments, record, save_whole, toy_layout

LAYOUT = toy_layout()
ASKED = items()
OUTCOMES = answered(ASKED, [True] * len(ASKED))
OPEN: list[RunWriter] = []


def start(folder, **options):
    """Open a run as a process of its own would: the one before has ended."""
    for earlier in OPEN:
        earlier.close()
    OPEN[:] = [RunWriter.open(folder, options.pop("record", record()), LAYOUT, **options)]
    return OPEN[0]


def save(run_writer, name="toy-target", seed=0, batches_done=7):
    save_whole(
        run_writer, name, "target", random_moments(seed, 84), OUTCOMES, batches_done=batches_done, n_batches=7
    )


def read(run_writer, name="toy-target"):
    return run_writer.read_part(Portion(name, 0, 1, 7))


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def finished_run(folder, names=("toy-target", "toy-control")):
    run_writer = start(folder)
    for seed, name in enumerate(names):
        save(run_writer, name, seed)
    run_writer.finish(dict.fromkeys(names, 1))
    return folder


def test_a_new_run_is_there_but_not_complete(tmp_path):
    run_writer = start(tmp_path / "deep" / "run")
    document = document_of(tmp_path / "deep" / "run" / "run.json")
    assert (document["format"], document["format_version"], document["complete"]) == ("culnig-run", 1, False)
    assert not run_writer.finished
    assert read(run_writer) is None
    with pytest.raises(StoreError, match="not finished"):
        Run(tmp_path / "deep" / "run")


def test_a_finished_run_is_complete_and_its_parts_are_gone(tmp_path):
    folder = finished_run(tmp_path / "run")
    assert sorted(contents(folder)) == ["run.json", "scores.h5"]
    assert not (folder / "parts").exists()
    assert Run(folder).record["complete"] is True


def test_the_same_work_gives_the_same_bytes(tmp_path):
    assert contents(finished_run(tmp_path / "a")) == contents(finished_run(tmp_path / "b"))


def test_a_part_comes_back_to_the_bit(tmp_path):
    run_writer = start(tmp_path / "run")
    save(run_writer, seed=3, batches_done=6)
    state = read(run_writer)
    assert state.batches_done == 6
    assert state.moments.sum.tobytes() == random_moments(3, 84).sum.tobytes()
    assert state.outcomes.id.tolist() == OUTCOMES.id.tolist()
    assert state.indices.tolist() == list(range(len(ASKED)))


def test_a_later_part_replaces_the_earlier_one(tmp_path):
    run_writer = start(tmp_path / "run")
    save(run_writer, seed=3, batches_done=1)
    save(run_writer, seed=4, batches_done=2)
    state = read(run_writer)
    assert state.batches_done == 2
    assert state.moments.sum.tobytes() == random_moments(4, 84).sum.tobytes()


def test_a_resumed_run_ends_with_the_same_bytes_as_one_go(tmp_path):
    folder = tmp_path / "run"
    save(start(folder), seed=0, batches_done=3)
    resumed = start(folder, resume=True)
    state = read(resumed)
    state.batches_done = 7
    resumed.save_part(Portion("toy-target", 0, 1, 7), "target", "identify", state)
    save(resumed, "toy-control", seed=1)
    resumed.finish({"toy-target": 1, "toy-control": 1})
    assert contents(folder) == contents(finished_run(tmp_path / "one-go"))


def test_resuming_with_nothing_there_starts_a_run(tmp_path):
    assert not start(tmp_path / "run", resume=True).finished


def test_resuming_clears_what_a_kill_left_behind(tmp_path):
    folder = tmp_path / "run"
    save(start(folder))
    for name in ("run.json.tmp", "scores.h5.tmp", "parts/toy-target-000.h5.tmp"):
        (folder / name).write_bytes(b"half")
    start(folder, resume=True)
    assert sorted(contents(folder)) == ["parts/toy-target-000.h5", "run.json"]


def test_a_kill_before_the_record_was_there_leaves_nothing_in_the_way(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "run.json.tmp").write_bytes(b"ha")
    assert not start(folder).finished


def test_a_kill_after_the_scores_were_there_only_needs_the_record(tmp_path):
    folder = finished_run(tmp_path / "run")
    expected = contents(folder)
    (folder / "run.json").write_text(json.dumps({**Run(folder).record, "complete": False}))
    (folder / "parts").mkdir()
    (folder / "parts" / "toy-target-000.h5").write_bytes(b"rest")
    assert start(folder, resume=True).finished
    assert contents(folder) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"settings": {"aggregator": "mean", "token_budget": 64}},
            "settings.aggregator is 'max' there and 'mean' in this request",
        ),
        (
            {"settings": {"aggregator": "max"}},
            "settings.token_budget is 64 there and not set in this request",
        ),
        ({"model": {"source": "other", "weights_hash": "0" * 64}}, "model.source is 'toy' there"),
        ({"benchmarks": {}}, "benchmarks.toy-target is"),
    ],
)
def test_resuming_with_other_settings_names_the_difference(tmp_path, changes, message):
    folder = tmp_path / "run"
    save(start(folder))
    before = contents(folder)
    with pytest.raises(MismatchError) as caught:
        start(folder, record=record(**changes), resume=True)
    assert message in str(caught.value)
    assert contents(folder) == before


def test_other_versions_of_libraries_do_not_stop_a_resumed_run(tmp_path):
    save(start(tmp_path / "run"))
    resumed = start(tmp_path / "run", record=record(versions={"culnig-engine": "0.2.0"}), resume=True)
    assert read(resumed) is not None


def test_settings_that_json_writes_as_lists_can_be_resumed(tmp_path):
    chosen = record(settings={"modules": ("mlp.gate_proj",)})
    start(tmp_path / "run", record=chosen)
    assert not start(tmp_path / "run", record=chosen, resume=True).finished


@pytest.mark.parametrize("section", [[], "toy", None, 3])
def test_resuming_a_damaged_record_raises_our_error(tmp_path, section):
    start(tmp_path / "run")
    document = document_of(tmp_path / "run" / "run.json")
    (tmp_path / "run" / "run.json").write_text(json.dumps(document | {"settings": section}))
    with pytest.raises(CulnigError, match="settings"):
        start(tmp_path / "run", resume=True)


def test_a_damaged_part_is_named_and_not_half_used(tmp_path):
    run_writer = start(tmp_path / "run")
    save(run_writer)
    part = tmp_path / "run" / "parts" / "toy-target-000.h5"
    part.write_bytes(part.read_bytes()[:1000])
    with pytest.raises(StoreError, match=r"parts/toy-target-000\.h5: not a readable HDF5 file"):
        read(run_writer)


@pytest.mark.parametrize("loss", ["/benchmarks/toy-target", "batches_done"])
def test_a_part_that_lacks_something_is_named(tmp_path, loss):
    run_writer = start(tmp_path / "run")
    save(run_writer)
    with h5py.File(tmp_path / "run" / "parts" / "toy-target-000.h5", "a") as file:
        if loss == "batches_done":
            del file["/benchmarks/toy-target"].attrs[loss]
        else:
            del file[loss]
    with pytest.raises(StoreError, match=loss):
        read(run_writer)


# What is in the way


@pytest.mark.parametrize(
    ("make", "advice"),
    [
        (finished_run, "add overwrite=True"),
        (lambda folder: save(start(folder)), "add resume=True .*, overwrite=True"),
    ],
    ids=["done", "half"],
)
def test_a_run_is_never_overwritten_unasked(tmp_path, make, advice):
    make(tmp_path / "run")
    before = contents(tmp_path / "run")
    with pytest.raises(OutputExistsError, match=advice):
        start(tmp_path / "run")
    assert contents(tmp_path / "run") == before


def test_overwrite_replaces_a_run(tmp_path):
    finished_run(tmp_path / "run")
    assert not start(tmp_path / "run", overwrite=True).finished
    assert sorted(contents(tmp_path / "run")) == ["run.json"]


@pytest.mark.parametrize("name", ["thesis.tex", "run.json"])
def test_overwrite_refuses_a_folder_that_is_not_a_run(tmp_path, name):
    folder = tmp_path / "papers"
    folder.mkdir()
    (folder / name).write_text("{}")
    with pytest.raises(OutputExistsError, match="not a run of culnig, so overwrite=True leaves it alone"):
        start(folder, overwrite=True)
    assert (folder / name).read_text() == "{}"


@pytest.mark.parametrize("options", [{}, {"overwrite": True}, {"resume": True}], ids=str)
def test_a_file_in_place_of_the_folder_is_left_alone(tmp_path, options):
    (tmp_path / "run").write_text("thesis")
    with pytest.raises((OutputExistsError, StoreError), match="run"):
        start(tmp_path / "run", **options)
    assert (tmp_path / "run").read_text() == "thesis"


def test_a_folder_that_cannot_be_made_raises_our_error(tmp_path):
    (tmp_path / "thesis").write_text("thesis")
    with pytest.raises(CulnigError, match="thesis"):
        start(tmp_path / "thesis" / "run")


def test_a_name_that_no_file_system_accepts_raises_our_error(tmp_path):
    with pytest.raises(CulnigError, match="xxx"):
        start(tmp_path / ("x" * 300))


# Checkpoints and disks


def test_checkpoints_come_by_the_clock_and_cost_little(tmp_path, monkeypatch):
    now = [1000.0]
    monkeypatch.setattr(writer.time, "monotonic", lambda: now[0])
    run_writer = start(tmp_path / "run")
    assert not run_writer.checkpoint_due()
    now[0] += writer.CHECKPOINT_SECONDS
    assert run_writer.checkpoint_due()

    def slow(descriptor):
        now[0] += 5

    monkeypatch.setattr(files.os, "fsync", slow)
    save(run_writer)  # two of them: the file and its folder, 10 s
    now[0] += 10 / 0.02 - 1
    assert not run_writer.checkpoint_due(), "writing may cost 2 % of the time, not more"
    now[0] += 2
    assert run_writer.checkpoint_due()


@pytest.mark.parametrize("step", ["part", "finish"])
def test_a_full_disk_keeps_what_was_there(tmp_path, monkeypatch, step):
    run_writer = start(tmp_path / "run")
    save(run_writer, seed=0)
    before = contents(tmp_path / "run")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(EnvironmentProblem, match="No space left on device; free some and run the same"):
        save(run_writer, seed=1) if step == "part" else run_writer.finish({"toy-target": 1})
    assert contents(tmp_path / "run") == before
    monkeypatch.undo()
    run_writer.finish({"toy-target": 1})
    assert Run(tmp_path / "run").moments("toy-target").sum.tobytes() == random_moments(0, 84).sum.tobytes()


FULL = """
    import resource, sys
    from pathlib import Path
    from culnig.errors import EnvironmentProblem
    from culnig.core.neurons import Layout
    from culnig.store.writer import RunWriter
    from tests.toy import answered, items, random_moments, record, save_whole

    layout = Layout.from_widths([(0, "mlp.gate_proj", 20_000)])
    writer = RunWriter.open(Path(sys.argv[1]), record(), layout)
    outcomes = answered(items(), [True] * 12)
    resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[2]), resource.RLIM_INFINITY))
    try:
        save_whole(writer, "toy-target", "target", random_moments(0, 20_000), outcomes)
    except EnvironmentProblem as problem:
        print(problem, flush=True)
        sys.exit(3)
"""


@pytest.mark.parametrize("room", [0, 5_000, 50_000, 500_000])
def test_a_file_that_may_not_grow_ends_with_our_error_and_a_clean_exit(tmp_path, room):
    """A real limit, not a simulated one: HDF5 itself must survive it to the end of the process."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(FULL), str(tmp_path / "run"), str(room)],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parents[2],
    )
    assert "no space to write" in done.stdout
    assert done.returncode == 3, done.stderr
    assert sorted(contents(tmp_path / "run")) == ["run.json"]


def test_a_big_table_is_smaller_on_disk_where_it_can_be(tmp_path):
    moments = random_moments(0, 84)
    run_writer = start(tmp_path / "run")
    wide = {name: np.zeros((4, 100_000), getattr(moments, name).dtype) for name in ("sum", "sum_of_squares")}
    moments.sum, moments.sum_of_squares = wide["sum"], wide["sum_of_squares"]
    moments.positive_count = np.zeros((4, 100_000), np.uint32)
    save_whole(run_writer, "toy-target", "target", moments, OUTCOMES)
    assert (tmp_path / "run" / "parts" / "toy-target-000.h5").stat().st_size < 200_000


def test_portions_that_are_not_finished_are_never_added_up(tmp_path):
    folder = tmp_path / "run"
    run_writer = start(folder)
    save(run_writer, "toy-target", batches_done=7)
    save(run_writer, "toy-control", batches_done=6)
    with pytest.raises(StoreError, match=r"toy-control-000\.h5: 6 of 7 batches are scored; .*resume=True"):
        run_writer.finish({"toy-target": 1, "toy-control": 1})
    with pytest.raises(StoreError, match=r"toy-target-001\.h5 is missing; .*resume=True"):
        run_writer.finish({"toy-target": 2})
    assert sorted(contents(folder)) == ["parts/toy-control-000.h5", "parts/toy-target-000.h5", "run.json"]
