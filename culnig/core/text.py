"""Numbers and names as text, and names from files as text that is safe to show, to store and to open.

Names of cultures, benchmarks, data sets and neuron sets come from files, so they may hold anything. `visible`
is for terminals and pages, `fallback` for terminals without Unicode, `csv_row` for spreadsheets, `file_name`
for the file system.
"""

from __future__ import annotations

import hashlib
import json
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

METRIC_NAMES = {
    "accuracy": "accuracy",
    "option_accuracy": "option accuracy",
    "p_gold": "P(gold)",
    "option_mass": "option mass",
    "alignment": "alignment",
    "similarity": "similarity",
    "together_accuracy": "accuracy together",
}
"""Metrics that reports and figures show, with the names that readers see."""


def size_text(n_bytes: int) -> str:
    """Bytes for people."""
    for unit, factor in (("TB", 10**12), ("GB", 10**9), ("MB", 10**6)):
        if n_bytes >= factor:
            return f"{n_bytes / factor:.2f} {unit}"
    return f"{n_bytes / 1000:.0f} kB"


def time_text(seconds: float) -> str:
    """Seconds for people, as seconds, minutes or hours."""
    if seconds < 120:
        return f"{seconds:.0f} s" if seconds >= 10 or seconds == 0 else f"{seconds:.1f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def metric_text(metric: str) -> str:
    """A metric's name for people."""
    return METRIC_NAMES.get(metric, metric.replace("_", " "))


_INVISIBLE = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    "\ud800-\udfff\U000e0000-\U000e007f]"
)
"""Controls, marks that reorder text, and lone surrogates. Joiners, which Persian and Hindi need, are not."""


def visible(text: str, *, lines: bool = False) -> str:
    """The text with everything that a terminal would obey written as an escape, such as `\\x1b`.

    With `lines`, line ends and tabs stay.
    """
    if text.isascii() and text.isprintable():
        return text

    def shown(match: re.Match[str]) -> str:
        return match[0] if lines and match[0] in "\n\t" else _escaped(match[0])

    return _INVISIBLE.sub(shown, text)


def harmless_json(text: str) -> str:
    """JSON text with the escapes of JSON for what `visible` would escape; the document stays the same."""

    def escaped(match: re.Match[str]) -> str:
        return match[0] if match[0] == "\n" else json.dumps(match[0])[1:-1]

    return _INVISIBLE.sub(escaped, text)


def _escaped(character: str) -> str:
    return character.encode("unicode_escape", "surrogatepass").decode("ascii")


def is_storable(text: str) -> bool:
    """Whether HDF5 can hold the text: no NUL and no half of a surrogate pair."""
    return "\0" not in text and not (not text.isascii() and _SURROGATE.search(text))


def is_group_name(name: str) -> bool:
    """Whether the name can be that of one HDF5 group: storable, and no path of several."""
    return is_storable(name) and "/" not in name and name not in ("", ".", "..")


_SURROGATE = re.compile("[\ud800-\udfff]")

_ASCII = {
    **dict.fromkeys("–—−‐‑─━═╌╴╶╸╺", "-"),
    **dict.fromkeys("│┃║╎▏", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼┏┓┗┛┡┩╇╈╭╮╰╯", "+"),
    **dict.fromkeys("‘’′", "'"),
    **dict.fromkeys("“”″", '"'),
    "…": "...",
    "×": "x",
    "·": ".",
    "•": "*",
    "→": "->",
    "≤": "<=",
    "≥": ">=",
    "≈": "~",
    "±": "+-",
    "σ": "sigma",
    "Σ": "sum",
    "Δ": "delta",
    "μ": "mu",
    "√": "sqrt",
    "∈": "in",
    "∞": "inf",
    "\xa0": " ",
    "²": "^2",
    "³": "^3",
    "½": "1/2",
    "∪": "+",
    "∩": "&",
    "✓": "ok",
    "✗": "x",
}


def fallback(text: str, encoding: str) -> str:
    """The text with what the encoding lacks written in ASCII: letters without accents, else escapes."""
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return "".join(_encodable(character, encoding) for character in text)
    return text


def _encodable(character: str, encoding: str) -> str:
    try:
        character.encode(encoding)
    except UnicodeEncodeError:
        plain = _ASCII.get(character) or unicodedata.normalize("NFKD", character)
        plain = "".join(part for part in plain if not unicodedata.combining(part))
        return plain if plain and plain.isascii() else _escaped(character)
    return character


def csv_row(cells: Iterable[Any]) -> list[Any]:
    """The cells of a row of a CSV file: numbers as they are, None empty, and no text that is a formula.

    Spreadsheets take text that begins with `=`, `+`, `-`, `@` or white space for a formula; unless it is a
    number, it gets an apostrophe in front. Control characters are written as escapes.
    """
    return [_csv_text(cell) if isinstance(cell, str) else "" if cell is None else cell for cell in cells]


def _csv_text(text: str) -> str:
    is_formula = text.lstrip().startswith(("=", "+", "-", "@")) or text.startswith(("\t", "\r", "\n"))
    plain = visible(text, lines=True)
    return f"'{plain}" if is_formula and not _NUMBER.fullmatch(text) else plain


_NUMBER = re.compile(r"[+-]?(\d[\d,]*\.?\d*|\.\d+)(e[+-]?\d+)?( ?%)?|[+-](inf|nan)|[-+]", re.IGNORECASE)

_MOST_BYTES = 80
"""Longest file name without its hash: room for suffixes, and for file systems that allow 143 bytes."""
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\..*)?", re.IGNORECASE)
_UNUSUAL = re.compile(r"[^\w.+-]")


def file_name(name: str) -> str:
    """A file name, without suffix, made of a name that may hold anything; different names differ.

    A name of letters, digits and `_ . + -` stays. Any other, and one that a file system would refuse, shorten
    or take for another file, has these characters replaced and a hash of the whole name at its end.
    """
    clean = _UNUSUAL.sub("_", unicodedata.normalize("NFC", visible(name))).strip("._-")
    while len(clean.encode()) > _MOST_BYTES:
        clean = clean[:-1]
    if _RESERVED.fullmatch(clean):
        clean = clean.replace(".", "_")  # "nul.txt" is reserved, and so is "nul.txt-1a2b3c4d"
    elif clean and clean == name:
        return clean
    return f"{clean}-{_digest(name)}" if clean else _digest(name)


def file_names(names: Sequence[str]) -> list[str]:
    """File names for a folder that holds a file for each name; a space becomes `_`.

    Names that are equal after that, or on a file system that ignores case, get a hash too.
    """
    made = [file_name(name.replace(" ", "_")) for name in names]
    count = Counter(file.casefold() for file in made)
    return [
        f"{file}-{_digest(name)}" if count[file.casefold()] > 1 else file
        for name, file in zip(names, made, strict=True)
    ]


def _digest(name: str) -> str:
    return hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]


def span(low: int, high: int) -> str:
    """A range of counts, such as `3 to 7`, or a single count."""
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def counted(n: int, word: str) -> str:
    """A number with its noun, such as `1 seed` and `2 seeds`."""
    return f"{n:,} {word}" if n == 1 else f"{n:,} {word}s"
