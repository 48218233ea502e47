from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from culnig.benchmarks.country_rc import (
    CountryRC,
    choose_distractors,
    make_items,
    option_name,
    read_passages,
    read_wordings,
)
from culnig.core.data_files import own_data
from culnig.core.items import JSON_ANSWER_PREFIX
from culnig.cultures.records import builtin_cultures
from culnig.errors import DataFileError
from culnig.provenance import items_hash

PASSAGES = own_data("country_rc.toml")
WORDINGS = own_data("prompts/country_rc.toml")
TARGETS = {"China", "Indonesia", "Iran", "Mexico", "South Korea", "Spain", "UK", "USA"}

CULTURES = [culture for culture in builtin_cultures() if "blend" in culture.names]
BY_KEY = {culture.key: culture for culture in CULTURES}
BY_OPTION = {option_name(culture): culture for culture in CULTURES}
PASSAGE = {passage.id: passage for passage in read_passages(PASSAGES)}


@pytest.fixture(scope="module")
def items():
    return list(CountryRC().read(None))


def shown_options(item):
    """Label → culture, read back from the prompt as a model sees it."""
    label = "|".join(item.options)
    lines = re.findall(rf"^\(?({label})[.):] (.+)$", item.prompt, flags=re.MULTILINE)
    return {label: BY_OPTION[name] for label, name in lines}


def names_in(text):
    """Keys of the cultures named in a text."""
    return {c.key for c in CULTURES if re.search(rf"\b{c.in_sentence}\b", text)}


def filled_passage(item):
    """The passage inside a prompt: the line that opens with its first words."""
    start = PASSAGE[item.question_id].text.split("{")[0]
    (line,) = (line for line in item.prompt.splitlines() if start in line)
    return line[line.index(start) :]


def test_800_items_identify_and_800_test(items):
    assert Counter(item.split for item in items) == {"identify": 800, "test": 800}
    cells = Counter((item.split, item.culture, item.id.split("/")[2]) for item in items)
    assert len(cells) == 2 * 8 * 4
    assert set(cells.values()) == {25}
    assert {item.culture for item in items} == TARGETS


def test_the_halves_share_no_passage(items):
    halves = {split: {i.question_id for i in items if i.split == split} for split in ("identify", "test")}
    assert halves["identify"] == {f"p{n:02}" for n in range(1, 26)}
    assert halves["test"] == {f"p{n:02}" for n in range(26, 51)}


def test_ids_are_unique_and_in_order(items):
    cultures = sorted(TARGETS)
    expected = [f"p{n:02}/{culture}/w{w}" for n in range(1, 51) for culture in cultures for w in range(1, 5)]
    assert [item.id for item in items] == expected


def test_topics_count_the_passages_that_mention_another_country(items):
    counts = Counter((item.split, item.topic) for item in items)
    for split in ("identify", "test"):
        assert counts[split, "plain"] == 15 * 8 * 4
        assert counts[split, "mentions another"] == 10 * 8 * 4


def test_every_prompt_shows_four_different_options_under_its_labels(items):
    for item in items:
        options = shown_options(item)
        assert tuple(options) == item.options, item.id
        assert len({culture.key for culture in options.values()}) == 4, item.id


def test_the_gold_label_is_the_culture_and_the_passage_names_it(items):
    for item in items:
        assert shown_options(item)[item.answer].key == item.culture, item.id
        assert item.culture in names_in(filled_passage(item)), item.id


def test_a_passage_names_only_the_gold_country_and_one_of_the_wrong_options(items):
    for item in items:
        others = names_in(filled_passage(item)) - {item.culture}
        assert len(others) == (item.topic == "mentions another"), item.id
        wrong = {c.key for label, c in shown_options(item).items() if label != item.answer}
        assert others <= wrong, item.id


def test_no_option_is_a_part_of_the_right_country(items):
    for item in items:
        gold = BY_KEY[item.culture]
        for label, culture in shown_options(item).items():
            assert label == item.answer or culture.iso[:2] != gold.iso, item.id


def test_gold_labels_are_balanced_for_every_wording_and_half(items):
    counts = Counter((item.split, item.id.split("/")[2], item.answer) for item in items)
    assert len(counts) == 2 * 4 * 4
    assert set(counts.values()) == {50}


def test_gold_labels_hardly_depend_on_the_culture(items):
    counts = Counter((item.split, item.culture, item.id.split("/")[2], item.answer) for item in items)
    assert set(counts.values()) <= {6, 7}


def test_a_mentioned_country_may_stand_anywhere_among_the_wrong_options(items):
    places = Counter()
    for item in items:
        if item.topic == "mentions another":
            options = [c.key for la, c in shown_options(item).items() if la != item.answer]
            (other,) = names_in(filled_passage(item)) - {item.culture}
            places[options.index(other)] += 1
    assert min(places[0], places[1], places[2]) > 640 / 3 * 0.8


