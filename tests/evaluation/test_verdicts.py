"""What a comparison with random sets shows, from numbers by hand."""

from __future__ import annotations

import pytest

from culnig.evaluation.verdicts import adjusted_p, beyond_random, rank_text


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        ({"p_value": 0.01, "p_holm": 0.049, "questions_p": 0.049}, True),
        ({"p_value": 0.01, "p_holm": 0.05, "questions_p": 0.01}, False),
        ({"p_value": 0.01, "p_holm": 0.06, "questions_p": 0.01}, False),
        ({"p_value": 0.01, "p_holm": 0.02, "questions_p": 0.05}, False),
        ({"p_value": 0.01, "p_holm": 0.02}, True),
        ({"p_value": 0.01, "p_holm": None}, True),
        ({"p_value": 0.2, "p_holm": None}, False),
        ({"p_value": 0.01}, True),
    ],
)
def test_both_tests_must_show_a_fall(test, expected):
    assert beyond_random(test) is expected
    assert adjusted_p(test) == (test["p_value"] if test.get("p_holm") is None else test["p_holm"])


@pytest.mark.parametrize(
    ("n", "p", "stored", "said"),
    [
        (1, 0.5, {}, "rank p 0.500 of 1 random set, which cannot be below 0.500"),
        (10, 0.25, {}, "rank p 0.250 of 10 random sets, which cannot be below 0.091"),
        (18, 0.25, {}, "rank p 0.250 of 18 random sets, which cannot be below 0.053"),
        (19, 0.05, {}, "rank p 0.050 of 19 random sets"),
        (19, 0.05, {"least_empirical_p": 0.05}, "rank p 0.050 of 19 random sets"),
        (3, 0.25, {"least_empirical_p": 0.25}, "rank p 0.250 of 3 random sets, which cannot be below 0.250"),
    ],
)
def test_a_rank_says_what_so_few_sets_cannot_show(n, p, stored, said):
    assert rank_text({"n_random": n, "empirical_p": p, **stored}) == said
