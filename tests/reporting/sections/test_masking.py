"""What the section on masks says of neurons that are scaled by other factors than 0."""

from __future__ import annotations

from culnig.evaluation.results import METRICS
from culnig.reporting.sections.masking import masking_section
from tests.reporting.test_summary import evaluation, row, unmasked


def panel_of(*rows):
    shown = [{**dict.fromkeys(METRICS, 0.5), **own} for own in (unmasked(), *rows)]
    return masking_section(evaluation(*shown).evaluations).panels[0]


def test_a_factor_is_part_of_the_name_of_neurons_that_are_scaled():
    panel = panel_of(row(factor=2.0), row("general ×0.5", factor=0.5), row("general (mean)", mask="mean"))
    assert [cells[1] for cells in panel.table.rows] == ["general ×2", "general ×0.5", "general (mean)"]
    assert panel.table.caption.startswith("Change of accuracy in points when neurons are scaled; 95 %")


def test_neurons_that_are_all_masked_are_said_to_be():
    panel = panel_of(row())
    assert panel.table.rows[0][1] == "general"
    assert "when neurons are masked" in panel.table.caption