def test_every_culture_serves_as_a_wrong_option(items):
    counts = Counter(
        culture.key
        for item in items
        for label, culture in shown_options(item).items()
        if label != item.answer
    )
    assert set(counts) == set(BY_KEY)
    assert min(counts.values()) > 200


def test_no_placeholder_is_left_and_the_json_braces_survive(items):
    for item in items:
        assert not re.search(r"\{\w+\}", item.prompt), item.id
        assert '"answer_choice"' in item.prompt, item.id
        assert item.prompt == item.prompt.strip()
        assert item.answer_prefix == JSON_ANSWER_PREFIX


def test_two_wordings_use_letters_and_two_use_digits():
    labels = [wording.labels for wording in read_wordings(WORDINGS)]
    assert labels == [("A", "B", "C", "D")] * 2 + [("1", "2", "3", "4")] * 2


def test_passages_keep_the_rules_of_their_file():
    assert len({passage.text for passage in PASSAGE.values()}) == 50
    for passage in PASSAGE.values():
        text = passage.text.replace("{country}", "Spain").replace("{other}", "Iran")
        assert 30 <= len(text.split()) <= 60, passage.id
        assert 2 <= len(re.findall(r"[.!?](?= |$)", text)) <= 4, passage.id
        assert passage.text.count("{country}") == 1, passage.id
        assert passage.text.count("{other}") <= 1, passage.id
        assert passage.question.endswith("?"), passage.id
        assert "country" in passage.question, passage.id
        assert not names_in(passage.text + passage.question), passage.id


@pytest.mark.parametrize("half", [slice(0, 25), slice(25, 50)])
def test_the_first_country_of_a_passage_is_as_often_right_as_wrong(half):
    both = [p.text for p in list(PASSAGE.values())[half] if p.mentions_another]
    first = sum(text.index("{country}") < text.index("{other}") for text in both)
    assert (first, len(both)) == (5, 10)


def test_options_read_like_a_list():
    assert option_name(BY_KEY["USA"]) == "United States"
    assert option_name(BY_KEY["Nigeria"]) == "Northern Nigeria"
    assert all(name[0].isupper() for name in BY_OPTION)


