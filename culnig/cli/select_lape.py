"""`culnig-engine select lape` and `select cape`: neurons by how often they are on in each culture."""

from __future__ import annotations

from pathlib import Path

import click

from culnig.cli.selected import ALL, each_culture_option, output_options, wanted_cultures, write_sets
from culnig.store.run import Run

_SHARE = click.FloatRange(0, 1)


def _command(method: str, help_text: str) -> click.Command:
    @click.command(method, help=help_text)
    @click.argument("run", type=click.Path(path_type=Path))
    @click.option("--target", help="Target benchmark, where the run has several.")
    @each_culture_option()
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
        wanted = wanted_cultures(cultures, shares.cultures)
        sets = select_lape(shares, LapeSettings(top, percentile, pool), method)
        chosen = [sets[culture] for culture in wanted]
        write_sets(chosen, wanted, ALL in cultures, output, overwrite, as_json)

    return select


lape = _command("lape", "Neurons that are on for few cultures, by entropy (Tang et al. 2024).")
cape = _command("cape", "The same selection, named as it is with cultures for languages (arXiv 2508.02241).")
