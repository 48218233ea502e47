from __future__ import annotations

import json
import math
import os
from collections import Counter
from pathlib import Path

import pytest
import small_files

from culnig.benchmarks.worldvalues import (
    N_IDENTIFY,
    ValueQuestion,
    WorldValues,
    WorldValuesAll,
    divergence,
    rank_questions,
    read_questions,
)
from culnig.errors import DataFileError


def metadata(n: int = 45) -> dict:
    scales = [(1, 4), (1, 10), (0, 2)]
    questions = {
        f"Q{number}": {
            "question": f"On a scale, how dear is thing {number} to you? ",
            "use_case": "value",
            "answer_scale_min": scales[number % 3][0],
            "answer_scale_max": scales[number % 3][1],
        }
        for number in range(n)
    }
    other = {"question": "Where?", "use_case": "demographic", "answer_scale_min": "", "answer_scale_max": ""}
    return {"B_COUNTRY": other, **questions}


def shares(n: int = 45) -> dict:
    def dist(number: int, tilt: float) -> dict:
        lowest = 0 if number % 3 == 2 else 1
        return {str(lowest): 0.5 + tilt, str(lowest + 1): 0.5 - tilt}

    return {
        "Mexico": {f"Q{k}": dist(k, k / 100) for k in range(n)},
        "Great Britain": {f"Q{k}": dist(k, -k / 100) for k in range(n)},
        "Brazil": {f"Q{k}": dist(k, 0.0) for k in range(n)},
        "Utopia": {f"Q{k}": dist(k, 0.0) for k in range(n)},
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = tmp_path / "WorldValuesBench"
    folder.mkdir()
    (folder / "question_metadata.json").write_text(json.dumps(metadata()))
    (folder / "wvb_country_distributions.json").write_text(json.dumps(shares()))
    return tmp_path


def respondents(data: Path, place: str = "full") -> None:
    """People whose answers are counted instead."""
    people, answers = [], []
    for country in ("Mexico", "Great Britain"):
        for number in range(12):
            name = f"{country}-{number}"
            people.append({"D_INTERVIEW": name, "B_COUNTRY": country})
            given = {f"Q{k}": "" for k in range(45)}
            given["Q0"] = "1" if country == "Mexico" or number < 3 else "4.0"
            if number < 5:
                given["Q1"] = "10"
            given["Q2"] = str(number % 2)
            answers.append({"D_INTERVIEW": name, **given})
    folder = data / "WorldValuesBench" / place
    small_files.write_csv(folder / "full_demographic_qa.tsv", people, "\t")
    small_files.write_csv(folder / "full_value_qa.tsv", answers, "\t")


def test_questions_per_country_of_the_real_files():
    if not os.environ.get("CULNIG_DATA"):
        pytest.skip("CULNIG_DATA names no folder with the published files")
    folder = Path(os.environ["CULNIG_DATA"])
    items = list(WorldValues().read(folder))
    counts = Counter((item.culture, item.split) for item in items)
    expected = {"China": 172, "Mexico": 198, "UK": 188, "USA": 197}
    assert counts == {
        **{(culture, "identify"): 4 * 40 for culture in expected},
        **{(culture, "test"): 4 * n for culture, n in expected.items()},
    }
    everyone = {item.id: item for item in WorldValuesAll().read(folder)}
    assert len({item.culture for item in everyone.values()}) == 19
    assert all(everyone[item.id] == item for item in items)


def test_every_question_is_asked_in_two_by_two_wordings(data):
    items = list(WorldValues().read(data))
    assert {item.culture for item in items} == {"Mexico", "UK"}
    assert len(items) == 2 * 45 * 4
    assert {item.id.split("/")[2] for item in items} == {"s1u1", "s1u2", "s2u1", "s2u2"}
    assert all(item.ordinal and item.system and '"answer_choice"' in item.prompt for item in items)
    assert any("the United Kingdom" in item.system for item in items)
    assert {item.culture for item in WorldValuesAll().read(data)} == {"Mexico", "UK", "Brazil"}


def test_people_of_nigeria_are_not_only_those_of_the_north(data):
    path = data / "WorldValuesBench" / "wvb_country_distributions.json"
    path.write_text(json.dumps({**shares(), "Nigeria": shares()["Mexico"]}))
    systems = {item.system for item in WorldValuesAll().read(data) if item.culture == "Nigeria"}
    assert len(systems) == 2
    assert all("Nigeria" in system and "northern" not in system for system in systems)


def test_the_forty_most_distinctive_questions_identify(data):
    items = list(WorldValues().read(data))
    mexico = [item for item in items if item.culture == "Mexico"]
    assert [item.question_id for item in mexico][::4] == [f"Q{k}" for k in range(44, -1, -1)]
    splits = Counter(item.split for item in mexico)
    assert splits == {"identify": 4 * N_IDENTIFY, "test": 4 * 5}
    assert {item.question_id for item in mexico if item.split == "test"} == {f"Q{k}" for k in range(5)}


def test_gold_is_the_most_usual_answer_and_of_two_the_lower(data):
    gold = {(i.culture, i.question_id): (i.answer, i.options) for i in WorldValues().read(data)}
    assert gold["Mexico", "Q3"] == ("1", ("1", "2", "3", "4"))
    assert gold["UK", "Q3"] == ("2", ("1", "2", "3", "4"))
    assert gold["UK", "Q4"] == ("B", tuple("ABCDEFGHIJ"))
    assert gold["UK", "Q5"] == ("1", ("0", "1", "2"))
    assert gold["UK", "Q0"][0] == "1"


def test_respondents_are_counted_if_their_files_exist(data):
    for place in ("full", "."):
        respondents(data, place)
        items = list(WorldValues().read(data))
        gold = {(item.culture, item.question_id): item.answer for item in items}
        assert gold == {("Mexico", "Q0"): "1", ("UK", "Q0"): "4", ("Mexico", "Q2"): "0", ("UK", "Q2"): "0"}
        assert [path.name for path in WorldValues().files(data)][1:3] == [
            "full_demographic_qa.tsv",
            "full_value_qa.tsv",
        ]


def test_divergence_by_hand():
    assert divergence({1: 0.5, 2: 0.5}, {1: 0.25, 2: 0.75}) == pytest.approx(
        0.5 * math.log(2) + 0.5 * math.log(2 / 3)
    )
    assert divergence({1: 1.0, 2: 0.0}, {1: 0.5, 2: 0.5}) == pytest.approx(math.log(2))
    assert divergence({1: 0.5, 3: 0.5}, {1: 1.0}) == pytest.approx(0.5 * math.log(0.5))


def test_equal_questions_stay_in_their_order():
    same = {"b": {1: 1.0}, "a": {1: 1.0}, "c": {1: 0.5, 2: 0.5}}
    assert rank_questions(same, {q: {1: 0.5, 2: 0.5} for q in same}) == ["b", "a", "c"]


def test_labels_and_scales():
    assert ValueQuestion("q", "", 0, 2).scale == "0, 1 or 2"
    ten = ValueQuestion("q", "", 1, 10)
    assert ten.scale.startswith("A for 1, B for 2")
    assert ten.scale.endswith("or J for 10")
    assert len(ten.labels) == 10


def test_items_do_not_depend_on_the_order_of_countries(data):
    items = list(WorldValues().read(data))
    path = data / "WorldValuesBench" / "wvb_country_distributions.json"
    path.write_text(json.dumps(dict(reversed(shares().items()))))
    assert list(WorldValues().read(data)) == items


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            lambda d: d["Mexico"].update(Q99={"1": 1.0}),
            "Mexico, question 'Q99': question_metadata.json has no",
        ),
        (lambda d: d["Mexico"].update(Q0={"7": 1.0}), "expected shares of the answers 1, 2, 3, 4"),
        (lambda d: d["Mexico"].update(Q0=[]), "expected shares"),
    ],
)
def test_malformed_shares_are_named(data, change, said):
    document = shares()
    change(document)
    (data / "WorldValuesBench" / "wvb_country_distributions.json").write_text(json.dumps(document))
    with pytest.raises(DataFileError) as caught:
        list(WorldValues().read(data))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("Q0", "9", "line 2, column 'Q0': answer 9 is not on the scale 1 to 4"),
        ("Q0", "often", "line 2, column 'Q0': expected a number"),
        ("D_INTERVIEW", "nobody", "respondent nobody is not in full_demographic_qa.tsv"),
    ],
)
def test_malformed_answers_are_reported_with_line_and_column(data, column, value, said):
    respondents(data)
    row = {"D_INTERVIEW": "Mexico-0", **{f"Q{k}": "" for k in range(45)}, column: value}
    small_files.write_csv(data / "WorldValuesBench" / "full" / "full_value_qa.tsv", [row], "\t")
    with pytest.raises(DataFileError) as caught:
        list(WorldValues().read(data))
    assert said in str(caught.value)


