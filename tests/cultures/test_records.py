from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from click.testing import CliRunner

from culnig import registry
from culnig.benchmarks.choosing import read_benchmarks
from culnig.cli.list import command
from culnig.core.data_files import own_data
from culnig.cultures.records import (
    Culture,
    builtin_cultures,
    read_cultures,
)
from culnig.cultures.spellings import culture_keys, use_cultures
from culnig.errors import DataFileError, InputError, PluginError

BLEND_SPELLINGS = {
    "USA": "US",
    "UK": "UK",
    "South Korea": "South_Korea",
    "Algeria": "Algeria",
    "Indonesia": "Indonesia",
    "Spain": "Spain",
    "Iran": "Iran",
    "Mexico": "Mexico",
    "Assam": "Assam",
    "Greece": "Greece",
    "Ethiopia": "Ethiopia",
    "Nigeria": "Northern_Nigeria",
    "North Korea": "North_Korea",
    "West Java": "West_Java",
    "China": "China",
    "Azerbaijan": "Azerbaijan",
}
TARGETS = {"China", "Indonesia", "Iran", "Mexico", "South Korea", "Spain", "UK", "USA"}

GOOD = """
key = "Atlantis"
display_name = "Atlantis"
in_sentence = "Atlantis"
iso = "AT"
region = "Southern Europe"
zone = "Catholic Europe"
languages = ["el"]

[names]
blend = "Atlantis_Island"
"""


def write(folder: Path, text: str, name: str = "atlantis.toml") -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def test_the_cultures_of_blend_and_their_spellings():
    spellings = {c.key: c.names["blend"] for c in builtin_cultures() if "blend" in c.names}
    assert spellings == BLEND_SPELLINGS


def test_the_cultures_with_specific_neurons():
    assert {culture.key for culture in builtin_cultures() if culture.specific_target} == TARGETS


def test_builtin_cultures_are_sorted_by_key_and_their_files_are_named_after_it():
    keys = [culture.key for culture in builtin_cultures() if not culture.is_fallback]
    assert keys == sorted(keys)
    stems = {path.stem for path in own_data("cultures").iterdir()}
    assert stems == {key.lower().replace(" ", "_") for key in keys}


def test_related_is_mutual_among_builtin_cultures():
    cultures = {culture.key: culture for culture in builtin_cultures()}
    for culture in cultures.values():
        for other in culture.related:
            assert culture.key in cultures[other].related, (culture.key, other)


def test_codes_of_parts_of_countries():
    codes = {culture.key: culture.iso for culture in builtin_cultures()}
    assert codes["Assam"] == "IN-AS"
    assert codes["West Java"] == "ID-JB"
    assert len(set(codes.values())) == len(codes)


def test_a_record_can_be_hashed_and_defaults_are_empty(tmp_path):
    (culture,) = read_cultures(write(tmp_path, GOOD))
    assert len({culture, culture}) == 1
    assert culture.related == ()
    assert culture.specific_target is False
    assert culture.languages == ("el",)


