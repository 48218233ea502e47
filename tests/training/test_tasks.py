"""Which items are trained on."""

from __future__ import annotations

import pytest

from culnig import registry
from culnig.errors import DataFileError, TrainingError
from culnig.training.settings import TrainSettings
from culnig.training.tasks import check_licence, first_wording, read_task
from tests.training.tasks import declared_task, glue_folder


@pytest.fixture
def data(tmp_path):
    return glue_folder(tmp_path)


@pytest.mark.parametrize("name", ["qnli", "mrpc"])
def test_training_files_are_read_in_the_first_wording(name, data):
    benchmark = registry.benchmark(name)
    examples = read_task(benchmark, data, None, 42).examples
    assert len(examples) == 64
    assert {item.id.rpartition("/")[2] for item in examples} == {"w1"}
    tested = {item.prompt for item in benchmark.read(data)}
    if name == "qnli":
        assert tested.isdisjoint(item.prompt for item in examples)


def test_labels_of_training_rows_are_theirs(data):
    golds = [item.answer for item in read_task(registry.benchmark("qnli"), data, None, 42).examples]
    assert golds == ["A", "B"] * 32  # label 0 is yes, the first option
    golds = [item.answer for item in read_task(registry.benchmark("mrpc"), data, None, 42).examples]
    assert golds == ["B", "A"] * 32 or golds == ["A", "B"] * 32


def test_examples_are_drawn_by_the_seed_in_file_order(data):
    benchmark = registry.benchmark("qnli")
    first, again, other = (
        [item.question_id for item in read_task(benchmark, data, 10, seed).examples] for seed in (1, 1, 2)
    )
    assert first == again != other
    assert len(set(first)) == 10
    assert first == sorted(first, key=int)
    assert registry.benchmark("qnli").training_examples == 10_000


def test_a_declared_task_trains_on_its_identify_rows(tmp_path):
    path = declared_task(tmp_path)
    examples = read_task(registry.benchmark(str(path)), None, None, 42).examples
    assert [item.question_id for item in examples] == [f"r{number}" for number in range(24)]


def test_a_task_without_training_rows_says_so(data, tmp_path):
    (data / "GLUE" / "qnli_train.jsonl").unlink()
    with pytest.raises(
        TrainingError, match=r"'qnli' has no training split here: .*qnli_train\.jsonl: no such"
    ):
        read_task(registry.benchmark("qnli"), data, None, 42)
    path = declared_task(tmp_path, n_train=0)
    with pytest.raises(TrainingError, match="'boxes' has no training split: none of its items"):
        read_task(registry.benchmark(str(path)), None, None, 42)


def test_a_damaged_training_file_is_named_with_its_line(data):
    path = data / "GLUE" / "mrpc_train.jsonl"
    path.write_text(path.read_text() + "{\n")
    with pytest.raises(DataFileError, match=r"mrpc_train\.jsonl, line 65"):
        read_task(registry.benchmark("mrpc"), data, None, 42)


def test_one_wording_is_kept_and_no_culture_is_lost():
    items = list(registry.benchmark("everyday").read(None))
    kept = first_wording(items)
    assert {item.culture for item in kept} == {item.culture for item in items}
    assert len(kept) == len(items)


def test_a_set_whose_licence_does_not_allow_training_needs_permission():
    unknown = registry.benchmark("include")
    with pytest.raises(TrainingError, match=r"'include': its licence \(not verified; .* i_have_permission"):
        check_licence(unknown, has_permission=False)
    check_licence(unknown, has_permission=True)
    check_licence(registry.benchmark("copal"), has_permission=False)
    check_licence(registry.benchmark("qnli"), has_permission=False)
    unknown.licence = {"name": "CC BY-NC", "training": "forbidden", "non_commercial": True}
    with pytest.raises(TrainingError, match="forbids training") as caught:
        check_licence(unknown, has_permission=False)
    assert "--i-have-permission" in caught.value.for_command_line()


def test_permission_is_recorded_where_it_was_given():
    assert "i_have_permission" not in TrainSettings().record(), "earlier trainings resume"
    assert TrainSettings(i_have_permission=True).record()["i_have_permission"] is True


def test_options_that_are_read_as_texts_are_not_trained_on(tmp_path):
    (tmp_path / "t.csv").write_text("q,a,b,r\nThey drink,tea,mead,A\n")
    (tmp_path / "t.yaml").write_text(
        "name: t\ndata: t.csv\nsplit: identify\nanswer_by: likelihood\n"
        "columns: {question: q, options: [a, b], answer: r}\n"
        'wordings: [{id: w, template: "{question}"}]\n'
    )
    with pytest.raises(TrainingError, match="'t' reads its options as texts; training needs labels"):
        read_task(registry.benchmark(str(tmp_path / "t.yaml")), None, None, 42)
