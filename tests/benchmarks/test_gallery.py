"""The gallery: each declaration reads a small file of our own in its set's shape, with counts by hand."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from culnig import registry
from culnig.benchmarks.choosing import read_benchmarks
from culnig.reporting.registered import check_benchmark, list_gallery
from tests.benchmarks.gallery_files import FILES, write_gallery

NAMES = sorted(registry.gallery())

COUNTS = {
    "include": (13, 12, 13),
    "global-mmlu-lite": (15, 1, 1),
    "culturalbench-hard": (8, 2, 2),
    "global-opinion-qa": (2, 2, 1),
    "arab-culture": (13, 13, 13),
    "indoculture": (3, 3, 3),
    "click": (2, 1, 2),
    "kobbq": (1, 1, 1),
    "bertaqa": (1, 1, 1),
    "global-piqa": (9, 9, 9),
    "copal": (2, 1, 2),
    "milu": (11, 1, 11),
    "fork": (1, 1, 1),
    "geomlama": (4, 3, 2),
    "multilingual-culturalbench": (6, 1, 1),
}
"""Items, cultures and questions that the small files have."""

RIGHT = {
    "include": ["rice", "bread", "maize", "oats"] * 2 + ["rice", "bread", "maize", "oats", "rice"],
    "global-mmlu-lite": ["bread"] * 15,
    "culturalbench-hard": ["True", "False", "False", "False", "False", "True", "False", "False"],
    "global-opinion-qa": ["Yes", "No"],
    "arab-culture": ["tea"] * 13,
    "indoculture": ["coffee", "juice", "tea"],
    "click": ["tteok", "x"],
    "kobbq": ["unknown"],
    "bertaqa": ["apple"],
    "global-piqa": ["wait.", "boil it."] * 4 + ["wait."],
    "copal": ["I take an umbrella.", "A cloud came."],
    "milu": ["maize"] * 11,
    "fork": ["first"],
    "geomlama": ["at noon", "at night", "brush", "pen"],
    "multilingual-culturalbench": [
        f"maize{suffix}" for suffix in ("", "_hindi", "_chinese", "_braz_port", "_swahili", "_hebrew")
    ],
}
"""Text of each right option, in order."""


def items_of(name: str, folder: Path):
    return list(registry.benchmark(name).read(write_gallery(folder, name)))


def right_option(item) -> str:
    """Text of the right option in the prompt."""
    return dict(re.findall(r"^([A-Z])\. (.+)$", item.prompt, flags=re.MULTILINE))[item.answer]


def test_every_declaration_has_a_small_file_and_at_most_25_lines():
    assert NAMES == sorted(FILES) == sorted(COUNTS) == sorted(RIGHT)
    for name, path in registry.gallery().items():
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 25, name
        assert registry.benchmark(name).name == name


@pytest.mark.parametrize("name", NAMES)
def test_the_small_file_is_read_as_by_hand(tmp_path, name):
    items = items_of(name, tmp_path)
    counts = (len(items), len({item.culture for item in items}), len({item.question for item in items}))
    assert counts == COUNTS[name]
    shown = [
        {text: text for text in item.options}
        if item.likelihood
        else dict(line.split(". ", 1) for line in item.prompt.splitlines() if line[1:3] == ". ")
        for item in items
    ]
    assert [options[item.answer] for options, item in zip(shown, items, strict=True)] == RIGHT[name]
    document = check_benchmark(name, tmp_path)
    assert document["n"] == len(items)
    assert document["n_questions"] == COUNTS[name][2]
    assert Counter(document["gold"]).total() == len(items)
    assert len({item.id for item in items}) == len(items)


@pytest.mark.parametrize("name", [name for name in NAMES if registry.benchmark(name).control])
def test_controls_go_by_name(tmp_path, name):
    items = items_of(name, tmp_path)
    controls = list(registry.benchmark(f"{name}-control").read(tmp_path))
    assert [item.id for item in controls] == [item.id for item in items]
    assert all(control.prompt != item.prompt for control, item in zip(controls, items, strict=True))


def test_what_the_shapes_are_for(tmp_path):
    hard = items_of("culturalbench-hard", tmp_path)
    assert [item.together for item in hard] == ["0 Spain/w1"] * 4 + ["1 Hong Kong/w1"] * 4
    assert "Is this answer true or false: congee?" in hard[1].prompt
    opinions = items_of("global-opinion-qa", tmp_path)
    assert [item.culture for item in opinions] == ["UK", "Nigeria"]
    assert "from the United Kingdom answer?" in opinions[0].prompt
    assert sorted(opinions[0].distribution) == pytest.approx([0.1, 0.2, 0.7])
    assert check_benchmark("global-opinion-qa", tmp_path)["dropped"] == {"question is empty": 1}
    without, with_passage = items_of("click", tmp_path)
    assert without.prompt.startswith("Which?")
    assert with_passage.prompt.startswith("Two soups.\n")
    assert {item.culture for item in items_of("indoculture", tmp_path)} == {"Aceh", "Bali", "West Java"}
    assert {item.culture for item in items_of("bertaqa", tmp_path)} == {"Basque Country"}


def test_sets_without_labels_are_read_as_texts(tmp_path):
    by_text = {name for name in NAMES if registry.benchmark(name).declaration.likelihood}
    assert by_text == {"arab-culture", "copal", "geomlama", "global-piqa", "indoculture"}
    effect, cause = items_of("copal", tmp_path)
    assert (effect.prompt, effect.options) == ("It rains. Akibatnya:", ("I take an umbrella.", "I swim."))
    assert cause.prompt == "It rains. Penyebabnya:"
    (jordan, *_) = items_of("global-piqa", tmp_path)
    assert (jordan.prompt, jordan.answer_prefix, jordan.likelihood) == ("To cool tea,", " ", "bytes")
    controls = registry.benchmark("global-piqa-control").read(tmp_path)
    assert {control.prompt for control in controls} == {""}


def test_one_question_about_five_countries(tmp_path):
    usa, kenya, china, american = items_of("geomlama", tmp_path)
    assert [usa.culture, kenya.culture, china.culture] == ["USA", "Kenya", "China"]
    assert usa.question == kenya.question == "In …, soup is eaten <mask>."
    assert china.question == american.question == "… people write with a <mask>."
    assert (kenya.answer, kenya.also_right) == ("at night", ("at noon",))
    assert china.topic == '"tools" of writing', "quotation marks belong to the cell"
    languages = items_of("multilingual-culturalbench", tmp_path)
    assert {item.question for item in languages} == {"7"}
    assert [item.question_id for item in languages][:2] == ["7 English", "7 Hindi"]


def test_runs_record_the_licence(tmp_path):
    (chosen,) = read_benchmarks("indoculture", write_gallery(tmp_path, "indoculture")).values()
    assert chosen.record()["licence"] == {
        "name": "CC BY-NC-SA 4.0, as third parties state it",
        "training": "unknown",
        "non_commercial": True,
    }
    (everyday,) = read_benchmarks("everyday", limit=1).values()
    assert everyday.record()["licence"]["name"] == "MIT, ours"


def test_the_gallery_is_listed_with_languages_licence_and_cultures():
    rows = {row["benchmark"]: row for row in list_gallery()}
    assert list(rows) == NAMES
    assert rows["fork"]["licence"] == "CC BY 4.0"
    assert rows["milu"]["languages"][:2] == ["bn", "en"]
    assert rows["bertaqa"]["cultures"] == "Basque Country"
    assert all(row["checked"] for row in rows.values())