def test_a_record_made_in_python_is_checked_too():
    with pytest.raises(InputError, match="culture 'X': iso = 'Spain'"):
        Culture("X", "X", "X", "Spain", "Southern Europe", "Catholic Europe", ("es",))


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ('key = "Atlantis"', "", "the field 'key' is missing"),
        ('in_sentence = "Atlantis"', "", "culture 'Atlantis': the field 'in_sentence' is missing"),
        ('iso = "AT"', 'iso = "Austria"', "iso = 'Austria'"),
        ('iso = "AT"', "iso = 40", "iso = 40 must be text"),
        ('iso = "AT"', 'iso = "AT"\niso3 = "ATL1"', "iso3 = 'ATL1'; must be ISO 3166-1 alpha-3"),
        ('iso = "AT"', 'ISO = "AT"', "unknown field 'ISO'; allowed: key, display_name"),
        ("Southern Europe", "South Europe", "region = 'South Europe'; must be one of Northern Af"),
        ("Catholic Europe", "catholic", "zone = 'catholic'; must be one of African-Islamic"),
        ('["el"]', "[]", "languages = (); must hold at least one"),
        ('["el"]', '["Greek"]', "languages = 'Greek'; must be BCP-47"),
        ('["el"]', '["el", "el"]', "must not contain a value twice"),
        ('["el"]', '"el"', "languages = 'el' must be a list of texts"),
        ('["el"]', '["el"]\nrelated = ["Atlantis"]', "must not name the culture itself"),
        ('["el"]', '["el"]\nrelated = ["Lemuria"]', "related names 'Lemuria'"),
        ('["el"]', '["el"]\nspecific_target = 1', "specific_target = 1 must be true or false"),
        ('"Atlantis_Island"', '["A", "B"]', "must be a table of texts"),
        ('"Atlantis_Island"', '" "', "names.blend = ' '"),
        ('key = "Atlantis"', "key = ", "not valid TOML"),
    ],
)
def test_a_malformed_record_names_the_file_and_the_field(tmp_path, old, new, problem):
    assert old in GOOD
    with pytest.raises(DataFileError) as caught:
        read_cultures(write(tmp_path, GOOD.replace(old, new, 1)))
    assert "atlantis.toml" in str(caught.value)
    assert problem in str(caught.value)


def test_two_records_with_one_key_name_both_files(tmp_path):
    write(tmp_path, GOOD)
    write(tmp_path, GOOD.replace("_Island", "_City"), "second.toml")
    with pytest.raises(DataFileError, match=r"second\.toml: .*'Atlantis' .*by atlantis\.toml"):
        read_cultures(tmp_path)


def test_two_records_with_one_spelling_name_both_files(tmp_path):
    write(tmp_path, GOOD)
    write(tmp_path, GOOD.replace('key = "Atlantis"', 'key = "Lemuria"'), "second.toml")
    with pytest.raises(DataFileError, match=r"names\.blend = 'Atlantis_Island' .*atlantis\.toml"):
        read_cultures(tmp_path)


def test_a_plugin_may_relate_its_cultures_to_known_ones(tmp_path):
    write(tmp_path, GOOD.replace('["el"]', '["el"]\nrelated = ["Greece"]'))
    (culture,) = read_cultures(tmp_path, known=["Greece"])
    assert culture.related == ("Greece",)


def test_a_folder_without_records_is_refused(tmp_path):
    with pytest.raises(DataFileError, match="no culture records"):
        read_cultures(tmp_path)


# every country


def test_every_country_of_iso_3166_is_known_once():
    codes = [culture.iso for culture in registry.cultures().values() if len(culture.iso) == 2]
    assert len(codes) == len(set(codes))
    without_people = {"AQ", "BV", "GS", "HM", "IO", "TF", "UM"}
    assert len(codes) == 249 - len(without_people)
    assert not without_people & set(codes)


@pytest.mark.parametrize(
    ("spelling", "key"),
    [
        ("Côte d'Ivoire", "Côte d'Ivoire"),
        ("Côte d’Ivoire", "Côte d'Ivoire"),
        ("Ivory Coast", "Côte d'Ivoire"),
        ("CI", "Côte d'Ivoire"),
        ("Hong Kong SAR", "Hong Kong"),
        ("United Arab Emirates", "United Arab Emirates"),
        ("UAE", "United Arab Emirates"),
        ("Tanzania, United Republic of", "Tanzania"),
        ("Democratic Republic of the Congo", "DR Congo"),
        ("Federal Republic of Germany", "Germany"),
        ("the Gambia", "Gambia"),
        ("CIV", "Côte d'Ivoire"),
        ("DEU", "Germany"),
        ("NGA", "Nigeria"),
        ("ES-PV", "Basque Country"),
        ("Euskadi", "Basque Country"),
        ("Jawa Timur", "East Java"),
        ("NTT", "East Nusa Tenggara"),
    ],
)
def test_countries_and_regions_by_the_names_that_people_write(spelling, key):
    assert culture_keys([spelling]) == (key,)


