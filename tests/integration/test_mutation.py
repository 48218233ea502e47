"""`make mutants`: which slips it makes, and that a function gets the code of its changed source."""

from __future__ import annotations

import gc

from tests.mutation.changes import changes_of
from tests.mutation.suite import Server, functions_of

SOURCE = '''"""Add 1 and never say so."""

from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    LIMIT = 3
Kind = Literal[1, 2]
LEAST = 2


class Table:
    def __init__(self, n: int = 7) -> None:
        self.n = n

    def share(self, own: "Literal[3]") -> float:
        """Of 100 %."""
        if own < 0:
            raise ValueError(f"{own + 1} is below {0}")
        self.last = own
        print("share", end="")
        return max(own, LEAST) / self.n
'''


def reads(source=SOURCE):
    return [(change.line, change.what, change.in_function) for change in changes_of("a.py", source.encode())]


def test_the_slips_of_a_source():
    assert reads() == [
        (8, "2 → (3)", False),
        (8, "2 → (1)", False),
        (12, "7 → (8)", False),
        (12, "7 → (6)", False),
        (17, "own < 0 → (own <= 0)", True),
        (17, "own < 0 → (own >= 0)", True),
        (17, "0 → (1)", True),
        (18, "raise ValueError(f'{own + 1} is below {0}') → pass", True),
        (19, "self.last = own → pass", True),
        (20, "print('share', end='') → pass", True),
        (20, "print('share', end='') → (print('share'))", True),
        (21, "max(own, LEAST) / self.n → (max(own, LEAST) * self.n)", True),
        (21, "max(own, LEAST) → (min(own, LEAST))", True),
        (21, "max(own, LEAST) → (own)", True),
    ]


def test_every_slip_changes_the_source_at_its_line_and_can_be_compiled():
    source = SOURCE.encode()
    for change in changes_of("a.py", source):
        changed = change.applied(source)
        compile(changed, "a.py", "exec")
        lines = zip(source.splitlines(), changed.splitlines(), strict=True)
        assert [n for n, (one, other) in enumerate(lines, start=1) if one != other] == [change.line]


def test_slips_that_read_the_same_have_names_of_their_own():
    names = [change.name for change in changes_of("a.py", b"x = 1 + 1\n")]
    assert names == [
        "a.py: x = 1 + 1 | 1 + 1 → (1 - 1)",
        "a.py: x = 1 + 1 | 1 → (2)",
        "a.py: x = 1 + 1 | 1 → (0)",
        "a.py: x = 1 + 1 | 1 → (2) (2)",
        "a.py: x = 1 + 1 | 1 → (0) (2)",
    ]


def test_a_function_gets_the_code_of_its_changed_source(tmp_path):
    path, source = tmp_path / "a.py", SOURCE.encode()
    space = {}
    exec(compile(source, str(path), "exec"), space)
    share = space["Table"].share
    gc.freeze()  # as after collection in tests/conftest.py
    server = Server(tmp_path / "out", print)
    server.functions = functions_of(tmp_path)
    gc.freeze()
    assert space["Table"]().share(1) == 2 / 7
    (change,) = (change for change in changes_of("a.py", source) if "min(" in change.what)
    server.exchange(path, source, change.applied(source))
    assert space["Table"]().share(1) == 1 / 7
    assert space["Table"].share is share
