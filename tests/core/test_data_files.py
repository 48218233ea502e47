from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest

from culnig.core import data_files
from culnig.core.data_files import TooMuchYaml, check_yaml, data_path, joined, read_toml
from culnig.errors import DataFileError

POSIX, WINDOWS = PurePosixPath("/home/ada/study"), PureWindowsPath("C:/Users/Ada/study")


@pytest.mark.parametrize(
    ("folder", "text", "path"),
    [
        (POSIX, "t.csv", "/home/ada/study/t.csv"),
        (POSIX, "sub/t.csv", "/home/ada/study/sub/t.csv"),
        (POSIX, r"sub\t.csv", "/home/ada/study/sub/t.csv"),
        (POSIX, "../t.csv", "/home/ada/study/../t.csv"),
        (POSIX, "/data/t.csv", "/data/t.csv"),
        (POSIX, r"C:\data\t.csv", None),
        (POSIX, "C:/data/t.csv", None),
        (POSIX, r"\data\t.csv", None),
        (POSIX, r"\\server\share\t.csv", None),
        (WINDOWS, "t.csv", r"C:\Users\Ada\study\t.csv"),
        (WINDOWS, "sub/t.csv", r"C:\Users\Ada\study\sub\t.csv"),
        (WINDOWS, r"sub\t.csv", r"C:\Users\Ada\study\sub\t.csv"),
        (WINDOWS, r"D:\data\t.csv", r"D:\data\t.csv"),
        (WINDOWS, "D:/data/t.csv", r"D:\data\t.csv"),
        (WINDOWS, r"\data\t.csv", r"C:\data\t.csv"),
        (WINDOWS, "/data/t.csv", r"C:\data\t.csv"),
        (WINDOWS, r"\\server\share\t.csv", r"\\server\share\t.csv"),
    ],
)
def test_paths_on_both_kinds_of_system(folder, text, path):
    result = joined(folder, text)
    assert (None if result is None else str(result)) == path


def test_a_tilde_is_the_home_folder(tmp_path, monkeypatch):
    for variable in ("HOME", "USERPROFILE"):
        monkeypatch.setenv(variable, str(tmp_path))
    assert data_path(Path("study/t.yaml"), "~/data/t.csv") == tmp_path / "data" / "t.csv"
    assert data_path(Path("study/t.yaml"), r"~\data\t.csv") == tmp_path / "data" / "t.csv"
    with pytest.raises(
        DataFileError, match=r"t\.yaml: data: '~nobody-of-that-name/t\.csv': .*write the whole path"
    ):
        data_path(Path("study/t.yaml"), "~nobody-of-that-name/t.csv")


def test_a_name_that_exists_is_taken_as_it_is(tmp_path):
    for name in ("c:t.csv", r"\t.csv", "~t.csv") if Path("/").is_absolute() else ("~t.csv",):
        (tmp_path / name).touch()
        assert data_path(tmp_path / "t.yaml", name) == tmp_path / name


def test_toml_with_a_byte_order_mark_and_a_folder(tmp_path):
    (tmp_path / "t.toml").write_bytes(b'\xef\xbb\xbfa = "b"\r\n')
    assert read_toml(tmp_path / "t.toml") == {"a": "b"}
    (tmp_path / "folder.toml").mkdir()
    with pytest.raises(DataFileError, match="cannot be read"):
        read_toml(tmp_path / "folder.toml")


def test_a_file_of_the_largest_size_is_read_and_one_byte_more_is_not(tmp_path, monkeypatch):
    monkeypatch.setattr(data_files, "MOST_BYTES", 8)
    (tmp_path / "fits.toml").write_text("a = '12'")
    assert read_toml(tmp_path / "fits.toml") == {"a": "12"}
    (tmp_path / "large.toml").write_text("a = '123'")
    with pytest.raises(DataFileError, match=r"0\.0 MB; at most"):
        read_toml(tmp_path / "large.toml")


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("a", 1),
        ("[a, b]", 3),
        ("a: b", 3),
        ("[&x [a, b], *x]", 7),
        ("[&x a, *x, *x]", 4),
        ("[&x [a, b], &y [*x, *x], *y]", 18),
    ],
)
def test_yaml_is_counted_with_what_aliases_repeat(text, count):
    """A list counts for one and for what is in it; an alias for all that it stands for."""
    check_yaml(text, count)
    with pytest.raises(TooMuchYaml, match=f"more than {count - 1:,} values"):
        check_yaml(text, count - 1)


def test_yaml_is_at_most_64_levels_deep_and_never_contains_itself():
    check_yaml("[" * 64 + "]" * 64)
    with pytest.raises(TooMuchYaml, match="nested more than 64 levels deep"):
        check_yaml("[" * 65 + "]" * 65)
    with pytest.raises(TooMuchYaml, match=r"\*x contains itself"):
        check_yaml("&x [a, *x]")
