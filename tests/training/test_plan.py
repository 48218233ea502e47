"""Plans: what they say, that peft understands them, and that the file comes back as it went."""

from __future__ import annotations

import numpy as np
import pytest
import yaml

from culnig.core.neurons import MLP_GATE, Neuron
from culnig.errors import MismatchError, OutputExistsError, SelectionError, StoreError
from culnig.training.plan import PlanSettings, make_plan, with_direction
from culnig.training.plan_file import read_plan
from culnig.training.weights import Weights, parse_ranges, ranges_text
from tests.tiny_models import ALL_CONFIGS, tiny_model
from tests.training.chosen import neuron_set, random_set

GRANULARITIES = ("mlp", "module", "layer")


def plan_of(family="llama", **settings):
    bound = tiny_model(family)
    return make_plan(bound, random_set(bound), PlanSettings(**{"budget": 0.3, **settings}))


@pytest.mark.parametrize("family", ALL_CONFIGS)
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_what_is_trained_and_what_is_frozen_make_the_model(family, granularity):
    bound = tiny_model(family)
    plan = make_plan(bound, random_set(bound), PlanSettings(budget=0.3, granularity=granularity))
    named = {part.parameter for part in plan.train}
    assert named.isdisjoint(plan.freeze)
    assert named | set(plan.freeze) == {name for name, _ in bound.model.named_parameters()}
    assert plan.n_trainable == sum(unit["parameters"] for unit in plan.chosen)
    assert 0 < plan.share <= 0.3
    plan.check(bound)


@pytest.mark.parametrize("family", ALL_CONFIGS)
def test_row_masks_take_exactly_the_neurons_out(family):
    bound = tiny_model(family)
    chosen = random_set(bound)
    whole = make_plan(bound, chosen, PlanSettings(budget=1.0, granularity="layer"))
    kept = make_plan(bound, chosen, PlanSettings(budget=1.0, granularity="layer", keep_neurons=True))
    owned = {
        (rows.part.parameter, rows.part.axis, int(place))
        for rows in Weights(bound).of_neurons(chosen.flat(bound.layout))
        for place in rows.part.indices
    }
    left_out = {
        (part.parameter, part.axis, place)
        for part in kept.train
        if part.indices is not None
        for place in set(range(part.shape[part.axis])) - set(part.indices.tolist())
    }
    assert left_out == owned
    assert {part.parameter for part in kept.train} == {part.parameter for part in whole.train}


@pytest.mark.filterwarnings("ignore:.*deprecated:FutureWarning")  # peft asks transformers by old names
@pytest.mark.parametrize("family", ALL_CONFIGS)
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_peft_takes_the_same_modules(family, granularity):
    peft = pytest.importorskip("peft")
    bound = tiny_model(family)
    plan = make_plan(bound, random_set(bound), PlanSettings(budget=0.3, granularity=granularity))
    wide = family == "gpt2"
    wrapped = peft.get_peft_model(bound.model, peft.LoraConfig(r=2, fan_in_fan_out=wide, **plan.peft))
    names = {
        name.removeprefix("base_model.model.")
        for name, module in wrapped.named_modules()
        if isinstance(module, peft.tuners.lora.LoraLayer)
    }
    assert names == set(plan.linears)


def test_short_names_never_reach_into_a_vision_tower():
    plan = plan_of("gemma3_multimodal", granularity="layer")
    assert plan.peft["layers_to_transform"] is None
    assert all("language_model" in name for name in plan.peft["target_modules"])
    assert plan_of("llama").peft["target_modules"] == ["mlp.down_proj", "mlp.gate_proj", "mlp.up_proj"]


def test_other_directions_come_from_the_plan_alone(tmp_path):
    bound = tiny_model()
    chosen = random_set(bound)
    make_plan(bound, chosen, PlanSettings(budget=0.3)).write(tmp_path / "plan.yaml")
    made = with_direction(bound, read_plan(tmp_path / "plan.yaml"), direction="bottom")
    direct = make_plan(bound, chosen, PlanSettings(budget=0.3, direction="bottom"))
    assert made.document() == direct.document()


