from __future__ import annotations

import csv
import io

import pytest

from culnig.reporting.tables import Table, latex_text, number_text

TABLE = Table(
    "t",
    "50 % of A & B_1",
    ("name", "share", "p", "score"),
    [('a,"b"\n{x}', -0.1234, 0.00005, -1.5e-7), ("é$", None, 0.25, 2.0)],
    ("", "+.1%", "p", ".2e"),
)


def test_csv_gives_the_values_back_in_full():
    rows = list(csv.reader(io.StringIO(TABLE.csv())))
    assert rows[0] == ["name", "share", "p", "score"]
    assert rows[1] == ['a,"b"\n{x}', "-0.1234", "5e-05", "-1.5e-07"]
    assert rows[2] == ["é$", "", "0.25", "2.0"]


def test_latex_equals_hand_written_latex():
    assert TABLE.latex().split("\n") == [
        r"\begin{table}",
        r"\centering",
        r"\caption{50 \% of A \& B\_1}",
        r"\label{tab:t}",
        r"\begin{tabular}{lrrr}",
        r"\toprule",
        r"name & share & p & score \\",
        r"\midrule",
        r"a,\"b\" \{x\} & $-$12.3 \% & \textless{} 0.0001 & $-$1.50e-07 \\".replace('\\"', '"'),
        r"é\$ & -- & 0.250 & 2.00e+00 \\",
        r"\bottomrule",
        r"\end{tabular}",
        r"\end{table}",
        "",
    ]


@pytest.mark.parametrize(
    ("value", "form", "text"),
    [
        (None, "+.1%", "–"),
        (0.5, "+.1%", "+50.0 %"),
        (-0.5, ".1%", "−50.0 %"),
        (1234567, ",", "1,234,567"),
        (3, "", "3"),
        (0.00009, "p", "< 0.0001"),
        (0.001, "p", "0.00100"),
        (0.001, "%", "0.100 %"),
        (-0.01, "+%", "−1.00"),
        (1234.5, "+3", "+1,230"),
        ("<b>", ".2f", "<b>"),
    ],
)
def test_numbers_are_written_as_people_read_them(value, form, text):
    assert number_text(value, form) == text


def test_latex_commands_in_a_name_are_text():
    assert latex_text(r"\input{x}^~#") == (r"\textbackslash{}input\{x\}\textasciicircum{}\textasciitilde{}\#")


def test_every_table_of_a_report_has_a_name_of_its_own(report):
    names = [table.name for table in report.tables]
    assert len(set(names)) == len(names)
    assert all(name.replace("-", "").isalnum() for name in names)
