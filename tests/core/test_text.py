from __future__ import annotations

import csv
import io
import json

import pytest

from culnig.core.text import csv_row, fallback, file_name, file_names, harmless_json, visible
from tests.hostile_names import NAMES, is_harmless

RESERVED = ["con", "nul", "aux", "prn", "com1", "lpt9"]


@pytest.mark.parametrize("name", NAMES)
def test_a_visible_name_is_harmless_and_plain_ones_stay(name: str) -> None:
    assert is_harmless(visible(name))
    assert is_harmless(visible(name, lines=True).replace("\t", ""))
    assert "\n" not in visible(name)
    if is_harmless(name) and "\n" not in name:
        assert visible(name) == name


def test_escapes_are_those_of_python() -> None:
    assert visible("a\x1b[0m\u202eb\n\udc80") == "a\\x1b[0m\\u202eb\\n\\udc80"
    assert visible("a\nb\tc", lines=True) == "a\nb\tc"


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252", "utf-8"])
def test_every_text_fits_every_encoding(encoding: str) -> None:
    for text in [*NAMES, "σ – × … │ ━ é 日本 \ud800"]:
        fallback(text, encoding).encode(encoding)


def test_the_fallback_is_readable() -> None:
    assert fallback("1 – 2 × σ… café", "ascii") == "1 - 2 x sigma... cafe"
    assert fallback("1 – 2 × café", "latin-1") == "1 - 2 × café"
    assert fallback("日本", "ascii") == "\\u65e5\\u672c"
    assert fallback("日本 – ×", "utf-8") == "日本 – ×"


@pytest.mark.parametrize("name", NAMES)
def test_a_file_name_can_be_created_in_any_folder(name: str, tmp_path) -> None:
    file = file_name(name)
    path = tmp_path / f"{file}.neurons.json"
    path.write_text("")
    assert [each.name for each in tmp_path.iterdir()] == [path.name]
    assert file.isprintable()
    assert not set(file) & set('/\\:*?"<>| ')
    assert file[0] not in ".-"
    assert file[-1] not in ". "
    assert file.split(".")[0].lower() not in RESERVED
    assert len(file.encode()) < 100


def test_different_names_have_different_files_and_plain_names_their_own() -> None:
    assert len({file_name(name) for name in NAMES}) == len(NAMES)
    for plain in ("everyday", "blend+normad", "country-rc", "West_Java", "Österreich", "v1.5"):
        assert file_name(plain) == plain


def test_names_of_one_folder_differ_even_where_case_is_ignored() -> None:
    files = file_names(NAMES)
    assert len({file.casefold() for file in files}) == len(NAMES)
    assert file_names(["South Korea", "Iran"]) == ["South_Korea", "Iran"]
    twins = file_names(["South Korea", "South_Korea", "iran", "Iran"])
    assert [twin.rpartition("-")[0] for twin in twins] == ["South_Korea", "South_Korea", "iran", "Iran"]


@pytest.mark.parametrize("name", NAMES)
def test_no_cell_of_a_csv_file_is_a_formula(name: str) -> None:
    text = io.StringIO()
    csv.writer(text).writerow(csv_row([name, None, -1.5, 3]))
    cell, *numbers = next(csv.reader(io.StringIO(text.getvalue())))
    assert numbers == ["", "-1.5", "3"]
    assert name == "-1.5" or not cell.lstrip().startswith(("=", "+", "-", "@", "\t", "\r"))
    assert is_harmless(cell.replace("\t", ""))


@pytest.mark.parametrize("number", ["-0.5", "+.3", "-1,234.5", "-1.2e-05", "+12.3 %", "-", "-inf"])
def test_numbers_written_as_text_stay_numbers(number: str) -> None:
    assert csv_row([number]) == [number]


@pytest.mark.parametrize("text", ["\x07", "a\x1bb", "\x7f", "\t"])
def test_ascii_that_a_terminal_obeys_is_escaped(text: str) -> None:
    assert visible(text) == text.encode("unicode_escape").decode()


def test_json_with_escapes_is_the_same_document() -> None:
    document = {"name": "a\u202eb\x7f", "lines": "1\n2"}
    text = json.dumps(document, indent=1, ensure_ascii=False)
    shown = harmless_json(text)
    assert json.loads(shown) == document
    assert shown.count("\n") == text.count("\n")
    assert "\u202e" not in shown
    assert r"\u202e" in shown
