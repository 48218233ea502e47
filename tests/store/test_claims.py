"""A file cannot hold a thousand times its size and more."""

from __future__ import annotations

from types import SimpleNamespace

import h5py
import numpy as np
import pytest

from culnig.errors import StoreError
from culnig.store.members import check_claim
from culnig.store.tables import table_at

MIB = 1 << 20


@pytest.mark.parametrize("size", [0, 1, 12_345])
def test_a_claim_may_be_64_mib_and_a_thousand_times_the_file(size):
    identity = SimpleNamespace(get_filesize=lambda: size)
    member = SimpleNamespace(file=SimpleNamespace(id=identity, filename="scores.h5"), name="/sum")
    check_claim(member, 64 * MIB + 1000 * size)
    with pytest.raises(StoreError, match=r"scores\.h5: /sum claims 0\.1 GB, but the file has"):
        check_claim(member, 64 * MIB + 1000 * size + 1)


@pytest.mark.parametrize(("dtype", "n"), [("u1", 60 * MIB), ("f8", 7 * MIB)])
def test_the_claim_of_a_dataset_is_its_bytes(tmp_path, dtype, n):
    """Nothing is stored of a dataset in chunks that was never written, so both files have a few kB."""
    with h5py.File(tmp_path / "x.h5", "w") as file:
        file.create_dataset("fits", (n,), dtype, chunks=(MIB,))
        file.create_dataset("too large", (2 * n,), dtype, chunks=(MIB,))
    with h5py.File(tmp_path / "x.h5") as file:
        kind = np.dtype(dtype).kind
        assert table_at(file, "fits", (n,), kind).shape == (n,)
        with pytest.raises(StoreError, match=r"claims 0\.1 GB"):
            table_at(file, "too large", (2 * n,), kind)
