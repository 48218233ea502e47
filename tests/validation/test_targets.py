"""What has to hold of each world, on results made by hand."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from culnig.validation.judging import MethodResult
from culnig.validation.methods import CONTRIBUTION, METHODS, Method
from culnig.validation.recovery import Recovery
from culnig.validation.targets import hard_targets, invented_targets, real_targets, rows_targets

EFFECTS = SimpleNamespace(known_share=0.97, worst_own=0.25, worst_shared=0.31, worst_other=0.02, chance=0.25)


def result(method, general, specific, general_all=0.0, specific_all=0.0):
    def recovery(ap, ap_all):
        return Recovery(ap, 0, 0, 0, 0, 0.1, 0.1, average_precision_all=ap_all)

    return MethodResult(method, recovery(general, general_all), {"Iran": recovery(specific, specific_all)})


def results():
    own = {
        Method(CONTRIBUTION): (0.9, 0.4, 0.50, 0.20),
        Method(CONTRIBUTION, control=True): (0.9, 0.5, 0.70, 0.25),
        Method(CONTRIBUTION, control=True, exclusion=True): (0.9, 0.6, 0.70, 0.30),
        Method("log-odds", control=True): (0.95, 0.45, 0, 0),
        Method("log-odds", control=True, rank_by="margin"): (0.95, 0.99, 0, 0),
    }
    return tuple(result(method, *figures) for method, figures in own.items())


def by_name(targets):
    return {target.name: target for target in targets}


def test_steps_of_the_hard_world_have_to_earn_their_place():
    targets = by_name(hard_targets(EFFECTS, results()))
    control = targets["AP of all planted in all modules, gain by the control"]
    exclusion = targets["mean AP of a culture's in all modules, gain by exclusion"]
    assert (control.value, exclusion.value) == (pytest.approx(0.2), pytest.approx(0.05))
    assert control.holds
    assert exclusion.holds
    assert targets["share of taught facts known"].holds
    assert targets["highest accuracy with own set masked"].holds
    assert not targets["highest accuracy with shared set masked"].holds  # 0.31 is above 0.25 + 0.05


def test_the_invented_world_compares_only_methods_with_the_papers_ranking():
    targets = by_name(invented_targets(EFFECTS, results()))
    lead = targets["mean AP of a culture's, lead over the best other scorer"]
    assert lead.value == pytest.approx(0.5 - 0.45)
    assert targets["AP of all planted, lead over the best other scorer"].value == pytest.approx(-0.05)


def test_the_real_worlds_ask_for_knowledge():
    assert [target.holds for target in real_targets(EFFECTS, ())] == [True]
    assert [target.holds for target in rows_targets(EFFECTS, ())] == [True, True, False]


def test_every_world_has_the_methods_that_its_targets_need():
    needed = {Method(CONTRIBUTION), Method(CONTRIBUTION, control=True)}
    needed |= {Method(CONTRIBUTION, control=True, exclusion=True)}
    assert needed <= set(METHODS)
