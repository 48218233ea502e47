"""Every set of the gallery, from its small file to an evaluation with masked neurons."""

from __future__ import annotations

import math

import pytest

import culnig
from culnig import registry
from tests.benchmarks.gallery_files import write_gallery
from tests.tiny_models import tiny_model

NAMES = sorted(registry.gallery())


@pytest.mark.slow
def test_every_set_of_the_gallery_is_scored_selected_from_and_evaluated(tmp_path):
    bound, data = tiny_model(), tmp_path / "data"
    for name in NAMES:
        write_gallery(data, name)
    controls = {name: registry.benchmark(name).control for name in NAMES}
    asked = {"data_dir": data, "split": "all", "check": False}
    run = culnig.score(bound, [*NAMES, *filter(None, controls.values())], tmp_path / "run", **asked)
    assert set(NAMES) <= set(run.benchmarks)
    assert run.record["benchmarks"]["milu"]["licence"]["training"] == "allowed"
    sets = {
        name: culnig.select_general(run, target=name, control=control or False, exclusion=False, top_mlp=0.05)
        for name, control in controls.items()
    }
    assert all(chosen.neurons for chosen in sets.values())
    evaluation = culnig.evaluate(bound, NAMES, [sets["include"]], tmp_path / "evaluation", **asked)
    rows = {row["benchmark"]: row for row in evaluation.results["rows"] if row["condition"] == "unmasked"}
    assert set(rows) == set(NAMES)
    assert all(0 <= row["p_gold"] <= 1 for row in rows.values())
    assert 0 <= rows["global-opinion-qa"]["similarity"] <= 1
    assert rows["culturalbench-hard"]["together_accuracy"] <= rows["culturalbench-hard"]["accuracy"]
    assert rows["fork"]["similarity"] is None
    assert math.isclose(rows["culturalbench-hard"]["chance"], 0.5)
