"""Sizes in bytes as people write them."""

from __future__ import annotations

import re

from culnig.errors import InputError

_UNITS = " KMGT"


def parse_size(text: str | int, base: int = 1000) -> int:
    """Bytes of text such as 500M or 80GB; units are powers of `base`. InputError for any other text."""
    if isinstance(text, int):
        return text
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(?:i?B)?", text.strip(), re.IGNORECASE)
    if match is None or float(match[1]) == 0:
        raise InputError(f"{text!r} is not a size; give a number with K, M, G or T, such as 80G")
    return int(float(match[1]) * base ** _UNITS.index(match[2].upper() or " "))
