"""Knowledge neurons: a table by hand, and the definition in loops over the items of a real run."""

from __future__ import annotations

import numpy as np
import pytest

from culnig.benchmarks.base import ChosenItems
from culnig.core.neurons import MLP_GATE, Layout
from culnig.errors import SelectionError, StoreError, UnknownNameError
from culnig.scoring.run import RunSettings, score_run
from culnig.scoring.scoring import ScoreSettings
from culnig.selection.knowledge import (
    KnowledgeSettings,
    PromptCounts,
    prompt_counts,
    select_knowledge,
    standing_out,
)
from tests.tiny_models import tiny_items, tiny_model
from tests.toy import write_toy_run


def test_who_stands_out_in_a_prompt_by_hand():
    scores = [
        [10.0, 2.0, 1.9, -5.0],  # 0.2 x 10 = 2 is reached by two
        [-1.0, -0.1, -3.0, -2.0],  # nothing positive: nobody
        [0.0, 0.0, 0.0, 0.0],
        [0.5, 0.0, 0.25, 0.05],
    ]
    found = standing_out(np.array(scores), 0.2)
    np.testing.assert_array_equal(
        found,
        [
            [True, True, False, False],
            [False, False, False, False],
            [False, False, False, False],
            [True, False, True, False],
        ],
    )


def counted(counts, n_prompts, cultures=("c0", "c1")):
    counts = np.array(counts)
    layout = Layout.from_widths([(0, "self_attn.q_proj", 3), (0, MLP_GATE, counts.shape[1])])
    return PromptCounts(
        layout, cultures, np.array(n_prompts), counts, layout.pool("mlp"), "toy", {"scores_hash": "0" * 64}
    )


def test_shared_by_enough_prompts_by_hand():
    """10 and 4 prompts: 0.7 asks for 7 and for 3 (2.8) of them."""
    table = counted([[7, 6, 10, 0, 7], [2, 3, 0, 4, 3]], [10, 4])
    first, second = select_knowledge(table, "c0"), select_knowledge(table, "c1")
    assert [n.index for n in first.neurons] == [2, 0, 4]  # most shared first, ties to the lower index
    np.testing.assert_array_equal(first.scores, [1.0, 0.7, 0.7])
    assert [n.index for n in second.neurons] == [3, 1, 4]
    assert {n.module for n in first.neurons} == {MLP_GATE}
    assert first.method == {
        "name": "knowledge-neurons",
        "culture": "c0",
        "threshold": 0.2,
        "shared": 0.7,
        "pool": "mlp",
        "prompts": 10,
        "pools": {"mlp": {"neurons": 5, "kept": 3}},
    }
    nobody = select_knowledge(counted([[1, 2]], [10], ("c0",)), "c0")
    assert nobody.neurons == ()


@pytest.fixture(scope="module")
def item_run(tmp_path_factory):
    return score_run(
        tiny_model(),
        {"toy": ChosenItems("target", "identify", tiny_items(15))},
        ScoreSettings(token_budget=200),
        tmp_path_factory.mktemp("knowledge") / "run",
        run_settings=RunSettings(level="item"),
    )


@pytest.mark.parametrize("cells", [1 << 24, 1])
@pytest.mark.parametrize("pool", ["mlp", "all"])
def test_sets_follow_the_definition(item_run, monkeypatch, pool, cells):
    monkeypatch.setattr("culnig.selection.knowledge._CELLS", cells)  # all items at once, or one by one
    settings = KnowledgeSettings(threshold=0.3, shared=0.5, pool=pool)
    table = prompt_counts(item_run, settings)
    scores, answers = item_run.item_scores("toy"), item_run.outcomes("toy")
    columns = [int(n) for n in item_run.layout.pool(pool)]
    n_selected = 0
    for culture in table.cultures:
        rows = [row for row, name in enumerate(answers.culture) if name == culture]
        kept = []
        for column in columns:
            prompts = 0
            for row in rows:
                largest = max(float(scores[row, other]) for other in columns)
                prompts += largest > 0 and float(scores[row, column]) >= 0.3 * largest
            if prompts / len(rows) >= 0.5:
                kept.append(column)
        chosen = select_knowledge(table, culture, settings)
        assert set(chosen.neurons) == set(item_run.layout.neurons(np.array(kept, dtype=np.int64)))
        n_selected += len(kept)
    assert n_selected > 0


def test_impossible_selections_are_refused(item_run, tmp_path):
    with pytest.raises(StoreError, match="score it again with level='item'"):
        prompt_counts(write_toy_run(tmp_path / "sums"))
    with pytest.raises(SelectionError, match=r"threshold is 0; give a number above 0"):
        prompt_counts(item_run, KnowledgeSettings(threshold=0))
    with pytest.raises(SelectionError, match=r"shared is 1\.5"):
        select_knowledge(counted([[1]], [1], ("c0",)), "c0", KnowledgeSettings(shared=1.5))
    with pytest.raises(UnknownNameError, match="c9"):
        select_knowledge(counted([[1], [1]], [1, 1]), "c9")
    with pytest.raises(UnknownNameError, match="pool or module"):
        prompt_counts(item_run, KnowledgeSettings(pool="mlp.nothing"))
