"""`culnig-engine cache`: what is kept of GGUF files, so that they load quickly."""

from __future__ import annotations

import click

from culnig.cli.options import json_option
from culnig.cli.output import print_json, print_line, print_table, size_text
from culnig.models.cache import SWITCH, clear_cache, list_cache


@click.group("cache")
def command() -> None:
    """Models that were read from GGUF files and are kept to load quickly: list them, remove them."""


@command.command("list")
@json_option()
def list_(as_json: bool) -> None:
    """Cached models with their size and last use, the cache's folder and its size limit."""
    document = list_cache()
    if as_json:
        print_json(document)
        return
    if document["folder"] is None:
        print_line(f"The cache is switched off ({SWITCH}=off)")
        return
    rows = [
        (entry["source"] or "unknown", entry["dtype"], size_text(entry["n_bytes"]), entry["last_use"])
        for entry in document["entries"]
    ]
    print_table("Cached models", ("read from", "dtype", "size", "last use"), rows)
    print_line(f"In {document['folder']}; at most {size_text(document['limit'])}")


@command.command("clear")
@json_option(tables=False)
def clear(as_json: bool) -> None:
    """Remove all cached models."""
    removed = clear_cache()
    if as_json:
        print_json(removed)
        return
    print_line(f"{removed['entries']} cached models removed, {size_text(removed['n_bytes'])}")
