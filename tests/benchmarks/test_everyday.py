from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

import culnig
from culnig.benchmarks.everyday import INSTRUCTION, LABELS, Everyday, EverydayControl, make_items
from culnig.benchmarks.templates import TOPICS, Questions, normalise, read_questions
from culnig.core.data_files import own_data
from culnig.core.items import Item, choose_items
from culnig.errors import DataFileError
from culnig.provenance import items_hash
from tests.benchmarks.everyday_customs import CAPITALS, NEIGHBOURS, PAIRS, SHARED

# fmt: off
CULTURES = [
    "USA", "UK", "South Korea", "Algeria", "Indonesia", "Spain", "Iran", "Mexico",
    "Assam", "Greece", "Ethiopia", "Nigeria", "North Korea", "West Java", "China", "Azerbaijan",
]
# fmt: on
QUESTIONS = read_questions(own_data("everyday.toml"))
ITEMS = list(Everyday().read(None))
TEMPLATES = {template.id: template for template in QUESTIONS.templates}


def shown_options(item: Item) -> dict[str, str]:
    lines = item.prompt.split("\n\n")[1].splitlines()
    return dict(line.split(". ", 1) for line in lines)


@pytest.mark.parametrize("culture", CULTURES)
def test_every_item_has_one_right_option_and_it_is_the_gold_one(culture: str) -> None:
    for item in (item for item in ITEMS if item.culture == culture):
        options = shown_options(item)
        right = [normalise(answer) for answer in TEMPLATES[item.question_id].answers[culture]]
        assert tuple(options) == item.options == LABELS, item.id
        assert len({normalise(text) for text in options.values()}) == 4, item.id
        assert normalise(options[item.answer]) == right[0], item.id
        wrong = [normalise(text) for label, text in options.items() if label != item.answer]
        assert not set(wrong) & set(right), item.id
        golds = {normalise(a[0]) for a in TEMPLATES[item.question_id].answers.values()}
        assert set(wrong) <= golds, item.id


@pytest.mark.parametrize("culture", CULTURES)
def test_prompt_is_question_instruction_options_and_a_place_for_the_answer(culture: str) -> None:
    for item in (item for item in ITEMS if item.culture == culture):
        head, options, end = item.prompt.split("\n\n")
        question = head.removesuffix(f" {INSTRUCTION}")
        assert question != head, item.id
        assert question.endswith("?"), item.id
        assert QUESTIONS.cultures[culture] in question, item.id
        assert "{" not in item.prompt, item.id
        assert len(options.splitlines()) == 4, item.id
        assert end == "Answer:", item.id


def test_items_come_template_by_template_with_the_cultures_in_the_order_of_the_file() -> None:
    assert list(QUESTIONS.cultures) == CULTURES
    assert [item.culture for item in ITEMS] == CULTURES * 48
    blocks = [ITEMS[start : start + 16] for start in range(0, 768, 16)]
    assert all(len({item.question_id for item in block}) == 1 for block in blocks)
    assert len(ITEMS) == 768


def test_the_first_items_of_a_culture_cover_the_topics_evenly() -> None:
    topics = ["Food", "Work life", "Sport", "Education", "Family", "Holidays/Celebration/Leisure"]
    assert [item.topic for item in ITEMS if item.culture == "Greece"] == topics * 8
    few = choose_items(Everyday().read(None), split="test", per_culture=4)
    assert [item.question_id for item in few if item.culture == "Iran"] == [
        *("education-02", "family-01", "holidays-02", "education-03"),
    ]


def test_topics_have_eight_templates_and_decide_the_split() -> None:
    assert Counter(t.topic for t in QUESTIONS.templates) == dict.fromkeys(TOPICS, 8)
    assert all(item.split == TOPICS[item.topic] for item in ITEMS)
    assert Counter((i.culture, i.split) for i in ITEMS) == {
        (culture, split): 24 for culture in CULTURES for split in ("identify", "test")
    }
    assert len({i.question_id for i in ITEMS if i.split == "test"}) == 24


