"""The real world in its short form, on a tiny model: learning, the cache, and what is judged.

`validate --world real` and `real-rows` train the embedded model for minutes and are not part of the tests.
"""

from __future__ import annotations

import pytest
import torch

from culnig.core.items import NO_CULTURE
from culnig.selection.specific import SpecificSettings
from culnig.validation import finding, learning, real
from culnig.validation.planting import SHARED
from culnig.validation.settings import RealSettings, RowsSettings
from culnig.validation.validate import validate
from tests.tiny_models import tiny_model
from tests.tolerances import assert_values_equal

SIZES = {"cultures": 3, "questions": 3}


@pytest.fixture(autouse=True)
def tiny(monkeypatch, tmp_path):
    monkeypatch.setattr(real, "load_base", tiny_model)
    monkeypatch.setattr(real, "PASSES", 2)
    monkeypatch.setattr(real, "ROWS_PASSES", 2)
    monkeypatch.setenv("CULNIG_CACHE", str(tmp_path / "cache"))


def test_learning_raises_the_probability_of_written_answers_and_is_kept(monkeypatch):
    monkeypatch.setattr(real, "PASSES", 100)
    monkeypatch.setattr(learning, "RATE", 2e-2)
    steps, lines = [], []
    planted = real.learned_model(RealSettings(**SIZES), lambda *step: steps.append(step), lines.append)
    assert steps[-1][1] == steps[-1][2] > 0
    assert "% of the last " in lines[0]
    assert planted.truth is None
    assert set(planted.before) == set(planted.world.cultures)
    facts = planted.world.benchmarks["planted-facts"].items
    after = real.accuracy_by_culture(planted.bound, facts)
    assert sum(after.values()) > sum(planted.before.values())

    def fail(*arguments):
        raise AssertionError("learned again")

    monkeypatch.setattr(real, "_learn", fail)
    again = real.learned_model(RealSettings(**SIZES))
    for name, parameter in again.bound.model.named_parameters():
        assert torch.equal(parameter, planted.bound.model.get_parameter(name)), name
    with pytest.raises(AssertionError, match="learned again"):
        real.learned_model(RealSettings(seed=1, **SIZES))


def test_only_the_rows_of_known_neurons_learn():
    planted = real.rows_model(RowsSettings(neurons_per_culture=2, **SIZES))
    assert set(planted.sets) == {*planted.world.cultures, SHARED}
    assert len(planted.flat()) == 8
    before = dict(tiny_model().model.named_parameters())
    membership = {(n.layer, n.index) for chosen in planted.sets.values() for n in chosen.neurons}
    for name, parameter in planted.bound.model.named_parameters():
        changed = (parameter != before[name]).numpy()
        if ".mlp." not in name:
            assert not changed.any(), name
            continue
        layer = int(name.split(".")[2])
        rows = changed.any(axis=0 if "down_proj" in name else 1)
        assert set(rows.nonzero()[0]) <= {index for own, index in membership if own == layer}
    assert any((p != before[name]).any() for name, p in planted.bound.model.named_parameters())


def test_the_answers_before_are_the_models_own():
    bound = tiny_model()
    lessons = real.lessons_of(
        real.Encoder(bound).encode_all(
            real.make_real_world(RealSettings(**SIZES), bound.tokenizer).benchmarks["planted-facts"].items[:3]
        ),
        [0, 0, 0],
        0.9,
        260,
    )
    rows = real._as_answered(bound.model, lessons)
    with torch.no_grad():
        length = int(lessons.last[1]) + 1
        logits = bound.model(input_ids=lessons.token_ids[1:2, :length]).logits[0, -1]
    assert_values_equal(rows[1], logits.softmax(-1))


def test_where_no_neurons_are_known_masking_and_audit_judge_them(monkeypatch, tmp_path):
    many = SpecificSettings(top=0.02, z=-9.0, exclude=0.0)
    monkeypatch.setattr(finding, "RULES", {"paper": (None, many), "best": (finding.SCORER, many)})
    document = validate(world="real", out=tmp_path / "real", **SIZES).document()
    assert document["methods"] == []
    judged = document["finding"]
    conditions = {row["condition"] for row in judged["rows"]}
    assert "general" in conditions
    assert sum(row["like"] is not None for row in judged["rows"]) >= 19
    assert set(judged["audit"]) >= {"score, all", "score, top"}
    assert NO_CULTURE not in document["effects"]["known"]
    cultures = list(document["effects"]["known"])
    for rule in ("paper", "best"):
        accuracy = judged["by_rule"][rule]["matrix"][0]
        assert accuracy["metric"] == "accuracy"
        assert accuracy["masked"] == cultures
    assert list(judged["own"]) == cultures
    for rows in judged["own"].values():
        assert sum(row["like"] is not None for row in rows) == 19
        assert rows[0]["n"] <= 2  # two of three questions, of one culture
    assert (tmp_path / "real" / "finding.png").read_bytes().startswith(b"\x89PNG")


def test_known_rows_are_judged_like_any_planted_neurons():
    lines: list[str] = []
    document = validate(world="real-rows", neurons_per_culture=2, say=lines.append, **SIZES).document()
    assert any(line.startswith("no rows of other-cultures: ") for line in lines)
    statistics = {row["statistic"] for row in document["methods"]}
    assert "gradient-activation" in statistics
    assert "integrated-gradients" not in statistics  # 42 passes over a real model
    assert document["costs"]["log-odds"]["passes"] == 3
    assert {"flattered", "general", "specific"} <= set(document["methods"][0])