@pytest.mark.parametrize("seed", ["0", "12345"])
def test_items_do_not_depend_on_the_hash_seed(items, seed):
    script = (
        "from culnig.benchmarks.country_rc import CountryRC\n"
        "from culnig.provenance import items_hash\n"
        "print(items_hash(list(CountryRC().read(None))))"
    )
    root = Path(__file__).parents[2]
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": str(root)}
    done = subprocess.run(
        [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == items_hash(items)


def test_items_do_not_depend_on_the_order_of_the_cultures(items):
    passages, wordings = read_passages(PASSAGES), read_wordings(WORDINGS)
    assert list(make_items(passages, wordings, CULTURES[::-1])) == items


def test_wrong_options_do_not_depend_on_other_cultures_that_are_not_offered():
    gold = BY_KEY["Spain"]
    chosen = choose_distractors("p01/Spain/w1", gold, CULTURES)
    fewer = [c for c in CULTURES if c in chosen or c.key in ("Spain", "Iran")]
    assert choose_distractors("p01/Spain/w1", gold, fewer) == chosen


def test_fewer_passages_leave_the_other_items_unchanged(items):
    passages, wordings = read_passages(PASSAGES), read_wordings(WORDINGS)
    assert list(make_items(passages[:3], wordings, CULTURES)) == items[: 3 * 8 * 4]


def test_a_part_of_the_right_country_is_never_chosen():
    west_java = replace(BY_KEY["West Java"], iso="ES-CT")
    for n in range(200):
        chosen = choose_distractors(f"p{n}", BY_KEY["Spain"], [*CULTURES, west_java])
        assert west_java not in chosen


def test_a_data_folder_makes_no_difference(items, tmp_path):
    assert list(CountryRC().read(tmp_path)) == items
    assert (CountryRC.name, CountryRC.role, CountryRC.needs_data_dir) == (
        "country-rc",
        "exclusion",
        False,
    )


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        (
            "in {country} last year",
            "there last year",
            "passage 'p01': text lacks the placeholder {country}",
        ),
        (
            "They had planned",
            "In {land} they had planned",
            "'p01': text has the placeholder {land}",
        ),
        ("in {country} last year", "in {Country} last year", "'p01': text lacks"),
        ("Which country did the sister visit?", "Did she visit {country}?", "'p01': question has"),
        (
            '"My sister spent',
            '"{country} is where my sister spent',
            "a sentence must not start with a placeholder",
        ),
        ("When she came home,", "{country} was nice and", "'p01': a sentence must not start with"),
        ('id = "p02"', 'id = "p01"', "passage 'p01' appears twice"),
        ('id = "p02"', "", "passage number 2 has the fields text, question; it must have id, text"),
        ('id = "p02"', 'id = "p02"\nkind = "x"', "passage 'p02' has the fields id, kind"),
        ('id = "p02"', "id = 2", "passage 2: id must be a text that is not empty"),
        ('"Which country did the sister visit?"', '""', "'p01': question must be a text"),
        (
            "in {country} last year",
            "in {country}, not in {other}, last year",
            "first half (identify) has 14 plain passages and 11 that mention {other}; it must have 15 and 10",
        ),
        (
            "in {other} for five years",
            "elsewhere for five years",
            "second half (test) has 16 plain",
        ),
        ("[[passages]]", "[[texts]]", "must hold an array of tables [[passages]]"),
    ],
)
def test_malformed_passages_are_named(tmp_path, old, new, problem):
    text = PASSAGES.read_text(encoding="utf-8")
    assert old in text
    count = -1 if old == "[[passages]]" else 1
    path = tmp_path / "broken.toml"
    path.write_text(text.replace(old, new, count), encoding="utf-8")
    with pytest.raises(DataFileError) as caught:
        read_passages(path)
    assert "broken.toml" in str(caught.value)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("kept", "problem"),
    [
        (24, "first half (identify) has 14 plain passages and 10"),
        (25, "second half (test) has 0 plain passages and 0"),
        (49, "second half (test) has 14 plain passages and 10"),
        (51, "second half (test) has 16 plain passages and 10"),
    ],
)
def test_missing_and_additional_passages_are_counted(tmp_path, kept, problem):
    blocks = PASSAGES.read_text(encoding="utf-8").split("[[passages]]")
    blocks.append(blocks[1].replace("p01", "p51"))
    path = tmp_path / "changed.toml"
    path.write_text("[[passages]]".join(blocks[: kept + 1]), encoding="utf-8")
    with pytest.raises(DataFileError) as caught:
        read_passages(path)
    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("{passage}", "", "wording 'w1': template lacks the placeholder {passage}"),
        (
            "\n{question} Without",
            "\nWithout",
            "wording 'w1': template lacks the placeholder {question}",
        ),
        ("\n\n{options}", "", "wording 'w1': template lacks the placeholder {options}"),
        ("{passage}\n", "{passage} {hint}\n", "'w1': template has the placeholder {hint}; allowed"),
        ("{label}. {name}", "{name}", "'w1': option lacks the placeholder {label}"),
        ("{label}. {name}", "{label}.", "'w1': option lacks the placeholder {name}"),
        ('{"answer_choice":""}', "", "'w1': template must ask for JSON with answer_choice"),
        ('["A", "B", "C", "D"]', '["A", "B", "C"]', "'w1': labels must be at least 4 different texts"),
        ('["A", "B", "C", "D"]', '["A", "B", "C", "C"]', "'w1': labels must be at least 4 different texts"),
        ('["A", "B", "C", "D"]', "[1, 2, 3, 4]", "'w1': labels must be at least 4 different texts"),
        ('["A", "B", "C", "D"]', '"ABCD"', "'w1': labels must be a list that is not empty"),
        ('id = "w2"', 'id = "w1"', "wording 'w1' appears twice"),
        ('option = "{label}. {name}"\n', "", "wording 'w1' has the fields id, labels, template"),
    ],
)
def test_malformed_wordings_are_named(tmp_path, old, new, problem):
    text = WORDINGS.read_text(encoding="utf-8")
    start = text.index("[[wordings]]")
    assert old in text[start:]
    path = tmp_path / "broken.toml"
    path.write_text(text[start:].replace(old, new, 1), encoding="utf-8")
    with pytest.raises(DataFileError) as caught:
        read_wordings(path)
    assert "broken.toml" in str(caught.value)
    assert problem in str(caught.value)


@pytest.mark.parametrize("text", ["", "wordings = 3", "wordings = []", "wordings = [1, 2]"])
def test_a_file_without_tables_is_refused(tmp_path, text):
    path = tmp_path / "broken.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataFileError, match=r"array of tables \[\[wordings\]\]"):
        read_wordings(path)


def test_reading_needs_no_torch():
    script = "import sys, culnig.benchmarks.country_rc; sys.exit('torch' in sys.modules)"
    root = str(Path(__file__).parents[2])
    subprocess.run([sys.executable, "-c", script], env={**os.environ, "PYTHONPATH": root}, check=True)
