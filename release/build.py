"""Build the source distribution and, from nothing but it, the wheel; repair and check both.

    python release/build.py --output dist [--wheel] [--twice]

Only files that git knows are taken, in a folder of their own, so that nothing stale gets into a release.
The wheel is built offline from the unpacked source distribution. On Linux auditwheel gives it the oldest tag
of glibc that its symbols allow. `--twice` builds everything a second time and compares the bytes: times come
from the last commit (SOURCE_DATE_EPOCH), owners and the order of files are fixed here, and so is the folder,
because nvcc names kernels after the path of their source.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PYTHON = [sys.executable, "-m"]
FOLDER = Path(tempfile.gettempdir()) / "culnig-engine-build"
"""Everything is built here."""


def main() -> None:
    """Build into the folder that the command line names."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="folder for the files")
    parser.add_argument("--wheel", action="store_true", help="build the wheel too")
    parser.add_argument("--twice", action="store_true", help="build twice and compare")
    options = parser.parse_args()
    os.environ.setdefault("SOURCE_DATE_EPOCH", _git("log", "-1", "--format=%ct").strip())
    made = _build(options.output, wheel=options.wheel)
    if options.twice:
        with tempfile.TemporaryDirectory(prefix="culnig-again-") as again:
            compare(made, _build(Path(again), wheel=options.wheel))
    run(*PYTHON, "twine", "check", "--strict", *map(str, made))
    for path in made:
        print(f"{path}  {path.stat().st_size:,} bytes  SHA-256 {sha256(path)}")


def _build(output: Path, *, wheel: bool) -> list[Path]:
    """The files of a release, built in the folder for it and moved to another."""
    output.mkdir(parents=True, exist_ok=True)
    try:
        FOLDER.mkdir(mode=0o700)
    except FileExistsError:
        raise SystemExit(
            f"{FOLDER} exists: another build is at work, or was killed; remove it then"
        ) from None
    try:
        made = _built_in(FOLDER, wheel=wheel)
        return [Path(shutil.move(path, output / path.name)) for path in made]
    finally:
        shutil.rmtree(FOLDER, ignore_errors=True)


def _built_in(folder: Path, *, wheel: bool) -> list[Path]:
    source = folder / "source"
    copy_tracked(ROOT, source)
    run(*PYTHON, "build", "--sdist", "--no-isolation", "--outdir", str(folder), str(source))
    (archive,) = folder.glob("*.tar.gz")
    normalise(archive, int(os.environ["SOURCE_DATE_EPOCH"]))
    return [archive, _wheel(archive, folder)] if wheel else [archive]


def _wheel(archive: Path, folder: Path) -> Path:
    """The wheel of a source distribution; on Linux with the tag that its symbols allow."""
    plain, unpacked = folder / "plain", folder / "unpacked"
    with tarfile.open(archive) as file:
        file.extractall(unpacked, filter="data")
    (source,) = unpacked.iterdir()
    run(
        *(*PYTHON, "pip", "wheel", "--no-index", "--no-deps", "--no-build-isolation", "--no-cache-dir"),
        *("--wheel-dir", str(plain), str(source)),
    )
    (wheel,) = plain.glob("*.whl")
    if sys.platform != "linux":
        return wheel
    repaired = folder / "repaired"
    run(*PYTHON, "auditwheel", "show", str(wheel))
    run(*PYTHON, "auditwheel", "repair", "--wheel-dir", str(repaired), str(wheel))
    return next(iter(repaired.glob("*.whl")))


def copy_tracked(root: Path, target: Path) -> None:
    """Copy the files that git knows in a checkout, as they are now."""
    for name in filter(None, _git("ls-files", "-z", cwd=root).split("\0")):
        if (root / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, target / name)


def normalise(archive: Path, seconds: int) -> None:
    """Write a tar.gz again with sorted names, one time, no owners, and plain permissions."""
    with tarfile.open(archive) as old:
        members = sorted(old.getmembers(), key=lambda member: member.name)
        contents = [old.extractfile(member) if member.isfile() else None for member in members]
        temporary = archive.with_suffix(".new")
        with (
            temporary.open("wb") as file,
            gzip.GzipFile(filename="", mode="wb", fileobj=file, mtime=seconds) as packed,
            tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as new,
        ):
            for member, content in zip(members, contents, strict=True):
                member.mtime, member.uid, member.gid, member.uname, member.gname = seconds, 0, 0, "", ""
                member.mode, member.pax_headers = (
                    0o755 if member.isdir() or member.mode & 0o100 else 0o644,
                    {},
                )
                new.addfile(member, content)
    temporary.replace(archive)


def compare(first: list[Path], second: list[Path]) -> None:
    """End with an error if two builds differ."""
    for one, other in zip(first, second, strict=True):
        if one.name != other.name or sha256(one) != sha256(other):
            raise SystemExit(f"two builds differ: {one.name} {sha256(one)}, {other.name} {sha256(other)}")
        print(f"twice the same bytes: {one.name}")


def sha256(path: Path) -> str:
    """Of a file's bytes."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def run(*command: str) -> None:
    """Run a command; its failure ends this program with its code."""
    print("+", " ".join(command), flush=True)
    done = subprocess.run(command, check=False)
    if done.returncode:
        raise SystemExit(done.returncode)


def _git(*arguments: str, cwd: Path = ROOT) -> str:
    return subprocess.run(["git", *arguments], cwd=cwd, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
