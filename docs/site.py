"""Builds the documentation as a site with search and dark mode: `make site`, into build/site.

    python docs/site.py FOLDER

The pages are those of `docs/` and of the top of the repository, copied into one folder with their links
adapted. Zensical makes the site from them. Every link inside the result is then followed, anchors included; a
dead one is an error.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent

TOP = {
    "README.md": "index.md",
    "CHANGELOG.md": "changes.md",
    "CONTRIBUTING.md": "contributing.md",
    "SECURITY.md": "security.md",
    "CODE_OF_CONDUCT.md": "conduct.md",
    "LICENSE": "license.md",
}
"""Files at the top of the repository, and their pages."""

NAVIGATION: dict[str, list[str]] = {
    "Start": ["index.md", "install.md", "first-study.md", "method.md", "glossary.md"],
    "Understand": ["reading-results.md", "publishing.md", "mistakes.md", "gallery.md"],
    "Use": [
        "selection.md",
        "evaluation.md",
        "training.md",
        "report.md",
        "store.md",
        "clusters.md",
        "studies.md",
        "ways-out.md",
    ],
    "Extend": [
        *("models.md", "models-table.md", "benchmarks.md", "declared-benchmarks.md", "new-culture.md"),
        "scorers.md",
    ],
    "Look up": ["cli.md", "api.md", "changes.md"],
    "Trust": [
        *("stability.md", "security.md", "validation.md", "performance.md", "kernels.md", "design.md"),
        *("contributing.md", "releasing.md", "conduct.md", "license.md"),
    ],
}
"""Pages by section; pages that are missing here go into a section of their own, at the end."""

_LINK = re.compile(r"(\]\()([^)#\s]+)(#[^)\s]*)?(\))")
_COMMENT = re.compile(r"<!-- run -->\n+")


def main() -> None:
    """Build the site into the folder that the command line names."""
    target = Path(sys.argv[1])
    with tempfile.TemporaryDirectory(prefix="culnig-site-") as name:
        folder = Path(name)
        stage(folder / "docs")
        (folder / "zensical.toml").write_text(configuration(), encoding="utf-8")
        command = [sys.executable, "-m", "zensical", "build", "--clean"]
        done = subprocess.run(command, cwd=folder, check=False)
        if done.returncode:
            raise SystemExit(done.returncode)
        dead = list(dead_links(folder / "site"))
        if dead:
            raise SystemExit("dead links:\n" + "\n".join(dead))
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(folder / "site", target)
    print(f"{len(list(target.rglob('*.html')))} pages in {target}, all links lead somewhere")


def stage(folder: Path) -> list[str]:
    """Copy all pages and pictures into one folder; returns the names of the pages."""
    folder.mkdir(parents=True)
    shutil.copytree(DOCS / "images", folder / "images")
    sources = {page: DOCS / page for page in sorted(path.name for path in DOCS.glob("*.md"))}
    sources |= {page: ROOT / name for name, page in TOP.items()}
    for page, source in sources.items():
        text = source.read_text(encoding="utf-8")
        if source.suffix != ".md":
            text = f"# License\n\n```text\n{text}```\n"
        (folder / page).write_text(adapted(text, source), encoding="utf-8")
    return list(sources)


def adapted(text: str, source: Path) -> str:
    """A page with links to the pages' new names, without marks of tests; ValueError for other links."""

    def link(match: re.Match[str]) -> str:
        begin, target, anchor, end = match[1], match[2], match[3] or "", match[4]
        if urlsplit(target).scheme:
            return match[0]
        path = (source.parent / target).resolve()
        if path.is_relative_to(DOCS):
            page = path.relative_to(DOCS).as_posix()
        elif path.parent == ROOT and path.name in TOP:
            page = TOP[path.name]
        else:
            raise ValueError(f"{source.name} links to {target}, which is no page of the site")
        return f"{begin}{page}{anchor}{end}"

    return _LINK.sub(link, _COMMENT.sub("", text))


def configuration() -> str:
    """Zensical's configuration."""
    pages = {page.name for page in DOCS.glob("*.md")} | set(TOP.values())
    sections = {section: list(own) for section, own in NAVIGATION.items()}
    listed = {page for own in sections.values() for page in own}
    if unlisted := sorted(pages - listed):
        sections["More"] = unlisted
    navigation = ",\n".join(
        f'  {{ "{section}" = [{", ".join(f"{chr(34)}{page}{chr(34)}" for page in own)}] }}'
        for section, own in sections.items()
    )
    project = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    version = re.search(r'^version = "(.*)"$', project, flags=re.MULTILINE)
    assert version is not None
    return f"""[project]
site_name = "culnig-engine {version[1]}"
site_description = "The neurons of a language model that carry cultural understanding"
docs_dir = "docs"
site_dir = "site"
use_directory_urls = false
nav = [
{navigation}
]

[project.theme]
features = [
  "navigation.sections", "navigation.top", "navigation.footer", "search.highlight", "content.code.copy",
  "toc.follow",
]
font = false

[[project.theme.palette]]
media = "(prefers-color-scheme: light)"
scheme = "default"
toggle = {{ icon = "lucide/sun", name = "Dark mode" }}

[[project.theme.palette]]
media = "(prefers-color-scheme: dark)"
scheme = "slate"
toggle = {{ icon = "lucide/moon", name = "Light mode" }}
"""


# Links


class _Page(HTMLParser):
    """The links of a page, and the names that links may point to."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.anchors: set[str] = {"", "__top"}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what a tag links to, and its name."""
        values = dict(attrs)
        self.anchors |= {str(values[key]) for key in ("id", "name") if values.get(key)}
        self.links += [str(values[key]) for key in ("href", "src") if values.get(key)]


def dead_links(site: Path) -> Iterator[str]:
    """Links inside the site that lead nowhere, each with its page."""
    pages = {path: _Page(path) for path in sorted(site.rglob("*.html"))}
    for path, page in pages.items():
        for link in dict.fromkeys(page.links):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc or path.name == "404.html":
                continue
            own = path if not parts.path else (path.parent / unquote(parts.path)).resolve()
            own = own / "index.html" if own.is_dir() else own
            if not own.is_file():
                yield f"{path.relative_to(site)}: {link} does not exist"
            elif own in pages and unquote(parts.fragment) not in pages[own].anchors:
                yield f"{path.relative_to(site)}: {link} names nothing on that page"


if __name__ == "__main__":
    main()
