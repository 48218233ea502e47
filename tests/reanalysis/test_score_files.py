"""Score files of the released code become runs that select as the released code does."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest

from culnig.errors import DataFileError, InputError, MismatchError, OutputExistsError, SelectionError
from culnig.reanalysis.score_files import import_scores, read_score_file, role_of
from culnig.selection.general import GeneralSettings, select_general
from culnig.selection.significance import general_contrast, p_values
from culnig.selection.specific import SpecificSettings, select_specific
from culnig.selection.tables import choose_roles, general_totals, selection_tables
from culnig.store.run import Run
from tests.reanalysis import released
from tests.reanalysis.released import CULTURES, WIDTHS, document, large_file, scores, written

TARGET = document("blend", 1, 50)
CONTROL = document("blendcontrol", 2, 40)
EXCLUSION = document("countryrc", 3, 25)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("outputs") / "gemma-3-12b-it" / "cultural_neuron"
    files = [
        written(folder / f"{name}_max_scores.json", content)
        for name, content in (("blend", TARGET), ("blendcontrol", CONTROL), ("countryrc", EXCLUSION))
    ]
    return import_scores(files, tmp_path_factory.mktemp("runs") / "run")


def keys(chosen):
    return {f"{neuron.module}_{neuron.layer}_{neuron.index}" for neuron in chosen.neurons}


def test_every_number_arrives_where_it_belongs(run):
    sums = run.moments("blend").sum
    for neuron, place in zip(
        run.layout.neurons(np.arange(run.layout.n_neurons)), range(run.layout.n_neurons), strict=True
    ):
        row = TARGET["neuron_scores"][f"{neuron.module}_{neuron.layer}_{neuron.index}"]
        assert sums[:, place].tolist() == [row[culture] for culture in CULTURES]
    assert run.layout.n_neurons == 2 * sum(WIDTHS.values())


def test_roles_numbers_of_items_and_the_model_are_recognised(run):
    assert {name: (b.role, b.n_items) for name, b in run.benchmarks.items()} == {
        "blend": ("target", 50),
        "blendcontrol": ("control", 40),
        "countryrc": ("exclusion", 25),
    }
    assert run.model == "gemma-3-12b-it"
    assert run.record["settings"]["moments"] == "sums only"
    confidence = run.moments("blend").p_gold_sum.tolist()
    assert confidence == [10.0 + len(culture) for culture in CULTURES]
    assert [role_of(name) for name in ("normad", "normadcontrol", "countryrc")] == [
        "target",
        "control",
        "exclusion",
    ]


@pytest.mark.parametrize(
    ("top_mlp", "top_attention", "exclude"), [(0.2, 0.1, 0.1), (1, 0.5, 0.3), (0.05, 0, 0)]
)
def test_general_neurons_are_those_of_the_released_rules(run, top_mlp, top_attention, exclude):
    chosen = select_general(general_totals(run), GeneralSettings(top_mlp, top_attention, exclude))
    assert keys(chosen) == released.general(TARGET, CONTROL, EXCLUSION, top_mlp, top_attention, exclude)


@pytest.mark.parametrize("culture", ["China", "South Korea", "USA"])
def test_specific_neurons_are_those_of_the_released_rules(run, culture):
    chosen = select_specific(selection_tables(run), culture, SpecificSettings(0.2, 0.1, 0.5))
    assert keys(chosen) == released.specific(TARGET, CONTROL, EXCLUSION, culture, 0.2, 0.1, 0.5)
    assert len(chosen.neurons) > 20


def test_without_squares_there_is_no_test(run):
    roles = choose_roles(run)
    with pytest.raises(SelectionError, match=r"holds sums only.*select without significance"):
        p_values(run, roles, general_contrast(roles), run.layout.pool("mlp"))


def test_the_parts_may_come_in_any_order(tmp_path):
    backwards = dict(reversed(list(TARGET.items())))
    shuffled = list(backwards["neuron_scores"].items())
    np.random.default_rng(0).shuffle(shuffled)
    backwards["neuron_scores"] = {key: dict(reversed(list(row.items()))) for key, row in shuffled}
    found = read_score_file(written(tmp_path / "x.json", {"more": [{"deep": [1, {}]}], **backwards}))
    expected = read_score_file(written(tmp_path / "y.json", TARGET))
    order = [found.cultures.index(culture) for culture in expected.cultures]
    assert found.layout == expected.layout
    assert found.sums[order].tolist() == expected.sums.tolist()


def broken(**changes):
    return {**TARGET, **changes}


def without(*names):
    return {key: row for key, row in scores(1).items() if key not in names}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "a JSON object is expected"),
        ({}, "names no item"),
        (broken(dataset_ids={}), "names no item"),
        (broken(dataset_ids={"blend": []}), "names no item"),
        (broken(dataset_ids=[]), "'dataset_ids' holds None, an object is expected"),
        (broken(dataset_ids={"blend": 3}), "'dataset_ids' of 'blend' is no list"),
        (broken(neuron_scores={}), "holds no neuron"),
        (broken(neuron_scores=3), "'neuron_scores' holds 3"),
        (broken(neuron_scores={"mlp.gate_proj_0_0": 3}), "'mlp.gate_proj_0_0' holds 3"),
        (broken(neuron_scores={"mlp.gate_proj_0_0": {"China": "high"}}), "of 'China' is a string"),
        (broken(neuron_scores={"mlp.gate_proj_0_0": {"China": None}}), "of 'China' is a null"),
        (broken(neuron_scores={"gate": {"China": 1.0}}), "'gate' names no neuron"),
        (broken(neuron_scores={"mlp.gate_proj_0_-1": {"China": 1.0}}), "names no neuron"),
        (broken(neuron_scores={"mlp.gate_proj_0_99999999999": {"China": 1.0}}), "names no neuron"),
        (broken(neuron_scores=without("mlp.gate_proj_1_7")), "'mlp.gate_proj_1_7' is missing"),
        (
            broken(
                neuron_scores={k: r for k, r in scores(1).items() if not k.startswith("self_attn.k_proj_0")}
            ),
            "self_attn.k_proj of layer 0 is missing",
        ),
        (
            broken(neuron_scores={**scores(1), "mlp.gate_proj_1_7": {"China": 1.0}}),
            "'mlp.gate_proj_1_7' has scores of China, the first neuron of China, Indonesia",
        ),
        (broken(total_probabilities_per_country=[]), "'total_probabilities_per_country' holds None"),
        (broken(total_probabilities_per_country={"China": "x"}), "of 'China' is a string, not a number"),
    ],
    ids=[f"case {number}" for number in range(19)],
)
def test_a_file_that_is_wrong_is_refused(tmp_path, content, message):
    file = written(tmp_path / "x.json", content)
    with pytest.raises(DataFileError, match=message) as caught:
        read_score_file(file)
    assert str(file) in str(caught.value)


def test_text_that_is_not_json_or_cut_off_is_refused(tmp_path):
    whole = json.dumps(TARGET)
    for text in (
        "",
        "{",
        whole[: len(whole) // 2],
        whole[:-1],
        '{"neuron_scores": NaN',
    ):
        (tmp_path / "x.json").write_text(text)
        with pytest.raises(DataFileError, match="not valid JSON, or cut off"):
            read_score_file(tmp_path / "x.json")
    twice = '{"neuron_scores": {"a_0_0": {"China": 1}, "a_0_0": {"China": 1}}, "dataset_ids": {"x": [1]}}'
    (tmp_path / "x.json").write_text(twice)
    with pytest.raises(DataFileError, match="'a_0_0' is there twice"):
        read_score_file(tmp_path / "x.json")


def test_files_that_do_not_belong_together(tmp_path):
    first = written(tmp_path / "first.json", TARGET)
    same = written(tmp_path / "same.json", TARGET)
    deeper = written(tmp_path / "deeper.json", broken(neuron_scores=scores(1, 3), dataset_ids={"x": [1]}))
    with pytest.raises(InputError, match="both hold 'blend'"):
        import_scores([first, same], tmp_path / "a")
    with pytest.raises(MismatchError, match=r"780 neurons in 3 layers.*score files of one model"):
        import_scores([first, deeper], tmp_path / "b")
    mixed = written(tmp_path / "mixed.json", broken(dataset_ids={"blend": [1], "blendcontrol": [1]}))
    with pytest.raises(DataFileError, match="different roles \\(control, target\\)"):
        import_scores([mixed], tmp_path / "c")
    with pytest.raises(InputError, match="no score file"):
        import_scores([], tmp_path / "d")
    with pytest.raises(DataFileError, match="no such file"):
        import_scores([tmp_path / "none.json"], tmp_path / "d")


def test_an_output_in_the_way_is_left_alone(tmp_path):
    file = written(tmp_path / "x.json", TARGET)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes").write_text("important")
    for overwrite in (False, True):
        with pytest.raises(OutputExistsError):
            import_scores([file], tmp_path / "mine", overwrite=overwrite)
    assert (tmp_path / "mine" / "notes").read_text() == "important"
    first = import_scores([file], tmp_path / "run")
    with pytest.raises(OutputExistsError, match="add overwrite=True"):
        import_scores([file], tmp_path / "run")
    with pytest.raises(InputError, match="both hold 'blend'"):
        import_scores([file, file], tmp_path / "run", overwrite=True)
    assert Run(tmp_path / "run").scores_hash == first.scores_hash
    assert import_scores([file], tmp_path / "run", overwrite=True).scores_hash == first.scores_hash


PEAK = """
import sys
from pathlib import Path
from culnig.reanalysis.score_files import import_scores
run = import_scores([Path(sys.argv[1])], Path(sys.argv[2]))
peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM")).split()[1]
print(int(peak) * 1024, run.layout.n_neurons)
"""


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak from /proc")
def test_a_large_file_takes_the_memory_of_its_table_not_of_its_text(tmp_path):
    file = tmp_path / "blend_max_scores.json"
    n_neurons = large_file(file, 200)
    done = subprocess.run(
        [sys.executable, "-c", PEAK, file, tmp_path / "run"], capture_output=True, text=True, check=True
    )
    peak, found = map(int, done.stdout.split())
    assert found == n_neurons
    table = n_neurons * 16 * 8
    assert file.stat().st_size > 5 * table
    assert peak < 150e6 + 4 * table


def test_a_culture_without_a_total_has_none(tmp_path):
    totals = dict.fromkeys(CULTURES[1:], 3.5)
    read = read_score_file(written(tmp_path / "x.json", TARGET | {"total_probabilities_per_country": totals}))
    expected = {**totals, CULTURES[0]: 0.0}
    assert dict(zip(read.cultures, read.p_gold_sum.tolist(), strict=True)) == expected