def test_a_name_of_two_countries_is_nobodys():
    with pytest.raises(InputError, match="unknown culture 'Congo'; did you mean"):
        culture_keys(["Congo"])


def test_the_records_of_public_lists_say_what_the_lists_say():
    belgium = registry.cultures()["Belgium"]
    assert (belgium.iso, belgium.region, belgium.zone) == ("BE", "Western Europe", "")
    assert belgium.languages[:3] == ("nl", "fr", "de"), "the official ones, the most spoken first"
    assert belgium.is_fallback


# records of a folder


@pytest.fixture
def forgotten(monkeypatch):
    monkeypatch.setattr(registry, "_added_cultures", {})
    registry.cultures.cache_clear()
    yield
    monkeypatch.undo()
    registry.cultures.cache_clear()


@pytest.mark.usefixtures("forgotten")
def test_a_folder_of_records_is_known_beside_the_others(tmp_path):
    with pytest.raises(InputError, match="unknown culture 'Atlantis'"):
        culture_keys(["Atlantis"])
    use_cultures(write(tmp_path, GOOD.replace('iso = "AT"', 'iso = "GR-X"')))
    assert culture_keys(["Atlantis", "GR-X", "Greece"]) == ("Atlantis", "Greece")
    use_cultures(tmp_path)
    assert culture_keys(["Atlantis"]) == ("Atlantis",)


@pytest.mark.usefixtures("forgotten")
def test_a_record_of_a_folder_takes_the_country_from_the_public_lists(tmp_path):
    text = GOOD.replace('"Atlantis"', '"Belgium"').replace('iso = "AT"', 'iso = "BE"')
    use_cultures(write(tmp_path, text, "belgium.toml"))
    assert registry.cultures()["Belgium"].zone == "Catholic Europe"
    assert culture_keys(["BE"]) == ("Belgium",)


@pytest.mark.usefixtures("forgotten")
def test_a_record_of_a_folder_with_a_key_of_ours_is_refused_and_forgotten(tmp_path):
    write(tmp_path, GOOD.replace('key = "Atlantis"', 'key = "Spain"'))
    with pytest.raises(PluginError, match="culture 'Spain' is recorded by 'builtin' and"):
        use_cultures(tmp_path)
    assert registry.cultures()["Spain"].iso == "ES"
    with pytest.raises(DataFileError, match="no such folder with culture records"):
        use_cultures(tmp_path / "gone")


@pytest.mark.usefixtures("forgotten")
def test_the_files_of_added_records_are_recorded_beside_items_about_them(tmp_path):
    file = tmp_path / "mine" / "atlantis.toml"
    file.parent.mkdir()
    use_cultures(write(file.parent, GOOD.replace('iso = "AT"', 'iso = "GR-X"')))
    (tmp_path / "tea.csv").write_text("q,a,b,right,where\nTea?,yes,no,A,Atlantis\nTea?,yes,no,A,Spain\n")
    (tmp_path / "tea.yaml").write_text(
        "name: tea\ndata: tea.csv\n"
        "columns: {question: q, options: [a, b], answer: right, culture: where}\n"
        'wordings: [{id: w1, template: "{question}\\n{options}"}]\n'
    )
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    chosen = read_benchmarks(tmp_path / "tea.yaml")["tea"]
    assert chosen.record()["files"]["mine/atlantis.toml"] == digest
    of_spain = read_benchmarks(tmp_path / "tea.yaml", cultures=("Spain",))["tea"]
    assert "mine/atlantis.toml" not in of_spain.files


@pytest.mark.usefixtures("forgotten")
def test_the_command_line_takes_a_folder_of_records(tmp_path):
    write(tmp_path, GOOD.replace('iso = "AT"', 'iso = "GR-X"'))
    result = CliRunner().invoke(command, ["cultures", "--cultures", str(tmp_path), "--language", "el"])
    assert result.exit_code == 0, result.output
    assert "Atlantis" in result.output
