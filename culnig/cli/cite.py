"""`culnig-engine cite`: what a study must cite, and the licences of what it used."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from culnig.cli.options import PATH, out_options
from culnig.cli.output import print_json, print_line, print_table


@click.command("cite")
@click.argument("paths", nargs=-1, required=True, type=PATH)
@out_options("Folder for methods.txt, references.bib and LICENCES.md.", required=False)
def command(paths: tuple[Path, ...], out: Path | None, overwrite: bool, as_json: bool) -> None:
    """List what to cite for runs, evaluations, neuron sets or the folder of a study (PATHS), with licences.

    Prints a paragraph on the methods, BibTeX entries for the program, methods, data sets, models and
    libraries, and the licences of all of them. The entries that you have to complete are listed at the end.
    """
    from culnig.reporting.cite import cite

    citation = cite(paths, out, overwrite=overwrite)
    if as_json:
        print_json(
            {
                "methods": citation.methods,
                "bibtex": citation.bibtex,
                "used": [asdict(work) for work in citation.used],
                "incomplete": citation.incomplete,
            }
        )
        return
    if out is None:
        for text in filter(None, (citation.methods, citation.bibtex)):
            print_line(text.rstrip("\n") + "\n")
        rows = [(work.kind, work.name, work.licence) for work in citation.used]
        print_table("Licences", ("", "name", "licence"), rows)
    else:
        print_line(f"Methods, references and licences: {out}")
    if citation.incomplete:
        print_line(f"Complete these entries by hand: {', '.join(citation.incomplete)}")
