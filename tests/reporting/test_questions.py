"""Every table with numbers from items says how many questions it rests on."""

from __future__ import annotations

import re

WITHOUT_ITEMS = re.compile(r"layers|provenance|settings|data|similarity-sets|training-arms|leaderboard")
"""Tables of positions, settings and overlaps."""


def test_every_table_of_a_report_says_how_many_questions_it_rests_on(report):
    told = {}
    for table in report.tables:
        if not WITHOUT_ITEMS.match(table.name):
            in_caption = re.search(r"(\d+)( to \d+)? questions", table.caption)
            column = table.headings.index("questions") if "questions" in table.headings else None
            told[table.name] = in_caption[1] if in_caption else column and table.rows[0][column]
    assert len(told) > 12
    other = {
        "instances-general-i-topic": 3,
        "training": 40,
    }  # half of the topics; the task, which comes first
    for name, number in told.items():
        assert int(number or 0) == next((n for begins, n in other.items() if name.startswith(begins)), 6), (
            name
        )


def test_the_methods_name_the_questions(report):
    assert "toy-target (24 items of 6 questions, target)" in report.methods
    assert re.search(r"We evaluated on [^(]+ \(6 in [^)]*\) with the neurons'", report.methods)
    assert report.methods.count("The independent unit is the question") == 1