def test_ids_of_removed_templates_are_not_used_again() -> None:
    removed = {"food-03", "work-01", "work-02", "work-04", "sport-02", "sport-03", "sport-04"}
    removed |= {"education-01", "family-03", "holidays-01", "holidays-04"}
    assert removed.isdisjoint(TEMPLATES)


def right_for(question_id: str, owner: str, other: str) -> bool:
    """Whether the gold answer of one culture is among the right answers of another, in the file."""
    answers = TEMPLATES[question_id].answers
    return normalise(answers[owner][0]) in map(normalise, answers[other])


@pytest.mark.parametrize("question_id", TEMPLATES)
def test_every_pair_of_neighbours_shares_what_the_table_says(question_id: str) -> None:
    assert set(NEIGHBOURS) == set(TEMPLATES), "every template needs a row, written by hand"
    signs = NEIGHBOURS[question_id]
    assert len(signs) == len(PAIRS)
    for sign, (one, other) in zip(signs, PAIRS, strict=True):
        assert right_for(question_id, one, other) == (sign in ">="), (one, other)
        assert right_for(question_id, other, one) == (sign in "<="), (other, one)


def test_every_culture_has_a_neighbour_in_the_table() -> None:
    assert {culture for pair in PAIRS for culture in pair} == set(CULTURES)


@pytest.mark.parametrize("question_id", SHARED)
def test_a_custom_known_to_be_shared_is_never_a_wrong_option(question_id: str) -> None:
    by_culture = {item.culture: item for item in ITEMS if item.question_id == question_id}
    for custom, cultures in SHARED[question_id].items():
        owners = [c for c in CULTURES if TEMPLATES[question_id].answers[c][0] == custom]
        assert owners, f"{custom!r} is nobody's gold answer"
        for culture in cultures:
            assert right_for(question_id, owners[0], culture), (custom, culture)
            shown = shown_options(by_culture[culture])
            wrong = [text for label, text in shown.items() if label != by_culture[culture].answer]
            assert custom not in wrong, (custom, culture)


def test_what_is_right_in_west_java_is_right_in_indonesia() -> None:
    for question_id in TEMPLATES:
        assert right_for(question_id, "West Java", "Indonesia"), question_id


def test_a_gold_answer_is_right_for_less_than_half_of_the_other_cultures() -> None:
    for question_id in TEMPLATES:
        for culture in CULTURES:
            others = [c for c in CULTURES if c != culture and right_for(question_id, culture, c)]
            assert len(others) <= 7, (question_id, culture, others)


# fmt: off
GEOGRAPHY = re.compile(
    r"\b(americ|brit|engl|scot|welsh|korea|algeri|indones|sunda|java|spain|spanish|iran|persia|mexic|assam|gree[ck]|ethiop"
    r"|nigeri|hausa|chin(a|ese)|azer|univers|stadium|newspaper|currenc|airline|river|lake|mountain|island|capital|city|cities"
    r"|bank|company|companies|employer)", re.IGNORECASE)
# fmt: on


def test_no_item_that_finds_neurons_asks_for_a_proper_noun_of_geography() -> None:
    identify = [t for t in QUESTIONS.templates if TOPICS[t.topic] == "identify"]
    golds = {answers[0] for template in identify for answers in template.answers.values()}
    assert {gold for gold in golds if gold != gold.lower()} == CAPITALS
    assert not [text for text in (*golds, *(t.question for t in identify)) if GEOGRAPHY.search(text)]


def test_gold_letters_are_balanced_in_every_template_and_every_culture() -> None:
    def counts(*keys: str) -> set[int]:
        pairs = Counter((*(getattr(i, key) for key in keys), i.answer) for i in ITEMS)
        return set(pairs.values())

    assert counts("question_id") == {4}
    assert counts("culture") == {12}
    assert counts("culture", "split") == {6}
    assert counts("culture", "topic") == {2}


