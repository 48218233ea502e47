from __future__ import annotations

from dataclasses import replace

import pytest

from culnig.benchmarks.spellings import CultureSpellings, name_in_sentence
from culnig.cultures.records import builtin_cultures
from culnig.errors import InputError, UnknownNameError

RECORDS = {record.key: record for record in builtin_cultures()}
SPELLINGS = CultureSpellings(RECORDS.values(), "tea")


@pytest.mark.parametrize(
    ("spelling", "key"),
    [
        ("Spain", "Spain"),
        ("ES", "Spain"),
        ("spain ", "Spain"),
        ("GB", "UK"),
        ("UK", "UK"),
        ("United Kingdom", "UK"),
        ("the United States", "USA"),
        ("US", "USA"),
        ("IN-AS", "Assam"),
        ("ＪＰ", None),
        ("es", None),
        ("Great Britain", None),
        ("Northern_Nigeria", "Nigeria"),
    ],
)
def test_cultures_by_key_name_and_code(spelling, key):
    if key is None:
        with pytest.raises(UnknownNameError, match="unknown culture"):
            SPELLINGS.find(spelling)
    else:
        assert SPELLINGS.find(spelling).key == key


def test_a_benchmark_has_its_own_spellings():
    spellings = CultureSpellings(RECORDS.values(), "worldvalues")
    for spelling in (
        "Great Britain",
        "great britain",
        "Great_Britain",
        "GREAT BRITAIN ",
        "the Great Britain",
    ):
        assert spellings.find(spelling).key == "UK"
    with pytest.raises(UnknownNameError, match="did you mean"):
        spellings.find("Great Britian")


def test_a_spelling_of_two_cultures_names_their_keys():
    twin = replace(RECORDS["Spain"], key="Iberia")
    spellings = CultureSpellings([RECORDS["Spain"], twin], "tea")
    assert spellings.find("Spain").key == "Spain", "a key comes first"
    with pytest.raises(
        InputError, match="several cultures are called 'ES'; write the key 'Iberia' or 'Spain'"
    ):
        spellings.find("ES")


@pytest.mark.parametrize(
    ("key", "spelling", "name"),
    [
        ("Nigeria", "Nigeria", None),
        ("Nigeria", "NG", None),
        ("Nigeria", "northern Nigeria", "northern Nigeria"),
        ("UK", "UK", "the United Kingdom"),
        ("UK", "GB", "the United Kingdom"),
        ("Netherlands", "NL", "the Netherlands"),
        ("Northern Ireland", "Northern Ireland", "Northern Ireland"),
    ],
)
def test_a_record_that_may_mean_less_than_the_data_has_no_name(key, spelling, name):
    assert SPELLINGS.in_sentence(RECORDS[key], spelling) == name


@pytest.mark.parametrize(
    ("key", "benchmark", "name"),
    [
        ("Nigeria", "worldvalues", "Nigeria"),
        ("Nigeria", "culturalbench", "Nigeria"),
        ("Nigeria", "blend", "northern Nigeria"),
        ("USA", "blend", "the United States"),
        ("UK", "worldvalues", "the United Kingdom"),
        ("Netherlands", "worldvalues", "the Netherlands"),
    ],
)
def test_a_published_benchmark_asks_about_the_culture_that_it_spells(key, benchmark, name):
    record = RECORDS[key]
    assert name_in_sentence(record, record.names[benchmark]) == name
    assert CultureSpellings([record], benchmark).in_sentence(record, record.names[benchmark]) == name


def test_only_the_record_of_northern_nigeria_means_less_than_a_benchmark():
    """The names in a sentence of every other record are those of their benchmarks: no prompt changed."""
    narrower = {
        (record.key, benchmark)
        for record in RECORDS.values()
        for benchmark, spelling in record.names.items()
        if name_in_sentence(record, spelling) != record.in_sentence
    }
    assert narrower == {("Nigeria", "worldvalues"), ("Nigeria", "culturalbench")}
