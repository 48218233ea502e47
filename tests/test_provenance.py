from __future__ import annotations

import hashlib

from culnig.provenance import file_hash


def test_the_hash_of_a_file_is_sha256_of_its_bytes(tmp_path):
    content = bytes(range(256)) * 10_000  # more than one block
    (tmp_path / "x").write_bytes(content)
    assert file_hash(tmp_path / "x") == hashlib.sha256(content).hexdigest()
