"""Black or white: which of them stands out from a cell of a heat map, in light and in dark mode.

The colours are those of the page's style sheet, mixed as the browser mixes them (Oklab).
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

STYLE = Path(__file__).parent / "templates" / "style.css"
_TO_CONES = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_TO_OKLAB = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)
_LUMINANCE = np.array([0.2126, 0.7152, 0.0722])
_ENDS = {
    "q0": ("seq-0", "seq-1"),
    "q1": ("seq-1", "seq-2"),
    "positive": ("mid", "pos"),
    "negative": ("mid", "neg"),
}
"""Colours at the start and the end of the scale of each class of cells."""


def text_classes(kind: str, share: float) -> str:
    """Classes of the style sheet for a text on a cell of this class, `share` along its scale."""
    return "".join(f" white-in-{theme}" for theme in ("light", "dark") if _needs_white(theme, kind, share))


@cache
def _colors(theme: str) -> dict[str, NDArray[np.float64]]:
    """Colours of a theme by name, in Oklab."""
    light, _, dark = STYLE.read_text(encoding="utf-8").partition(':root[data-theme="dark"]')
    block = (light if theme == "light" else dark).partition("}")[0]
    return {name: _oklab(value) for name, value in re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block)}


def _oklab(color: str) -> NDArray[np.float64]:
    channels = np.array([int(color[at : at + 2], 16) for at in (1, 3, 5)]) / 255
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    mixed: NDArray[np.float64] = _TO_OKLAB @ np.cbrt(_TO_CONES @ linear)
    return mixed


def _needs_white(theme: str, kind: str, share: float) -> bool:
    """Whether white stands out more than black."""
    colors, (start, end) = _colors(theme), _ENDS[kind]
    mixed = (1 - share) * colors[start] + share * colors[end]
    linear = np.linalg.solve(_TO_CONES, np.linalg.solve(_TO_OKLAB, mixed) ** 3)
    luminance = float(_LUMINANCE @ np.clip(linear, 0, 1))
    return 1.05 / (luminance + 0.05) > (luminance + 0.05) / 0.05
