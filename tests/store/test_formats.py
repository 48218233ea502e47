from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from culnig.errors import StoreError
from culnig.store.formats import check_format

PATH = Path("x.json")


@pytest.mark.parametrize("version", [1, np.int64(1), np.uint8(1)])
@pytest.mark.parametrize("name", ["culnig-x", b"culnig-x"])
def test_the_expected_format_passes(name, version):
    check_format(PATH, name, version, "culnig-x", 1)


@pytest.mark.parametrize("name", [None, "culnig-y", 3, np.array([1, 2]), b"\xff", ["culnig-x"]])
def test_another_format_is_named(name):
    with pytest.raises(StoreError, match=r"^x\.json: format is .*, expected 'culnig-x'$"):
        check_format(PATH, name, 1, "culnig-x", 1)


@pytest.mark.parametrize("version", [None, 2, 0, "1", 1.0, True, np.array([1, 1]), [1]])
def test_another_version_is_named_with_what_to_do(version):
    with pytest.raises(StoreError, match=r"format version .*, this culnig reads 1; use the version of"):
        check_format(PATH, "culnig-x", version, "culnig-x", 1)
