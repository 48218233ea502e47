"""How many different texts there are, or whether one has come before, in little memory."""

from __future__ import annotations

import hashlib
from array import array


class DistinctTexts:
    """A set of texts as a hash table of 64-bit digests, 16 to 32 bytes for each text.

    The probability that two of a million different texts share a digest is 3e-8.
    """

    def __init__(self) -> None:
        self._table = array("Q", bytes(8 * 1024))
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, text: str) -> bool:
        """Add a text; False if the set already has it."""
        if 2 * self._count >= len(self._table):
            old, self._table = self._table, array("Q", bytes(16 * len(self._table)))
            for digest in old:
                if digest:
                    self._table[self._slot(digest)] = digest
        digest = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "big") or 1
        slot = self._slot(digest)
        if self._table[slot]:
            return False
        self._table[slot] = digest
        self._count += 1
        return True

    def _slot(self, digest: int) -> int:
        last = len(self._table) - 1
        slot = digest & last
        while self._table[slot] not in (0, digest):
            slot = (slot + 1) & last
        return slot
