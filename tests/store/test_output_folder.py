"""One mechanism for every output: free, locked, resumed, replaced, and the same request."""

from __future__ import annotations

import functools
import json
import os
from pathlib import Path

import pytest

from culnig.core.locks import lock_name
from culnig.errors import MismatchError, OutputExistsError, StoreError
from culnig.store.files import read_json
from culnig.store.output_folder import OutputFolder, check_file, check_folder, check_free, owned_files
from culnig.store.output_kind import Difference, OutputKind, differences
from tests.forked import in_child

KIND = OutputKind(
    "a cake",
    lambda folder: read_json(folder / "cake.json", "a cake"),
    lambda folder: (folder / "done").exists(),
    marks=("cake.json",),
    contents=("layers/*", "done"),
    sections=("recipe",),
)
RECIPE = {"recipe": {"eggs": (1, 2)}, "baker": "A"}


def baked(folder: Path, *, done: bool = True) -> Path:
    """A folder as the command of `KIND` leaves it, with a file of somebody else."""
    (folder / "layers").mkdir(parents=True)
    (folder / "layers" / "1").write_text("cream")
    (folder / "cake.json").write_text(json.dumps(RECIPE))
    (folder / "notes.txt").write_text("mine")
    if done:
        (folder / "done").write_text("")
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("options", [{}, {"resume": True}, {"overwrite": True}], ids=str)
def test_a_new_folder_is_made_and_an_empty_one_taken(tmp_path, options):
    OutputFolder.open(tmp_path / "deep" / "cake", KIND, RECIPE, **options).close()
    (tmp_path / "empty").mkdir()
    OutputFolder.open(tmp_path / "empty", KIND, RECIPE, **options).close()
    for folder in (tmp_path / "deep" / "cake", tmp_path / "empty"):
        assert names(folder) == ["cake.json"]
        assert read_json(folder / "cake.json", "a cake") == json.loads(json.dumps(RECIPE))


@pytest.mark.parametrize("options", [{}, {"resume": True}, {"overwrite": True}], ids=str)
def test_what_a_killed_process_left_takes_no_folder(tmp_path, options):
    """The lock of a file inside, and a file that was not whole."""
    folder = tmp_path / "cake"
    folder.mkdir()
    (folder / f".culnig-{16 * 'a'}.tmp").touch()
    in_child(lambda: bool(lock_name(folder / "layers")))  # the process ends without unlocking
    assert len(names(folder)) == 2
    OutputFolder.open(folder, KIND, RECIPE, **options).close()
    assert "cake.json" in names(folder)


@pytest.mark.parametrize(
    ("done", "advice"),
    [(True, "; add overwrite=True"), (False, "add resume=True to continue it, overwrite=True")],
)
def test_existing_output_is_not_touched_unasked(tmp_path, done, advice):
    folder = baked(tmp_path / "cake", done=done)
    before = names(folder)
    with pytest.raises(OutputExistsError, match=advice):
        OutputFolder.open(folder, KIND, RECIPE)
    assert names(folder) == before


def test_overwrite_removes_what_the_command_wrote_and_nothing_else(tmp_path):
    folder = baked(tmp_path / "cake")
    (folder / "more").mkdir()
    OutputFolder.open(folder, KIND, RECIPE, overwrite=True).close()
    assert names(folder) == ["cake.json", "more", "notes.txt"]


def test_resume_leaves_everything_but_half_written_files(tmp_path):
    folder = baked(tmp_path / "cake", done=False)
    before = names(folder)
    (folder / f".culnig-{'0' * 16}.tmp").write_text("cre")
    (folder / "cake.json.tmp").write_text("of an earlier version")
    (folder / "mine.tmp").write_text("of somebody else")
    OutputFolder.open(folder, KIND, RECIPE, resume=True).close()
    assert names(folder) == sorted([*before, "mine.tmp"])
    assert names(folder / "layers") == ["1"]


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("overwrite", "is not a cake of culnig, so overwrite=True leaves it"),
        ("resume", "not a cake that can be resumed"),
    ],
)
def test_a_foreign_folder_is_left_alone(tmp_path, option, message):
    (tmp_path / "thesis.tex").write_text("thesis")
    with pytest.raises(OutputExistsError, match=message):
        OutputFolder.open(tmp_path, KIND, RECIPE, **{option: True})
    assert names(tmp_path) == ["thesis.tex"]


