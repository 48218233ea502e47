from __future__ import annotations

import sys
from importlib import metadata
from types import ModuleType, SimpleNamespace

import pytest

from culnig import registry
from culnig.errors import PluginError, UnknownNameError


class Good:
    """A benchmark as far as the registry is concerned."""

    name = "good"


class CannotBeMade:
    name = "cannot-be-made"

    def __init__(self):
        raise RuntimeError("made wrongly")


def record(key):
    return SimpleNamespace(key=key, iso=key, is_fallback=False)


OBJECTS = {
    "Good": Good,
    "CannotBeMade": CannotBeMade,
    "two_cultures": lambda: [record("Japan"), record("South Korea")],
    "japan_again": lambda: [record("Japan")],
    "raises": lambda: 1 / 0,
}


@pytest.fixture
def install(monkeypatch, tmp_path):
    """Install fake entry points instead of the real ones: `install((group, name, object, package), …)`."""
    good = ModuleType("culnig_test_plugin")
    vars(good).update(OBJECTS)
    monkeypatch.setitem(sys.modules, good.__name__, good)
    (tmp_path / "culnig_test_broken.py").write_text("import a_package_that_nobody_has\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(registry, "_problems", {})
    monkeypatch.setattr(registry, "gallery", dict)

    def forget():
        registry._entries.cache_clear()
        registry.cultures.cache_clear()

    def call(*rows):
        entries = [
            metadata.EntryPoint(name, value, group)._for(SimpleNamespace(name=package))
            for group, name, value, package in rows
        ]
        monkeypatch.setattr(metadata, "entry_points", lambda group: [e for e in entries if e.group == group])
        forget()

    yield call
    forget()


def benchmark(name, value="culnig_test_plugin:Good", package="plugin-a"):
    return (registry.BENCHMARKS, name, value, package)


def cultures_of(name, value, package="plugin-a"):
    return (registry.CULTURES, name, f"culnig_test_plugin:{value}", package)


BROKEN = benchmark("broken", "culnig_test_broken:Broken", "broken-plugin")


def test_built_in_benchmarks_are_registered_like_plugins():
    assert {"everyday", "everyday-control", "country-rc", "blend", "blend-control"} <= set(
        registry.benchmark_names()
    )
    assert registry.benchmark("everyday").name == "everyday"
    owners = {row["package"] for row in registry.entries() if row["name"] == "everyday"}
    assert owners == {"culnig-engine"}


def test_names_are_sorted_and_nothing_is_loaded(install):
    install(benchmark("zebra"), BROKEN, benchmark("ant"))
    assert registry.benchmark_names() == ["ant", "broken", "zebra"]
    assert registry.problems() == []
    assert "culnig_test_broken" not in sys.modules


def test_a_plugin_of_another_package_is_made(install):
    install(benchmark("mine"))
    assert isinstance(registry.benchmark("mine"), Good)


def test_an_unknown_name_offers_near_ones_and_the_list(install):
    install(benchmark("everyday"), benchmark("everyday-control"), benchmark("country-rc"))
    with pytest.raises(UnknownNameError) as caught:
        registry.benchmark("evryday")
    assert caught.value.near_names == ["everyday", "everyday-control"]
    message = str(caught.value)
    assert message.startswith("unknown benchmark 'evryday'; did you mean 'everyday'")
    assert "known: country-rc, everyday, everyday-control" in message
    assert message.endswith("see culnig.list_benchmarks(...)")
    assert caught.value.for_command_line().endswith("see culnig-engine list benchmarks")


def test_near_names_forgive_capitals(install):
    install(benchmark("BLEnD"))
    with pytest.raises(UnknownNameError, match="did you mean 'BLEnD'"):
        registry.benchmark("blend")


def test_a_name_near_to_nothing_gets_only_the_list(install):
    install(benchmark("everyday"))
    with pytest.raises(UnknownNameError) as caught:
        registry.benchmark("xyz")
    assert caught.value.near_names == []
    assert "did you mean" not in str(caught.value)


def test_an_unknown_name_where_nothing_is_registered(install):
    install()
    with pytest.raises(UnknownNameError, match="known: none"):
        registry.benchmark("everyday")


def test_two_packages_with_one_name_are_both_named(install):
    install(benchmark("mine", package="plugin-a"), benchmark("mine", "culnig_test_plugin:Other", "plugin-b"))
    with pytest.raises(PluginError, match=r"'mine' .* plugin-a \(culnig_test_plugin:Good\) and plugin-b"):
        registry.benchmark_names()


def test_one_package_that_is_found_twice_is_allowed(install):
    install(benchmark("mine"), benchmark("mine"))
    assert registry.benchmark_names() == ["mine"]


def test_one_name_in_two_groups_is_allowed(install):
    install(benchmark("mine"), cultures_of("mine", "two_cultures", "plugin-b"))
    assert registry.benchmark_names() == ["mine"]
    assert list(registry.cultures()) == ["Japan", "South Korea"]


def test_a_plugin_that_cannot_be_imported_is_skipped_and_reported(install):
    install(BROKEN, benchmark("good"))
    assert [type(found) for found in registry.benchmarks()] == [Good]
    (problem,) = registry.problems()
    assert "'broken'" in problem
    assert "broken-plugin" in problem
    assert "a_package_that_nobody_has" in problem


def test_a_broken_plugin_does_not_stop_another_from_being_used(install):
    install(BROKEN, benchmark("good"))
    assert isinstance(registry.benchmark("good"), Good)
    assert registry.problems() == []


def test_loading_the_broken_plugin_names_its_package(install):
    install(BROKEN)
    with pytest.raises(PluginError, match=r"'broken' .* package broken-plugin .* ModuleNotFoundError"):
        registry.benchmark("broken")


def test_an_object_that_is_not_there_is_reported_too(install):
    install(benchmark("mistyped", "culnig_test_plugin:Goood"), benchmark("good"))
    assert len(registry.benchmarks()) == 1
    assert "Goood" in registry.problems()[0]


def test_a_plugin_that_fails_only_when_it_is_made_is_skipped_and_reported(install):
    install(benchmark("bad", "culnig_test_plugin:CannotBeMade", "broken-plugin"), benchmark("good"))
    assert [type(found) for found in registry.benchmarks()] == [Good]
    assert "made wrongly" in registry.problems()[0]
    assert "broken-plugin" in registry.problems()[0]


def test_making_a_failing_plugin_names_its_package(install):
    install(benchmark("bad", "culnig_test_plugin:CannotBeMade", "broken-plugin"))
    with pytest.raises(PluginError, match=r"broken-plugin.*made wrongly"):
        registry.benchmark("bad")


def test_a_problem_is_reported_once(install):
    install(BROKEN)
    registry.benchmarks()
    registry.benchmarks()
    assert len(registry.problems()) == 1


def test_entries_say_who_owns_what_and_whether_it_loads(install):
    install(BROKEN, benchmark("good"))
    rows = {row["name"]: row for row in registry.entries()}
    assert rows["good"] == {
        "group": "culnig.benchmarks",
        "name": "good",
        "object": "culnig_test_plugin:Good",
        "package": "plugin-a",
        "state": "ok",
    }
    assert rows["broken"]["state"] != "ok"


def test_cultures_of_all_sources_are_joined(install):
    install(cultures_of("built-in", "two_cultures"))
    assert list(registry.cultures()) == ["Japan", "South Korea"]


def test_two_records_of_one_culture_name_both_sources(install):
    install(cultures_of("built-in", "two_cultures"), cultures_of("other", "japan_again", "plugin-b"))
    with pytest.raises(PluginError, match="'Japan' is recorded by 'built-in' and 'other'"):
        registry.cultures()


def test_a_source_of_cultures_that_raises_is_skipped_and_reported(install):
    install(cultures_of("bad", "raises", "broken-plugin"), cultures_of("built-in", "two_cultures"))
    assert list(registry.cultures()) == ["Japan", "South Korea"]
    assert "broken-plugin" in registry.problems()[0]
