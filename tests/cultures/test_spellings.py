from __future__ import annotations

import unicodedata
from dataclasses import replace

import pytest

from culnig.cultures.records import builtin_cultures
from culnig.cultures.spellings import CultureSpellings, culture_keys, name_in_sentence
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


@pytest.mark.parametrize(
    ("named", "key"),
    [
        ("US", "USA"),
        ("United States of America", "USA"),
        ("GB", "UK"),
        ("Türkiye", "Turkey"),
        ("TR", "Turkey"),
        (unicodedata.normalize("NFD", "TÜRKIYE"), "Turkey"),
        ("Korea, Republic of", "South Korea"),
        ("Republic of Korea", "South Korea"),
        ("KP", "North Korea"),
        ("northern Nigeria", "Nigeria"),
        ("Viet Nam", "Vietnam"),
    ],
)
def test_users_may_name_cultures_by_code_and_other_names(named, key):
    assert culture_keys([named]) == (key,)
    assert culture_keys([named, key, "Spain"]) == (key, "Spain")
    assert culture_keys(["Spain", named], ["Spain", key]) == ("Spain", key)


def test_a_culture_that_is_not_in_the_run_is_named_as_it_was_given():
    with pytest.raises(UnknownNameError, match=r"unknown culture of this run: 'US'; known: Atlantis, Spain"):
        culture_keys(["US"], ["Spain", "Atlantis"])
    assert culture_keys(["Atlantis"], ["Spain", "Atlantis"]) == ("Atlantis",)


def test_an_unknown_culture_offers_the_three_nearest_names():
    with pytest.raises(UnknownNameError) as raised:
        culture_keys(["Korea"])
    assert raised.value.near_names[:2] == ["South Korea", "North Korea"]
    assert len(raised.value.near_names) == 3
    with pytest.raises(UnknownNameError) as raised:
        culture_keys(["Untied States"])
    assert raised.value.near_names[0] == "United States"
    assert len(raised.value.near_names) == 3
    with pytest.raises(UnknownNameError, match="did you mean 'China' or "):
        culture_keys(["Chyna"])
    assert raised.value.for_command_line().endswith("; see culnig-engine list cultures")


def test_no_name_of_a_record_is_that_of_another():
    names = {}
    for record in RECORDS.values():
        for name in {record.key, record.display_name, record.in_sentence, *record.other_names}:
            assert names.setdefault(name.casefold().removeprefix("the "), record.key) == record.key
            assert culture_keys([name]) == (record.key,)
        assert culture_keys([record.iso]) == (record.key,)
