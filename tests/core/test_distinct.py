from __future__ import annotations

from culnig.core.distinct import DistinctTexts


def test_texts_are_counted_once():
    seen = DistinctTexts()
    assert [seen.add(text) for text in ("a", "b", "a", "", "")] == [True, True, False, True, False]
    assert len(seen) == 3


def test_many_texts_stay_distinct():
    seen = DistinctTexts()
    assert all(seen.add(f"question {n}") for n in range(30_000))
    assert not any(seen.add(f"question {n}") for n in range(0, 30_000, 1000))
    assert len(seen) == 30_000