def test_gold_letters_do_not_repeat_with_the_position_in_the_file() -> None:
    letters = [item.answer for item in ITEMS]
    for period in range(1, 65):
        same = sum(a == b for a, b in zip(letters, letters[period:], strict=False))
        assert same / (len(letters) - period) < 0.45, period


def test_gold_options_are_not_the_longest_more_often_than_chance() -> None:
    longest = [max(shown_options(i).values(), key=len) == shown_options(i)[i.answer] for i in ITEMS]
    assert 0.15 < sum(longest) / len(longest) < 0.35


def test_data_keeps_the_house_rules_for_answers() -> None:
    for template in QUESTIONS.templates:
        for culture, answers in template.answers.items():
            where = (template.id, culture)
            assert len({normalise(a) for a in answers}) == len(answers), where
            assert all(1 <= len(a.split()) <= 5 for a in answers), where
            assert not [n for n in CULTURES if re.search(rf"\b{re.escape(n)}\b", " ".join(answers))], where
        assert template.id.split("-")[0] == re.split("[ /]", template.topic)[0].lower()


def test_wrong_options_do_not_depend_on_the_order_of_templates_or_answers() -> None:
    turned = Questions(
        dict(reversed(QUESTIONS.cultures.items())),
        tuple(replace(t, answers=dict(reversed(t.answers.items()))) for t in reversed(QUESTIONS.templates)),
    )
    again = {item.id: item for item in make_items(turned)}
    assert again == {item.id: item for item in ITEMS}


def test_a_filter_does_not_change_the_items_it_keeps() -> None:
    some = choose_items(Everyday().read(None), split="test", cultures=["Assam"], limit=3)
    assert some == [i for i in ITEMS if i.split == "test" and i.culture == "Assam"][:3]


@pytest.mark.parametrize("seed", ["0", "1", "4242"])
def test_items_do_not_depend_on_the_hash_seed_of_the_process(seed: str) -> None:
    code = (
        "import sys; from culnig.benchmarks.everyday import Everyday, EverydayControl;"
        "from culnig.provenance import items_hash;"
        "print(items_hash([*Everyday().read(None), *EverydayControl().read(None)]));"
        "sys.exit('torch' in sys.modules)"
    )
    root = str(Path(culnig.__file__).resolve().parents[1])
    environment = {**os.environ, "PYTHONHASHSEED": seed, "PYTHONPATH": root}
    process = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert process.stdout.strip() == items_hash([*ITEMS, *EverydayControl().read(None)])


def test_other_numbers_of_cultures_work_too() -> None:
    five = ["USA", "UK", "South Korea", "Algeria", "Assam"]
    for keys in (five, CULTURES[:7], [c for c in CULTURES if c != "West Java"]):
        fewer = Questions(
            {c: QUESTIONS.cultures[c] for c in keys},
            tuple(replace(t, answers={c: t.answers[c] for c in keys}) for t in QUESTIONS.templates),
        )
        items = list(make_items(fewer))
        assert len(items) == 48 * len(keys)
        for template in TEMPLATES:
            letters = Counter(i.answer for i in items if i.question_id == template)
            assert max(letters.values()) - min(letters[label] for label in LABELS) <= 1


def test_a_new_culture_replaces_at_most_one_wrong_option_per_item() -> None:
    keys = [c for c in CULTURES if c != "Azerbaijan"]
    for template in QUESTIONS.templates:
        without = replace(template, answers={c: template.answers[c] for c in keys})
        for culture in keys:
            before = set(without.wrong_answers(culture)[:3])
            assert len(before - set(template.wrong_answers(culture)[:3])) <= 1


def test_control_is_the_item_without_its_question() -> None:
    controls = list(EverydayControl().read(None))
    assert Everyday.control == EverydayControl.name
    assert (Everyday.role, EverydayControl.role) == ("target", "control")
    for item, control in zip(ITEMS, controls, strict=True):
        template = TEMPLATES[item.question_id]
        question = template.question.replace("{country}", QUESTIONS.cultures[item.culture])
        assert item.prompt == f"{question} {control.prompt}"
        assert control == replace(item, prompt=control.prompt)


