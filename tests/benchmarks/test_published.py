from __future__ import annotations

import os
import random
import re
import unicodedata
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import small_files

from culnig import registry
from culnig.benchmarks.blend import INSTRUCTION, Blend, BlendControl
from culnig.benchmarks.commonsenseqa import CommonsenseQA
from culnig.benchmarks.culturalbench import CulturalBench
from culnig.benchmarks.mrpc import MRPC
from culnig.benchmarks.normad import NormAd
from culnig.benchmarks.published import CultureNames
from culnig.benchmarks.qnli import QNLI
from culnig.benchmarks.rows import Row
from culnig.core.items import NO_CULTURE, choose_items
from culnig.errors import DataFileError, PluginError

ALL = [CulturalBench, NormAd, CommonsenseQA, QNLI, MRPC]
SHUFFLED = (CulturalBench, NormAd)
"""Those whose options the paper shuffles (docs/method.md, Masking and evaluation)."""
FILE = {
    CulturalBench: ("CulturalBench/CulturalBench-Easy.csv", small_files.culturalbench, small_files.write_csv),
    NormAd: ("NormAd/normad.csv", small_files.normad, small_files.write_csv),
    CommonsenseQA: ("CommonsenseQA/dev_rand_split.jsonl", small_files.commonsenseqa, small_files.write_jsonl),
    QNLI: ("GLUE/qnli_validation.jsonl", small_files.qnli, small_files.write_jsonl),
    MRPC: ("GLUE/mrpc_test.jsonl", small_files.mrpc, small_files.write_jsonl),
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return small_files.write_all(tmp_path)


def real_data() -> Path:
    folder = os.environ.get("CULNIG_DATA")
    if not folder:
        pytest.skip("CULNIG_DATA names no folder with the published files")
    return Path(folder)


@pytest.mark.parametrize(
    ("benchmark", "per_wording", "cultures"),
    [
        (CulturalBench, 1_227, 45),
        (NormAd, 1_818, 75),
        (CommonsenseQA, 1_221, 1),
        (QNLI, 5_463, 1),
        (MRPC, 1_725, 1),
    ],
)
def test_counts_of_the_real_files(benchmark, per_wording, cultures):
    items = list(benchmark().read(real_data()))
    assert Counter(item.id.split("/")[-1] for item in items) == dict.fromkeys(
        ["w1", "w2", "w3", "w4"], per_wording
    )
    assert {item.split for item in items} == {"test"}
    assert len({item.culture for item in items}) == cultures
    assert len({item.id for item in items}) == len(items)
    assert {item.culture for item in items} <= {NO_CULTURE, *registry.cultures()}


def test_counts_of_the_rebuilt_blend():
    items = list(Blend().read(real_data()))
    assert Counter(item.split for item in items) == {"identify": 11_349, "test": 9_476}
    assert len({item.culture for item in items}) == 16
    assert len(list(BlendControl().read(real_data()))) == 20_825


@pytest.mark.parametrize("benchmark", [CulturalBench, NormAd])
def test_shuffled_labels_of_the_real_files_are_even(benchmark):
    items = list(benchmark().read(real_data()))
    for wording in ("w1", "w2", "w3", "w4"):
        counts = Counter(item.answer for item in items if item.id.endswith(wording))
        share = sum(counts.values()) / len(counts)
        assert all(abs(count - share) < 0.2 * share for count in counts.values()), counts


@pytest.mark.parametrize("benchmark", ALL)
def test_every_row_is_asked_in_four_wordings(data, benchmark):
    items = list(benchmark().read(data))
    _, rows, _ = FILE[benchmark]
    assert len(items) == 4 * len(rows())
    assert len({item.prompt for item in items}) == len(items)
    assert all('"answer_choice"' in item.prompt and not re.search(r"\{\w+\}", item.prompt) for item in items)
    assert registry.benchmark(benchmark.name).name == benchmark.name


@pytest.mark.parametrize("benchmark", ALL)
def test_items_do_not_depend_on_order_filter_or_other_rows(data, benchmark):
    items = {item.id: item for item in benchmark().read(data)}
    name, rows, write = FILE[benchmark]
    turned = rows()
    random.Random(3).shuffle(turned)
    write(data / name, turned)
    assert {item.id: item for item in benchmark().read(data)} == items
    write(data / name, turned[:2])
    assert all(items[item.id] == item for item in benchmark().read(data))
    some = choose_items(benchmark().read(data), split="test", limit=3)
    assert all(items[item.id] == item for item in some)


@pytest.mark.parametrize("benchmark", ALL)
def test_a_seed_changes_only_the_shuffles(data, benchmark):
    one, other = list(benchmark(seed=0).read(data)), list(benchmark(seed=1).read(data))

    def without_order(item):
        return replace(item, answer=item.options[0], prompt="".join(sorted(item.prompt)))

    assert [without_order(item) for item in one] == [without_order(item) for item in other]
    assert (one != other) == (benchmark in SHUFFLED)


def shown(item):
    lines = re.findall(r"^\(?(\w)[).:]? =? ?(.+)$", item.prompt, flags=re.MULTILINE)
    return {label: text for label, text in lines if label in item.options}


@pytest.mark.parametrize(
    ("benchmark", "right"),
    [
        (CulturalBench, lambda item: {"0": "bread", "1": "rice", "2": "maize", "3": "yam", "4": "bread"}),
        (CommonsenseQA, lambda item: dict.fromkeys([f"c{n}" for n in range(5)], "a spoon")),
        (QNLI, lambda item: {"0": "yes", "1": "no"}),
        (MRPC, lambda item: {"0": "yes", "1": "no"}),
        (NormAd, lambda item: {str(n): ("yes", "no", "neutral")[n % 3] for n in range(9)}),
    ],
)
def test_the_gold_label_stands_before_the_right_option(data, benchmark, right):
    for item in benchmark().read(data):
        assert shown(item)[item.answer] == right(item)[item.question_id], item.id


def test_cultures_come_from_the_records(data):
    assert [i.culture for i in CulturalBench().read(data)][::4] == [
        "Japan",
        "Spain",
        "Turkey",
        "Zimbabwe",
        "UK",
    ]
    assert {i.culture for i in NormAd().read(data)} == {"Egypt", "Turkey", "UK"}
    assert any("in the United Kingdom" in item.prompt for item in NormAd().read(data))
    assert {i.culture for i in QNLI().read(data)} == {NO_CULTURE}


@pytest.mark.parametrize("form", ["NFC", "NFD"])
def test_a_spelling_may_be_composed_or_not(data, form):
    rows = [{**row, "Country": unicodedata.normalize(form, row["Country"])} for row in small_files.normad()]
    small_files.write_csv(data / "NormAd" / "normad.csv", rows)
    assert "Turkey" in {item.culture for item in NormAd().read(data)}


def test_normad_offers_three_options_also_where_a_file_holds_two_labels(data):
    three = {item.id: item for item in NormAd().read(data)}
    rows = [row for row in small_files.normad() if row["Gold Label"] != "neutral"]
    (data / "NormAd" / "normad.csv").unlink()
    small_files.write_csv(data / "NormAd" / "normad_yes_no.csv", rows)
    two = list(NormAd().read(data))
    assert len(two) == 4 * 6
    assert all(three[item.id] == item for item in two)


@pytest.mark.parametrize(
    ("benchmark", "column", "value", "said"),
    [
        (CulturalBench, "answer", "E", "line 3, column 'answer': unknown answer letter 'E'; allowed: A, B"),
        (CulturalBench, "prompt_option_b", " ", "line 3, column 'prompt_option_b': no value"),
        (CulturalBench, "country", "Nippon", "line 3, column 'country': unknown culture of culturalbench"),
        (CulturalBench, "country", "Spian", "did you mean 'Spain'"),
        (CulturalBench, "data_idx", "0", "line 3, column 'data_idx': '0' appears twice"),
        (NormAd, "Gold Label", "maybe", "line 3, column 'Gold Label': unknown label 'maybe'"),
        (NormAd, "Story", "", "line 3, column 'Story': no value"),
        (CommonsenseQA, "answerKey", "F", "line 2, column 'answerKey': unknown answer letter 'F'"),
        (CommonsenseQA, "choices", [], "line 2, column 'choices': expected an object with the lists"),
        (
            CommonsenseQA,
            "choices",
            {"label": list("ABCDE"), "text": ["a", "b", "c", "d", ""]},
            "expected 5 labels with 5 texts, none empty",
        ),
        (QNLI, "label", -1, "line 2, column 'label': unknown label '-1'; allowed: 0, 1"),
        (MRPC, "sentence2", None, "line 2, column 'sentence2': no value"),
    ],
)
def test_a_wrong_value_in_a_row_is_reported_with_line_and_column(data, benchmark, column, value, said):
    name, rows, write = FILE[benchmark]
    changed = rows()
    changed[1][column] = value
    write(data / name, changed)
    with pytest.raises(DataFileError) as caught:
        list(benchmark().read(data))
    assert said in str(caught.value)
    assert name.split("/")[1] in str(caught.value)


@pytest.mark.parametrize("benchmark", ALL)
def test_wrong_columns_are_named(data, benchmark):
    name, rows, write = FILE[benchmark]
    column = benchmark.source.columns[1]
    write(data / name, [{k: v for k, v in row.items() if k != column} for row in rows()])
    with pytest.raises(DataFileError, match=f"column '{column}': no such column; .*columns:"):
        list(benchmark().read(data))


@pytest.mark.parametrize("benchmark", [*ALL, Blend, BlendControl])
def test_the_source_files_of_items_are_listed(data, benchmark):
    files = benchmark().files(data)
    assert len(files) == 2
    assert all(path.is_file() for path in files)


@pytest.mark.parametrize("benchmark", [*ALL, Blend])
def test_a_missing_folder_is_named(tmp_path, benchmark):
    with pytest.raises(DataFileError, match="no such file"):
        list(benchmark().read(tmp_path))


def test_blend_keeps_five_rows_of_each_culture_and_question(data):
    items = list(Blend().read(data))
    assert set(Counter((item.culture, item.question_id) for item in items).values()) == {5}
    assert {item.culture for item in items} == {"UK", "Nigeria"}
    assert Counter(item.split for item in items) == {"identify": 30, "test": 30}
    assert items[0].id == "q1_UK_0"


def test_blend_control_is_the_item_without_its_question(data):
    for item, control in zip(Blend().read(data), BlendControl().read(data), strict=True):
        assert control == replace(item, prompt=item.prompt[item.prompt.index(INSTRUCTION) :])


@pytest.mark.parametrize(
    ("column", "value", "said"),
    [
        ("answer_idx", "E", "line 2, column 'answer_idx': unknown answer letter 'E'; allowed: A, B, C, D"),
        ("choices", "A", "column 'choices': not JSON"),
        ("choices", '{"A": "x"}', "at least two labelled choices"),
        ("choices", '{"A": "x", "B": ""}', "none empty"),
        ("country", "Southern_Nigeria", "did you mean 'Northern_Nigeria'"),
        ("ID", "q9", "question 'q9' has no topic"),
        ("prompt", "What?", "the instruction"),
        ("MCQID", "q1_UK_1", "appears twice"),
    ],
)
def test_a_wrong_value_in_a_row_of_blend_is_reported(data, column, value, said):
    rows = small_files.blend()
    rows[0][column] = value
    small_files.write_csv(data / "BLEnD" / "mc_questions_file.csv", rows)
    with pytest.raises(DataFileError) as caught:
        list(Blend().read(data))
    assert said in str(caught.value)


def test_an_unknown_topic_of_blend_is_named(data):
    small_files.write_csv(data / "BLEnD" / "US_questions.csv", [{"ID": "q1", "Topic": "Weather"}])
    with pytest.raises(DataFileError, match="unknown topic 'Weather'; allowed: Food"):
        list(Blend().read(data))


def named(spelling, benchmark="blend"):
    return CultureNames(benchmark).find(Row("f.csv", 3, {"country": spelling}), "country").key


@pytest.mark.parametrize(
    ("spelling", "key"), [("US", "USA"), ("Northern_Nigeria", "Nigeria"), ("West_Java", "West Java")]
)
def test_a_culture_is_found_by_its_spelling_in_a_benchmark(spelling, key):
    assert named(spelling) == key


def test_an_unknown_spelling_offers_near_ones_and_says_where_to_add_it():
    with pytest.raises(DataFileError, match="unknown culture of blend 'South_Corea'") as caught:
        named("South_Corea")
    assert "did you mean 'South_Korea'" in str(caught.value)
    assert "names.blend" in str(caught.value)


def test_a_key_is_not_taken_for_a_spelling():
    with pytest.raises(DataFileError, match="unknown culture of blend 'USA'"):
        named("USA")
    with pytest.raises(DataFileError, match="known: none"):
        named("US", "no-such-benchmark")


def test_a_spelling_that_two_records_claim_is_refused(monkeypatch):
    spain = registry.cultures()["Spain"]
    twice = {"Spain": spain, "Hispania": replace(spain, key="Hispania")}
    monkeypatch.setattr(registry, "cultures", lambda: twice)
    with pytest.raises(PluginError, match=r"'Spain' and 'Hispania' both claim names\.blend"):
        named("Spain")