def test_malformed_metadata_is_named(data):
    path = data / "WorldValuesBench" / "question_metadata.json"
    document = metadata()
    document["Q1"]["answer_scale_max"] = 1
    path.write_text(json.dumps(document))
    with pytest.raises(DataFileError, match="question 'Q1': answer_scale_min and answer_scale_max must be"):
        read_questions(path)
    path.write_text('{"Q1": {}\n"Q2": 1}')
    with pytest.raises(DataFileError, match="line 2: not JSON"):
        read_questions(path)


def test_a_missing_folder_is_reported_with_advice():
    with pytest.raises(DataFileError, match="not on the hub; name the parent folder of WorldValuesBench"):
        list(WorldValues().read(None))


def question(lowest, highest):
    return {
        "question": " How? ",
        "use_case": "value",
        "answer_scale_min": lowest,
        "answer_scale_max": highest,
    }


@pytest.mark.parametrize(("lowest", "highest"), [(0, 1), (0, 25), (1, 2), (24, 25), (3, 10)])
def test_a_scale_may_begin_at_0_and_end_at_25(tmp_path, lowest, highest):
    (tmp_path / "m.json").write_text(json.dumps({"Q1": question(lowest, highest)}))
    (read,) = read_questions(tmp_path / "m.json").values()
    assert (read.id, read.text, read.lowest, read.highest) == ("Q1", "How?", lowest, highest)


@pytest.mark.parametrize(
    ("lowest", "highest"), [(-1, 3), (3, 3), (4, 3), (0, 26), (1.0, 3), (1, "3"), (None, 3), ("", "")]
)
def test_other_scales_are_refused(tmp_path, lowest, highest):
    (tmp_path / "m.json").write_text(json.dumps({"Q1": question(lowest, highest)}))
    with pytest.raises(DataFileError, match="question 'Q1': answer_scale_min and answer_scale_max must be"):
        read_questions(tmp_path / "m.json")
