from __future__ import annotations

import pytest

from culnig.core.sizes import parse_size
from culnig.errors import InputError


@pytest.mark.parametrize(
    ("text", "base", "n_bytes"),
    [
        ("80G", 1000, 80_000_000_000),
        ("24gb", 1000, 24_000_000_000),
        ("1.5 K", 1000, 1500),
        ("500M", 1024, 524_288_000),
        ("1GiB", 1024, 1_073_741_824),
        (7, 1000, 7),
    ],
)
def test_sizes_are_read_as_people_write_them(text, base, n_bytes):
    assert parse_size(text, base) == n_bytes


@pytest.mark.parametrize("text", ["80Q", "much", "0G", "-3G", ""])
def test_other_text_is_refused_with_an_example(text):
    with pytest.raises(InputError, match="is not a size; give a number with K, M, G or T, such as 80G"):
        parse_size(text)
