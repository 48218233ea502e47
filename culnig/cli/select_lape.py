"""`culnig-engine select lape` and `select cape`: neurons by how often they are on in each culture."""

from __future__ import annotations

from pathlib import Path

import click

from culnig.cli.selected import ALL, culture_files, output_options, tell
from culnig.errors import UnknownNameError
from culnig.store.run import Run

_SHARE = click.FloatRange(0, 1)


def _command(method: str, help_text: str) -> click.Command:
    @click.command(method, help=help_text)
    @click.argument("run", type=click.Path(path_type=Path))
    @click.option("--target", help="Target benchmark, where the run has several.")
    @click.option(
        "--culture",
        "cultures",
        multiple=True,
        default=(ALL,),
        show_default=True,
        help="The culture to select for; several times, or `all`, for a set of each (-o is a folder then).",
    )
    @click.option(
        "--top", type=_SHARE, default=0.01, show_default=True, help="Share of the pool kept, all cultures."
    )
    @click.option(
        "--percentile",
        type=click.FloatRange(0, 100, max_open=True),
        default=95,
        show_default=True,
        help="Of all activation shares: what a neuron must exceed for a culture.",
    )
    @click.option("--pool", default="mlp", show_default=True, help="mlp, or a module.")
    @output_options("Neuron-set file; a folder for several cultures.")
    def select(
        run: Path,
        target: str | None,
        cultures: tuple[str, ...],
        top: float,
        percentile: float,
        pool: str,
        output: Path,
        overwrite: bool,
        as_json: bool,
    ) -> None:
        from culnig.selection.lape import SCORER, LapeSettings, activation_shares, select_lape

        shares = activation_shares(Run(run, SCORER), target)
        wanted = shares.cultures if ALL in cultures else tuple(dict.fromkeys(cultures))
        for culture in wanted:
            if culture not in shares.cultures:
                raise UnknownNameError("culture of this run:", culture, shares.cultures)
        sets = select_lape(shares, LapeSettings(top, percentile, pool), method)
        several = ALL in cultures or len(wanted) > 1
        files = culture_files(output, wanted, overwrite) if several else [output]
        made = [(sets[culture], file) for culture, file in zip(wanted, files, strict=True)]
        for chosen, file in made:
            chosen.write(file, overwrite=overwrite)
        tell(made, None, as_json, folder=output if several else None)

    return select


lape = _command("lape", "Neurons that are on for few cultures, by entropy (Tang et al. 2024).")
cape = _command("cape", "The same selection, named as it is with cultures for languages (arXiv 2508.02241).")