@pytest.mark.parametrize("family", ["llama", "phi3", "gpt_neox"])
def test_a_plan_comes_back_as_it_was_written(family, tmp_path):
    plan = plan_of(family, granularity="module", keep_neurons=True)
    plan.write(tmp_path / "plan.yaml")
    again = read_plan(tmp_path / "plan.yaml")
    assert again.document() == plan.document()
    assert again.n_trainable == plan.n_trainable
    again.write(tmp_path / "again.yaml")
    assert (tmp_path / "again.yaml").read_bytes() == (tmp_path / "plan.yaml").read_bytes()
    with pytest.raises(OutputExistsError, match=r"plan\.yaml exists; add overwrite=True"):
        plan.write(tmp_path / "plan.yaml")


def test_the_file_says_what_a_person_wants_to_know(tmp_path):
    plan = plan_of()
    plan.write(tmp_path / "plan.yaml")
    document = yaml.safe_load((tmp_path / "plan.yaml").read_text())
    assert document["n_trainable"] == 5760
    assert document["share"] == pytest.approx(5760 / document["n_parameters"], abs=1e-6)
    assert document["peft"]["layers_to_transform"] == [1, 2]
    assert [unit["chosen"] for unit in document["ranking"]] == [True, True, False]
    assert "model.layers.0.mlp.gate_proj.weight" in document["freeze"]


def test_ranges_come_back():
    generator = np.random.default_rng(0)
    for _ in range(50):
        places = np.flatnonzero(generator.random(60) < generator.random())
        if places.size:
            assert parse_ranges(ranges_text(places)).tolist() == places.tolist()
    assert ranges_text(np.array([0, 1, 2, 3, 7, 9, 10])) == "0-3,7,9-10"
    for wrong in ("", "3-1", "1,1", "x", "5,2"):
        with pytest.raises(ValueError, match=r".*"):
            parse_ranges(wrong)


def test_an_empty_set_and_a_plan_that_keeps_everything_are_refused():
    bound = tiny_model()
    with pytest.raises(SelectionError, match="'by hand' is empty"):
        make_plan(bound, neuron_set(bound, []), PlanSettings())
    every = [Neuron(MLP_GATE, layer, index) for layer in range(3) for index in range(40)]
    with pytest.raises(SelectionError, match="nothing is left to train"):
        make_plan(bound, neuron_set(bound, every), PlanSettings(budget=0.3, keep_neurons=True))


def test_another_models_plan_is_refused():
    plan = plan_of("llama")
    with pytest.raises(MismatchError, match=r"made for 'tiny-llama'.*'tiny-falcon3' has layout"):
        plan.check(tiny_model("falcon3"))
    with pytest.raises(MismatchError, match=r"trains model\.layers.*does not exist"):
        plan.check(tiny_model("phi3"))  # the same neurons in fused projections


def changed(path, **fields):
    document = yaml.safe_load(path.read_text())
    del document["checksum"]
    document.update(fields)
    path.write_text(yaml.safe_dump(document))
    return path


def test_foreign_and_damaged_files_are_named(tmp_path):
    def fresh():
        plan_of(granularity="module", keep_neurons=True).write(tmp_path / "plan.yaml", overwrite=True)
        return tmp_path / "plan.yaml"

    with pytest.raises(StoreError, match=r"none\.yaml: no such file; expected a plan"):
        read_plan(tmp_path / "none.yaml")
    with pytest.raises(StoreError, match="format is 'other', expected 'culnig-plan'"):
        read_plan(changed(fresh(), format="other"))
    with pytest.raises(StoreError, match="format version 9, this culnig reads 1"):
        read_plan(changed(fresh(), format_version=9))
    with pytest.raises(StoreError, match="the plan is empty"):
        read_plan(changed(fresh(), train=[], n_trainable=0))
    with pytest.raises(StoreError, match="says 17; the file was changed"):
        read_plan(changed(fresh(), n_trainable=17))
    with pytest.raises(StoreError, match="index 2 is beyond its axis of 2"):
        read_plan(changed(fresh(), train=[{"parameter": "w", "shape": [2, 2], "places": "0-2"}]))
    for train in ([{}], "x", 3, [{"parameter": "w", "shape": [2], "places": "b"}]):
        with pytest.raises(StoreError, match="in a plan; the file is damaged"):
            read_plan(changed(fresh(), train=train))
    for text in ("[", "- 1", "\x00", "a: &a [*a]"):
        (tmp_path / "text.yaml").write_text(text)
        with pytest.raises(StoreError, match=r"not a plan|format is None"):
            read_plan(tmp_path / "text.yaml")
