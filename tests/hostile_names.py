"""Names that no one should give a culture, and that a file may give one all the same."""

from __future__ import annotations

import unicodedata

NAMES = [
    *("[red]", "[/red]", "[link=https://example.org]x[/link]", "[bold", ":smile:", "\\[red]"),
    *(
        "\x1b[31mred\x1b[0m",
        "\x1b]8;;http://example.org\x07x",
        "\x9b31m",
        "a\rb",
        "a\nb",
        "a\tb",
        "bell\x07",
        "a\x00b",
    ),
    *("\u202eevil", "\u2066x\u2069", "\u200fمكسيكو", "\u200f", "می\u200cخواهم", "\ufeffBOM"),
    *("=1+1", "+cmd", "-x", "@SUM(A1)", "\t=1", "-1.5", "*", "?"),
    *("../../x", "/etc/passwd", "..", ".", "CON", "nul.txt", "a\\b", "C:\\x", "name.", ".hidden", "-rf"),
    *("A B", "A/B", "A_B", "a b", "é", "e\u0301", "x" * 300, "日本" * 150, " ", ""),
    *("50% & $x_1 #{y}~^", "\\input{x}", "$\\frac$", "</td><script>alert(1)</script>", "{{ 7*7 }}", "'\"`"),
]
"""Markup, escapes, controls, marks of direction, formulas, paths, reserved names, twins, LaTeX, HTML."""

REORDERING = "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff"


def is_harmless(text: str) -> bool:
    """Whether a terminal prints the text as it is, line by line: nothing that moves, colours or reorders."""
    return not any(
        unicodedata.category(character) in ("Cc", "Cs", "Zl", "Zp") or character in REORDERING
        for character in text.replace("\n", "")
    )
