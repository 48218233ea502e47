from __future__ import annotations

import json
import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import small_files

from culnig import registry
from culnig.benchmarks.blend_short import BlendShort
from culnig.errors import DataFileError

LANGUAGES = ("en", "es", "ar", "fa", "el", "id", "zh", "ko", "ha", "am", "as", "az", "su")


def write_annotations(data: Path, document: dict, name: str = "UK") -> Path:
    path = data / "BLEnD" / "annotations" / f"{name}_data.json"
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(json.dumps(document, ensure_ascii=False), encoding="utf-8")
    return path


def annotations(language: str) -> dict:
    return {
        question: {
            "question": f"{language} {question}?",
            "annotations": [
                {"answers": ["rare"], "en_answers": ["x"], "count": 1},
                {"answers": ["usual", "usual ", " other"], "en_answers": [], "count": 3},
                {"answers": ["nobody's"], "en_answers": [], "count": 0},
            ],
        }
        for question in small_files.BLEND_TOPICS
    }


@pytest.fixture
def data(tmp_path: Path) -> Path:
    small_files.write_all(tmp_path)
    for record in registry.cultures().values():
        if name := record.names.get("blend"):
            write_annotations(tmp_path, annotations(record.languages[0]), name)
            rows = [{"id": f"p{k}", "Translation": f"Prompt {k}: {{q}}"} for k in range(4)]
            rows.append({"id": "slip", "Translation": "without a question"})
            small_files.write_csv(tmp_path / "BLEnD" / "prompts" / f"{name}_prompts.csv", rows)
    return tmp_path


def test_counts_of_the_real_files():
    if not os.environ.get("CULNIG_DATA"):
        pytest.skip("CULNIG_DATA names no folder with the published files")
    items = list(BlendShort().read(Path(os.environ["CULNIG_DATA"])))
    assert Counter(item.split for item in items) == {"identify": 4_046, "test": 3_676}
    assert len({item.culture for item in items}) == 16
    assert {item.language for item in items} == set(LANGUAGES)
    assert not any("{q}" in item.prompt for item in items)


def test_questions_become_items_with_accepted_answers(data):
    items = list(BlendShort().read(data))
    assert len(items) == 16 * 6
    item = next(item for item in items if item.culture == "Nigeria")
    assert (item.id, item.language, item.options, item.split) == ("q1/Nigeria", "ha", (), "identify")
    assert item.accepted == ("usual", "other", "rare")
    assert item.answer == "usual"
    assert item.prompt.endswith(": ha q1?")


def test_the_prompt_depends_on_seed_and_item_alone(data):
    items = {item.id: item for item in BlendShort().read(data)}
    assert len({item.prompt[:9] for item in items.values()}) == 4
    write_annotations(data, dict(reversed(annotations("en").items())))
    assert {item.id: item for item in BlendShort().read(data)} == items
    other = {item.id: item for item in BlendShort(seed=1).read(data)}
    assert other != items
    assert {k: replace(i, prompt="") for k, i in other.items()} == {
        k: replace(i, prompt="") for k, i in items.items()
    }


def test_questions_without_text_or_answers_are_left_out(data):
    document = annotations("en")
    document["q1"]["annotations"] = []
    document["q2"]["question"] = "  "
    document["q3"]["annotations"] = [{"answers": ["x"], "count": 0}]
    write_annotations(data, document)
    assert [i.question_id for i in BlendShort().read(data) if i.culture == "UK"] == ["q4", "q5", "q6"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda d: d.update(q9=d["q1"]), "question 'q9' has no topic"),
        (lambda d: d["q1"].pop("question"), "question 'q1': expected an object with a question"),
        (lambda d: d["q1"].update(annotations={}), "'q1': expected a list of objects with answers and count"),
    ],
)
def test_malformed_annotations_are_named(data, change, said):
    document = annotations("en")
    change(document)
    path = write_annotations(data, document)
    with pytest.raises(DataFileError) as caught:
        list(BlendShort().read(data))
    assert said in str(caught.value)
    assert path.name in str(caught.value)


def test_prompts_without_a_question_are_refused(data):
    path = data / "BLEnD" / "prompts" / "UK_prompts.csv"
    small_files.write_csv(path, [{"id": "p", "Translation": "nothing"}])
    with pytest.raises(DataFileError, match=r"no prompt contains \{q\}"):
        list(BlendShort().read(data))


def test_its_files_are_listed_and_a_missing_folder_is_reported(data):
    assert len(BlendShort().files(data)) == 1 + 2 * 16
    with pytest.raises(DataFileError, match="the hub has no prompts"):
        list(BlendShort().read(None))
    (data / "BLEnD" / "annotations" / "UK_data.json").unlink()
    with pytest.raises(DataFileError, match="no such file"):
        list(BlendShort().read(data))
