from __future__ import annotations

import pytest

from culnig.core.neurons import MLP_GATE
from culnig.errors import MismatchError, SelectionError, UnknownNameError
from culnig.selection.tables import general_totals, selection_tables
from tests.toy import moments, toy_layout, write_run

LAYOUT = toy_layout(1, {MLP_GATE: 2})

TARGET = ("target", moments(["China", "Iran"], [3, 1], [[8, 4], [0, 4]]))
CONTROL = ("control", moments(["Iran", "Spain", "China"], [1, 2, 1], [[4, 0], [40, 40], [2, 8]]))
EXCLUSION = ("exclusion", moments(["China"], [2], [[1, 3]]))


@pytest.fixture
def make_run(tmp_path):
    return lambda **tables: write_run(tmp_path / "run", LAYOUT, tables)


def test_target_minus_control_with_the_cultures_in_the_order_of_the_target(make_run):
    found = selection_tables(make_run(t=TARGET, c=CONTROL, x=EXCLUSION))
    assert found.cultures == ("China", "Iran")
    # each score divided by all items of its own benchmark: 4 in the target, 4 in the control
    assert found.difference.tolist() == [[8 / 4 - 2 / 4, 4 / 4 - 8 / 4], [0 - 4 / 4, 4 / 4 - 0]]
    assert found.exclusion.culture_scores.tolist() == [[0.5, 1.5]]
    assert (found.layout, found.model) == (LAYOUT, "toy")


def test_the_source_says_which_benchmarks_were_used(make_run):
    run = make_run(t=TARGET, c=CONTROL, x=EXCLUSION)
    source = selection_tables(run).source
    assert source["benchmarks"] == {"target": "t", "control": "c", "exclusion": "x"}
    assert source["n_items"] == {"target": 4, "control": 4, "exclusion": 2}
    assert source["splits"] == {"target": "identify", "control": "identify", "exclusion": "identify"}
    assert source["scores_hash"] == run.scores_hash
    assert source["model"] == run.record["model"]


def test_without_control_the_target_stands_alone(make_run):
    found = selection_tables(make_run(t=TARGET, c=CONTROL, x=EXCLUSION), use_control=False)
    assert found.difference.tolist() == [[2, 1], [0, 1]]
    assert found.source["benchmarks"] == {"target": "t", "exclusion": "x"}


def test_without_exclusion_there_is_none(make_run):
    found = selection_tables(make_run(t=TARGET, c=CONTROL), use_exclusion=False)
    assert found.exclusion is None
    assert found.source["benchmarks"] == {"target": "t", "control": "c"}


@pytest.mark.parametrize(
    ("tables", "message"),
    [
        (
            {"c": CONTROL, "x": EXCLUSION},
            r"no target benchmark, only c \(control\), x \(exclusion\); score one",
        ),
        ({"t": TARGET, "x": EXCLUSION}, "no control benchmark, .*select without it: control=False"),
        ({"t": TARGET, "c": CONTROL}, "no exclusion benchmark, .*select without it: exclusion=False"),
    ],
)
def test_a_missing_role_is_reported_with_advice(make_run, tables, message):
    with pytest.raises(SelectionError, match=message):
        selection_tables(make_run(**tables))


def test_a_target_is_required(make_run):
    with pytest.raises(SelectionError) as caught:
        selection_tables(make_run(c=CONTROL), use_control=False, use_exclusion=False)
    assert "--no" not in str(caught.value)


def test_two_benchmarks_of_a_role_are_a_choice_for_the_user(make_run):
    run = make_run(t=TARGET, a=CONTROL, b=CONTROL, x=EXCLUSION)
    with pytest.raises(SelectionError, match=r"several control benchmarks \(a, b\); choose one with control"):
        selection_tables(run)
    assert selection_tables(run, control="b").source["benchmarks"]["control"] == "b"


def test_a_name_that_is_not_in_the_run_offers_near_ones(make_run):
    run = make_run(everyday=TARGET, c=CONTROL, x=EXCLUSION)
    with pytest.raises(UnknownNameError, match="'evryday'; did you mean 'everyday'"):
        selection_tables(run, target="evryday")


def test_a_benchmark_of_another_role_is_refused(make_run):
    with pytest.raises(
        SelectionError, match=r"'c' has the role control in .*; choose one with the role target"
    ):
        selection_tables(make_run(t=TARGET, c=CONTROL, x=EXCLUSION), target="c")


def test_a_control_that_lacks_a_culture_is_refused_with_advice(make_run):
    partial = ("control", moments(["China"], [1], [[1, 1]]))
    with pytest.raises(SelectionError, match=r"no items of Iran; .* or use control=False"):
        selection_tables(make_run(t=TARGET, c=partial, x=EXCLUSION))


def test_totals_leave_out_what_only_the_control_has(make_run):
    """China and Iran of both, in either order; the 40 of the control's Spain count in its number alone."""
    run = make_run(t=TARGET, c=CONTROL, x=EXCLUSION)
    for totals in (general_totals(run), selection_tables(run).totals):
        # target 8 + 0 and 4 + 4 over 4 items; control 2 + 4 and 8 + 0 over 4; exclusion 1 and 3 over 2
        assert totals.difference.tolist() == [8 / 4 - 6 / 4, 8 / 4 - 8 / 4]
        assert totals.exclusion.tolist() == [0.5, 1.5]


def test_totals_of_equal_cultures_and_of_no_control(make_run):
    same = ("control", moments(["China", "Iran"], [1, 1], [[2, 8], [4, 0]]))
    run = make_run(t=TARGET, c=same)
    for use, expected in ((True, [8 / 4 - 6 / 2, 8 / 4 - 8 / 2]), (False, [2, 2])):
        for tables in (general_totals, selection_tables):
            found = tables(run, use_control=use, use_exclusion=False)
            totals = found if tables is general_totals else found.totals
            assert totals.difference.tolist() == expected
            assert totals.exclusion is None


def test_a_control_whose_options_are_read_in_another_way_is_refused(make_run):
    run = make_run(t=TARGET, c=CONTROL)
    by_text = {"by": "likelihood", "normalize": "bytes"}
    run.record["benchmarks"] |= {"t": {"answers": by_text}, "c": {}}
    with pytest.raises(MismatchError, match="'t' by likelihood per byte and 'c' by label, so their scores"):
        selection_tables(run, use_exclusion=False)
    assert selection_tables(run, use_control=False, use_exclusion=False).difference.shape == (2, 2)
    run.record["benchmarks"]["c"] = {"answers": dict(by_text)}
    assert selection_tables(run, use_exclusion=False).difference.shape == (2, 2)
