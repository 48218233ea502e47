"""`culnig-engine hub`: neuron sets and packs of studies on the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from culnig.cli.options import PATH, json_option, overwrite_option
from culnig.cli.output import print_json, print_line


@click.group("hub")
def command() -> None:
    """Share neuron sets and packs of studies on the Hugging Face hub (log in with `hf auth login`)."""


@command.command("push")
@click.argument("source", type=PATH)
@click.argument("repository")
@click.option("--title", help="Title of the card; by default the name of the file.")
@click.option("--public", is_flag=True, help="Make a new repository public, or push to one that is public.")
@click.option("--message", help="Commit message.")
@json_option(tables=False)
def push(source: Path, repository: str, as_json: bool, **options: Any) -> None:
    """Push a neuron set or a pack (SOURCE) to the data set OWNER/NAME, with a card made from its records.

    The card gives the model, the data with its licences, the settings, what was found, how it was tested, and
    the limits.
    """
    from culnig.studies.sharing import hub_push

    document = hub_push(source, repository, **options)
    if as_json:
        print_json(document)
    else:
        print_line(f"Pushed to {document['url']}")


@command.command("pull")
@click.argument("repository")
@click.option("-o", "--output", "out", type=PATH, required=True, help="File to write.")
@click.option("--file", help="Name of the neuron set or pack, if the repository holds several.")
@click.option("--revision", help="Branch, tag or commit.")
@overwrite_option()
@json_option(tables=False)
def pull(repository: str, out: Path, as_json: bool, **options: Any) -> None:
    """Pull a neuron set or a pack from the data set OWNER/NAME, and check it."""
    from culnig.studies.sharing import hub_pull

    path = hub_pull(repository, out, **options)
    if as_json:
        print_json({"file": str(path)})
    else:
        print_line(f"Written to {path}")
