from __future__ import annotations

import hashlib
import json
from dataclasses import replace

from culnig.core.items import Item
from culnig.provenance import file_hash, items_hash


def test_the_hash_of_a_file_is_sha256_of_its_bytes(tmp_path):
    content = bytes(range(256)) * 10_000  # more than one block
    (tmp_path / "x").write_bytes(content)
    assert file_hash(tmp_path / "x") == hashlib.sha256(content).hexdigest()


def test_items_of_earlier_versions_keep_their_hash():
    """What an item could not have yet is no part of the text, unless it says something."""
    item = Item("i", "q", "Iran", "test", "?", ("A", "B", "C"), "A")
    old = {
        "id": "i",
        "question_id": "q",
        "culture": "Iran",
        "split": "test",
        "prompt": "?",
        "options": ["A", "B", "C"],
        "answer": "A",
        "topic": "",
        "answer_prefix": item.answer_prefix,
        "system": None,
        "ordinal": False,
        "accepted": [],
        "language": "",
    }
    expected = hashlib.sha256(json.dumps(old, sort_keys=True).encode()).hexdigest()
    assert items_hash([item]) == expected
    for change in ({"also_right": ("B",)}, {"distribution": (0.5, 0.3, 0.2)}, {"together": "q"}):
        assert items_hash([replace(item, **change)]) != expected
