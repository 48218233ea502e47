"""Which items of which benchmarks are asked."""

from __future__ import annotations

import hashlib

import pytest

from culnig.benchmarks.base import Benchmark, ChosenItems
from culnig.benchmarks.choosing import read_benchmarks, require_items, without_too_long
from culnig.errors import DataFileError, InputError, UnknownNameError
from tests.toy import items


class Toy(Benchmark):
    name = "toy"
    role = "exclusion"
    summary = "two cultures of three questions, two rows each"

    def __init__(self, file=None):
        self.file = file
        self.folders = []

    def files(self, data_dir):
        return [] if self.file is None else [self.file]

    def read(self, data_dir):
        self.folders.append(data_dir)
        yield from items(("China", "Iran"), questions=3, per_question=2, split="identify")
        yield from items(("Iran",), questions=1, split="test")


@pytest.fixture(autouse=True)
def _no_folder(monkeypatch):
    monkeypatch.delenv("CULNIG_DATA", raising=False)


def ids(chosen):
    return [item.id for item in chosen["toy"].items]


def test_a_benchmark_may_be_an_object_and_keeps_its_role_and_files(tmp_path):
    (tmp_path / "t.csv").write_text("a,b\n")
    chosen = read_benchmarks(Toy(tmp_path / "t.csv"))
    assert list(chosen) == ["toy"]
    own = chosen["toy"]
    assert (own.role, own.split, len(own.items)) == ("exclusion", "all", 13)
    assert own.files == {f"{tmp_path.name}/t.csv": hashlib.sha256(b"a,b\n").hexdigest()}
    assert list(read_benchmarks(["country-rc", Toy()], limit=2)) == ["country-rc", "toy"]
    assert list(read_benchmarks("country-rc", limit=1)) == ["country-rc"]


def test_items_are_chosen_by_split_culture_and_number():
    assert ids(read_benchmarks(Toy(), split="test")) == ["Iran-0-0"]
    assert ids(read_benchmarks(Toy(), split="identify", per_culture=1)) == ["China-0-0", "Iran-0-0"]
    assert ids(read_benchmarks(Toy(), limit=3)) == ["China-0-0", "China-0-1", "China-1-0"]
    assert ids(read_benchmarks(Toy(), cultures=("Iran",), per_culture=2)) == ["Iran-0-0", "Iran-0-1"]
    with pytest.raises(InputError, match="benchmark 'toy' has no items of Spain in split 'test'"):
        read_benchmarks(Toy(), cultures=("Spain",), split="test")
    with pytest.raises(UnknownNameError, match="Spian"):
        read_benchmarks(Toy(), cultures=("Spian",))
    for wrong in ({"limit": 0}, {"per_culture": 0}, {"split": "train"}):
        with pytest.raises(InputError):
            read_benchmarks(Toy(), **wrong)


def test_two_benchmarks_of_one_name_are_refused():
    with pytest.raises(InputError, match="two benchmarks are named 'toy'"):
        read_benchmarks([Toy(), Toy()])
    with pytest.raises(InputError, match="no benchmark is given"):
        require_items({})


def test_the_folder_of_the_data_is_named_or_in_the_environment(tmp_path, monkeypatch):
    toy = Toy()
    read_benchmarks(toy)
    monkeypatch.setenv("CULNIG_DATA", str(tmp_path))
    read_benchmarks(toy)
    (tmp_path / "named").mkdir()
    read_benchmarks(toy, tmp_path / "named")
    assert toy.folders == [None, tmp_path, tmp_path / "named"]
    with pytest.raises(DataFileError, match=r"no such folder \(from data_dir or CULNIG_DATA\)"):
        read_benchmarks(toy, tmp_path / "nowhere")


def test_items_by_name_are_taken_as_they_are():
    own = ChosenItems("target", "all", items())
    assert read_benchmarks({"mine": own}) == {"mine": own}
    with pytest.raises(InputError, match="cannot be stored under its name"):
        read_benchmarks({"a/b": own})


def test_items_that_are_too_long_are_left_out_and_counted():
    chosen = {
        "all fit": ChosenItems("target", "all", items()),
        "some": ChosenItems("control", "all", items()),
    }
    said = []

    def fitting(those):
        return those[:9] if len(said_of) else said_of.append(1) or those

    said_of = []
    kept, skipped = without_too_long(chosen, fitting, 100, said.append)
    assert {name: len(own.items) for name, own in kept.items()} == {"all fit": 12, "some": 9}
    assert (kept["some"].role, skipped) == ("control", {"some": 3})
    assert said == ["some: skipped 3 items that are longer than the model allows"]
    with pytest.raises(
        InputError, match="all 12 items of benchmark 'all fit' are longer than the 100 tokens"
    ):
        without_too_long(chosen, lambda those: [], 100)