@pytest.mark.parametrize("options", [{}, {"resume": True}, {"overwrite": True}], ids=str)
def test_a_file_in_place_of_the_folder_is_left_alone(tmp_path, options):
    (tmp_path / "cake").write_text("thesis")
    with pytest.raises(OutputExistsError, match="cake"):
        check_folder(tmp_path / "cake", KIND, inputs=(), **options)
    assert (tmp_path / "cake").read_text() == "thesis"


def test_another_request_is_not_resumed_and_every_difference_is_named(tmp_path):
    folder = baked(tmp_path / "cake", done=False)
    with pytest.raises(MismatchError) as caught:
        OutputFolder.open(folder, KIND, {"recipe": {"eggs": [3], "milk": 1}}, resume=True)
    assert "recipe.eggs is [1, 2] there and [3] in this request" in str(caught.value)
    assert "recipe.milk is not set there and 1 in this request" in str(caught.value)
    OutputFolder.open(folder, KIND, RECIPE | {"baker": "B"}, resume=True).close()


def test_differences_are_entry_by_entry_and_short():
    stored, asked = {"a": {"x": 1, "y": 2}, "b": [1]}, {"a": {"x": 1, "y": 3}, "b": "z" * 1000}
    assert differences(stored, stored, ["a", "b"]) == []
    first, second = differences(stored, asked, ["a", "b"])
    assert first == Difference("a.y", "2", "3")
    assert second.name == "b"
    assert len(second.asked) < 320


def test_another_process_is_kept_out_until_the_folder_is_closed(tmp_path):
    def second() -> str:
        try:
            OutputFolder.open(tmp_path / "cake", KIND, RECIPE, overwrite=True)
        except StoreError as error:
            return str(error)
        return "in"

    first = OutputFolder.open(tmp_path / "cake", KIND, RECIPE)
    assert "another process is writing this folder; wait for it" in in_child(second)
    first.close()
    assert in_child(second) == "in"


def test_a_file_is_replaced_when_asked(tmp_path):
    (tmp_path / "x").write_text("")
    for check in (functools.partial(check_file, inputs=()), check_free):
        check(tmp_path / "new", overwrite=False)
        check(tmp_path / "x", overwrite=True)
        with pytest.raises(OutputExistsError, match="x exists; add overwrite=True"):
            check(tmp_path / "x", overwrite=False)
    with pytest.raises(OutputExistsError, match="is a folder; give a file with out"):
        check_file(tmp_path, overwrite=True, inputs=())


def test_a_device_or_a_pipe_is_never_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    for path in (Path("/dev/null"), tmp_path / "pipe", tmp_path / "link"):
        for overwrite in (False, True):
            with pytest.raises(OutputExistsError, match="is a device or a pipe; give a file with out"):
                check_file(path, overwrite=overwrite, inputs=())


def test_files_of_a_folder_are_all_checked_before_any_is_written(tmp_path):
    with owned_files(tmp_path / "new", ["a", "b"], overwrite=False, inputs=()) as files:
        assert files == [tmp_path / "new" / n for n in "ab"]
    (tmp_path / "new" / "b").write_text("")
    with (
        pytest.raises(OutputExistsError, match="b exists; add overwrite=True"),
        owned_files(tmp_path / "new", ["a", "b"], overwrite=False, inputs=()),
    ):
        pass
    with (
        pytest.raises(OutputExistsError, match="b is a file; give a folder"),
        owned_files(tmp_path / "new" / "b", ["a"], overwrite=True, inputs=()),
    ):
        pass
