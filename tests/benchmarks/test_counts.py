"""How many questions studies rest on, counted by hand with plain readers of the files."""

from __future__ import annotations

import csv
import os
import re
from collections import Counter
from pathlib import Path

import pytest

import culnig
from culnig.benchmarks.choosing import read_benchmarks
from culnig.core.data_files import own_data
from culnig.core.questions import count_questions

ROOT = Path(__file__).parents[2]
IDENTIFY = {"Food", "Work life", "Sport"}


def test_everyday_has_24_questions_to_identify_and_24_to_test():
    text = own_data("everyday.toml").read_text(encoding="utf-8")
    topics = Counter(re.findall(r'^topic = "(.+)"$', text, re.MULTILINE))
    assert len(topics) == 6
    assert set(topics.values()) == {8}
    checked = culnig.check_benchmark("everyday")
    assert (checked["n"], checked["n_questions"]) == (48 * 16, 48)
    assert checked["questions_of_split"] == {"identify": 24, "test": 24}


def test_the_studies_of_the_documentation_rest_on_as_many_questions_as_they_say():
    for per_culture in (4, 8):  # README and the first study: items take the topics in turn
        for split in ("identify", "test"):
            items = read_benchmarks("everyday", split=split, per_culture=per_culture)["everyday"].items
            assert (len(items), count_questions(items)) == (16 * per_culture, per_culture)
    assert "it rests on 4 questions" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def published():
    folder = os.environ.get("CULNIG_DATA")
    if not folder:
        pytest.skip("CULNIG_DATA names no folder with the published files")
    return Path(folder)


@pytest.mark.parametrize("name", ["blend", "blend-control"])
def test_a_question_of_blend_is_its_id_in_all_countries(published, name):
    def rows(file):
        with file.open(encoding="utf-8", newline="") as opened:
            return list(csv.DictReader(opened))

    topics = {row["ID"]: row["Topic"] for row in rows(published / "BLEnD" / "US_questions.csv")}
    (file,) = (published / "BLEnD").glob("mc_questions*.csv")
    asked = [(row["ID"], row["country"]) for row in rows(file)]
    counts = Counter(asked)
    first_five = [pair for pair, n in counts.items() for _ in range(min(5, n))]
    expected = {
        split: {question for question, _ in asked if (topics[question] in IDENTIFY) == (split == "identify")}
        for split in ("identify", "test")
    }
    assert {split: len(questions) for split, questions in expected.items()} == {"identify": 209, "test": 179}
    countries = Counter(question for question, _ in dict.fromkeys(asked))
    assert max(countries.values()) == 16
    checked = culnig.check_benchmark(name, published)
    assert (checked["n"], checked["n_questions"]) == (len(first_five), 388)
    assert checked["questions_of_split"] == {"identify": 209, "test": 179}
    said = []
    few = read_benchmarks(name, published, "identify", per_culture=20, say=said.append)[name]
    of_culture = Counter(item.culture for item in few.items)
    assert set(of_culture.values()) == {20}
    assert said == [
        f"{name}: the first 20 items of each culture are on only {count_questions(few.items)} questions; a "
        "sample draws whole questions"
    ]
    drawn = read_benchmarks(name, published, "identify", sample=24)[name]
    assert count_questions(drawn.items) == 24
    kept = {item.question for item in drawn.items}
    assert len(drawn.items) == sum(question in kept for question, _ in first_five)
    assert Counter(topics[question] for question in kept) == dict.fromkeys(IDENTIFY, 8)