def test_the_data_dir_is_not_looked_at(tmp_path: Path) -> None:
    assert list(Everyday().read(tmp_path / "nowhere")) == ITEMS
    assert not Everyday.needs_data_dir


def test_no_two_items_share_a_prompt() -> None:
    prompts = {hashlib.sha256(item.prompt.encode()).hexdigest() for item in ITEMS}
    assert len(prompts) == len(ITEMS)


@pytest.mark.parametrize(
    ("one", "other"), [("García", "garcia"), ("Bird's  Nest", "bird s nest"), ("WON", "won")]
)
def test_spellings_of_one_answer_are_one(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


SMALL = """
[cultures]
Elbonia = "Elbonia"
Freedonia = "Freedonia"
Sylvania = "Sylvania"
Ruritania = "old Ruritania"

[[templates]]
id = "food-01"
topic = "Food"
question = "What is eaten in {country}?"
[templates.answers]
Elbonia = ["mud"]
Freedonia = ["duck soup"]
Sylvania = ["garlic"]
Ruritania = ["goulash", "pie"]
"""
SECOND = SMALL[SMALL.index("[[templates]]") :]


def test_a_small_file_is_enough(tmp_path: Path) -> None:
    path = tmp_path / "questions.toml"
    path.write_text(SMALL, encoding="utf-8")
    items = list(make_items(read_questions(path)))
    assert sorted(item.answer for item in items) == ["A", "B", "C", "D"]
    assert items[3].prompt.startswith("What is eaten in old Ruritania? ")


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ('Sylvania = ["garlic"]\n', "", ["food-01", "Sylvania"]),
        ('["garlic"]', "[]", ["food-01", "Sylvania", "none empty"]),
        ('["garlic"]', '["", "garlic"]', ["food-01", "Sylvania", "none empty"]),
        ('["garlic"]', '"garlic"', ["food-01", "Sylvania", "list of texts"]),
        ('["garlic"]', "[7]", ["food-01", "Sylvania", "list of texts"]),
        ('["garlic"]', '["garlic", "Mud"]', ["food-01", "Sylvania", "only 2 wrong options"]),
        ('["garlic"]', '["mud"]', ["food-01", "Elbonia", "only 2 wrong options"]),
        ('Elbonia = ["mud"]', 'Elbonia = ["mud"]\nOz = ["x"]', ["food-01", "'Oz'", "[cultures]"]),
        ('"Food"', '"Weather"', ["food-01", "unknown topic 'Weather'", "Work life"]),
        ('topic = "Food"\n', "", ["food-01", "unknown topic None"]),
        ('topic = "Food"', "topic = []", ["food-01", "unknown topic []"]),
        ("{country}", "{culture}", ["food-01", "must contain {country}"]),
        ('id = "food-01"\n', "", ["template number 1 has no id"]),
        ('id = "food-01"', 'id = " "', ["template number 1 has no id"]),
        ("[templates.answers]", "[other]", ["food-01", "[templates.answers]"]),
        ("[cultures]", "[countries]", ["[cultures]"]),
        ('"old Ruritania"', "3", ["[cultures]"]),
        (SECOND, "", ["[[templates]]"]),
        (SECOND, "templates = [1]", ["template number 1"]),
        (SECOND, SECOND + SECOND, ["food-01", "appears twice"]),
        ('"Food"', "Food", ["not valid TOML", "line 10"]),
    ],
)
def test_a_malformed_file_is_reported_with_the_template(
    tmp_path: Path, old: str, new: str, named: list[str]
) -> None:
    text = SMALL.replace(old, new)
    assert text != SMALL
    if new == "templates = [1]":
        text = new + text.replace(new, "")
    path = tmp_path / "questions.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(DataFileError) as caught:
        read_questions(path)
    assert caught.value.path == path
    for part in named:
        assert part in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match=r"gone\.toml: no such file"):
        read_questions(tmp_path / "gone.toml")
